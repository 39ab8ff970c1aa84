# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each fault makes the unmodified `mstconfig` say what it says of a card that has it."""

from __future__ import annotations

import typing as t

import pytest
from connectx.card import ConnectXError
from connectx.machine import Machine

PF = "0000:3b:00.0"
QUERY = ["mstconfig", "-d", PF, "q", "SRIOV_EN"]
SET = ["mstconfig", "-y", "-d", PF, "set", "SRIOV_EN=1", "NUM_OF_VFS=16"]
NO_NV_ACCESS = "Error when trying to check if NV access registers are supported"


@pytest.mark.parametrize(
    ("fault", "value", "command", "message"),
    [
        ("lockdown", True, QUERY, "write counter to semaphore: Operation not permitted"),
        ("vsc_semaphore", True, QUERY, "-E- Failed to open the device"),
        ("lock_file", True, QUERY, "failed to perform lock operation"),
        ("icmd_semaphore", True, QUERY, NO_NV_ACCESS),
        ("no_nv_access", True, QUERY, "Cannot access NV register"),
        ("livefish", True, QUERY, "-E- Device in Livefish mode is not supported"),
        ("unsupported", ["SRIOV_EN"], QUERY, "The Device doesn't support SRIOV_EN parameter"),
        ("max_vfs", 8, SET, "larger than maximum allowed 8"),
    ],
)
def test_the_tool_fails_with_the_message(
    machine: Machine, fault: str, value: t.Any, command: t.Sequence[str], message: str
) -> None:
    machine.fault(fault, value)
    done = machine.run(command)
    assert done.returncode == 3
    assert message in done.stdout + done.stderr
    assert machine.writes == 0


def test_a_card_heals(machine: Machine) -> None:
    machine.fault("lockdown")
    machine.fault("vsc_semaphore")
    machine.fault("lock_file")
    assert machine.run(QUERY).returncode == 3
    machine.heal()
    assert machine.run(QUERY).returncode == 0


def test_a_card_cannot_tell_what_is_in_force(machine: Machine) -> None:
    machine.put(PF, current={"SRIOV_EN": 1})
    machine.fault("no_current")
    done = machine.run(["mstconfig", "-e", "-d", PF, "q", "SRIOV_EN"])
    assert done.returncode == 0
    assert "does not support reading current configuration" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "SRIOV_EN" in line)
    assert row.lstrip("* ").split()[1:] == ["False(0)", "False(0)"]


def test_a_reset_that_is_refused_asks_for_a_power_cycle(machine: Machine) -> None:
    machine.fault("refuse_reset")
    assert "Please power cycle machine to load new configurations." in machine.run(SET).stdout
    machine.reboot()
    assert machine.settings(PF)["NUM_OF_VFS"] == (0, 0, 16)
    machine.power_cycle()
    assert machine.settings(PF)["NUM_OF_VFS"] == (0, 16, 16)


def test_a_card_may_ignore_a_reboot(machine: Machine) -> None:
    machine.fault("ignore_reboot")
    assert "Please reboot machine" in machine.run(SET).stdout
    machine.reboot()
    assert machine.settings(PF)["SRIOV_EN"] == (0, 0, 1)
    machine.fault("ignore_reboot", False)
    machine.reboot()
    assert machine.settings(PF)["SRIOV_EN"] == (0, 1, 1)


def test_the_flash_fails_between_two_writes(machine: Machine) -> None:
    machine.fault("fail_write", 2)
    done = machine.run([*SET, "ADVANCED_PCI_SETTINGS=1"])
    assert done.returncode == 3
    assert "-E- Failed to set nv_pci_conf settings" in done.stdout
    settings = machine.settings(PF)
    assert settings["NUM_OF_VFS"].next == 16
    assert settings["ADVANCED_PCI_SETTINGS"].next == 0


def test_only_one_write_fails(machine: Machine, release: str) -> None:
    machine.fault("fail_once", 1)
    done = machine.run(SET)
    # 4.21 tries again, with the bytes of each dword swapped, and is content.
    # The dword is 0x80020010: SR-IOV is on, two PFs, 16 VFs.
    returncode, vfs = {"bookworm": (0, 0x0280), "trixie": (3, 0)}[release]
    assert done.returncode == returncode
    assert machine.settings(PF)["NUM_OF_VFS"].next == vfs


def test_a_parameter_is_read_only(machine: Machine) -> None:
    machine.fault("read_only", ["SRIOV_EN"])
    assert machine.run(SET).returncode == 3
    assert machine.settings(PF)["SRIOV_EN"].next == 0
    assert machine.writes == 0


def test_only_a_fault_that_exists_can_be_given(machine: Machine) -> None:
    with pytest.raises(ConnectXError, match="no fault 'lock_down'"):
        machine.fault("lock_down")
    with pytest.raises(ConnectXError, match="no card 0000:99:00.0"):
        machine.fault("livefish", card="0000:99:00.0")
