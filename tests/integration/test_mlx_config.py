# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module `mlx_config` with the unmodified `mstconfig` of two Debian releases.

Only the cards are emulated. Each test has new ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import typing as t
from pathlib import Path

import pytest
from connectx.machine import Card, Machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the emulated cards take root")

RELEASES = ["bookworm", "trixie"]  # mstflint 4.21 and 4.31
COLLECTIONS = Path(__file__).parents[2] / ".ansible" / "collections"
PROGRAM = """
import sys
from ansible.module_utils import basic
from ansible_collections.mergetb.sriov.plugins.modules import mlx_config
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"  # Since ansible-core 2.19 the serialization has a name.
mlx_config.main()
"""
PORTS = ["0000:3b:00.0", "0000:3b:00.1"]
PF0, PF1 = PORTS
OTHER = "0000:5e:00.0"
VFS = {"SRIOV_EN": True, "NUM_OF_VFS": 16}


class Hypervisor(t.NamedTuple):
    """A machine, and the release that its `mstconfig` is of."""

    machine: Machine
    release: str

    def __call__(
        self, *devices: tuple[str, dict[str, t.Any]], check_mode: bool = False, **options: t.Any
    ) -> dict[str, t.Any]:
        """What the module answers for *devices*."""
        arguments = {
            "devices": [
                {"address": address, "settings": settings} for address, settings in devices
            ],
            "_ansible_check_mode": check_mode,
            **options,
        }
        done = self.machine.run(
            [sys.executable, "-c", PROGRAM],
            stdin=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            # A module asks its ancestors for their SSH client until one has it; a container may
            # not let it ask the first.
            env={"PYTHONPATH": str(COLLECTIONS), "SSH_CONNECTION": "127.0.0.1 40022 127.0.0.1 22"},
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def next(self, address: str = PF0) -> dict[str, int]:
        """What the flash has for the next start."""
        return {name: columns.next for name, columns in self.machine.settings(address).items()}


@contextlib.contextmanager
def powered(cards: t.Sequence[Card], release: str | None, directory: Path) -> t.Iterator[Machine]:
    """A machine with *cards* and a ledger of its own."""
    with Machine(cards, mstflint=release, directory=directory) as machine:
        machine.run(["mount", "-t", "tmpfs", "none", "/var/lib"]).check_returncode()
        yield machine


@pytest.fixture(params=RELEASES)
def card(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Hypervisor]:
    with powered([Card("ConnectX-5 VPI", PORTS)], request.param, tmp_path) as machine:
        yield Hypervisor(machine, request.param)


def columns(answer: dict[str, t.Any], name: str) -> tuple[t.Any, ...]:
    (device,) = answer["devices"]
    return tuple(device["settings"][name][column] for column in ("default", "current", "next"))


def test_from_off_to_on_and_no_further(card: Hypervisor) -> None:
    wish = (PF0, {**VFS, "LINK_TYPE_P1": "eth"})

    predicted = card(wish, check_mode=True)
    assert predicted["changed"]
    assert card.machine.writes == 0
    assert columns(predicted, "NUM_OF_VFS") == (0, 0, 0)

    done = card(wish)
    for key in ("changed", "steps", "diff", "reboot_required", "power_cycle_required"):
        assert predicted[key] == done[key], key
    assert done["steps"] == {PF0: ["SRIOV_EN=1 NUM_OF_VFS=16"]}
    assert done["reboot_required"]
    assert not done["power_cycle_required"]
    assert columns(done, "SRIOV_EN") == (False, False, True)
    assert columns(done, "NUM_OF_VFS") == (0, 0, 16)
    assert columns(done, "LINK_TYPE_P1") == ("ETH(2)",) * 3
    assert done["devices"][0]["type"] == "ConnectX5"
    assert done["diff"][0]["before"]["SRIOV_EN"] == dict.fromkeys(
        ("default", "current", "next"), False
    )
    assert done["diff"][0]["after"] == done["devices"][0]["settings"]
    writes = card.machine.writes

    pending = card(wish)
    assert not pending["changed"]
    assert pending["steps"] == {}
    assert pending["reboot_required"]

    card.machine.reboot()
    cured = card(wish)
    assert not cured["changed"]
    assert not cured["reboot_required"]
    assert columns(cured, "NUM_OF_VFS") == (0, 16, 16)
    assert card.machine.writes == writes


def test_pending_although_next_is_as_wanted_again(card: Hypervisor) -> None:
    card.machine.put(PF0, current={"SRIOV_EN": 1, "NUM_OF_VFS": 8})
    answer = card((PF0, {"SRIOV_EN": False}))
    assert not answer["changed"]
    assert answer["reboot_required"]


def test_a_reboot_that_does_not_cure_and_a_power_cycle_that_does(card: Hypervisor) -> None:
    card.machine.fault("refuse_reset")
    assert card((PF0, VFS))["power_cycle_required"]
    card.machine.reboot()
    answer = card((PF0, VFS))
    assert answer["reboot_required"]
    assert not answer["power_cycle_required"], "nothing was written, so the tool said nothing"
    card.machine.power_cycle()
    assert not card((PF0, VFS))["reboot_required"]


def test_two_ports_are_one_card(card: Hypervisor) -> None:
    refused = card((PF0, VFS), (PF1, {**VFS, "NUM_OF_VFS": 8}))
    assert refused["failed"]
    assert f"NUM_OF_VFS is wanted as 16 for {PF0}, 8 for {PF1}" in refused["msg"]
    assert card.machine.writes == 0

    done = card((PF0, VFS), (PF1, {**VFS, "NUM_OF_VFS": 24}), largest_numvfs=True)
    assert done["steps"] == {PF0: ["SRIOV_EN=1 NUM_OF_VFS=24"]}
    assert [device["address"] for device in done["devices"]] == PORTS
    assert {device["settings"]["NUM_OF_VFS"]["next"] for device in done["devices"]} == {24}
    assert not card((PF1, {**VFS, "NUM_OF_VFS": 24}))["changed"]


def make_vfs(card: Hypervisor, port: str, count: int) -> None:
    numvfs = f"/sys/bus/pci/devices/{port}/sriov_numvfs"
    card.machine.run(["sh", "-c", f"echo {count} > {numvfs}"]).check_returncode()


def test_a_number_that_suffices_is_left_alone(card: Hypervisor) -> None:
    """The other port lost its 32 VFs where the model wanted 8 of this one."""
    both = {"SRIOV_EN": 1, "NUM_OF_VFS": 64}
    card.machine.put(PF0, current=both, next=both)
    make_vfs(card, PF1, 32)
    eight = (PF0, {**VFS, "NUM_OF_VFS": 8})

    answer = card(eight)
    assert (answer["changed"], answer["reboot_required"]) == (False, False)
    assert f"lower_numvfs names {OTHER}, which" in card(eight, lower_numvfs=[OTHER])["msg"]
    refused = card(eight, lower_numvfs=[PF1])
    assert f"offers 64 VFs a PF and would offer 8, but {PF1} has 32 VFs" in refused["msg"]
    assert card.machine.writes == 0

    make_vfs(card, PF1, 8)
    lowered = card(eight, lower_numvfs=[PF0])
    assert lowered["steps"] == {PF0: ["NUM_OF_VFS=8"]}
    assert card.next()["NUM_OF_VFS"] == 8
    assert lowered["reboot_required"]


def test_settings_differ_from_card_to_card(tmp_path: Path) -> None:
    cards = [Card("ConnectX-5 VPI", PORTS), Card("ConnectX-6 Dx", [OTHER])]
    with powered(cards, "trixie", tmp_path) as machine:
        host = Hypervisor(machine, "trixie")
        done = host(
            (PF0, VFS),
            (PF1, VFS),
            (OTHER, VFS),
            card_settings={PF1: {"LINK_TYPE_P1": "IB"}, OTHER: {"NUM_OF_VFS": 64}},
        )
        assert done["steps"] == {
            PF0: ["SRIOV_EN=1 NUM_OF_VFS=16 LINK_TYPE_P1=IB"],
            OTHER: ["SRIOV_EN=1 NUM_OF_VFS=64"],
        }


def test_a_hidden_parameter_comes_after_its_switch(card: Hypervisor) -> None:
    wish = (PF0, {"NUM_OF_VFS": 4, "PF_NUM_OF_VF": 12, "PF_NUM_OF_VF_VALID": True})
    predicted = card(wish, check_mode=True)
    done = card(wish)
    assert done["steps"] == {PF0: ["PF_NUM_OF_VF_VALID=1", "NUM_OF_VFS=4 PF_NUM_OF_VF=12"]}
    assert predicted["steps"] == done["steps"]
    assert predicted["diff"] == done["diff"]
    assert columns(done, "PF_NUM_OF_VF")[2] == 12
    assert not card(wish)["changed"]


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        ({**VFS, "LINK_TYPE_P3": "eth"}, ["LINK_TYPE_P3: the tool knows no such parameter"]),
        (
            {"NUM_OF_VF": 16, "PF_NUM_OF_VF": 16, **VFS},
            ["NUM_OF_VF: the tool knows no", "PF_NUM_OF_VF: the card's firmware does not offer it"],
        ),
        ({**VFS, "NUM_OF_VFS": 128}, ["NUM_OF_VFS is larger than maximum allowed, which is 127"]),
        ({**VFS, "LINK_TYPE_P1": "wifi"}, ["WIFI is no value of its parameter"]),
        ({**VFS, "NUM_OF_VFS": "many"}, ["the value is a text, but the parameter takes a number"]),
        (
            {"SRIOV_EN": 1, "NUM_OF_VFS": 127, "NUM_VF_MSIX": 100},
            ["NUM_OF_VFS does not fit the card's other parameters", "ask for fewer VFs"],
        ),
        ({"SRIOV_EN": True}, ["SRIOV_EN is true and NUM_OF_VFS 0"]),
    ],
)
def test_what_cannot_be_writes_nothing(
    card: Hypervisor, settings: dict[str, t.Any], messages: list[str]
) -> None:
    before = card.next()
    answer = card((PF0, settings))
    assert answer["failed"]
    for message in messages:
        assert message in answer["msg"]
    assert card.next() == before
    assert card.machine.writes == 0


@pytest.mark.parametrize(
    ("fault", "value", "message"),
    [
        ("lockdown", True, "the kernel is in lockdown"),
        ("vsc_semaphore", True, "the card does not answer, or somebody else uses it"),
        ("icmd_semaphore", True, "or somebody else uses its command interface"),
        ("lock_file", True, "another process uses it, or another host that shares the card"),
        ("livefish", True, "livefish mode"),
        ("no_nv_access", True, "gives this host no access to its configuration"),
        ("read_only", ["SRIOV_EN"], "SRIOV_EN: the card's firmware"),
        ("unsupported", ["SRIOV_EN"], "SRIOV_EN: the card's firmware does not offer it"),
    ],
)
def test_a_card_that_cannot_be_set(
    card: Hypervisor, fault: str, value: t.Any, message: str
) -> None:
    card.machine.fault(fault, value)
    answer = card((PF0, VFS))
    assert answer["failed"]
    assert f"{PF0}: " in answer["msg"]
    assert message in answer["msg"]
    assert card.machine.writes == 0


def test_a_read_only_parameter_that_is_as_wanted_is_none(card: Hypervisor) -> None:
    if card.release == "bookworm":
        pytest.skip("mstconfig shows read-only parameters since 4.31")
    card.machine.fault("read_only", ["SRIOV_EN", "NUM_OF_VFS"])
    answer = card((PF0, {"SRIOV_EN": False, "NUM_OF_VFS": 0}))
    assert not answer["changed"]
    assert "lets nobody change it" in card((PF0, VFS))["msg"]


def test_interrupted_between_two_writes(card: Hypervisor) -> None:
    wish = (PF0, {**VFS, "ADVANCED_PCI_SETTINGS": True})
    card.machine.fault("fail_write", 2)
    answer = card(wish)
    assert "the firmware refused to store all of it" in answer["msg"]
    written, missing = answer["msg"].split("not written: ")
    for name, value in {"SRIOV_EN": 1, "NUM_OF_VFS": 16, "ADVANCED_PCI_SETTINGS": 1}.items():
        assert f"{name}={value}" in (written if card.next()[name] == value else missing)
    assert missing != "nothing"
    card.machine.heal()
    assert card(wish)["changed"]
    after = {name: card.next()[name] for name in wish[1]}
    assert after == {"SRIOV_EN": 1, "NUM_OF_VFS": 16, "ADVANCED_PCI_SETTINGS": 1}
    assert not card(wish)["changed"]


def test_firmware_that_does_not_tell_current(card: Hypervisor) -> None:
    card.machine.fault("no_current")
    wish = (PF0, {**VFS, "LINK_TYPE_P1": "ETH"})
    done = card(wish)
    assert columns(done, "NUM_OF_VFS") == (0, None, 16)
    assert done["reboot_required"]
    assert "does not tell the current value" in json.dumps(done["warnings"])
    # Nobody knows that of LINK_TYPE_P1; of the VFs the kernel does.
    assert card(wish)["reboot_required"]
    card.machine.reboot()
    assert not card(wish)["reboot_required"]


def test_firmware_that_does_not_tell_the_default(card: Hypervisor) -> None:
    card.machine.fault("no_default")
    assert columns(card((PF0, VFS)), "NUM_OF_VFS") == (None, 0, 16)


def test_a_reset_is_not_made_where_a_port_has_vfs(card: Hypervisor) -> None:
    card.machine.put(PF0, current={"SRIOV_EN": 1, "NUM_OF_VFS": 8})
    numvfs = f"/sys/bus/pci/devices/{PF1}/sriov_numvfs"
    card.machine.run(["sh", "-c", f"echo 2 > {numvfs}"]).check_returncode()
    predicted = card((PF0, VFS), reset=True, check_mode=True)
    done = card((PF0, VFS), reset=True)
    for answer in (predicted, done):
        assert f"was not reset, because {PF1} has 2 VFs" in json.dumps(answer["warnings"])
        assert answer["reboot_required"]
    assert predicted["steps"] == done["steps"]


def test_a_reset_that_fails_leaves_the_reboot(card: Hypervisor) -> None:
    done = card((PF0, VFS), reset=True)
    assert done["steps"] == {PF0: ["SRIOV_EN=1 NUM_OF_VFS=16"]}
    assert f"mstfwreset could not reset the firmware of {PF0}" in json.dumps(done["warnings"])
    assert done["reboot_required"]


@pytest.mark.parametrize("release", RELEASES)
def test_two_cards(tmp_path: Path, release: str) -> None:
    cards = [Card("ConnectX-5", PORTS), Card("ConnectX-6 Dx", [OTHER])]
    with powered(cards, release, tmp_path) as machine:
        host = Hypervisor(machine, release)
        failed = host((PF0, VFS), (OTHER, {**VFS, "NUM_OF_VFS": 500}))
        assert "NUM_OF_VFS is larger" in failed["msg"]
        assert f"Done before that: {PF0} SRIOV_EN=1 NUM_OF_VFS=16" in failed["msg"]

        done = host((PF0, VFS), (OTHER, {**VFS, "NUM_OF_VFS": 64}))
        assert done["steps"] == {OTHER: ["SRIOV_EN=1 NUM_OF_VFS=64"]}
        assert [device["changed"] for device in done["devices"]] == [False, True]
        assert [device["reboot_required"] for device in done["devices"]] == [True, True]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("mode", "refused"), [("NIC", False), ("DPU", True)])
def test_bluefield(tmp_path: Path, release: str, mode: str, refused: bool) -> None:
    card = Card(f"BlueField-2 {mode}", PORTS)
    with powered([card], release, tmp_path) as machine:
        answer = Hypervisor(machine, release)((PF0, VFS))
        assert answer.get("failed", False) is refused
        if refused:
            assert "is a BlueField in DPU mode (INTERNAL_CPU_" in answer["msg"]
            assert machine.writes == 0
        else:
            assert answer["changed"]
            assert set(answer["devices"][0]["settings"]) == set(VFS)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("0000:3c:00.0", "there is no PCI device 0000:3c:00.0 on this host"),
        ("../../../etc", "there is no PCI device ../../../etc on this host"),
    ],
)
def test_a_card_that_is_not_there(card: Hypervisor, address: str, message: str) -> None:
    assert message in card((address, VFS))["msg"]


def test_without_the_tool(tmp_path: Path) -> None:
    with powered([Card("ConnectX-5", PORTS)], None, tmp_path) as machine:
        answer = Hypervisor(machine, "")((PF0, VFS))
        assert "mstconfig and mlxconfig are not installed" in answer["msg"]
        answer = Hypervisor(machine, "")((PF0, VFS), tool="mlxconfig")
        assert "mlxconfig is not installed" in answer["msg"]
