# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run does on its host, from what was asked, what is recorded and what is there.

The ledger is written before the first change and after the last. In between, and after a run that
was ended in the middle, it says of each VF that the run touches where that was to go, so that the
next run, from whatever is there, gets it there.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _found, _objections
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import VfState
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import Entry
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import (
    _isolation,
)

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._found import Found, HostPf
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Claim, Policy
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import Ledger


class ClaimPlan(t.NamedTuple):
    """What a run does: the ledger before, during and after it, and the steps between.

    *taken* are the addresses of VFs that the materialization did not hold before. *reserved* are
    entries for what it is going to hold and does not yet hold in this way, and for what it holds
    and is going to lose.
    """

    before: Ledger
    during: Ledger
    after: Ledger
    steps: list[_isolation.IsolationStep]
    taken: frozenset[str]
    reserved: list[Entry]

    @property
    def changes(self) -> bool:
        return bool(self.steps) or self.after != self.before


def plan(mzid: str, claims: t.Sequence[Claim], policy: Policy, found: Found) -> ClaimPlan:
    """Plan to give *claims* to *mzid* and to take from it all that it holds beyond them.

    A held VF that is gone needs nothing. Raises `SriovError` with all that stands against a claim.
    """
    ledger, host_pfs = found.ledger, found.host_pfs
    claimed = {(item.pf_mac, item.vf) for item in claims}
    problems = [
        text for item in claims for text in _objections.against(item, mzid, policy, found, claimed)
    ]
    if problems:
        raise SriovError("; ".join(problems))
    held = {entry.key: entry for entry in ledger.get(mzid, []) if entry.held}
    staying = []
    reserved = []
    taken = set()
    for item in claims:
        known = held.pop((item.pf_mac, item.vf), None)
        entry = _entry(item, policy, known, host_pfs[item.pf_mac], found.devices)
        staying.append(entry)
        if known is None:
            taken.add(entry.address)
        if known is None or known._replace(state=_ledger.READY) != entry:
            reserved.append(entry._replace(state=_ledger.RESERVED))
    leaving = [
        entry._replace(
            state=_ledger.LEAVING, address=_found.address_of(entry, host_pfs) or entry.address
        )
        for entry in held.values()
    ]
    # Nobody reserves a VF that stays, so a reservation equal to what is held is to take it back.
    reserved += [entry._replace(state=_ledger.RESERVED) for entry in leaving]
    steps = _steps(leaving, staying, policy, found)
    touched = {step.target.address for step in steps}
    changing = [
        entry._replace(state=_ledger.CHANGING) if entry.address in touched else entry
        for entry in staying
    ]
    return ClaimPlan(
        before=ledger,
        during=with_entries(ledger, mzid, changing + leaving),
        after=with_entries(ledger, mzid, staying),
        steps=steps,
        taken=frozenset(taken),
        reserved=reserved,
    )


def _steps(
    leaving: t.Iterable[Entry], staying: t.Iterable[Entry], policy: Policy, found: Found
) -> list[_isolation.IsolationStep]:
    """What frees *leaving*, as far as they are there, and makes *staying* as they must be."""
    host_pfs = found.host_pfs
    back = [_baseline(item, host_pfs) for item in leaving if _found.address_of(item, host_pfs)]
    given = [_optional(_found.target(item, host_pfs), policy) for item in staying]
    return _isolation.plan([*back, *given], found.devices, _found.states_of(host_pfs))


def _entry(
    item: Claim,
    policy: Policy,
    known: Entry | None,
    host_pf: HostPf,
    devices: t.Mapping[str, _pci.Device],
) -> Entry:
    """What the ledger says of *item* once it is as it must be; *known* is what it said before."""
    address = host_pf.pf.vfs[item.vf]
    state = None if host_pf.states is None else host_pf.states[item.vf]
    values = {} if state is None else _values(item, policy, state)
    refused = {
        name
        for name in values
        if name in policy.dispensable
        and (getattr(state, name) is None or (known and name in known.refused))
    }
    return Entry(
        node=item.node,
        nic=item.nic,
        pf_name=item.pf_name,
        pf_mac=item.pf_mac,
        pf_address=host_pf.pf.address,
        vf=item.vf,
        address=address,
        vlan=item.vlan,
        vlan_mode=_ledger.TRUNK if state is None else _ledger.VST,
        values={name: value for name, value in values.items() if name not in refused},
        refused=sorted(refused),
        driver=policy.driver,
        state=_ledger.READY,
        baseline=known.baseline if known else ({} if state is None else state._asdict()),
        baseline_driver=known.baseline_driver if known else devices[address].driver,
    )


def _values(item: Claim, policy: Policy, state: VfState) -> dict[str, t.Any]:
    values = {
        "qos": 0,
        "vlan_proto": "802.1Q",
        # A driver that keeps no trust trusts no VF.
        **({} if state.trust is None else {"trust": False}),
        **policy.attributes,
        "mac": item.mac,
        "vlan": item.vlan,
        "spoofchk": True,
    }
    return {name: values[name] for name in VfState._fields if name in values}


def _optional(target: _isolation.Target, policy: Policy) -> _isolation.Target:
    """*target*, with the attributes that the VF may go without as `optional`."""
    names = {name for name in target.values if name in policy.dispensable}
    return target._replace(
        values={name: value for name, value in target.values.items() if name not in names},
        optional={name: target.values[name] for name in names},
    )


def _baseline(entry: Entry, host_pfs: t.Mapping[str, HostPf]) -> _isolation.Target:
    """What the VF of *entry* was before."""
    return _found.target(entry, host_pfs)._replace(
        values={name: value for name, value in entry.baseline.items() if value is not None},
        driver=entry.baseline_driver,
    )


def with_entries(ledger: Ledger, mzid: str, entries: list[Entry]) -> Ledger:
    others = {other: held for other, held in ledger.items() if other != mzid}
    return {**others, mzid: entries} if entries else others


def refuse(host: Host, plan: ClaimPlan, found: Found, mzid: str, *, force: bool = False) -> None:
    """Raise `SriovError` where *plan* cannot be carried out on this host.

    That is a VF that is to be freed and whose PF cannot be reached, a driver that is not
    loaded, an IOMMU group that is not isolated, and, without *force*, a VF that somebody uses.
    """
    staying = {entry.key for entry in plan.after.get(mzid, [])}
    stranded = [
        f"{entry.node}.{entry.nic}: {text}"
        for entry in plan.before.get(mzid, [])
        if entry.held and entry.key not in staying
        for host_pf in [found.host_pfs.get(entry.pf_mac)]
        if host_pf is None or host_pf.pf.address != entry.pf_address
        for text in _usage.stranded(host, entry, host_pf and host_pf.pf)
    ]
    if stranded:
        raise SriovError(f"materialization {mzid} keeps its VFs: {'; '.join(stranded)}")
    touched = sorted(plan.taken.union(step.target.address for step in plan.steps))
    users = _usage.holders(
        host, touched, own=[mzid], ledger=plan.before, known=found.devices.values()
    )
    problems = [f"VF {address}: {text}" for address, texts in users.items() for text in texts]
    if problems and not force:
        raise SriovError(
            f"materialization {mzid} would change VFs that are in use: {'; '.join(problems)}. "
            f"End that use first, or take them all the same with sriov_force_mzid={mzid}"
        )
    _isolation.check(host, plan.steps)


def described(plan: ClaimPlan) -> dict[str, list[str]]:
    """What *plan* does to each VF, in the order of time."""
    return {
        f"{step.target.vf.pf} VF {step.target.vf.number} at {step.target.address}": [
            *(["no driver"] if step.unbind else []),
            *(
                " ".join(f"{name} {value}" for name, value in change.after.items())
                for change in (step.attributes, *step.optional)
                if change
            ),
            *([f"driver {step.bind.after}"] if step.bind else []),
        ]
        for step in plan.steps
    }


def difference(plan: ClaimPlan, devices: t.Mapping[str, _pci.Device]) -> dict[str, t.Any]:
    """What *plan* changes, as Ansible's diff: attributes by PF and VF, drivers by address."""
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for step in plan.steps:
        address = step.target.address
        changes = [change for change in (step.attributes, *step.optional) if change]
        if changes:
            name = f"{step.target.vf.pf} VF {step.target.vf.number}"
            before[name] = dict(pair for change in changes for pair in change.before.items())
            after[name] = dict(pair for change in changes for pair in change.after.items())
        if step.unbind or step.bind:
            before[address] = devices[address].driver
            after[address] = step.target.driver
    return {"before": before, "after": after}


def devices_of(
    claims: t.Sequence[Claim], entries: t.Iterable[Entry], devices: t.Mapping[str, _pci.Device]
) -> list[dict[str, t.Any]]:
    """The device of each claim for the device map, in the order of the claims, from *entries*."""
    return [
        {
            "node": entry.node,
            "nic": entry.nic,
            "pci_address": entry.address,
            "pf": entry.pf_name,
            "vf_index": entry.vf,
            "mac": item.mac,
            "vlan": entry.vlan,
            "vlan_mode": entry.vlan_mode,
            "mtu": item.mtu,
            "driver": entry.driver,
            "numa_node": devices[entry.address].numa_node,
        }
        for item, entry in zip(claims, entries)
    ]


def outcome(
    planned: ClaimPlan, found: Found, claims: t.Sequence[Claim], mzid: str
) -> dict[str, t.Any]:
    return {
        "changed": planned.changes,
        "devices": devices_of(claims, planned.after.get(mzid, []), found.devices),
        "steps": described(planned),
        "diff": difference(planned, found.devices),
    }
