# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _service
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed, Host
from ansible_collections.mergetb.sriov.plugins.modules import restore_service
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner


class Machine(Host):
    """A host with a systemd of which only what it was told is kept."""

    def __init__(self, directory: Path) -> None:
        super().__init__(str(directory))
        self.commands: list[list[str]] = []
        self.refusal = ""

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        self.commands.append(list(argv))
        if "enable" in argv and not self.refusal:
            wants = self.path(_service._WANTS)
            os.makedirs(os.path.dirname(wants))
            os.symlink(_service.UNIT, wants)
        return Completed(1 if self.refusal else 0, "", self.refusal)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(restore_service, machine, monkeypatch, capsys)


def test_the_service_is_installed_and_enabled(machine: Machine, run: Runner) -> None:
    predicted = run(check_mode=True)
    assert machine.names("/") == []
    assert machine.commands == []

    done = run()

    assert predicted == done
    assert done["changed"]
    assert done["files"] == [_service.PROGRAM, _service.UNIT]
    assert machine.read_bytes(_service.PROGRAM) == _service.program()
    assert "Before=libvirtd.service virtqemud.service" in (machine.read(_service.UNIT) or "")
    assert machine.commands == [["systemctl", "enable", _service.NAME]]


def test_a_python_that_may_not_last_is_warned_of(machine: Machine, run: Runner) -> None:
    [warning] = run()["warnings"]
    assert "may remove" in warning

    machine.replace("/usr/bin/python3", "")
    done = run()

    assert done["warnings"] == []
    assert "ExecStart=/usr/bin/python3 /" in (machine.read(_service.UNIT) or "")


def test_a_second_run_changes_nothing(machine: Machine, run: Runner) -> None:
    run()
    machine.commands.clear()

    done = run()

    assert not done["changed"]
    assert done["files"] == []
    assert machine.commands == []


def test_a_changed_unit_is_written_and_systemd_told(machine: Machine, run: Runner) -> None:
    run()
    machine.commands.clear()

    done = run(before=["vms.service"])

    assert done["files"] == [_service.UNIT]
    assert "Before=vms.service\n" in done["diff"][0]["after"]
    assert machine.commands == [["systemctl", "daemon-reload"]]


def test_what_systemd_refuses_is_told(machine: Machine, run: Runner) -> None:
    machine.refusal = "Failed to enable unit: masked\n"

    assert run()["msg"] == (
        f"systemctl enable {_service.NAME} failed: Failed to enable unit: masked"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_unit_that_is_masked_is_refused_before_the_first_write(
    machine: Machine, run: Runner, check_mode: bool
) -> None:
    # What `systemctl mask` leaves.
    directory = Path(machine.path(_service.UNIT)).parent
    directory.mkdir(parents=True)
    device = directory / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    Path(machine.path(_service.UNIT)).symlink_to("null")
    answer = run(check_mode=check_mode)
    assert answer["failed"]
    assert f"{_service.UNIT} is no regular file" in answer["msg"]
    assert not machine.exists(_service.PROGRAM)
    assert device.is_char_device()
