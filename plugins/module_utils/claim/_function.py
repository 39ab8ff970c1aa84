# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole PCI functions, a kind of devices: the answers that `_plan.DeviceKind` asks for."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import FunctionEntry
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _isolation

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._found import Found
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import (
        FunctionClaim,
        Policy,
    )
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._whole import WholeFunction

ACCESS = "access"
"""Who tags the frames of a whole NIC: the leaf, whose port is in access mode."""

_BRIDGE = "bridge"


def against(item: FunctionClaim, mzid: str, policy: Policy, found: Found) -> t.Iterator[str]:
    """What stands against giving the function to the guest."""
    name = f"{item.node}.{item.nic}"
    selected = found.whole.selected[item]
    if len(selected) != 1:
        yield f"{name}: {_not_one(item, selected)}"
        return
    function = found.whole.functions[selected[0]]
    if item.pf_name is not None and not item.vlan:
        yield f"{name}: it has no VLAN (vlan 0) for the access port of its leaf"
    elif item.vlan is not None and not 1 <= item.vlan <= 4094:
        yield f"{name}: VLAN {item.vlan} is outside 1 to 4094"
    if item.pf_name is not None and not _pci.is_mac(item.function):
        yield f"{name}: name NIC {item.pf_name} by its permanent MAC, and not {item.function}"
    for text in _held(item, mzid, function, found):
        yield f"{name}: {text}"
    for text in _unsuited(item, function):
        yield f"{name}: {text}"
    for text in _shared(item, mzid, function, found):
        yield f"{name}: {text}"


def _not_one(item: FunctionClaim, selected: t.Sequence[str]) -> str:
    if selected:
        return (
            f"{item.function} selects {len(selected)} functions of this host "
            f"({', '.join(selected)}): name one by its PCI address"
        )
    if item.pf_name is not None:
        return (
            f"no interface of this host has the permanent MAC {item.function} of NIC "
            f"{item.pf_name}: see that the card and its driver are there"
        )
    return (
        f"no PCI function of this host is {item.function}: name one by its PCI address, by vendor "
        "and device (10de:2204) or by the beginning of its class (0x0302)"
    )


def _held(item: FunctionClaim, mzid: str, function: WholeFunction, found: Found) -> t.Iterator[str]:
    """What materializations hold or have reserved that *item* would meet."""
    address = function.device.address
    for holder, entry in _ledger.functions(found.ledger):
        if holder != mzid and entry.address == address:
            yield f"materialization {holder} {entry.has} {entry.label} for {entry.guest}"
    for holder, entries in _ledger.vfs(found.ledger).items():
        vfs = [
            str(each.vf)
            for each in entries
            if address == each.pf_address or item.function == each.pf_mac
        ]
        if vfs:
            yield (
                f"materialization {holder} has VF {', '.join(sorted(set(vfs)))} of PF {address}, "
                "which would be gone: dematerialize it first"
            )
    others = [each for each, got in found.whole.selected.items() if each != item]
    if any(found.whole.selected[each] == [address] for each in others):
        yield f"function {address} is asked for twice"


def _unsuited(item: FunctionClaim, function: WholeFunction) -> t.Iterator[str]:
    """Why the host cannot give the function away."""
    where = f"function {function.device.address} ({function.what})"
    if function.is_vf:
        yield f"{where} is a VF: give it with vfs, which isolates it"
    if function.what.startswith(_BRIDGE):
        yield f"{where} is a bridge, and not for a guest"
    if function.numvfs:
        yield (
            f"{where} has {function.numvfs} VFs, which would go with its driver: set its count to 0"
            " (sriov_numvfs) and run mergetb.sriov.prepare"
        )
    for text in function.needs:
        yield f"{where} is needed by this host: {text}. Use another one"
    if function.console and not item.console:
        yield (
            f"{where}: {function.console}. If the host can do without, say so with console: true"
        )


def _shared(
    item: FunctionClaim, mzid: str, function: WholeFunction, found: Found
) -> t.Iterator[str]:
    """Other guests that have a function of the same IOMMU group: only one process gets a group."""
    claimed = {
        addresses[0]: each.node
        for each, addresses in found.whole.selected.items()
        if len(addresses) == 1
    }
    held = {
        entry.address: (holder, entry.node)
        for holder, entries in found.ledger.items()
        for entry in entries
        if holder != mzid
    }
    for member in function.members:
        who = None
        if member in held:
            who = f"{held[member][1]} of materialization {held[member][0]}"
        elif claimed.get(member, item.node) != item.node:
            who = claimed[member]
        if who and member != function.device.address:
            yield (
                f"{member} of {who} is in the same IOMMU group {function.device.iommu_group} as "
                f"{function.device.address}, and one guest gets all of a group"
            )


def key(item: FunctionClaim, found: Found) -> t.Hashable:
    """Where the function is on PCI."""
    return _ledger.FUNCTION, found.whole.selected[item][0]


def entry(
    item: FunctionClaim, policy: Policy, known: FunctionEntry | None, found: Found
) -> FunctionEntry:
    """What the ledger says of *item* once it is as it must be; *known* is what it said before."""
    function = found.whole.functions[found.whole.selected[item][0]]
    device = function.device
    if known and known.identity != function.identity:
        known = None  # It is another card in the same slot.
    return FunctionEntry(
        kind=_ledger.FUNCTION,
        node=item.node,
        nic=item.nic,
        address=device.address,
        identity=function.identity,
        pf_name=item.pf_name,
        pf_mac=item.function if item.pf_name is not None else None,
        vlan=item.vlan if item.pf_name is not None else None,
        driver=item.driver or policy.driver,
        state=_ledger.READY,
        baseline_driver=known.baseline_driver if known else device.driver,
        baseline_override=known.baseline_override if known else device.driver_override,
    )


def address(entry: FunctionEntry, found: Found) -> str | None:
    """The address of the function of *entry*; `None` if it is gone."""
    return entry.address if entry.address in found.whole.functions else None


def given(entry: FunctionEntry, policy: Policy, found: Found) -> _isolation.Target:
    """What the guest gets."""
    return target(entry)


def target(entry: FunctionEntry) -> _isolation.Target:
    """What *entry* promises of its function."""
    return _isolation.Target(None, entry.address, {}, entry.driver, name=entry.label)


def freed(entry: FunctionEntry, found: Found) -> _isolation.Target:
    """What the function of *entry* was before."""
    return target(entry)._replace(
        driver=entry.baseline_driver, override=entry.baseline_override or ""
    )


def device(item: FunctionClaim, entry: FunctionEntry, found: Found) -> dict[str, t.Any]:
    """The function for the device map."""
    return {
        "kind": entry.kind,
        "node": entry.node,
        "nic": entry.nic,
        "pci_address": entry.address,
        "pf": entry.pf_name,
        "vf_index": None,
        "mac": entry.pf_mac,
        "vlan": entry.vlan,
        "vlan_mode": None if entry.vlan is None else ACCESS,
        "mtu": item.mtu,
        "driver": entry.driver,
        "numa_node": found.whole.functions[entry.address].device.numa_node,
    }
