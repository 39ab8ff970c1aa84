# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import types
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment, _reservation
from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Claim
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.tests.unit.claims import (
    CLAIM,
    ISOLATED,
    MACS,
    MZID,
    OTHER_RUN,
    POLICY,
    RUN,
    VFS,
    entry,
    reserve,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine
from ansible_collections.mergetb.sriov.tests.unit.interleaving import overtaken


def test_a_reservation_touches_no_vf_and_keeps_others_out(machine: Machine) -> None:
    before = machine.files()

    predicted = _reservation.reserve(machine, MZID, [CLAIM], POLICY, run=RUN, check_mode=True)
    assert machine.files() == before
    reserved = reserve(machine, CLAIM)

    assert reserved == predicted
    assert reserved["changed"]
    assert reserved["devices"][0]["pci_address"] == VFS[0]
    assert [event.subject for event in machine.writes] == [_ledger.PATH]
    assert _ledger.read(machine) == {MZID: [entry(state=_ledger.RESERVED, runs=(RUN,))]}
    whose = f"is reserved for materialization {MZID} by run {RUN}"
    with pytest.raises(SriovError, match=f"^alpha.eth1: VF 0 of PF ens1f0 {whose}$"):
        reserve(machine, CLAIM, mzid="two", run=OTHER_RUN)
    with pytest.raises(SriovError, match="materialization one.hello.demo has VLAN 100 on PF"):
        reserve(machine, CLAIM._replace(vf=1), mzid="two", run=OTHER_RUN)
    done = _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)
    assert {**done, "warnings": [], "reserved": [f"ens1f0 ({MACS[0]}) VF 0"]} == reserved
    assert _ledger.read(machine) == {MZID: [entry()]}
    assert machine.vf("ens1f0", 0) == ISOLATED


def test_what_is_held_already_needs_no_reservation(machine: Machine) -> None:
    _assignment.run(machine, MZID, [CLAIM], POLICY)
    machine.log.clear()

    assert not reserve(machine, CLAIM)["changed"]
    assert not _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)["changed"]
    assert machine.writes == []

    machine.alter_vf("ens1f0", 0, vlan=7)
    mended = reserve(machine, CLAIM)
    assert mended["steps"]
    assert mended["reserved"] == []


def test_a_change_of_a_held_vf_is_reserved_beside_it(machine: Machine) -> None:
    _assignment.run(machine, MZID, [CLAIM], POLICY)
    [held] = _ledger.read(machine)[MZID]

    reserve(machine, CLAIM._replace(vlan=200))

    before, wanted = _ledger.vfs(_ledger.read(machine))[MZID]
    assert before == held
    assert (wanted.state, wanted.vlan, wanted.values["vlan"]) == (_ledger.RESERVED, 200, 200)
    for vlan in (100, 200):
        with pytest.raises(SriovError, match=f"materialization {MZID} has VLAN {vlan} on PF"):
            reserve(machine, CLAIM._replace(vf=1, vlan=vlan), mzid="two", run=OTHER_RUN)
    _reservation.withdraw(machine, MZID, run=RUN)
    assert _ledger.read(machine) == {MZID: [held]}


def gives_way(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> list[float]:
    """The younger run takes its reservation back while the older one waits; the waits, in s."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        _reservation.withdraw(machine, "two", run=OTHER_RUN)

    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(_reservation, "time", clock)
    return waits


@pytest.mark.parametrize(
    "younger",
    [
        CLAIM,
        CLAIM._replace(vf=1, nic="eth9", mac="02:00:00:00:01:09"),
        CLAIM._replace(vf=1, vlan=7),
    ],
    ids=["VF", "VLAN", "MAC"],
)
def test_of_two_experiments_that_meet_in_opposite_order_the_older_is_given(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, younger: Claim
) -> None:
    """Each was the first on one of two hosts; on this one, the younger was."""
    reserve(machine, younger, mzid="two", run=OTHER_RUN)
    waits = gives_way(monkeypatch, machine)

    assert reserve(machine, CLAIM)["changed"]

    assert len(waits) == 1
    assert list(_ledger.read(machine)) == [MZID]


def test_a_younger_run_that_had_the_lock_first_gives_way(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older run looked before it had the lock, and both were refused."""
    reserved = {"two": [entry(state=_ledger.RESERVED, runs=(OTHER_RUN,))]}
    gives_way(monkeypatch, machine)

    overtaken(machine, lambda: reserve(machine, CLAIM), lambda: _ledger.write(machine, reserved))

    assert list(_ledger.read(machine)) == [MZID]


@pytest.mark.parametrize(
    ("claim", "runs", "message"),
    [
        (CLAIM, (OTHER_RUN, "2026-11-27T11:59:59Z-a"), "is reserved for materialization two"),
        (CLAIM._replace(vf=99), (OTHER_RUN,), "VF 99"),
    ],
    ids=["an older run", "no such VF"],
)
def test_a_run_does_not_wait_for_what_no_wait_helps(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    claim: Claim,
    runs: tuple[str, ...],
    message: str,
) -> None:
    _ledger.write(machine, {"two": [entry(state=_ledger.RESERVED, runs=runs)]})
    waits = gives_way(monkeypatch, machine)

    with pytest.raises(SriovError, match=message):
        reserve(machine, CLAIM, claim)

    assert waits == []


def test_a_younger_run_that_stays_is_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve(machine, CLAIM, mzid="two", run=OTHER_RUN)
    monkeypatch.setattr(_reservation, "_YOUNGER_SECONDS", 0)

    with pytest.raises(SriovError, match=f"reserved for materialization two by run {OTHER_RUN}"):
        reserve(machine, CLAIM)


def test_a_reservation_is_taken_back_by_its_own_run_alone(machine: Machine) -> None:
    reserve(machine, CLAIM)
    machine.log.clear()

    assert not _reservation.withdraw(machine, MZID, run=OTHER_RUN)["changed"]
    assert not _reservation.withdraw(machine, "two", run=RUN)["changed"]
    assert machine.writes == []
    taken = _reservation.withdraw(machine, MZID, run=RUN, check_mode=True)
    assert machine.writes == []
    assert _reservation.withdraw(machine, MZID, run=RUN) == taken

    assert taken["changed"]
    assert _ledger.read(machine) == {}


def test_the_next_run_finishes_what_a_killed_one_reserved(machine: Machine) -> None:
    reserve(machine, CLAIM)

    reserve(machine, CLAIM, run=OTHER_RUN)
    _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=OTHER_RUN)

    assert _ledger.read(machine) == {MZID: [entry()]}


@pytest.mark.parametrize("first", [RUN, OTHER_RUN])
def test_runs_of_one_materialization_share_what_they_reserve(machine: Machine, first: str) -> None:
    """One of them is refused on another host and takes its reservation back here."""
    second = OTHER_RUN if first == RUN else RUN
    reserve(machine, CLAIM, run=RUN)
    reserve(machine, CLAIM, run=OTHER_RUN)

    _reservation.withdraw(machine, MZID, run=first)
    with pytest.raises(SriovError, match="is reserved for"):
        reserve(machine, CLAIM, mzid="two", run="2026-11-27T12:00:02Z-cccccc")
    _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=second)

    assert _ledger.read(machine) == {MZID: [entry()]}


def test_a_run_of_the_same_materialization_with_another_aim_is_refused(machine: Machine) -> None:
    """Else one host could get what the one run wants, and the next what the other does."""
    reserve(machine, CLAIM)

    for claims in ([], [CLAIM._replace(vlan=200)], [CLAIM, CLAIM._replace(nic="eth2", vf=1)]):
        with pytest.raises(
            SriovError,
            match=f"run {RUN} has reserved other VFs, .* -e sriov_mzid={MZID} -e sriov_run={RUN}$",
        ):
            reserve(machine, *claims, run=OTHER_RUN)
    reserve(machine, CLAIM._replace(vlan=200), run=RUN)
    [reserved] = _ledger.read(machine)[MZID]
    assert reserved.vlan == 200, "a run may think better of it"


def test_a_run_takes_nothing_that_another_gave_meanwhile(tmp_path: Path) -> None:
    """Where a run had nothing to reserve, it left no trace, and took what the other had given.

    Both runs ended well, and the materialization had nothing on either host.
    """
    hosts = []
    for name in ("x0", "x1"):
        hosts.append(Machine(tmp_path / name))
        hosts[-1].add_pf("0000:01:00.0", "ens1f0", MACS[0], numvfs=1)
        hosts[-1].add_driver("vfio-pci")
    aims: dict[str, list[list[Claim]]] = {RUN: [[CLAIM], []], OTHER_RUN: [[], [CLAIM]]}
    for run, number in ((RUN, 1), (OTHER_RUN, 0), (RUN, 0), (OTHER_RUN, 1)):
        reserve(hosts[number], *aims[run][number], run=run)

    def carry_out(run: str, number: int) -> None:
        _assignment.run(hosts[number], MZID, aims[run][number], POLICY, reserved_by=run)

    carry_out(RUN, 0)
    carry_out(OTHER_RUN, 1)
    for run, number in ((RUN, 1), (OTHER_RUN, 0)):
        with pytest.raises(SriovError, match=f"run {run} has no reservation for VF 0 of PF ens1f0"):
            carry_out(run, number)
        assert _ledger.read(hosts[number]) == {MZID: [entry()]}


def test_a_run_drops_no_reservation_of_another(machine: Machine) -> None:
    reserve(machine, run=OTHER_RUN)
    reserve(machine, CLAIM)

    with pytest.raises(SriovError, match=f"run {RUN} has reserved other VFs on this host meanw"):
        _assignment.run(machine, MZID, [], POLICY, reserved_by=OTHER_RUN)
    _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)

    assert _ledger.read(machine) == {MZID: [entry()]}


def test_what_a_run_is_going_to_take_is_reserved_too(machine: Machine) -> None:
    second = CLAIM._replace(nic="eth2", vf=1, mac="02:00:00:00:01:02")
    _assignment.run(machine, MZID, [CLAIM, second], POLICY)
    before = _ledger.read(machine)

    reserve(machine, CLAIM)
    with pytest.raises(SriovError, match=f"run {RUN} has reserved other VFs"):
        reserve(machine, CLAIM, second, run=OTHER_RUN)
    reserve(machine, CLAIM, run=OTHER_RUN)
    for run in (RUN, OTHER_RUN):
        _reservation.withdraw(machine, MZID, run=run)
    assert _ledger.read(machine) == before
    reserve(machine, CLAIM)
    _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)

    assert _ledger.read(machine) == {MZID: [entry()]}
    assert machine.driver(VFS[1]) is None


def test_a_run_whose_reservation_was_released_changes_nothing(machine: Machine) -> None:
    reserve(machine, CLAIM)
    _assignment.run(machine, MZID, [], POLICY)
    assert _ledger.read(machine) == {}
    machine.log.clear()

    with pytest.raises(SriovError, match=f"run {RUN} has no reservation for VF 0 of PF ens1f0 any"):
        _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)

    assert machine.writes == []


def test_a_reserved_vf_of_ones_own_is_given_back_untouched(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")
    machine.alter_vf("ens1f0", 0, vlan=7)
    reserve(machine, CLAIM)
    machine.log.clear()

    _assignment.run(machine, MZID, [], POLICY)

    assert _ledger.read(machine) == {}
    assert [event.subject for event in machine.writes] == [_ledger.PATH]


def test_a_reservation_that_is_lost_to_another_experiment(machine: Machine) -> None:
    """It was told as a refusal, so the run did not begin again, and left other hosts given."""
    reserve(machine, CLAIM)
    _reservation.withdraw(machine, MZID, run=RUN)
    his = CLAIM._replace(mac="02:00:00:00:02:01", vlan=200)
    reserve(machine, his, mzid="two", run=OTHER_RUN)

    with pytest.raises(_reservation.LostReservationError, match="is reserved for materialization"):
        _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)
