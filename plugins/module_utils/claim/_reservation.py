# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a run reserves VFs before it touches any of them.

A run reserves on all hosts of its materialization first. So it learns everything that stands
against it while it has changed nothing. No other run gets what is reserved.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _found, _plan
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._found import Found
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._plan import ClaimPlan
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import (
        AnyClaim,
        Policy,
    )
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import Entry, Ledger


# From one task to the next, Ansible takes some seconds, and more on hosts that are busy.
_YOUNGER_SECONDS = 60
_YOUNGER_EVERY = 1


class YoungerRunsError(SriovError):
    """Only reservations of younger runs stand against the claims."""


class LostReservationError(SriovError):
    """Another run came between: this reservation is gone, or the other run has reserved, too."""

    facts: t.ClassVar = {"lost": True}


def reserve(
    host: Host,
    mzid: str,
    claims: t.Sequence[AnyClaim],
    policy: Policy,
    *,
    run: str,
    force: bool = False,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """Reserve for the run named *run* the VFs that change if *mzid* gets *claims*; touch no VF.

    If only reservations of younger runs stand against the claims, this waits until those runs have
    taken them back (`without_younger`). Raises `SriovError` with all that stands against the
    claims. Returns what `_assignment.run` is going to return, and as *reserved* what is reserved.
    """
    deadline = time.monotonic() + _YOUNGER_SECONDS
    while True:
        try:
            return _reserve(host, mzid, claims, policy, run, force=force, check_mode=check_mode)
        except YoungerRunsError:
            if check_mode or time.monotonic() >= deadline:
                raise
        time.sleep(_YOUNGER_EVERY)


def _reserve(
    host: Host,
    mzid: str,
    claims: t.Sequence[AnyClaim],
    policy: Policy,
    run: str,
    *,
    force: bool,
    check_mode: bool,
) -> dict[str, t.Any]:
    """As `reserve`, but if it helps to wait, raise `YoungerRunsError`."""

    def reserved_in(ledger: Ledger) -> tuple[ClaimPlan, Found, Ledger]:
        found = _found.look(host, mzid, claims, ledger)
        planned = _plan.plan(mzid, claims, policy, found)
        _plan.refuse(host, planned, found, mzid, force=force)
        return planned, found, reservation(planned, mzid, run)

    with _ledger.exclusive(host, check_mode=check_mode):
        before = _ledger.read(host)
        try:
            planned, found, after = reserved_in(before)
        except SriovError as error:
            older = without_younger(before, run)
            if older == before:
                raise
            try:
                reserved_in(older)
            except SriovError:
                raise error from None
            raise YoungerRunsError(str(error)) from error
        if after != before and not check_mode:
            _ledger.write(host, after)
    names = [item.label for item in planned.reserved]
    return {**_plan.outcome(planned, found, claims, mzid), "reserved": names, "warnings": []}


def without_younger(ledger: Ledger, run: str) -> Ledger:
    """*ledger* without what only runs that are younger than *run* have reserved.

    If two experiments meet on two hosts in opposite order, each would be refused where the other
    was first. So the older run waits, and the younger one is refused at once and gives way
    (wait-die: Rosenkrantz, Stearns and Lewis, 1978). The name of a run tells its age, because it
    begins with the time. Whatever the clocks say, no two runs wait for each other.
    """
    kept = {
        other: [item for item in entries if item.held or min(item.runs) <= run]
        for other, entries in ledger.items()
    }
    return {other: entries for other, entries in kept.items() if entries}


def withdraw(host: Host, mzid: str, *, run: str, check_mode: bool = False) -> dict[str, t.Any]:
    """Take back what the run named *run* has reserved for *mzid* and did not carry out."""
    with _ledger.exclusive(host, check_mode=check_mode):
        before = _ledger.read(host)
        entries = []
        withdrawn = []
        for entry in before.get(mzid, []):
            runs = tuple(other for other in entry.runs if other != run)
            if entry.held or runs:
                entries.append(entry._replace(runs=runs))
            if runs != entry.runs:
                withdrawn.append(entry)
        if withdrawn and not check_mode:
            _ledger.write(host, _plan.with_entries(before, mzid, entries))
    names = [item.label for item in withdrawn]
    return {
        "changed": bool(withdrawn),
        "devices": [],
        "steps": {name: ["withdraw reservation"] for name in names},
        "diff": {"before": dict.fromkeys(names, f"reserved by {run}"), "after": {}},
        "warnings": [],
    }


def reservation(planned: ClaimPlan, mzid: str, run: str) -> Ledger:
    """The ledger after *run* has reserved all VFs that *planned* changes.

    If other runs have reserved the same for *mzid*, this run shares their reservation. So it can
    finish a run that was killed. If another run has reserved something else, this raises
    `SriovError`: of two runs with different aims, each could give the VFs of one host.
    """
    entries = planned.before.get(mzid, [])
    others: dict[t.Hashable, tuple[str, ...]] = {
        entry.key: tuple(name for name in entry.runs if name != run)
        for entry in entries
        if set(entry.runs) - {run}
    }
    former: dict[t.Hashable, Entry] = {
        entry.key: _aim(entry) for entry in entries if entry.key in others
    }
    wanted: dict[t.Hashable, Entry] = {entry.key: _aim(entry) for entry in planned.reserved}
    if others and former != wanted:
        names = sorted({name for names in others.values() for name in names})
        raise SriovError(
            f"materialization {mzid}: run {' and '.join(names)} has reserved other VFs, or the "
            "same for another purpose, and did not end. Wait for it to end; if it was killed, take "
            f"its reservation back with mergetb.sriov.release -e sriov_mzid={mzid} "
            f"-e sriov_run={names[0]}"
        )
    reserved = [
        entry._replace(runs=(*others.get(entry.key, ()), run)) for entry in planned.reserved
    ]
    return _plan.with_entries(
        planned.before, mzid, [*(item for item in entries if item.held), *reserved]
    )


def _aim(entry: Entry) -> Entry:
    """*entry* without its runs, state and baseline, which differ between runs with one aim."""
    if isinstance(entry, _ledger.VfEntry):
        entry = entry._replace(baseline={})
    else:
        entry = entry._replace(baseline_override=None)
    return entry._replace(runs=(), state=_ledger.RESERVED, baseline_driver=None)


def _short(entry: Entry) -> str:
    if isinstance(entry, _ledger.VfEntry):
        return f"VF {entry.vf} of PF {entry.pf_name}"
    return entry.label


def has_any(ledger: Ledger, mzid: str, run: str) -> bool:
    """Whether *run* has anything reserved for *mzid*."""
    return any(run in entry.runs for entry in ledger.get(mzid, []))


def insist(planned: ClaimPlan, mzid: str, run: str) -> None:
    """Raise `LostReservationError` if *run* has not reserved all that *planned* changes.

    Also raise it if another run has a reservation of its own. That run has another aim, because
    runs with one aim share a reservation. It came between on a host where *run* reserved nothing.
    """
    entries = [entry for entry in planned.before.get(mzid, []) if entry.runs]
    reserved: dict[t.Hashable, Entry] = {
        entry.key: _aim(entry) for entry in entries if run in entry.runs
    }
    lost = [entry for entry in planned.reserved if reserved.get(entry.key) != _aim(entry)]
    others = sorted({name for item in entries if run not in item.runs for name in item.runs})
    if others:
        raise LostReservationError(
            f"materialization {mzid}: run {' and '.join(others)} has reserved other VFs on this "
            "host meanwhile. Nothing was changed on this host; wait for it to end, and run this "
            "again"
        )
    if lost:
        names = ", ".join(map(_short, lost))
        raise LostReservationError(
            f"materialization {mzid}: run {run} has no reservation for {names} any more: somebody "
            "released it, or another run of the materialization came between. Nothing was changed "
            "on this host; run this again"
        )
