# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unmodified `mstconfig` finds in the emulator what it finds in a card."""

from __future__ import annotations

import typing as t

import pytest
from connectx.machine import Card, Machine

PF, OTHER_PF = "0000:3b:00.0", "0000:3b:00.1"


def query(machine: Machine, pf: str, *names: str) -> dict[str, list[str]]:
    """The columns that `mstconfig` prints for parameters."""
    done = machine.run(["mstconfig", "-e", "-d", pf, "q", *names])
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.lstrip("* ").split() for line in done.stdout.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0] in names}


def set_(machine: Machine, pf: str, *settings: str) -> str:
    done = machine.run(["mstconfig", "-y", "-d", pf, "set", *settings])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_setting_is_pending_until_a_reboot_and_is_that_of_both_ports(machine: Machine) -> None:
    assert "Please reboot machine" in set_(machine, PF, "SRIOV_EN=1", "NUM_OF_VFS=16")
    assert machine.writes == 1  # Both are in one TLV.
    assert query(machine, OTHER_PF, "NUM_OF_VFS", "LINK_TYPE_P2") == {
        "NUM_OF_VFS": ["0", "0", "16"],
        "LINK_TYPE_P2": ["ETH(2)", "ETH(2)", "ETH(2)"],
    }
    attributes = f"/sys/bus/pci/devices/{OTHER_PF}"
    assert machine.run(["cat", f"{attributes}/sriov_totalvfs"]).returncode != 0
    machine.reboot()
    assert query(machine, PF, "NUM_OF_VFS") == {"NUM_OF_VFS": ["0", "16", "16"]}
    assert machine.run(["cat", f"{attributes}/sriov_totalvfs"]).stdout == "16\n"
    assert machine.run(["sh", "-c", f"echo 16 > {attributes}/sriov_numvfs"]).returncode == 0
    refused = machine.run(["sh", "-c", f"echo 17 > {attributes}/sriov_numvfs"])
    assert refused.returncode != 0
    assert machine.run(["cat", f"{attributes}/sriov_numvfs"]).stdout == "16\n"
    assert machine.writes == 1  # A query and a reboot write nothing.


def test_the_flash_survives_the_emulator(machine: Machine, release: str) -> None:
    machine.put(PF, next={"NUM_OF_VFS": 8}, current={"LINK_TYPE_P2": 1})
    machine.__exit__()
    again = Machine(
        [Card("ConnectX-5 VPI", [PF, OTHER_PF])], mstflint=release, directory=machine.directory
    )
    with again:
        assert query(again, PF, "NUM_OF_VFS", "LINK_TYPE_P2") == {
            "NUM_OF_VFS": ["0", "0", "8"],
            "LINK_TYPE_P2": ["ETH(2)", "IB(1)", "ETH(2)"],
        }
        assert again.writes == 0


def test_a_reset_restores_the_defaults_at_the_next_start(machine: Machine) -> None:
    machine.put(PF, current={"NUM_OF_VFS": 8}, next={"NUM_OF_VFS": 9})
    done = machine.run(["mstconfig", "-y", "-d", PF, "reset"])
    assert done.returncode == 0, done.stdout
    assert machine.settings(PF)["NUM_OF_VFS"] == (0, 8, 0)
    assert machine.writes == 1


def test_each_function_has_settings_of_its_own(machine: Machine) -> None:
    machine.put(PF, next={"PF_NUM_OF_VF_VALID": 1})
    set_(machine, OTHER_PF, "PF_NUM_OF_VF=4")
    assert machine.settings(OTHER_PF)["PF_NUM_OF_VF"].next == 4
    assert machine.settings(PF)["PF_NUM_OF_VF"].next == 0


def test_a_parameter_is_hidden_until_another_unhides_it(machine: Machine) -> None:
    command = ["mstconfig", "-y", "-d", PF, "set"]
    refused = machine.run([*command, "PF_NUM_OF_VF_VALID=1", "PF_NUM_OF_VF=4"])
    assert refused.returncode == 3
    assert "doesn't support PF_NUM_OF_VF parameter" in refused.stdout
    assert machine.writes == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["NUM_OF_VFS=500"], "larger than maximum allowed 127"),
        (["NO_SUCH_PARAMETER=1"], "Unknown Parameter: NO_SUCH_PARAMETER"),
        (["LINK_TYPE_P3=ETH"], "Unknown Parameter: LINK_TYPE_P3"),
    ],
)
def test_a_setting_that_cannot_be_writes_nothing(
    machine: Machine, settings: t.Sequence[str], message: str
) -> None:
    done = machine.run(["mstconfig", "-y", "-d", PF, "set", *settings])
    assert done.returncode == 3
    assert message in done.stdout
    assert machine.writes == 0


ALL = {
    "0000:01:00.0": "ConnectX-4 Lx",
    "0000:02:00.0": "ConnectX-5",
    "0000:04:00.0": "ConnectX-6 Dx",
    "0000:06:00.0": "BlueField-2 NIC",
    "0000:07:00.0": "BlueField-2 DPU",
}


def test_a_machine_can_have_several_cards(
    make_machine: t.Callable[..., Machine], release: str
) -> None:
    cards = [Card(profile, [address]) for address, profile in ALL.items()]
    machine = make_machine(*cards, release=release)
    set_(machine, "0000:02:00.0", "SRIOV_EN=1", "NUM_OF_VFS=4")
    assert query(machine, "0000:02:00.0", "NUM_OF_VFS") == {"NUM_OF_VFS": ["0", "0", "4"]}
    assert machine.settings("0000:01:00.0")["NUM_OF_VFS"].next == 0
    listed = machine.run(["mstconfig", "-d", "0000:04:00.0", "q", "NUM_OF_VFS"])
    assert "ConnectX6DX" in listed.stdout
    ethernet = machine.run(["mstconfig", "-d", "0000:02:00.0", "q", "LINK_TYPE_P1"])
    assert "The Device doesn't support LINK_TYPE_P1 parameter" in ethernet.stdout
    for address, value in (("0000:06:00.0", "DISABLED(1)"), ("0000:07:00.0", "ENABLED(0)")):
        name = "INTERNAL_CPU_OFFLOAD_ENGINE"
        assert query(machine, address, name) == {name: 3 * [value]}


def test_a_bluefield_changes_its_mode_only_by_a_power_cycle(
    make_machine: t.Callable[..., Machine],
) -> None:
    machine = make_machine(Card("BlueField-2 DPU", [PF, OTHER_PF]))
    text = set_(machine, PF, "INTERNAL_CPU_OFFLOAD_ENGINE=DISABLED")
    assert "Please power cycle machine to load new configurations." in text
    machine.reboot()
    assert machine.settings(PF)["INTERNAL_CPU_OFFLOAD_ENGINE"] == (0, 0, 1)
    machine.power_cycle()
    assert machine.settings(PF)["INTERNAL_CPU_OFFLOAD_ENGINE"] == (0, 1, 1)
