# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs
from ansible_collections.mergetb.sriov.plugins.modules import mlx_config
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    Machine,
    ledger_entry,
)
from ansible_collections.mergetb.sriov.tests.unit.firmware import Firmware
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

PF0 = "0000:3b:00.0"
PF1 = "0000:3b:00.1"
WISH = [{"address": PF0, "settings": {"SRIOV_EN": True, "NUM_OF_VFS": 16}}]


class Hypervisor(Machine):
    """A host with a card that no emulation has: one that resets, forgets, or breaks on the way."""

    def __init__(self, directory: Path, *, device: str = "0x1017") -> None:
        super().__init__(directory)
        self.firmware = Firmware()
        self.routes: list[dict[str, str]] = []
        for address, interface in ((PF0, "p0"), (PF1, "p1")):
            self.add_function(address, vendor="0x15b3", device=device)
            self.add_interface(interface, address, mac=f"04:70:00:00:00:{address[-1]:0>2}")
        self.log.clear()

    def has_command(self, name: str) -> bool:
        return name == "mstconfig"

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        if argv[0] == "ip":
            return Completed(0, json.dumps(self.routes), "")
        return self.firmware.run(argv)


@pytest.fixture
def host(tmp_path: Path) -> Hypervisor:
    return Hypervisor(tmp_path)


@pytest.fixture
def run(
    host: Hypervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Runner(mlx_config, host, monkeypatch, capsys)


def test_a_reset_loads_what_was_set(host: Hypervisor, run: Runner) -> None:
    predicted = run(check_mode=True, devices=WISH, reset=True)
    assert host.firmware.calls == []
    done = run(devices=WISH, reset=True)
    for key in ("changed", "steps", "diff", "reboot_required", "power_cycle_required"):
        assert predicted[key] == done[key]
    assert done["steps"] == {PF0: ["SRIOV_EN=1 NUM_OF_VFS=16", "reset"]}
    assert not done["reboot_required"]
    assert done["devices"][0]["settings"]["NUM_OF_VFS"] == {"default": 0, "current": 16, "next": 16}
    assert host.firmware.calls[1:] == [f"mstfwreset -d {PF0} -l 3 -y reset"]

    assert not run(devices=WISH, reset=True)["changed"]
    assert len(host.firmware.calls) == 2


def test_a_reset_loads_what_was_set_by_an_earlier_run(host: Hypervisor, run: Runner) -> None:
    assert run(devices=WISH)["reboot_required"]
    done = run(devices=WISH, reset=True)
    assert done["steps"] == {PF0: ["reset"]}
    assert done["changed"]


def test_the_management_nic_is_not_reset(host: Hypervisor, run: Runner) -> None:
    host.routes = [{"dst": "default", "dev": "p1"}]
    for check_mode in (True, False):
        answer = run(check_mode=check_mode, devices=WISH, reset=True)
        assert "was not reset, because p1 carries a default route; reboot" in answer["warnings"][-1]
        assert answer["reboot_required"]
    assert not any("reset" in call for call in host.firmware.calls)


def test_a_number_that_suffices_is_left_alone(host: Hypervisor, run: Runner) -> None:
    """The other port's 32 VFs were lost at the next start, where the model wanted 8 of this one."""
    host.firmware.columns["SRIOV_EN"] = ["False(0)", "True(1)", "True(1)"]
    host.firmware.columns["NUM_OF_VFS"] = ["0", "64", "64"]
    host.put(f"{DEVICES}/{PF1}/sriov_numvfs", "32")
    wish = [{"address": PF0, "settings": {"SRIOV_EN": True, "NUM_OF_VFS": 8}}]

    done = run(devices=wish)

    assert host.firmware.columns["NUM_OF_VFS"] == ["0", "64", "64"]
    assert (done["changed"], done["reboot_required"]) == (False, False)


LOWERED = [{"address": PF0, "settings": {"NUM_OF_VFS": 8}, "names": ["ens1f0"]}]


def more_vfs(host: Hypervisor) -> None:
    host.put(f"{DEVICES}/{PF1}/sriov_numvfs", "32")


def more_vfs_at_boot(host: Hypervisor) -> None:
    pf = _pci.PF(PF1, "p1", f"04:70:00:00:00:{PF1[-1]:0>2}", "mlx5_core", 0, 64, False, ())
    host.put(_numvfs.UDEV_RULES, _numvfs.udev_rules("", [_numvfs.VfCountChange(pf, 9, ())]))


def a_claim(host: Hypervisor) -> None:
    entry = ledger_entry(pf_mac="04:70:00:00:00:01", pf_address=PF1, vf=8)
    _ledger.write(host, {"one.hello.demo": [entry]})


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (more_vfs, f"{PF1} has 32 VFs"),
        (more_vfs_at_boot, f"{PF1} gets 9 VFs at every boot"),
        (a_claim, f"materialization one.hello.demo holds VF 8 of {PF1} for alpha.eth1"),
    ],
)
def test_a_number_is_lowered_by_name_and_not_where_more_vfs_are_had(
    host: Hypervisor, run: Runner, state: t.Callable[[Hypervisor], None], reason: str
) -> None:
    host.firmware.columns["SRIOV_EN"] = ["False(0)", "True(1)", "True(1)"]
    host.firmware.columns["NUM_OF_VFS"] = ["0", "64", "64"]
    state(host)
    for check_mode in (True, False):
        answer = run(devices=LOWERED, lower_numvfs=["ens1f0"], check_mode=check_mode)
        assert reason in answer["msg"]
        assert "offers 64 VFs a PF and would offer 8" in answer["msg"]
    off = [{"address": PF0, "settings": {"SRIOV_EN": False}}]
    assert reason in run(devices=off)["msg"], "that is the lowest"
    assert host.firmware.calls == []

    host.put(f"{DEVICES}/{PF1}/sriov_numvfs", "8")
    host.put(_numvfs.UDEV_RULES, "")
    _ledger.write(host, {})
    assert not run(devices=LOWERED)["changed"]
    done = run(devices=LOWERED, lower_numvfs=["ens1f0"])
    assert done["steps"] == {PF0: ["NUM_OF_VFS=8"]}
    assert done["reboot_required"]
    assert not run(devices=LOWERED, lower_numvfs=["ens1f0"])["changed"]


def test_own_numbers_of_ports_do_not_lower_by_the_way(host: Hypervisor, run: Runner) -> None:
    host.firmware.columns["SRIOV_EN"] = ["False(0)", "True(1)", "True(1)"]
    host.firmware.columns["NUM_OF_VFS"] = ["0", "64", "64"]
    host.firmware.columns["PF_NUM_OF_VF_VALID"] = ["False(0)"] * 3
    settings = {"PF_NUM_OF_VF_VALID": True, "PF_NUM_OF_VF": 4}
    answer = run(devices=[{"address": PF0, "settings": settings}])
    assert "would offer 4; if that is meant, name the card in lower_numvfs" in answer["msg"]
    assert host.firmware.calls == []


def test_settings_differ_from_card_to_card(host: Hypervisor, run: Runner) -> None:
    host.firmware.columns["LINK_TYPE_P1"] = ["ETH(2)"] * 3
    devices = [{**WISH[0], "names": ["ens1f0"]}, {**WISH[0], "address": PF1}]
    done = run(
        devices=devices,
        settings={"LINK_TYPE_P1": 2},
        card_settings={"ens1f0": {"LINK_TYPE_P1": 1, "NUM_OF_VFS": 64}},
    )
    assert done["steps"] == {PF0: ["SRIOV_EN=1 NUM_OF_VFS=64 LINK_TYPE_P1=1"]}


def storage(host: Hypervisor) -> None:
    host.put("/sys/class/iscsi_connection/connection1:0/address", "10.0.0.9")
    host.routes = [{"dst": "10.0.0.9", "dev": "p1"}]


def in_a_bond(host: Hypervisor) -> None:
    host.put("/sys/class/net/p1/upper_bond0", "")


def with_a_guest(host: Hypervisor) -> None:
    group = host.link(f"{DEVICES}/{PF1}/iommu_group")
    host.bind(PF1, "vfio-pci")
    host._unbind("", PF1)
    host.bind(PF1, "vfio-pci")
    host.add_process(77, "qemu", f"/dev/vfio/{group}")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (storage, "the iSCSI connection1:0 to 10.0.0.9 comes through p1"),
        (in_a_bond, "p1 is part of bond0"),
        (with_a_guest, f"{PF1}: process 77 (qemu) has /dev/vfio/"),
    ],
)
def test_a_card_that_the_host_or_a_guest_needs_is_not_reset(
    host: Hypervisor, run: Runner, state: t.Callable[[Hypervisor], None], reason: str
) -> None:
    state(host)
    for check_mode in (True, False):
        answer = run(check_mode=check_mode, devices=WISH, reset=True)
        assert "was not reset, because" in answer["warnings"][-1]
        assert reason in answer["warnings"][-1]
        assert answer["reboot_required"]
    assert not any("reset" in call for call in host.firmware.calls)


def test_the_lock_is_held_until_the_reset_is_over(
    host: Hypervisor, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another run could make VFs between the look and the reset."""
    held = []
    reset = host.firmware.start

    def start() -> None:
        with open(host.path(_ledger._LOCK)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
        reset()

    monkeypatch.setattr(host.firmware, "start", start)
    assert not run(devices=WISH, reset=True)["reboot_required"]
    assert held == [True]


def test_a_card_with_vfs_is_not_reset(host: Hypervisor, run: Runner) -> None:
    host.put(f"{DEVICES}/{PF1}/sriov_numvfs", "2")
    answer = run(devices=WISH, reset=True)
    assert f"because {PF1} has 2 VFs" in answer["warnings"][-1]
    assert len(host.firmware.calls) == 1


def test_a_reset_that_fails_leaves_the_reboot(host: Hypervisor, run: Runner) -> None:
    host.firmware.fails["reset"] = "The tool is not supported on virtual machines"
    answer = run(devices=WISH, reset=True)
    assert answer["steps"] == {PF0: ["SRIOV_EN=1 NUM_OF_VFS=16"]}
    assert "not supported on virtual machines; reboot the host" in answer["warnings"][-1]
    assert answer["reboot_required"]


def test_firmware_that_forgets_is_an_error(host: Hypervisor, run: Runner) -> None:
    host.firmware.frozen = {"NUM_OF_VFS"}
    message = run(devices=WISH)["msg"]
    assert "took NUM_OF_VFS=16 but did not keep it" in message
    assert f"Written for the next start of {PF0}: SRIOV_EN=1; not written: NUM" in message


def test_a_switch_that_unhides_nothing(host: Hypervisor, run: Runner) -> None:
    host.firmware.columns["ADVANCED_PCI_SETTINGS"] = ["False(0)"] * 3
    settings = {"ADVANCED_PCI_SETTINGS": True, "MAX_ACC_OUT_READ": 44}
    message = run(devices=[{"address": PF0, "settings": settings}])["msg"]
    assert "MAX_ACC_OUT_READ: the card's firmware does not offer it" in message
    assert f"{PF0}: ADVANCED_PCI_SETTINGS=1; not written: MAX_ACC_OUT_READ=44" in message


def test_a_set_that_fails_and_cannot_be_looked_into(
    host: Hypervisor, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(assignments: t.Iterable[str]) -> None:
        host.firmware.fails = {
            "set": "Failed to set configuration",
            "query": "Failed to open the device",
        }

    monkeypatch.setattr(host.firmware, "_set", broken)
    message = run(devices=WISH)["msg"]
    assert "the card does not answer" in message
    assert "What has been written cannot be read" in message


@pytest.mark.parametrize(
    ("model", "engine", "refused"),
    [
        (["SEPARATED_HOST(0)"] * 3, None, False),
        (["EMBEDDED_CPU(1)"] * 3, ["DISABLED(1)"] * 3, False),
        (["EMBEDDED_CPU(1)"] * 3, ["ENABLED(0)"] * 3, True),
        # It is a NIC until the next start, or from then on.
        (["EMBEDDED_CPU(1)"] * 3, ["ENABLED(0)", "DISABLED(1)", "ENABLED(0)"], True),
        (["EMBEDDED_CPU(1)"] * 3, ["ENABLED(0)", "ENABLED(0)", "DISABLED(1)"], True),
        (["SEPARATED_HOST(0)"] * 2 + ["EMBEDDED_CPU(1)"], ["ENABLED(0)"] * 3, True),
    ],
)
def test_a_bluefield(
    tmp_path: Path,
    run: Runner,
    model: list[str],
    engine: list[str] | None,
    refused: bool,
) -> None:
    host = Hypervisor(tmp_path / "bluefield", device="0xa2dc")
    host.firmware.columns["INTERNAL_CPU_MODEL"] = model
    if engine:
        host.firmware.columns["INTERNAL_CPU_OFFLOAD_ENGINE"] = engine
    answer = run._replace(host=host)(devices=WISH)
    assert answer.get("failed", False) is refused
    if refused:
        assert "DPU mode (INTERNAL_CPU_OFFLOAD_ENGINE ENABLED(0))" in answer["msg"]
        assert host.firmware.calls == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("0000:3c:00.0", "there is no PCI device 0000:3c:00.0 on this host"),
        ("p0", "there is no PCI device p0 on this host"),
        ("0000:01:00.0", "is no NVIDIA (Mellanox) card: its vendor is 0x8086"),
        ("0000:3b:00.2", "0000:3b:00.2 is a VF, not a PF"),
    ],
)
def test_what_is_no_card(host: Hypervisor, run: Runner, address: str, message: str) -> None:
    host.add_function("0000:01:00.0")
    host.add_function("0000:3b:00.2", vendor="0x15b3", device="0x1018")
    Path(host.path(f"{DEVICES}/0000:3b:00.2/physfn")).symlink_to(f"../{PF0}")
    wish = {"address": address, "settings": {"SRIOV_EN": True}}
    answer = run(devices=[*WISH, wish])
    assert message in answer["msg"]
    assert host.firmware.calls == []


def test_it_takes_root(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "set become" in run(devices=WISH)["msg"]


def test_an_address_may_be_in_capitals(host: Hypervisor, run: Runner) -> None:
    answer = run(devices=[{**WISH[0], "address": PF0.upper()}])
    assert answer["devices"][0]["address"] == PF0


def test_the_arguments_are_checked(run: Runner) -> None:
    assert "missing required arguments: devices" in run()["msg"]
    assert "settings" in run(devices=[{"address": PF0}])["msg"]
    assert "value of tool must be one of" in run(devices=WISH, tool="ethtool")["msg"]
