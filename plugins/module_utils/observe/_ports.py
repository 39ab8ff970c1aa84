# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network ports of a host's NICs, as sysfs and netlink show them.

Sources: Documentation/ABI/testing/sysfs-class-net and sysfs-bus-pci of the Linux kernel.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Link

_NET = "/sys/class/net"
_MEGABIT = 1_000_000
# The kernel shows -1 for a link without speed (SPEED_UNKNOWN). Some versions print it like this.
_NO_SPEED = ("0", "65535", "4294967295")
# It shows this if a function does not tell the width of its link (PCIE_LNK_WIDTH_UNKNOWN).
_NO_WIDTH = 255


class PcieLink(t.NamedTuple):
    """The present link of a PCI Express function, and the best that the function can have.

    Speeds are in GT/s, widths in lanes.
    """

    speed: float
    width: int
    max_speed: float
    max_width: int


class NetworkPort(t.NamedTuple):
    """A network port. A function without an interface counts as one port.

    *speed* is in bit/s; it is `None` if there is no link or its speed is unknown. *mtu* is in
    bytes.
    """

    address: str
    vendor: str
    device: str
    driver: str | None
    numa_node: int | None
    pcie: PcieLink | None
    interface: str | None = None
    mac: str | None = None
    up: bool = False
    carrier: bool | None = None
    speed: int | None = None
    mtu: int | None = None


def read(host: Host, links: t.Iterable[Link]) -> list[NetworkPort]:
    """The ports of all network functions except VFs, by address and number of the port.

    *links* are the interfaces of the host.
    """
    of_function: dict[str, list[Link]] = {}
    for link in links:
        address = _pci.function_of_interface(host, link.name)
        if address is not None:
            of_function.setdefault(address, []).append(link)
    return [
        port
        for address in _pci.devices(host)
        if not _pci.is_vf(host, address)
        for port in _of_function(host, address, of_function.get(address, []))
    ]


def _of_function(host: Host, address: str, links: t.Iterable[Link]) -> list[NetworkPort]:
    identity = _pci.read_identity(host, address)
    if not identity.device_class.startswith(_pci.NETWORK_CLASS):
        return []
    device = _pci.read_device(host, address)
    function = NetworkPort(
        address=address,
        vendor=identity.vendor,
        device=identity.device,
        driver=device.driver,
        numa_node=device.numa_node,
        pcie=_pcie_link(host, address),
    )
    ports = [
        (
            int(_text(host, f"{_NET}/{link.name}/dev_port") or 0),
            function._replace(
                interface=link.name,
                mac=link.permanent_mac,
                up=link.up,
                carrier=_carrier(host, link.name),
                speed=_speed(host, link.name),
                mtu=link.mtu,
            ),
        )
        for link in links
        if not _pci.is_representor(host, link.name)
    ]
    return [port for _number, port in sorted(ports)] or [function]


def _carrier(host: Host, interface: str) -> bool | None:
    return {"0": False, "1": True}.get(_text(host, f"{_NET}/{interface}/carrier"))


def _speed(host: Host, interface: str) -> int | None:
    text = _text(host, f"{_NET}/{interface}/speed")
    return int(text) * _MEGABIT if text.isdecimal() and text not in _NO_SPEED else None


def _pcie_link(host: Host, address: str) -> PcieLink | None:
    """The link of a function; `None` if it has none or does not tell all of it."""

    def number(name: str) -> float:
        # The unit is behind the number, and instead of both may be "Unknown".
        found = re.match(r"\d+(\.\d+)?", _text(host, f"{_pci.DEVICES}/{address}/{name}"))
        return float(found[0]) if found else 0

    link = PcieLink(
        number("current_link_speed"),
        int(number("current_link_width")),
        number("max_link_speed"),
        int(number("max_link_width")),
    )
    return link if all(link) and _NO_WIDTH not in link else None


def _text(host: Host, path: str) -> str:
    try:
        return host.read(path) or ""
    except OSError:  # EINVAL: there is no link, or the interface is down
        return ""
