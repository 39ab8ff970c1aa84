# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.modules import vdpa
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner
from ansible_collections.mergetb.sriov.tests.unit.vdpa_machine import SIMULATOR, VdpaMachine

WANTED: list[dict[str, t.Any]] = [
    {"name": "vd0", "management_device": SIMULATOR, "mac": "02:00:00:00:00:0A", "mtu": 1400},
    {"name": "vd1", "management_device": SIMULATOR, "driver": "none"},
]


@pytest.fixture
def machine(tmp_path: Path) -> VdpaMachine:
    return VdpaMachine(tmp_path)


@pytest.fixture
def run(
    machine: VdpaMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(vdpa, machine, monkeypatch, capsys)


def test_check_mode_writes_nothing_and_predicts_the_run(machine: VdpaMachine, run: Runner) -> None:
    machine.log.clear()
    before = machine.files()

    predicted = run(check_mode=True, devices=WANTED)

    assert machine.writes == []
    assert machine.files() == before
    done = run(devices=WANTED)
    assert done["diff"] == predicted["diff"]
    assert done["changed"]
    assert predicted["changed"]
    for seen, foreseen in zip(done["devices"], predicted["devices"], strict=True):
        assert {key: seen[key] for key, value in foreseen.items() if value is not None} == {
            key: value for key, value in foreseen.items() if value is not None
        }
    assert done["devices"][0]["mac"] == "02:00:00:00:00:0a"
    assert [device["path"] for device in done["devices"]] == ["/dev/vhost-vdpa-0", None]
    assert done["diff"]["after"]["vd0"] == {
        "management_device": SIMULATOR,
        "mac": "02:00:00:00:00:0a",
        "mtu": 1400,
        "driver": "vhost_vdpa",
    }


def test_a_second_run_writes_nothing(machine: VdpaMachine, run: Runner) -> None:
    run(devices=WANTED)
    machine.log.clear()
    assert not run(devices=WANTED)["changed"]
    assert machine.writes == []


def test_absent(machine: VdpaMachine, run: Runner) -> None:
    run(devices=WANTED)
    gone = [{"name": item["name"], "state": "absent"} for item in WANTED]
    done = run(devices=gone)
    assert done["changed"]
    assert done["devices"] == []
    assert done["diff"]["before"]["vd0"]["mtu"] == 1400
    assert machine.vdpa == {}
    assert not run(devices=gone)["changed"]


def test_a_kernel_without_vdpa(machine: VdpaMachine, run: Runner) -> None:
    machine.loaded = False
    assert "CONFIG_VDPA" in run(devices=WANTED)["msg"]
    assert not run(devices=[{"name": "vd0", "state": "absent"}])["changed"]


def test_the_arguments_are_checked(run: Runner) -> None:
    assert "management_device" in run(devices=[{"name": "vd0"}])["msg"]
    message = run(devices=[{**WANTED[0], "name": "a/b", "mtu": 1}])["msg"]
    assert "'a/b' is no name" in message
    assert "mtu 1 is not within" in message


@pytest.mark.parametrize("count", [1000])
def test_many_devices_take_one_message_each(machine: VdpaMachine, run: Runner, count: int) -> None:
    machine.log.clear()
    devices = [{"name": f"vd{number}", "management_device": SIMULATOR} for number in range(count)]
    assert len(run(devices=devices)["devices"]) == count
    assert sum(event.action == "make" for event in machine.writes) == count
    assert len(machine.writes) == 3 * count + 2
