# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Claims of one materialization on a fabricated host with two PFs."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import (
    _assignment,
    _found,
    _plan,
    _reservation,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Claim, Policy
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import VfEntry
from ansible_collections.mergetb.sriov.tests.unit.fabricated import NEW_VF, Machine, ledger_entry

MZID = "one.hello.demo"
MACS = ("04:70:00:00:00:10", "04:70:00:00:00:11")
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")
CLAIM = Claim("alpha", "eth1", "ens1f0", MACS[0], 0, "02:00:00:00:01:01", 100, 1500)
BASELINE = NEW_VF._asdict()
ISOLATED = NEW_VF._replace(mac=CLAIM.mac, vlan=CLAIM.vlan)
RUN = "2026-11-27T12:00:00Z-aaaaaa"
OTHER_RUN = "2026-11-27T12:00:01Z-bbbbbb"
POLICY = Policy("vfio-pci")


def new_machine(directory: Path) -> Machine:
    """A host whose first PF has three VFs, and whose second has two."""
    machine = Machine(directory)
    machine.add_pf("0000:01:00.0", "ens1f0", MACS[0], numvfs=3)
    machine.add_pf("0000:01:00.1", "ens1f1", MACS[1], numvfs=2, mtu=9000)
    machine.add_driver("vfio-pci")
    machine.log.clear()
    return machine


def plan(machine: Machine, claims: list[Claim], ledger: _ledger.Ledger) -> _plan.ClaimPlan:
    found = _found.look(machine, MZID, claims, ledger)
    return _plan.plan(MZID, claims, Policy("vfio-pci"), found)


def carry_out(
    machine: Machine, claims: list[Claim], ledger: _ledger.Ledger
) -> list[_ledger.Ledger]:
    saved: list[_ledger.Ledger] = []
    planned = plan(machine, claims, ledger)
    found = _found.look(machine, MZID, claims, ledger)
    _plan.refuse(machine, planned, found, MZID)
    _assignment.apply(machine, planned, MZID, saved.append)
    return saved


def entry(claim: Claim = CLAIM, **changes: t.Any) -> VfEntry:
    return ledger_entry(node=claim.node, nic=claim.nic, vf=claim.vf, **changes)


def foreign(**changes: t.Any) -> VfEntry:
    """An entry of another materialization, whose guest has another MAC."""
    vlan = changes.get("vlan", 100)
    values = {**ledger_entry().values, "mac": "02:00:00:00:09:09", "vlan": vlan}
    return ledger_entry(values=values, **changes)


def reserve(machine: Machine, *claims: Claim, run: str = RUN, mzid: str = MZID) -> dict[str, t.Any]:
    return _reservation.reserve(machine, mzid, claims, POLICY, run=run)
