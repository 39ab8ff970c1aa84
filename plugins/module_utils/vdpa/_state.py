# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vDPA as the kernel tells of it: management devices, and the devices made on them.

Sources: include/uapi/linux/vdpa.h and drivers/vdpa/vdpa.c of Linux. Numbers are in the byte order
of the host.
"""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._generic import (
    GenericRequest,
    text,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import attribute

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

BUS = "/sys/bus/vdpa"

_FAMILY = "vdpa"
_MGMTDEV_GET = 2
_DEV_NEW = 3
_DEV_DEL = 4
_DEV_GET = 5
_DEV_CONFIG_GET = 6

_MGMTDEV_BUS_NAME = 1
_MGMTDEV_DEV_NAME = 2
_MGMTDEV_SUPPORTED_CLASSES = 3
_DEV_NAME = 4
_DEV_ID = 5
_DEV_VENDOR_ID = 6
_DEV_MAX_VQS = 7
_DEV_MAX_VQ_SIZE = 8
_DEV_NET_CFG_MACADDR = 10
_DEV_NET_CFG_MAX_VQP = 12
_DEV_NET_CFG_MTU = 13
_DEV_NEGOTIATED_FEATURES = 14
_DEV_MGMTDEV_MAX_VQS = 15
_DEV_SUPPORTED_FEATURES = 16
_DEV_FEATURES = 20

# What a new device can be given, and the number that the kernel calls it by.
ATTRIBUTES = {
    "mac": _DEV_NET_CFG_MACADDR,
    "mtu": _DEV_NET_CFG_MTU,
    "max_vqp": _DEV_NET_CFG_MAX_VQP,
    "features": _DEV_FEATURES,
}

_FORMATS = {1: "=B", 2: "=H", 4: "=I", 8: "=Q"}

# Numbers of include/uapi/linux/virtio_ids.h.
_CLASSES = {1: "net", 2: "block"}


class ManagementDevice(t.NamedTuple):
    """What devices are made on. Its *name* is `BUS/DEVICE`, or `DEVICE` if it is on no bus.

    *classes* are the kinds of devices that it makes, *max_vqs* the most virtqueues of one, and
    *features* the bits of virtio features that it offers.
    """

    name: str
    classes: tuple[str, ...]
    max_vqs: int
    features: int

    @property
    def pci_address(self) -> str | None:
        """The address of the PCI function that it is, if it is one."""
        bus, _slash, device = self.name.partition("/")
        return device if bus == "pci" else None


class VdpaDevice(t.NamedTuple):
    """A device as the kernel has it; `None` stands for what the kernel does not tell.

    *negotiated_features* are those that the user of the device has taken. *path* is the file that
    a program opens to use it.
    """

    name: str
    management_device: str
    device_class: str | None
    vendor_id: int | None
    max_vqs: int | None
    max_vq_size: int | None
    mac: str | None
    mtu: int | None
    max_vqp: int | None
    features: int | None
    negotiated_features: int | None
    driver: str | None
    path: str | None


def management_devices(host: Host) -> dict[str, ManagementDevice] | None:
    """All management devices, by name; `None` if the kernel has no vDPA, or did not load it."""
    answers = host.generic_dump(_FAMILY, _MGMTDEV_GET)
    if answers is None:
        return None
    found = [_management_device(parts) for parts in answers]
    return {item.name: item for item in found}


def devices(host: Host) -> dict[str, VdpaDevice]:
    """All devices by name."""
    answers = host.generic_dump(_FAMILY, _DEV_GET) or []
    # Tells of a device only if its class has a configuration that the kernel knows.
    configurations = {
        _text(parts[_DEV_NAME]): parts
        for parts in (host.generic_dump(_FAMILY, _DEV_CONFIG_GET) or [])
    }
    found = [_device(host, parts, configurations) for parts in answers]
    return {item.name: item for item in found}


def new_request(
    name: str, management_device: str, attributes: t.Mapping[str, t.Any]
) -> GenericRequest:
    """The request for a device; *attributes* are some of `ATTRIBUTES`."""
    bus, _slash, device = management_device.rpartition("/")
    body = attribute(_DEV_NAME, text(name))
    if bus:
        body += attribute(_MGMTDEV_BUS_NAME, text(bus))
    body += attribute(_MGMTDEV_DEV_NAME, text(device))
    for key, value in attributes.items():
        body += attribute(ATTRIBUTES[key], _packed(key, value))
    return GenericRequest(_FAMILY, _DEV_NEW, body, name)


def delete_request(name: str) -> GenericRequest:
    return GenericRequest(_FAMILY, _DEV_DEL, attribute(_DEV_NAME, text(name)), name)


def _packed(key: str, value: t.Any) -> bytes:
    if key == "mac":
        return bytes.fromhex(value.replace(":", ""))
    return struct.pack("=Q" if key == "features" else "=H", value)


def _management_device(parts: t.Mapping[int, bytes]) -> ManagementDevice:
    classes = _number(parts, _MGMTDEV_SUPPORTED_CLASSES) or 0
    return ManagementDevice(
        name=_handle(parts),
        classes=tuple(
            _CLASSES.get(bit, str(bit)) for bit in range(classes.bit_length()) if classes >> bit & 1
        ),
        max_vqs=_number(parts, _DEV_MGMTDEV_MAX_VQS) or 0,
        features=_number(parts, _DEV_SUPPORTED_FEATURES) or 0,
    )


def _device(
    host: Host, parts: t.Mapping[int, bytes], configurations: t.Mapping[str, t.Mapping[int, bytes]]
) -> VdpaDevice:
    name = _text(parts[_DEV_NAME])
    configuration = configurations.get(name, {})
    mac = configuration.get(_DEV_NET_CFG_MACADDR)
    number = _number(parts, _DEV_ID) or 0
    return VdpaDevice(
        name=name,
        management_device=_handle(parts),
        device_class=_CLASSES.get(number, str(number)),
        vendor_id=_number(parts, _DEV_VENDOR_ID) or 0,
        max_vqs=_number(parts, _DEV_MAX_VQS) or 0,
        max_vq_size=_number(parts, _DEV_MAX_VQ_SIZE) or 0,
        mac=None if mac is None else ":".join(f"{byte:02x}" for byte in mac),
        mtu=_number(configuration, _DEV_NET_CFG_MTU),
        max_vqp=_number(configuration, _DEV_NET_CFG_MAX_VQP),
        features=_number(configuration, _DEV_FEATURES),
        negotiated_features=_number(configuration, _DEV_NEGOTIATED_FEATURES),
        driver=host.link(f"{BUS}/devices/{name}/driver"),
        path=device_file(host, name),
    )


def device_file(host: Host, name: str) -> str | None:
    """The file of the device *name*, if the driver `vhost_vdpa` has it."""
    for entry in host.names(f"{BUS}/devices/{name}"):
        if entry.startswith("vhost-vdpa-"):
            return f"/dev/{entry}"
    return None


def _handle(parts: t.Mapping[int, bytes]) -> str:
    device = _text(parts[_MGMTDEV_DEV_NAME])
    bus = parts.get(_MGMTDEV_BUS_NAME)
    return device if bus is None else f"{_text(bus)}/{device}"


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(parts: t.Mapping[int, bytes], kind: int) -> int | None:
    value = parts.get(kind)
    return None if value is None else int(struct.unpack(_FORMATS[len(value)], value)[0])
