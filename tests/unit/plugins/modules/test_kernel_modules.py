# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.modules import kernel_modules
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

FILE = "/etc/modules-load.d/mergetb-sriov.conf"


class ModuleMachine(BootMachine):
    """Its modprobe knows every module but `nonsense`."""

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        done = super().run(argv)
        if argv[-1] == "nonsense":
            return Completed(1, "", "FATAL: Module nonsense not found\n")
        if argv[1] != "--dry-run":
            self.put(f"/sys/module/{argv[-1].replace('-', '_')}/refcnt", "0")
        return done


@pytest.fixture
def machine(tmp_path: Path) -> ModuleMachine:
    return ModuleMachine(tmp_path, {"/proc/sys/kernel/osrelease": "6.12.1\n"})


@pytest.fixture
def run(
    machine: ModuleMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(kernel_modules, machine, monkeypatch, capsys)


def test_check_mode_writes_nothing_and_predicts_the_run(
    machine: ModuleMachine, run: Runner
) -> None:
    before = machine.files()
    predicted = run(check_mode=True, modules=["vfio-pci"])
    assert machine.files() == before
    done = run(modules=["vfio-pci"])
    for key in ("changed", "loaded", "file", "diff"):
        assert predicted[key] == done[key]
    assert done["loaded"] == ["vfio-pci"]
    assert done["diff"][1]["after"] == (machine.read_bytes(FILE) or b"").decode()


def test_a_second_run_does_nothing(machine: ModuleMachine, run: Runner) -> None:
    run(modules=["vfio-pci"])
    machine.log.clear()
    machine.calls.clear()
    assert not run(modules=["vfio-pci"])["changed"]
    assert machine.log == []
    assert machine.calls == []


def test_a_loaded_module_still_needs_the_file(machine: ModuleMachine, run: Runner) -> None:
    machine.run(["modprobe", "vfio-pci"])
    done = run(modules=["vfio-pci"])
    assert done["changed"]
    assert done["loaded"] == []


def test_an_unknown_module_changes_nothing(machine: ModuleMachine, run: Runner) -> None:
    before = machine.files()
    failed = run(modules=["vfio-pci", "nonsense"])
    assert "nonsense cannot be loaded: FATAL: Module nonsense not found" in failed["msg"]
    assert machine.files() == before


def test_bad_names_change_nothing(machine: ModuleMachine, run: Runner) -> None:
    before = machine.files()
    assert run(modules=["../vfio"])["failed"]
    assert run(modules=["vfio-pci"], name="../x")["failed"]
    assert machine.files() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_file_that_is_masked_is_refused_before_the_first_write(
    machine: ModuleMachine, run: Runner, check_mode: bool
) -> None:
    machine.mask(FILE)
    answer = run(check_mode=check_mode, modules=["vfio-pci"])
    assert answer["failed"]
    assert f"{FILE} is no regular file" in answer["msg"]
    assert machine.calls == [["modprobe", "--dry-run", "vfio-pci"]]
    assert Path(machine.path("/dev/null")).is_char_device()
