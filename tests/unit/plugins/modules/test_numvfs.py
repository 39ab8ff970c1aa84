# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _numvfs
from ansible_collections.mergetb.sriov.plugins.modules import numvfs
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, Machine
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

PF = "0000:01:00.0"
MAC = "04:70:00:00:00:10"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", MAC, numvfs=2, autoprobe=True, up=False)
    machine.add_pf("0000:01:00.1", "ens1f1", "04:70:00:00:00:11")
    machine.log.clear()
    return machine


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(numvfs, machine, monkeypatch, capsys)


BOTH = [{"pf": MAC, "numvfs": 3}, {"pf": "ens1f1", "numvfs": 0}]


def test_check_mode_writes_nothing_and_predicts_the_run(machine: Machine, run: Runner) -> None:
    before = machine.files()

    predicted = run(check_mode=True, pfs=BOTH)

    assert machine.files() == before
    assert machine.log == []
    done = run(pfs=BOTH)
    for key in ("changed", "steps", "diff"):
        assert predicted[key] == done[key]
    assert done["changed"]
    assert done["steps"] == {
        PF: ["link up", "sriov_drivers_autoprobe 0", "sriov_numvfs 0", "sriov_numvfs 3"],
        _numvfs.UDEV_RULES: ["write"],
    }
    assert done["diff"][0]["before"] == {PF: 2, "0000:01:00.1": 0}
    assert done["diff"][0]["after"] == {PF: 3, "0000:01:00.1": 0}
    assert done["diff"][1]["before"] == ""
    assert done["diff"][1]["after"] == machine.read_bytes(_numvfs.UDEV_RULES).decode()
    assert predicted["pfs"][0]["numvfs"] == 2
    assert done["pfs"][0] == {
        "address": PF,
        "interface": "ens1f0",
        "mac": MAC,
        "driver": "igb",
        "numvfs": 3,
        "totalvfs": 7,
        "autoprobe": False,
        "vfs": ["0000:01:10.0", "0000:01:10.2", "0000:01:10.4"],
    }


def test_a_second_run_writes_nothing(machine: Machine, run: Runner) -> None:
    run(pfs=BOTH)
    before = machine.files()
    machine.log.clear()

    assert not run(pfs=BOTH)["changed"]
    assert not run(check_mode=True, pfs=BOTH)["changed"]
    assert machine.files() == before
    assert machine.log == []


def test_the_rules_have_exactly_the_pfs_of_the_call(machine: Machine, run: Runner) -> None:
    run(pfs=BOTH)
    machine.log.clear()

    done = run(pfs=[{"pf": "ens1f1", "numvfs": 1}])

    rules = machine.read(_numvfs.UDEV_RULES) or ""
    assert MAC not in rules
    assert 'ATTR{address}=="04:70:00:00:00:11"' in rules
    assert done["changed"]
    assert run(pfs=[{"pf": MAC, "numvfs": 3}])["changed"], "only the rules differ"


def test_the_rules_stay_as_they_are(machine: Machine, run: Runner) -> None:
    machine.replace(_numvfs.UDEV_RULES, "# by hand\n")
    machine.log.clear()

    done = run(pfs=BOTH, at_boot=False)

    assert machine.read_bytes(_numvfs.UDEV_RULES) == b"# by hand\n"
    assert done["diff"][1]["before"] == done["diff"][1]["after"] == "# by hand\n"
    assert not run(pfs=BOTH, at_boot=False)["changed"]


def test_vfs_in_use_are_destroyed_only_by_force(machine: Machine, run: Runner) -> None:
    [name] = machine.names(f"{DEVICES}/0000:01:10.0/net")
    machine.alter_link(name, up=True)
    before = machine.files()

    for check_mode in (True, False):
        answer = run(check_mode=check_mode, pfs=BOTH)
        assert answer["failed"]
        assert f"interface {name} is up" in answer["msg"]
    assert machine.files() == before
    assert machine.log == []
    assert run(pfs=BOTH, force=True)["pfs"][0]["numvfs"] == 3


def test_a_pf_that_no_rule_can_name_is_told_before_anything_is_written(
    machine: Machine, run: Runner
) -> None:
    machine.add_pf("0000:02:00.0", None, MAC, driver="nvme")
    machine.log.clear()
    pfs = [{"pf": "0000:02:00.0", "numvfs": 1}]

    assert "set at_boot to false" in run(pfs=pfs)["msg"]
    assert machine.log == []
    assert run(pfs=pfs, at_boot=False)["changed"]


def test_an_error_is_one_message(machine: Machine, run: Runner) -> None:
    answer = run(pfs=[*BOTH, {"pf": "ens9", "numvfs": 1}])

    assert answer["failed"]
    assert answer["msg"].startswith("no network interface of this host is 'ens9'")
    assert machine.log == []


def test_the_arguments_are_checked(run: Runner) -> None:
    assert "missing required arguments: pfs" in run()["msg"]
    assert "numvfs" in run(pfs=[{"pf": MAC}])["msg"]
    assert "numvfs" in run(pfs=[{"pf": MAC, "numvfs": "many"}])["msg"]
