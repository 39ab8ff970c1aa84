# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device map: which device a guest has, and how QEMU and libvirt get it. PRIVATE.

docs/device_map.md describes the document.
"""

from __future__ import annotations

import collections
import json
import re
import typing as t
from xml.etree import ElementTree

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files

VERSION = 1
"""The version of the document. A change that breaks its readers raises it."""

TRUNK = "trunk"
ACCESS = "access"
VLAN_MODES = ("vst", TRUNK)
"""Who tags the frames of a VF: the NIC (``vst``) or the guest (``trunk``)."""
VF, FUNCTION = "vf", "function"
"""The kinds of devices."""

Device = t.Mapping[str, t.Any]

_IOMMUFD = "iommufd0"
"""The id of the object through which QEMU opens ``/dev/iommu``."""

_PCI_ADDRESS = re.compile(
    r"(?P<domain>[0-9a-f]{4,8}):(?P<bus>[0-9a-f]{2}):(?P<slot>[01][0-9a-f])\.(?P<function>[0-7])"
)


def device_map(entries: t.Iterable[Device], mzid: str) -> dict[str, t.Any]:
    """Return the device map of a materialization.

    :param entries: for each device of a guest ``kind``, ``node``, ``nic``, ``host``,
        ``pci_address``, ``pf``, ``vf_index``, ``mac``, ``vlan``, ``vlan_mode``, ``mtu``, ``driver``
        and ``numa_node``. The last three may be None, and more for a whole function. Without
        ``kind``, it is a VF. The map leaves out other keys
    :param mzid: id of the materialization
    :raises InputError: an entry lacks a value or has a wrong one, or two entries have one VF or NIC
    """
    _names.mzid_parts(mzid)
    devices = sorted(map(_device, entries), key=lambda device: (device["node"], device["nic"]))
    for keys in (("host", "pci_address"), ("node", "nic")):
        seen = collections.Counter(tuple(device[key] for key in keys) for device in devices)
        for values, count in seen.items():
            if count > 1:
                raise InputError(f"{count} devices have {' and '.join(keys)} {' '.join(values)}")
    return {"version": VERSION, "mzid": mzid, "devices": devices}


def hosts(path: str, mzid: str) -> set[str]:
    """Return the hosts in the device map that a run of a materialization has written to a file.

    :raises InputError: the file is there and holds no device map
    """
    content = _files.read(_files.absolute(path)) if path else None
    if content is None:
        return set()
    try:
        document = json.loads(content)
        found = {str(device["host"]) for device in document["devices"]}
        whose = document["mzid"]
    except (ValueError, RecursionError, TypeError, LookupError) as error:
        raise InputError(
            f"{path}: this is no device map, so nobody knows which hosts had VFs: name another file"
            " with sriov_device_map, or remove it and ask all hosts with -e sriov_sweep=true"
        ) from error
    return found if mzid and whose == mzid else set()


def is_of(path: str, mzid: str) -> bool:
    """Return whether a file is a device map of a materialization that has devices."""
    try:
        return bool(hosts(path, mzid))
    except InputError:
        return False


def _device(entry: Device) -> dict[str, t.Any]:
    node, nic = _string(entry, "node"), _string(entry, "nic")
    what = f"device {_names.quoted(node)} {_names.quoted(nic)}:"
    kind = entry.get("kind", VF)
    if kind not in (VF, FUNCTION):
        raise InputError(f"{what} kind {_names.quoted(str(kind))} must be vf or function")
    network = _vf(entry, what) if kind == VF else _function(entry, what)
    device = {
        "kind": kind,
        "node": _names.NODE.check(node, f"{what} node"),
        "nic": _names.NIC.check(nic, f"{what} nic"),
        "host": _names.HOST.check(_string(entry, "host"), f"{what} host"),
        "pci_address": _pci_address(entry).group(),
        **network,
        "mtu": _integer(entry, "mtu", range(68, 65536), what, none=True),
        "driver": _names.text(entry.get("driver") or "", f"{what} driver") or None,
        "numa_node": _integer(entry, "numa_node", range(65536), what, none=True),
    }
    return device | {"qemu_args": qemu_args([device]), "libvirt_xml": libvirt_xml(device)}


def _vf(entry: Device, what: str) -> dict[str, t.Any]:
    return {
        "pf": _names.text(_string(entry, "pf"), f"{what} pf"),
        "vf_index": _integer(entry, "vf_index", range(65536), what),
        "mac": _names.mac(_string(entry, "mac"), f"{what} mac"),
        "vlan": _integer(entry, "vlan", range(1, 4095), what),
        "vlan_mode": _vlan_mode(entry, what),
    }


def _function(entry: Device, what: str) -> dict[str, t.Any]:
    """Return the part about the network, which only a NIC has."""
    is_nic = entry.get("pf") is not None
    return {
        "pf": _names.text(_string(entry, "pf"), f"{what} pf") if is_nic else None,
        "vf_index": None,
        "mac": _names.mac(_string(entry, "mac"), f"{what} mac") if is_nic else None,
        "vlan": _integer(entry, "vlan", range(1, 4095), what, none=not is_nic),
        "vlan_mode": ACCESS if is_nic else None,
    }


def _vlan_mode(entry: Device, what: str) -> str:
    value = _string(entry, "vlan_mode")
    if value not in VLAN_MODES:
        raise InputError(f"{what} vlan_mode {_names.quoted(value)} must be vst or trunk")
    return value


def _string(device: Device, key: str) -> str:
    value = device.get(key)
    if not isinstance(value, str):
        raise InputError(f"device {dict(device)}: {key} must be a string")
    return value


def _integer(entry: Device, key: str, valid: range, what: str, *, none: bool = False) -> int | None:
    value = entry.get(key)
    if value is None and none:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value not in valid:
        raise InputError(f"{what} {key} {value!r} must be {valid[0]} to {valid[-1]}")
    return value


def _pci_address(device: Device) -> re.Match[str]:
    value = _string(device, "pci_address")
    match = _PCI_ADDRESS.fullmatch(value.lower())
    if match is None:
        raise InputError(f"pci_address {_names.quoted(value)} is none, such as 0000:01:10.0")
    return match


def qemu_args(devices: t.Iterable[Device], *, iommufd: bool = False) -> list[str]:
    """Return the arguments that give QEMU the devices of one guest; ``nic`` becomes the id.

    :param iommufd: whether QEMU is to reach them through /dev/iommu instead of their VFIO groups
    :raises InputError: the devices are not of one node, or a name or PCI address is unusable
    """
    devices = list(devices)
    nodes = {_string(device, "node") for device in devices}
    if len(nodes) > 1:
        raise InputError(f"devices of the nodes {', '.join(sorted(nodes))}: select those of one")
    arguments = ["-object", f"iommufd,id={_IOMMUFD}"] if iommufd and devices else []
    for device in devices:
        nic = _names.NIC.check(_string(device, "nic"), "nic")
        address = _pci_address(device)
        # The argument host= of QEMU takes domains of 16 bits.
        if len(address["domain"]) == 4:
            where = f"host={address.group()}"
        else:
            where = f"sysfsdev=/sys/bus/pci/devices/{address.group()}"
        through = f",iommufd={_IOMMUFD}" if iommufd else ""
        arguments += ["-device", f"vfio-pci,{where},id={nic}{through}"]
    return arguments


def libvirt_xml(device: Device) -> str:
    """Return the ``<hostdev>`` element that gives a libvirt domain the device.

    libvirt does not manage the device: the device has its driver already, and keeps it.

    :raises InputError: the name or the PCI address is unusable
    """
    nic = _names.NIC.check(_string(device, "nic"), "nic")
    numbers = _pci_address(device).groupdict()
    hostdev = ElementTree.Element("hostdev", mode="subsystem", type="pci", managed="no")
    ElementTree.SubElement(hostdev, "driver", name="vfio")
    source = ElementTree.SubElement(hostdev, "source")
    ElementTree.SubElement(source, "address", {key: f"0x{n}" for key, n in numbers.items()})
    # libvirt keeps a user's alias only if it begins with ua-.
    ElementTree.SubElement(hostdev, "alias", name=f"ua-{nic}")
    return ElementTree.tostring(hostdev, encoding="unicode")
