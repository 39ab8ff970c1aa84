# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PCI devices, PFs and VFs as sysfs and the PCI configuration space show them.

Sources: Documentation/ABI/testing/sysfs-bus-pci of the Linux kernel for the files;
include/uapi/linux/pci_regs.h for the layout of the configuration space.
"""

from __future__ import annotations

import itertools
import re
import struct
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._text import MAC, PCI_ADDRESS

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Link

DEVICES = "/sys/bus/pci/devices"
# How the class of a network controller begins.
NETWORK_CLASS = "0x02"
# What functions are, by the beginning of their class (PCI Code and ID Assignment Specification).
_CLASSES = {
    "0x01": "storage controller",
    "0x02": "network controller",
    "0x03": "display controller",
    "0x04": "multimedia device",
    "0x06": "bridge",
    "0x0c03": "USB controller",
    "0x12": "accelerator",
}

# devlink's port names: p0 is a physical port, pf0vf1 and pf0sf8 are representors.
_REPRESENTOR = re.compile(r"(c\d+)?pf\d+((vf|sf)\d+)?")
_VIRTIO = re.compile(r"virtio\d+")

_EXTENDED_OFFSET = 0x100
_EXTENDED_AER = 0x01
_EXTENDED_ACS = 0x0D
_EXTENDED_ARI = 0x0E
_EXTENDED_SRIOV = 0x10
_SRIOV_TOTAL_VFS = 0x0E


class Device(t.NamedTuple):
    """A PCI function: its place, and its driver."""

    address: str
    driver: str | None
    driver_override: str | None
    iommu_group: str | None
    numa_node: int | None


class Identity(t.NamedTuple):
    """What a PCI function is: hexadecimal text such as `0x8086`."""

    vendor: str
    device: str
    device_class: str


class Capabilities(t.NamedTuple):
    """What the extended configuration space announces.

    *extended* is false if only its first 256 bytes could be read. The rest is then unknown and
    counts as absent.
    """

    extended: bool
    sriov: bool
    total_vfs: int | None
    acs: bool
    aer: bool
    ari: bool


class PF(t.NamedTuple):
    """A physical function: its identity, its VF counts, and the addresses of its VFs by index.

    *numvfs* and *totalvfs* are `None` if the kernel offers no SR-IOV for the device.
    """

    address: str
    interface: str | None
    mac: str | None
    driver: str | None
    numvfs: int | None
    totalvfs: int | None
    autoprobe: bool | None
    vfs: tuple[str, ...]


def is_address(text: str) -> bool:
    """Whether *text* is a PCI address."""
    return PCI_ADDRESS.fullmatch(text) is not None


def is_mac(text: str) -> bool:
    return MAC.fullmatch(text) is not None


def card_of(address: str) -> str:
    """The beginning that the addresses of a card's functions share. They have one firmware."""
    return address.rpartition(".")[0]


def devices(host: Host) -> list[str]:
    """The addresses of all PCI functions."""
    return host.names(DEVICES)


def read_device(host: Host, address: str) -> Device:
    """One PCI function; raises `SriovError` if there is none at *address*."""
    return read_devices(host, [address])[0]


def read_devices(host: Host, addresses: t.Sequence[str]) -> list[Device]:
    """The PCI functions at *addresses*; raises `SriovError` if one is not there."""
    bases = [f"{DEVICES}/{address}" for address in addresses if is_address(address)]
    overrides = dict(zip(bases, host.read_all([f"{base}/driver_override" for base in bases])))
    return [_device(host, address, overrides.get(f"{DEVICES}/{address}")) for address in addresses]


def _device(host: Host, address: str, override: str | None) -> Device:
    if override is None:
        raise SriovError(f"there is no PCI device {address} on this host")
    base = f"{DEVICES}/{address}"
    node = host.read(f"{base}/numa_node")
    return Device(
        address=address,
        driver=host.link(f"{base}/driver"),
        driver_override=None if override in ("", "(null)") else override,
        iommu_group=host.link(f"{base}/iommu_group"),
        # The kernel writes -1 if the firmware names no node.
        numa_node=None if node in (None, "-1") else int(node),
    )


def read_identity(host: Host, address: str) -> Identity:
    base = f"{DEVICES}/{address}"
    return Identity(*(host.read(f"{base}/{name}") or "" for name in ("vendor", "device", "class")))


def described(host: Host, address: str) -> str:
    """What the function is, with its vendor and device."""
    identity = read_identity(host, address)
    what = next((v for k, v in _CLASSES.items() if identity.device_class.startswith(k)), "device")
    return f"{what} {identity.vendor[2:]}:{identity.device[2:]}"


def is_vf(host: Host, address: str) -> bool:
    return host.exists(f"{DEVICES}/{address}/physfn")


def capabilities(config: bytes) -> Capabilities:
    """The capabilities that the configuration space *config* (up to 4096 bytes) lists."""
    found: dict[int, int] = {}
    visited: set[int] = set()
    offset = _EXTENDED_OFFSET
    while offset and offset + 4 <= len(config) and offset not in visited:
        visited.add(offset)
        (header,) = struct.unpack_from("<I", config, offset)
        if header in (0, 0xFFFFFFFF):
            break
        found.setdefault(header & 0xFFFF, offset)
        offset = header >> 20 & 0xFFC
    total_vfs = None
    if _EXTENDED_SRIOV in found:
        field = found[_EXTENDED_SRIOV] + _SRIOV_TOTAL_VFS
        if field + 2 <= len(config):
            (total_vfs,) = struct.unpack_from("<H", config, field)
    return Capabilities(
        extended=len(config) > _EXTENDED_OFFSET,
        sriov=_EXTENDED_SRIOV in found,
        total_vfs=total_vfs,
        acs=_EXTENDED_ACS in found,
        aer=_EXTENDED_AER in found,
        ari=_EXTENDED_ARI in found,
    )


def read_capabilities(host: Host, address: str) -> Capabilities:
    return capabilities(host.read_bytes(f"{DEVICES}/{address}/config") or b"")


def upstream(host: Host, address: str) -> str | None:
    """The address of the bridge or port that *address* hangs under; `None` at a root bus."""
    target = host.target(f"{DEVICES}/{address}") or ""
    parent = target.split("/")[-2:-1]
    return parent[0] if parent and is_address(parent[0]) else None


def group_members(host: Host, group: str) -> list[str]:
    """The addresses of the devices in an IOMMU group."""
    return host.names(f"/sys/kernel/iommu_groups/{group}/devices")


def interfaces(host: Host, address: str) -> list[str]:
    """The network interfaces of a PCI function in this network namespace, the first port first.

    Leaves out representors of VFs, which hang under the PF since Linux 5.8.
    """
    base = f"{DEVICES}/{address}"
    owners = [base]
    if not host.exists(f"{base}/net"):
        # A virtio function drives a device on a bus of its own, which has the interface.
        owners = [f"{base}/{name}" for name in host.names(base) if _VIRTIO.fullmatch(name)]
    paths = {name: f"{owner}/net/{name}" for owner in owners for name in host.names(f"{owner}/net")}

    def port(name: str) -> tuple[int, str]:
        return int(host.read(f"{paths[name]}/dev_port") or 0), name

    return sorted(
        (name for name in paths if not _REPRESENTOR.fullmatch(_port_name(host, paths[name]))),
        key=port,
    )


def function_of_interface(host: Host, interface: str) -> str | None:
    """The PCI function of *interface*, even if a bus of its own lies between (virtio)."""
    target = host.target(f"/sys/class/net/{interface}") or ""
    functions = [part for part in target.split("/") if is_address(part)]
    return functions[-1] if functions else None


def is_representor(host: Host, interface: str) -> bool:
    """Whether *interface* stands for a VF or a part of the PF that it hangs under."""
    return _REPRESENTOR.fullmatch(_port_name(host, f"/sys/class/net/{interface}")) is not None


def _port_name(host: Host, interface: str) -> str:
    try:
        return host.read(f"{interface}/phys_port_name") or ""
    except OSError:  # EOPNOTSUPP: the driver has no port names
        return ""


def vf_addresses(host: Host, address: str) -> tuple[str, ...]:
    """The addresses of the VFs of a PF, from its `virtfnN` links, in index order.

    The list ends before the first missing index. When the kernel destroys VFs, VF 0 goes first, and
    VF 1 must not take its place.
    """
    links = (host.link(f"{DEVICES}/{address}/virtfn{vf}") for vf in itertools.count())
    return tuple(t.cast("t.Iterator[str]", itertools.takewhile(bool, links)))


def read_pf(host: Host, address: str, links: t.Iterable[Link] | None = None) -> PF:
    """The physical function at *address*; raises `SriovError` if there is no such device.

    *links* are the interfaces of the host, if the caller has read them already.
    """
    base = f"{DEVICES}/{address}"
    device = read_device(host, address)
    interface = next(iter(interfaces(host, address)), None)
    mac = None
    if interface is not None:
        if links is None:
            links = host.netlink.links()
        mac = next((link.permanent_mac for link in links if link.name == interface), None)
    numvfs = host.read(f"{base}/sriov_numvfs")
    totalvfs = host.read(f"{base}/sriov_totalvfs")
    autoprobe = host.read(f"{base}/sriov_drivers_autoprobe")
    return PF(
        address=address,
        interface=interface,
        mac=mac,
        driver=device.driver,
        numvfs=None if numvfs is None else int(numvfs),
        totalvfs=None if totalvfs is None else int(totalvfs),
        autoprobe=None if autoprobe is None else autoprobe == "1",
        vfs=vf_addresses(host, address),
    )


class Upper(t.NamedTuple):
    """The interface *name* that *interface* is part of. *kind* is empty for a VLAN and the like."""

    interface: str
    name: str
    kind: str

    def __str__(self) -> str:
        if self.kind == "Open vSwitch":
            return "a switch of Open vSwitch"
        return f"the {self.kind} {self.name}" if self.kind else self.name


def uppers(host: Host, address: str) -> list[Upper]:
    """The interfaces that lie directly over those of a PCI function."""
    return [
        Upper(interface, name[len("upper_") :], _kind(host, name[len("upper_") :]))
        for interface in interfaces(host, address)
        for name in host.names(f"/sys/class/net/{interface}")
        if name.startswith("upper_")
    ]


def _kind(host: Host, interface: str) -> str:
    # The kernel's datapath has one device of this name for all switches of Open vSwitch.
    if interface == "ovs-system":
        return "Open vSwitch"
    kinds = {"bonding": "bond", "bridge": "bridge"}
    names = host.names(f"/sys/class/net/{interface}")
    return next((kind for name, kind in kinds.items() if name in names), "")


def all_pfs(host: Host, links: t.Sequence[Link] | None = None) -> list[PF]:
    """Every function for which the kernel offers SR-IOV, in the order of addresses.

    *links* as in `read_pf`.
    """
    return [
        read_pf(host, address, links)
        for address in devices(host)
        if host.exists(f"{DEVICES}/{address}/sriov_totalvfs")
    ]


def find_pf(host: Host, selector: str, links: t.Sequence[Link] | None = None) -> PF:
    """The PF that *selector* names: a PCI address, a permanent MAC, or an interface name.

    *links* as in `read_pf`. Raises `SriovError` if *selector* names nothing, a VF, or something
    that is not on PCI.
    """
    wanted = selector.strip().lower()
    if is_address(wanted):
        address = wanted
    else:
        if links is None:
            links = host.netlink.links()
        address = _address_of_interface(host, selector.strip(), wanted, links)
    if is_vf(host, address):
        raise SriovError(
            f"{selector} is a VF ({address}), not a PF: name the PF that it belongs to"
        )
    return read_pf(host, address, links)


def _address_of_interface(host: Host, name: str, mac: str, links: t.Sequence[Link]) -> str:
    if is_mac(mac):
        # A VLAN or bond over the PF shows the PF's MAC as its own but has no permanent one.
        names = [link.name for link in links if link.permanent_mac == mac]
    else:
        names = [link.name for link in links if link.name == name]
    addresses = {
        address
        for address in (function_of_interface(host, name) for name in names)
        if address is not None
    }
    if not addresses:
        known = ", ".join(
            f"{link.name} {link.permanent_mac}" for link in links if link.permanent_mac
        )
        raise SriovError(
            f"no network interface of this host is {name!r} (by name or permanent MAC); "
            f"it has: {known or 'none with a permanent MAC'}"
        )
    if len(addresses) > 1:
        raise SriovError(f"{name} is the MAC of several devices: {', '.join(sorted(addresses))}")
    return addresses.pop()
