# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run finds of the whole PCI functions that it is about."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import (
    _ledger,
    _management,
    _nodes,
    _pci,
)

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import FunctionClaim
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Link
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import FunctionEntry

_IDENTITY = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_CLASS = re.compile(r"0x[0-9a-f]{4}([0-9a-f]{2})?")


class WholeFunction(t.NamedTuple):
    """A PCI function as the run found it.

    *needs* tells why the host cannot do without it, and *console* why it may be the GPU of the
    host's console. *members* are all functions of its IOMMU group.
    """

    device: _pci.Device
    identity: str
    what: str
    is_vf: bool
    numvfs: int
    needs: list[str]
    console: str | None
    members: list[str]


class Whole(t.NamedTuple):
    """The functions by address, and the addresses that each claim selects."""

    functions: dict[str, WholeFunction]
    selected: dict[FunctionClaim, list[str]]


def look(host: Host, claims: t.Sequence[FunctionClaim], mzid: str, ledger: _ledger.Ledger) -> Whole:
    """Read the functions that *claims* select, and those that *mzid* holds."""
    held = [entry for holder, entry in _ledger.functions(ledger) if holder == mzid]
    if not claims and not held:
        return Whole({}, {})
    links = host.netlink.links()
    selected = {item: select(host, item.function, links, ledger) for item in claims}
    addresses = {entry.address for entry in held if is_there(host, entry, links)}
    addresses.update(found[0] for found in selected.values() if len(found) == 1)
    return Whole(read(host, sorted(addresses), links), selected)


def read(
    host: Host, addresses: t.Sequence[str], links: t.Sequence[Link]
) -> dict[str, WholeFunction]:
    """The functions at *addresses*, which must be there."""
    devices = _pci.read_devices(host, addresses)
    own = [device.address for device in devices if device.driver and "vfio" not in device.driver]
    nodes = _nodes.of_functions(host, own)
    carriers = _management.devices(host, links) if own else {}
    found = {}
    for device in devices:
        address = device.address
        behind = nodes.get(address, [])
        needs = [carriers[address]] if address in carriers and address in own else []
        found[address] = WholeFunction(
            device=device,
            identity=identity(host, address),
            what=_pci.described(host, address),
            is_vf=_pci.is_vf(host, address),
            numvfs=int(host.read(f"{_pci.DEVICES}/{address}/sriov_numvfs") or 0),
            needs=[*needs, *_nodes.storage(host, behind)],
            # Without a driver, too, the firmware's frame buffer can be on it.
            console=None
            if "vfio" in (device.driver or "")
            else _nodes.console(host, address, behind),
            members=_pci.group_members(host, device.iommu_group) if device.iommu_group else [],
        )
    return found


def identity(host: Host, address: str) -> str:
    """Vendor and device of the function, such as `8086:10d3`."""
    found = _pci.read_identity(host, address)
    return f"{found.vendor[2:]}:{found.device[2:]}"


def is_there(host: Host, entry: FunctionEntry, links: t.Iterable[Link]) -> bool:
    """Whether the function of *entry* is where it was, and not another one in its place."""
    if not host.exists(f"{_pci.DEVICES}/{entry.address}"):
        return False
    names = _pci.interfaces(host, entry.address)
    macs = {link.permanent_mac for link in links if link.name in names}
    # A NIC shows its MAC only while it has the driver of the host.
    return identity(host, entry.address) == entry.identity and (
        not entry.pf_mac or not macs or entry.pf_mac in macs
    )


def select(host: Host, function: str, links: t.Sequence[Link], ledger: _ledger.Ledger) -> list[str]:
    """The addresses of the functions that *function* selects, as `FunctionClaim` has it."""
    if _pci.is_address(function):
        return [function] if host.exists(f"{_pci.DEVICES}/{function}") else []
    if _pci.is_mac(function):
        # A NIC that a guest has shows no MAC here.
        interfaces = [link.name for link in links if link.permanent_mac == function]
        found = {_pci.function_of_interface(host, name) for name in interfaces}
        shown = sorted(address for address in found if address and not _pci.is_vf(host, address))
        known = _ledger.function_at(ledger, function)
        if not shown and known and is_there(host, known[1], links):
            return [known[1].address]
        return shown
    if _IDENTITY.fullmatch(function):
        return [each for each in _candidates(host) if identity(host, each) == function]
    if _CLASS.fullmatch(function):
        return [
            each
            for each in _candidates(host)
            if _pci.read_identity(host, each).device_class.startswith(function)
        ]
    return []


def _candidates(host: Host) -> t.Iterator[str]:
    return (address for address in _pci.devices(host) if not _pci.is_vf(host, address))
