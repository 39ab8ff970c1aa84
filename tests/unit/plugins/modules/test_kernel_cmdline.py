# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _loaders
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._loaders import (
    DEFAULT_GRUB,
    GRUB_OWN,
    KERNEL_CMDLINE,
)
from ansible_collections.mergetb.sriov.plugins.modules import kernel_cmdline
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import (
    DEBIAN_GRUB,
    BootMachine,
    DebianMachine,
    arguments_of,
)
from ansible_collections.mergetb.sriov.tests.unit.interleaving import overtaken
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

OFF = "BOOT_IMAGE=/vmlinuz root=UUID=9d ro quiet intel_iommu=off\n"
DMAR = {"/sys/firmware/acpi/tables/DMAR": "", "/proc/cmdline": OFF}
EFFECTIVE = {"/sys/class/iommu/dmar0/x": "", "/sys/kernel/iommu_groups/0/x": ""}

Run = t.Callable[[BootMachine], Runner]


@pytest.fixture
def run_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda machine: Runner(kernel_cmdline, machine, monkeypatch, capsys)


def bare(root: Path, files: dict[str, str]) -> DebianMachine:
    text = DEBIAN_GRUB.replace('"quiet"', '"quiet intel_iommu=off"')
    machine = DebianMachine(root, {DEFAULT_GRUB: text, **files})
    machine.run(["update-grub"])
    machine.calls.clear()
    machine.log.clear()
    return machine


def test_check_mode_writes_nothing_and_predicts_the_run(tmp_path: Path, run_on: Run) -> None:
    machine = bare(tmp_path, DMAR)
    run = run_on(machine)
    before = machine.files()

    predicted = run(check_mode=True, iommu=True, present=["iommu=pt"])

    assert machine.files() == before
    assert machine.calls == []
    done = run(iommu=True, present=["iommu=pt"])
    assert set(predicted.pop("configured")) == set(done.pop("configured"))
    for answer in (predicted, done):
        answer.pop("invocation", None)  # Only before ansible-core 2.21.
    assert predicted == done
    assert done["changed"]
    files, entries = done["diff"]
    assert files["before_header"] == GRUB_OWN
    assert files["before"] == ""
    assert files["after"] == (machine.read_bytes(GRUB_OWN) or b"").decode()
    assert "intel_iommu=off" in entries["before"]
    assert "intel_iommu=on iommu=pt" in entries["after"]


def test_a_second_run_writes_nothing(tmp_path: Path, run_on: Run) -> None:
    machine = bare(tmp_path, DMAR)
    run = run_on(machine)
    run(iommu=True)
    machine.log.clear()
    machine.calls.clear()

    again = run(iommu=True)

    assert not again["changed"]
    assert machine.log == []
    assert machine.calls == []
    assert again["reboot_required"]


def test_it_sees_what_a_run_before_it_wrote(tmp_path: Path, run_on: Run) -> None:
    """Two runs at once read the same file, and the second took the first one's argument away."""
    machine = bare(tmp_path, {**DMAR, **EFFECTIVE})
    run = run_on(machine)

    def other() -> None:
        wanted = _loaders.plan_host(machine, iommu=False, present=["nosmt"])
        _loaders.apply(wanted)

    overtaken(machine, lambda: run(present=["hugepages=16"]), other)

    _linux, default = arguments_of(machine.root)
    assert {"nosmt", "hugepages=16"} <= set(_linux + default)


def test_a_reboot_is_required_while_the_iommu_is_off(tmp_path: Path, run_on: Run) -> None:
    done = run_on(bare(tmp_path, DMAR))(iommu=True, present=["iommu=pt"])
    assert done["reboot_required"]
    assert done["reason"] == (
        "the kernel was started without intel_iommu=on and with intel_iommu=off"
    )
    assert done["pending"] == {
        "missing": ["intel_iommu=on", "iommu=pt"],
        "unwanted": ["intel_iommu=off"],
    }
    assert done["iommu"] == {"platform": "Intel VT-d", "effective": False}
    assert done["boot_loader"] == "grub"


def test_an_effective_iommu_takes_no_reboot(tmp_path: Path, run_on: Run) -> None:
    files = {**DMAR, **EFFECTIVE, "/proc/cmdline": "ro intel_iommu=on"}
    done = run_on(bare(tmp_path, files))(iommu=True, present=["iommu=pt"])
    assert done["changed"]
    assert done["pending"]["missing"] == ["iommu=pt"]
    assert not done["reboot_required"]
    assert done["reason"] == ""


def test_without_iommu_the_arguments_decide(tmp_path: Path, run_on: Run) -> None:
    done = run_on(bare(tmp_path, {**DMAR, **EFFECTIVE}))(present=["hugepages=16"])
    assert done["reboot_required"]
    assert done["reason"] == "the kernel was started without hugepages=16"
    assert "intel_iommu=off" in done["configured"]


def test_amd_needs_nothing_and_loses_what_it_does_not_know(tmp_path: Path, run_on: Run) -> None:
    machine = DebianMachine(
        tmp_path,
        {
            DEFAULT_GRUB: 'GRUB_CMDLINE_LINUX="amd_iommu=on ro"\n',
            "/sys/firmware/acpi/tables/IVRS": "",
            **EFFECTIVE,
        },
    )
    assert run_on(machine)(iommu=True)["changed"]
    assert arguments_of(machine.root) == (["ro"], [])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"/proc/cmdline": "ro"}, "the firmware announces no IOMMU"),
        (
            {**DMAR, "/proc/cmdline": "ro intel_iommu=on"},
            "has not made Intel VT-d effective although it was started with intel_iommu=on",
        ),
    ],
)
def test_what_no_reboot_can_cure_fails_before_anything_is_written(
    tmp_path: Path, run_on: Run, files: dict[str, str], message: str
) -> None:
    machine = bare(tmp_path, files)
    failed = run_on(machine)(iommu=True)
    assert failed["failed"]
    assert message in failed["msg"]
    assert "firmware setup" in failed["msg"]
    assert machine.log == []
    assert machine.calls == []


def test_bad_input_changes_nothing(tmp_path: Path, run_on: Run) -> None:
    machine = bare(tmp_path, DMAR)
    assert "not a kernel argument" in run_on(machine)(present=["a b"])["msg"]
    assert "also absent" in run_on(machine)(iommu=True, present=["amd_iommu=on"])["msg"]
    assert machine.log == []
    assert machine.calls == []


def test_what_is_not_utf_8_is_kept_and_can_be_reported(tmp_path: Path, run_on: Run) -> None:
    text = 'GRUB_CMDLINE_LINUX="a=\udce9 hugepages=\udce9"\n'
    machine = DebianMachine(tmp_path, {DEFAULT_GRUB: text})
    machine.run(["update-grub"])

    done = run_on(machine)(present=["nosmt"], absent=["hugepages"])

    assert arguments_of(machine.root) == (["a=\udce9", "nosmt"], [])
    assert done["configured"][2:] == ["a=\ufffd", "nosmt"]
    assert "hugepages=\ufffd" in done["diff"][0]["after"]
    machine.put(DEFAULT_GRUB, ". '/\udce9'\n")
    assert "cannot open /\ufffd" in run_on(machine)(present=["nosmt"])["msg"]


def test_a_boot_loader_that_shows_no_entries(tmp_path: Path, run_on: Run) -> None:
    machine = BootMachine(tmp_path, {**DMAR, KERNEL_CMDLINE: "root=UUID=9d ro intel_iommu=off\n"})
    done = run_on(machine)(iommu=True)
    assert done["changed"]
    assert done["configured"] is None
    assert done["boot_loader"] == "systemd-boot"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_file_that_is_masked_is_refused_before_the_first_write(
    tmp_path: Path, run_on: Run, check_mode: bool
) -> None:
    machine = bare(tmp_path, DMAR)
    machine.mask(GRUB_OWN)
    answer = run_on(machine)(check_mode=check_mode, iommu=True)
    assert answer["failed"]
    assert f"{GRUB_OWN} is no regular file" in answer["msg"]
    assert machine.calls == []
    assert Path(machine.path("/dev/null")).is_char_device()


def test_what_the_file_system_refuses_is_an_error_that_can_be_read(
    tmp_path: Path, run_on: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = bare(tmp_path, {**DMAR, f"{DEFAULT_GRUB}.d/50-old.cfg/grub": ""})
    answer = run_on(machine)(iommu=True)
    assert answer["failed"]
    assert "50-old.cfg': mend that, and run again" in answer["msg"]

    def read_only(descriptor: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/etc")

    machine = bare(tmp_path / "read-only", DMAR)
    monkeypatch.setattr(os, "fsync", read_only)
    answer = run_on(machine)(iommu=True)
    assert answer["msg"] == ("[Errno 30] Read-only file system: '/etc': mend that, and run again")
    assert not machine.exists(GRUB_OWN)


def test_what_not_even_root_may_do(
    tmp_path: Path, run_on: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def immutable(*_arguments: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), GRUB_OWN)

    monkeypatch.setattr(os, "rename", immutable)
    for user, remedy in ((0, "not even root may"), (1000, "set become")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        machine = bare(tmp_path / str(user), DMAR)
        assert remedy in run_on(machine)(iommu=True)["msg"]
