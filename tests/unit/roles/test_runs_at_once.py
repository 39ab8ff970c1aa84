# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of one materialization at once, in any order of their calls, on two fabricated hosts.

The calls are those of the roles `materialize` and `dematerialize`, task by task; which calls these
make is tested beside this, with the real roles.
"""

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment, _reservation
from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Claim, Policy
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine

if t.TYPE_CHECKING:
    from pathlib import Path

    Hosts = dict[str, Machine]
    Calls = t.Generator[None, None, bool]
    """Pauses before each call on a host; returns whether the run ended well."""

MZID = "one.hello.demo"
MAC = "04:70:00:00:00:10"
POLICY = Policy("vfio-pci")
CLAIM = Claim("alpha", "eth1", "ens1f0", MAC, 0, "02:00:00:00:01:01", 100, None)
AIMS = {vlan: dict.fromkeys(("x0", "x1"), [CLAIM._replace(vlan=vlan)]) for vlan in (100, 200)}
NAMES = ("2026-11-27T12:00:00Z-a", "2026-11-27T12:00:01Z-b", "2026-11-27T12:00:02Z-c")
# A minute, in calls of other runs.
PATIENCE = 12


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to wait for another run lets it go on instead."""
    monkeypatch.setattr(_reservation, "_YOUNGER_SECONDS", 0)


def new_hosts(directory: Path) -> Hosts:
    hosts = {}
    for name in ("x0", "x1"):
        hosts[name] = Machine(directory / name)
        hosts[name].add_pf("0000:01:00.0", "ens1f0", MAC, numvfs=1)
        hosts[name].add_driver("vfio-pci")
    return hosts


def in_any_order(hosts: Hosts, chance: random.Random) -> list[str]:
    return chance.sample(sorted(hosts), len(hosts))


def materialize(
    hosts: Hosts, aim: dict[str, list[Claim]], run: str, chance: random.Random
) -> Calls:
    for attempt in range(2):
        agreed: dict[str, dict[str, t.Any]] = {}
        for host in in_any_order(hosts, chance):
            for _turn in range(PATIENCE):
                yield
                try:
                    agreed[host] = _reservation.reserve(
                        hosts[host], MZID, aim[host], POLICY, run=run
                    )
                except _reservation.YoungerRunsError:
                    continue
                except SriovError:
                    pass
                break
        if len(agreed) == len(hosts) and any(answer["steps"] for answer in agreed.values()):
            for host in [host for host in agreed if not agreed[host]["reserved"]]:
                yield
                try:
                    _reservation.reserve(hosts[host], MZID, aim[host], POLICY, run=run)
                except SriovError:
                    del agreed[host]
        if len(agreed) < len(hosts):
            for host in in_any_order(hosts, chance):
                yield
                _reservation.withdraw(hosts[host], MZID, run=run)
            if attempt:
                yield from take_back(hosts, chance)
            return False
        lost = False
        for host in in_any_order(hosts, chance):
            yield
            try:
                _assignment.run(hosts[host], MZID, aim[host], POLICY, reserved_by=run)
            except _reservation.LostReservationError:
                lost = True
        if not lost:
            return True
    yield from take_back(hosts, chance)
    return False


def dematerialize(hosts: Hosts, chance: random.Random) -> Calls:
    for host in in_any_order(hosts, chance):
        yield
        _assignment.run(hosts[host], MZID, [], POLICY, check_mode=True)
    return (yield from take_back(hosts, chance))


def take_back(hosts: Hosts, chance: random.Random) -> Calls:
    for _turn in range(10):
        taken = False
        for host in in_any_order(hosts, chance):
            yield
            taken |= _assignment.run(hosts[host], MZID, [], POLICY)["changed"]
        if not taken:
            return True
    return False


def given(hosts: Hosts) -> list[int | None]:
    """The VLAN that the materialization has on each host; None for nothing."""
    ledgers = [_ledger.read(machine).get(MZID, []) for machine in hosts.values()]
    return [next((entry.vlan for entry in ledger if entry.held), None) for ledger in ledgers]


def play(runs: dict[str, Calls], chance: random.Random) -> dict[str, bool]:
    """Play all runs to their ends, in an order that chance decides; return which ended well."""
    ended = {}
    while runs:
        # Some runs stall for a while.
        name = chance.choice(sorted(runs))
        for _call in range(chance.choice((1, 1, 2, 5))):
            try:
                next(runs[name])
            except StopIteration as end:
                ended[name] = end.value
                del runs[name]
                break
    return ended


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("seed", range(200))
def test_an_experiment_is_given_on_all_of_its_hosts_or_on_none(tmp_path: Path, seed: int) -> None:
    """A host was left with VFs after both runs had ended, `dematerialize` well."""
    chance = random.Random(seed)
    hosts = new_hosts(tmp_path)
    if chance.random() < 0.5:
        for host, machine in hosts.items():
            _assignment.run(machine, MZID, AIMS[100][host], POLICY)
    runs = {
        name: materialize(hosts, AIMS[chance.choice((100, 200))], name, chance)
        for name in chance.sample(NAMES, chance.choice((1, 2, 3)))
    }
    for number in range(chance.choice((0, 1, 2))):
        runs[f"dematerialize {number}"] = dematerialize(hosts, chance)

    ended = play(runs, chance)

    assert len(set(given(hosts))) == 1, ended
    for machine in hosts.values():
        assert [entry for entry in _ledger.read(machine).get(MZID, []) if entry.runs] == []
    last = materialize(hosts, AIMS[200], "2026-11-27T12:01:00Z-z", chance)
    assert play({"last": last}, chance) == {"last": True}
    assert given(hosts) == [200, 200]
