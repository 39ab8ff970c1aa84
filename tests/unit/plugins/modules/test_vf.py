# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.modules import vf
from ansible_collections.mergetb.sriov.tests.unit.fabricated import NEW_VF, Machine, ledger_entry
from ansible_collections.mergetb.sriov.tests.unit.interleaving import overtaken
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

PF = "0000:01:00.0"
GUEST = "02:00:00:00:0A:01"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", "04:70:00:00:00:10", numvfs=2)
    machine.log.clear()
    return machine


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(vf, machine, monkeypatch, capsys)


WANTED: list[dict[str, t.Any]] = [
    {"pf": "ens1f0", "vf": 1, "mac": GUEST, "vlan": 100, "trust": False},
    {"pf": PF, "vf": 0},
]


def test_check_mode_writes_nothing_and_predicts_the_run(machine: Machine, run: Runner) -> None:
    before = machine.files()

    predicted = run(check_mode=True, vfs=WANTED)

    assert machine.writes == []
    assert machine.files() == before
    done = run(vfs=WANTED)
    assert predicted == done
    after = NEW_VF._replace(mac=GUEST.lower(), vlan=100)
    assert done["changed"]
    assert done["vfs"] == [
        {"pf": "ens1f0", "vf": 1, **after._asdict()},
        {"pf": PF, "vf": 0, **NEW_VF._asdict()},
    ]
    assert machine.vf("ens1f0", 1) == after
    plain = {"qos": 0, "vlan_proto": "802.1Q"}
    assert done["diff"] == {
        "before": {"ens1f0 VF 1": {"mac": NEW_VF.mac, "vlan": 0, **plain}},
        "after": {"ens1f0 VF 1": {"mac": GUEST.lower(), "vlan": 100, **plain}},
    }


def test_a_second_run_writes_nothing(machine: Machine, run: Runner) -> None:
    run(vfs=WANTED)
    machine.log.clear()

    done = run(vfs=WANTED)

    assert not done["changed"]
    assert done["diff"] == {"before": {}, "after": {}}
    assert machine.writes == []


def test_every_attribute_arrives(machine: Machine, run: Runner) -> None:
    machine.alter_vf("ens1f0", 0, query_rss=False)
    values = {
        "mac": "02:00:00:00:01:01",
        "vlan": 7,
        "qos": 3,
        "vlan_proto": "802.1ad",
        "spoofchk": False,
        "trust": True,
        "link_state": "disable",
        "min_tx_rate": 5,
        "max_tx_rate": 10,
        "query_rss": True,
    }
    run(vfs=[{"pf": PF, "vf": 0, **values}])

    assert machine.vf("ens1f0", 0)._asdict() == values


def test_a_refusal_is_one_message_and_nothing_stays_changed(machine: Machine, run: Runner) -> None:
    machine.netlink.refuse = lambda vf, name, value: errno.EOPNOTSUPP * (name == "link_state")
    wanted = [{**WANTED[0], "link_state": "enable"}, {"pf": PF, "vf": 0, "vlan": 5}]

    answer = run(vfs=wanted)

    assert answer["failed"]
    assert "link_state enable was refused: Operation not supported" in answer["msg"]
    assert [machine.vf("ens1f0", number) for number in (0, 1)] == [NEW_VF, NEW_VF]


def test_a_vf_that_is_only_reserved_is_not_said_to_be_held(machine: Machine, run: Runner) -> None:
    reserved = ledger_entry(vf=1, state=_ledger.RESERVED, runs=("killed",))
    _ledger.write(machine, {"one.hello.demo": [reserved]})
    answer = run(vfs=[{"pf": "ens1f0", "vf": 1, "vlan": 300}])
    assert "(run killed) has reserved it for alpha.eth1" in answer["msg"]


def test_a_vf_that_a_materialization_holds_is_not_changed(machine: Machine, run: Runner) -> None:
    _ledger.write(machine, {"one.hello.demo": [ledger_entry(vf=1)]})
    machine.log.clear()

    for check_mode in (True, False):
        assert run(check_mode=check_mode, vfs=WANTED)["msg"] == (
            "VF 1 of PF ens1f0: materialization one.hello.demo holds it for alpha.eth1. Change the "
            "materialization, dematerialize it, or set force"
        )
    assert machine.writes == []
    assert not run(vfs=[{"pf": PF, "vf": 1, "vlan": 0}])["changed"], "it is so already"
    assert run(vfs=[{"pf": PF, "vf": 0, "vlan": 7}])["changed"], "that one is nobody's"
    assert run(vfs=WANTED, force=True)["changed"]


def test_bad_values_are_refused_before_the_host_is_read(machine: Machine, run: Runner) -> None:
    answer = run(vfs=[{"pf": "ens9", "vf": 0, "vlan": 4095}])

    assert answer["msg"] == "VF 0 of PF ens9: vlan 4095 is not within 0 (none) to 4094"
    assert machine.log == []


def test_the_arguments_are_checked(run: Runner) -> None:
    assert "missing required arguments: vfs" in run()["msg"]
    assert "link_state" in run(vfs=[{"pf": PF, "vf": 0, "link_state": "up"}])["msg"]
    assert "vlan_proto" in run(vfs=[{"pf": PF, "vf": 0, "vlan_proto": "QinQ"}])["msg"]


def test_a_vf_that_is_claimed_meanwhile_is_not_changed(machine: Machine) -> None:
    """It was asked who holds the VF, and then the VF was changed, without the lock."""
    params = {"vfs": [{"pf": PF, "vf": 1, "vlan": 300}], "force": False}

    with pytest.raises(SriovError, match="VF 1 of PF .*: materialization one.hello.demo holds it"):
        overtaken(
            machine,
            lambda: vf.run(machine, params, check_mode=False),
            lambda: _ledger.write(machine, {"one.hello.demo": [ledger_entry(vf=1)]}),
        )

    assert machine.vf("ens1f0", 1) == NEW_VF
