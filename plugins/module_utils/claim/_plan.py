# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run does on its host, from what was asked, what is recorded and what is there.

A device has a kind, and each kind answers the same questions (`DeviceKind`).

The ledger is written before the first change and after the last. In between, and after a run that
was ended in the middle, it says of each device that the run touches where that was to go, so that
the next run, from whatever is there, gets it there.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import (
    _found,
    _function,
    _vf,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import (
    _isolation,
)

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._found import Found
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import (
        AnyClaim,
        Policy,
    )
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import Entry, Ledger


class DeviceKind(t.Protocol):
    """What a kind of devices answers. *item* is a claim, *entry* an entry, of this kind."""

    def against(self, item: t.Any, mzid: str, policy: Policy, found: Found) -> t.Iterator[str]:
        """What stands against giving the device to the guest."""

    def key(self, item: t.Any, found: Found) -> t.Hashable:
        """The key of the entry that the claim asks for."""

    def entry(self, item: t.Any, policy: Policy, known: t.Any, found: Found) -> t.Any:
        """What the ledger says once all is as it must be; *known* is what it said before."""

    def address(self, entry: t.Any, found: Found) -> str | None:
        """Where the device is now; `None` if it is gone."""

    def given(self, entry: t.Any, policy: Policy, found: Found) -> _isolation.Target:
        """What the guest gets."""

    def freed(self, entry: t.Any, found: Found) -> _isolation.Target:
        """What the device was before."""

    def device(self, item: t.Any, entry: t.Any, found: Found) -> dict[str, t.Any]:
        """The device for the device map."""


KINDS: dict[str, DeviceKind] = {_ledger.VF: _vf, _ledger.FUNCTION: _function}


class ClaimPlan(t.NamedTuple):
    """What a run does: the ledger before, during and after it, and the steps between.

    *taken* are the addresses of devices that the materialization did not hold before. *reserved*
    are entries for what it is going to hold and does not yet hold in this way, and for what it
    holds and is going to lose.
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


def plan(mzid: str, claims: t.Sequence[AnyClaim], policy: Policy, found: Found) -> ClaimPlan:
    """Plan to give *claims* to *mzid* and to take from it all that it holds beyond them.

    A held device that is gone needs nothing. Raises `SriovError` with all that stands against a
    claim.
    """
    ledger = found.ledger
    problems = [
        text for item in claims for text in KINDS[item.kind].against(item, mzid, policy, found)
    ]
    if problems:
        raise SriovError("; ".join(problems))
    held: dict[t.Hashable, Entry] = {
        entry.key: entry for entry in ledger.get(mzid, []) if entry.held
    }
    staying: list[Entry] = []
    reserved: list[Entry] = []
    taken = set()
    for item in claims:
        known = held.pop(KINDS[item.kind].key(item, found), None)
        entry = KINDS[item.kind].entry(item, policy, known, found)
        staying.append(entry)
        if known is None:
            taken.add(entry.address)
        if known is None or known._replace(state=_ledger.READY) != entry:
            reserved.append(entry._replace(state=_ledger.RESERVED))
    leaving: list[Entry] = [
        entry._replace(state=_ledger.LEAVING, address=_address(entry, found) or entry.address)
        for entry in held.values()
    ]
    # Nobody reserves what stays, so a reservation equal to what is held is to take it back.
    reserved += [entry._replace(state=_ledger.RESERVED) for entry in leaving]
    targets = [
        *(KINDS[item.kind].freed(item, found) for item in leaving if _address(item, found)),
        *(KINDS[item.kind].given(item, policy, found) for item in staying),
    ]
    steps = _isolation.plan(targets, found.devices, _found.states_of(found.host_pfs))
    touched = {step.target.address for step in steps}
    changing: list[Entry] = [
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


def _address(entry: Entry, found: Found) -> str | None:
    """Where the device of *entry* is now; `None` if it is gone."""
    return KINDS[entry.kind].address(entry, found)


def with_entries(ledger: Ledger, mzid: str, entries: list[Entry]) -> Ledger:
    others = {other: held for other, held in ledger.items() if other != mzid}
    return {**others, mzid: entries} if entries else others


def refuse(host: Host, plan: ClaimPlan, found: Found, mzid: str, *, force: bool = False) -> None:
    """Raise `SriovError` where *plan* cannot be carried out on this host.

    That is a VF that is to be freed and whose PF cannot be reached, a driver that is not loaded,
    an IOMMU group that is not isolated, and, without *force*, a device that somebody uses.
    """
    staying = {entry.key for entry in plan.after.get(mzid, [])}
    stranded = [
        f"{entry.node}.{entry.nic}: {text}"
        for entry in _ledger.vfs(plan.before).get(mzid, [])
        if entry.held and entry.key not in staying
        for host_pf in [found.host_pfs.get(entry.pf_mac)]
        if host_pf is None or host_pf.pf.address != entry.pf_address
        for text in _usage.stranded(host, entry, host_pf and host_pf.pf)
    ]
    if stranded:
        raise SriovError(f"materialization {mzid} keeps its VFs: {'; '.join(stranded)}")
    touched = sorted(plan.taken.union(step.target.address for step in plan.steps))
    shared = list(_in_groups_of_others(host, plan, found, mzid))
    if shared:
        raise SriovError("; ".join(shared))
    users = _usage.holders(
        host, touched, own=[mzid], ledger=plan.before, known=found.devices.values()
    )
    functions = {entry.address for _mzid, entry in _ledger.functions({**plan.before, **plan.after})}
    problems = [
        f"{'function' if address in functions else 'VF'} {address}: {text}"
        for address, texts in users.items()
        for text in texts
    ]
    if problems and not force:
        raise SriovError(
            f"materialization {mzid} would change what is in use: {'; '.join(problems)}. "
            f"End that use first, or take them all the same with sriov_force_mzid={mzid}"
        )
    _isolation.check(host, plan.steps)


def _in_groups_of_others(host: Host, plan: ClaimPlan, found: Found, mzid: str) -> t.Iterator[str]:
    """The devices that *plan* takes in IOMMU groups where another guest has a whole function."""
    others = {
        entry.address: f"{entry.guest} of materialization {holder}"
        for holder, entry in _ledger.functions(plan.before)
        if holder != mzid
    }
    for address in sorted(plan.taken) if others else ():
        group = found.devices[address].iommu_group
        for member in _pci.group_members(host, group) if group else ():
            if member in others and member != address:
                yield (
                    f"{member} of {others[member]} is in the IOMMU group {group} of {address}, and "
                    "one guest gets all of a group"
                )


def described(plan: ClaimPlan) -> dict[str, list[str]]:
    """What *plan* does to each device, in the order of time."""
    return {
        _place(step.target): [
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


def _place(target: _isolation.Target) -> str:
    return f"{target.name} at {target.address}" if target.vf else target.name


def difference(plan: ClaimPlan, devices: t.Mapping[str, _pci.Device]) -> dict[str, t.Any]:
    """What *plan* changes, as Ansible's diff: attributes by PF and VF, drivers by address."""
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for step in plan.steps:
        address = step.target.address
        changes = [change for change in (step.attributes, *step.optional) if change]
        if changes:
            name = step.target.name
            before[name] = dict(pair for change in changes for pair in change.before.items())
            after[name] = dict(pair for change in changes for pair in change.after.items())
        if step.unbind or step.bind:
            before[address] = devices[address].driver
            after[address] = step.target.driver
    return {"before": before, "after": after}


def devices_of(
    claims: t.Sequence[AnyClaim], entries: t.Iterable[Entry], found: Found
) -> list[dict[str, t.Any]]:
    """The device of each claim for the device map, in the order of the claims, from *entries*."""
    return [KINDS[item.kind].device(item, entry, found) for item, entry in zip(claims, entries)]


def outcome(
    planned: ClaimPlan, found: Found, claims: t.Sequence[AnyClaim], mzid: str
) -> dict[str, t.Any]:
    return {
        "changed": planned.changes,
        "devices": devices_of(claims, planned.after.get(mzid, []), found),
        "steps": described(planned),
        "diff": difference(planned, found.devices),
    }
