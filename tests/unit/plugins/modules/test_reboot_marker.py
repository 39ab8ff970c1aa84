# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _reboot
from ansible_collections.mergetb.sriov.plugins.modules import reboot_marker
from ansible_collections.mergetb.sriov.tests.unit import preparing
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

BOOT_ID = "/proc/sys/kernel/random/boot_id"
CAUSES = [{"cause": "iommu", "reason": "the IOMMU is off", "remedy": "look into the boot menu"}]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.put(BOOT_ID, "first\n")
    machine.log.clear()
    return machine


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(reboot_marker, machine, monkeypatch, capsys)


def test_check_mode_writes_nothing_and_predicts_the_run(machine: Machine, run: Runner) -> None:
    predicted = run(check_mode=True, causes=CAUSES, reboot=True)
    assert machine.log == []
    done = run(causes=CAUSES, reboot=True)
    for key in ("changed", "markers", "diff"):
        assert predicted[key] == done[key]
    assert done["changed"]
    assert _reboot.read(machine) == {"iommu": "first"}


def test_one_reboot_for_one_cause(machine: Machine, run: Runner) -> None:
    run(causes=CAUSES, reboot=True)
    # Killed before it rebooted: the next run is as good as the first.
    assert not run(causes=CAUSES, reboot=True)["changed"]

    machine.put(BOOT_ID, "second\n")
    for permission in (True, False):
        failed = run(causes=CAUSES, reboot=permission)
        assert failed["failed"]
        assert "the IOMMU is off; look into the boot menu" in failed["msg"]
        assert _reboot.PATH in failed["msg"]

    assert run(causes=[])["changed"]
    machine.log.clear()
    assert not run(causes=[])["changed"]
    assert machine.log == []


def test_nothing_is_remembered_without_a_reboot(machine: Machine, run: Runner) -> None:
    assert not run(causes=CAUSES)["changed"]
    assert machine.log == []


def test_a_power_cycle_is_remembered_until_it_cured(machine: Machine, run: Runner) -> None:
    cold = [{**CAUSES[0], "power_cycle": True}]
    assert run(check_mode=True, causes=cold, reboot=True)["failed"]
    assert machine.log == []

    for causes, boot in ((cold, "first"), (CAUSES, "first"), (CAUSES, "second")):
        machine.put(BOOT_ID, boot)
        failed = run(causes=causes, reboot=True)
        assert (
            "only a power cycle cures this, so the run does not reboot the host: iommu: the IOMMU"
            in failed["msg"]
        )
        assert _reboot.read(machine) == {"iommu": _reboot.POWER_CYCLE}

    assert run(causes=[])["changed"]
    assert _reboot.read(machine) == {}
    assert not run(causes=[])["changed"]


def test_a_reboot_that_takes_vfs_is_refused_and_not_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = preparing.bare(tmp_path)
    preparing.claims_and_lost_iommu(host)
    run = Runner(reboot_marker, host, monkeypatch, capsys)

    for check_mode in (True, False):
        failed = run(check_mode=check_mode, causes=CAUSES, reboot=True)
        assert "VF 0 (0000:01:10.0) of PF 0000:01:00.0: materialization" in failed["msg"]
        assert _reboot.read(host) == {}
    assert not run(causes=CAUSES)["changed"], "without a reboot, nobody loses a VF"
    assert run(causes=CAUSES, reboot=True, held=True)["changed"]
