# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give a materialization its devices on one host, each isolated, and free them again."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _found, _plan, _reservation
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _isolation

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._plan import ClaimPlan
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import (
        AnyClaim,
        Policy,
    )
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import Entry, Ledger


def run(
    host: Host,
    mzid: str,
    claims: t.Sequence[AnyClaim],
    policy: Policy,
    *,
    reserved_by: str | None = None,
    force: bool = False,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """Give *claims*, and nothing else, to the materialization *mzid*.

    If *reserved_by* names a run, this gives only what that run has reserved or *mzid* has already.
    It returns what the module `materialization` does. In check mode, it writes nothing.
    """
    with _ledger.exclusive(host, check_mode=check_mode):
        found = _found.look(host, mzid, claims, _ledger.read(host))
        try:
            planned = _plan.plan(mzid, claims, policy, found)
        except SriovError as error:
            if reserved_by is None or _reservation.has_any(found.ledger, mzid, reserved_by):
                raise
            # Somebody released the reservation, and another experiment took the VFs.
            raise _reservation.LostReservationError(str(error)) from error
        if reserved_by is not None:
            _reservation.insist(planned, mzid, reserved_by)
        _plan.refuse(host, planned, found, mzid, force=force)
        warnings: list[str] = []
        if planned.changes and not check_mode:
            warnings = apply(host, planned, mzid, lambda state: _ledger.write(host, state))
    return {**_plan.outcome(planned, found, claims, mzid), "warnings": warnings}


def apply(host: Host, plan: ClaimPlan, mzid: str, save: t.Callable[[Ledger], None]) -> list[str]:
    """Carry out *plan*, and *save* the ledger before the first change and after the last.

    A VF that fails goes no further and does not stop the others. Returns what the VFs had to go
    without. Raises `SriovError` with all that went wrong.
    """
    if plan.during != plan.before:
        save(plan.during)
    failed, refused = _isolation.apply(host, plan.steps)
    unfinished = [entry for entry in plan.during.get(mzid, []) if entry.address in failed]
    finished = [
        _without(entry, refused.get(entry.address, ()))
        for entry in plan.after.get(mzid, [])
        if entry.address not in failed
    ]
    after = _plan.with_entries(plan.after, mzid, finished + unfinished)
    if after != plan.during:
        save(after)
    if failed:
        raise SriovError(
            f"materialization {mzid}: {'; '.join(failed.values())}. These devices stay "
            "with the materialization. Mend that and run this again"
        )
    told = {text: None for texts in refused.values() for text in texts.values()}
    return [f"{text}; the VF goes without" for text in told]


def _without(entry: Entry, names: t.Container[str]) -> Entry:
    """*entry* after the attributes *names* were refused."""
    if not isinstance(entry, _ledger.VfEntry):
        return entry
    return entry._replace(
        values={name: value for name, value in entry.values.items() if name not in names},
        refused=sorted({*entry.refused, *(name for name in entry.values if name in names)}),
    )
