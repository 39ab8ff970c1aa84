# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _restore
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.modules import materialization
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    GROUPS,
    Event,
    Machine,
    ledger_entry,
)
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

MZID = "one.hello.demo"
NIC, GPU, AUDIO, DISK = "0000:03:00.0", "0000:41:00.0", "0000:41:00.1", "0000:05:00.0"
MAC = "04:70:00:00:00:30"
WANTED_NIC: dict[str, t.Any] = {
    "node": "alpha",
    "nic": "eth1",
    "function": MAC.upper(),
    "pf": "ens3f0",
    "vlan": 100,
    "mtu": 9000,
}
WANTED_GPU: dict[str, t.Any] = {"node": "alpha", "nic": "gpu0", "function": "10de:2204"}
WANTED_AUDIO: dict[str, t.Any] = {"node": "alpha", "nic": "audio0", "function": AUDIO}
ALL: list[dict[str, t.Any]] = [WANTED_NIC, WANTED_GPU, WANTED_AUDIO]


def new_machine(directory: Path) -> Machine:
    """A NIC whose link is down, a GPU with its audio in one group, and an NVMe controller."""
    machine = Machine(directory)
    machine.add_pf(NIC, "ens3f0", MAC, up=False)
    machine.add_driver("vfio-pci")
    gpu: dict[str, t.Any] = {"vendor": "0x10de", "group": "40"}
    machine.add_function(GPU, driver="nvidia", device="0x2204", device_class="0x030000", **gpu)
    machine.add_function(
        AUDIO, driver="snd_hda_intel", device="0x1aef", device_class="0x040300", **gpu
    )
    machine.add_function(DISK, driver="nvme", vendor="0x144d", device_class="0x010802")
    machine.add_node(DISK, "/dev/nvme0", "241:0")
    machine.add_node(DISK, "/dev/nvme0n1p1", "259:1", kind="block", within="nvme/nvme0/nvme0n1")
    machine.native = {NIC: "igb", GPU: "nvidia", AUDIO: "snd_hda_intel", DISK: "nvme"}
    machine.log.clear()
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return new_machine(tmp_path)


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(materialization, machine, monkeypatch, capsys)


def drivers(machine: Machine) -> list[tuple[str | None, str | None]]:
    """Driver and override of the functions that are given."""
    return [
        (machine.driver(address), machine.read(f"{DEVICES}/{address}/driver_override"))
        for address in (NIC, GPU, AUDIO)
    ]


NATIVE = [("igb", "(null)"), ("nvidia", "(null)"), ("snd_hda_intel", "(null)")]
GIVEN = [("vfio-pci", "vfio-pci")] * 3


def held(machine: Machine) -> list[str]:
    return [entry.address for _mzid, entry in _ledger.functions(_ledger.read(machine))]


def test_given_and_freed(machine: Machine, run: Runner) -> None:
    before = machine.files()
    predicted = run(check_mode=True, mzid=MZID, functions=ALL)
    assert machine.files() == before
    done = run(mzid=MZID, functions=ALL)

    assert drivers(machine) == GIVEN
    assert predicted == {key: done[key] for key in predicted}
    assert done["devices"][0] == {
        "kind": "function",
        "node": "alpha",
        "nic": "eth1",
        "pci_address": NIC,
        "pf": "ens3f0",
        "vf_index": None,
        "mac": MAC,
        "vlan": 100,
        "vlan_mode": "access",
        "mtu": 9000,
        "driver": "vfio-pci",
        "numa_node": None,
    }
    assert [device["pci_address"] for device in done["devices"]] == [NIC, GPU, AUDIO]
    assert done["devices"][1]["vlan_mode"] is None
    assert done["steps"][f"function {NIC} ens3f0 ({MAC})"] == ["no driver", "driver vfio-pci"]
    assert done["diff"]["before"][GPU] == "nvidia"

    machine.log.clear()
    assert not run(mzid=MZID, functions=ALL)["changed"]
    assert machine.writes == []

    assert run(mzid=MZID, state="absent")["changed"]
    assert drivers(machine) == NATIVE
    assert _ledger.read(machine) == {}
    assert not run(mzid=MZID, state="absent")["changed"]


def test_reserved_by_one_it_is_refused_to_the_other(machine: Machine, run: Runner) -> None:
    done = run(mzid=MZID, state="reserved", run="a", functions=ALL)
    assert f"function {GPU} 10de:2204" in done["reserved"]
    assert drivers(machine) == NATIVE

    answer = run(mzid="two.hello.demo", functions=[WANTED_GPU | {"function": GPU}, WANTED_AUDIO])
    assert f"materialization {MZID} (run a) has reserved function {GPU}" in answer["msg"]
    answer = run(mzid="two.hello.demo", vfs=[vf()])
    assert f"materialization {MZID} (run a) has reserved the whole PF ens3f0" in answer["msg"]

    run(mzid=MZID, run="a", functions=ALL)
    assert drivers(machine) == GIVEN
    answer = run(mzid="two.hello.demo", functions=[WANTED_NIC])
    assert f"materialization {MZID} holds function {NIC}" in answer["msg"]
    answer = run(mzid="two.hello.demo", vfs=[vf()])
    assert f"materialization {MZID} holds the whole PF ens3f0" in answer["msg"]


def vf() -> dict[str, t.Any]:
    return {
        "node": "beta",
        "nic": "eth1",
        "pf": {"name": "ens3f0", "mac": MAC},
        "vf_index": 0,
        "mac": "02:00:00:00:01:01",
        "vlan": 200,
    }


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("0x03", "no PCI function of this host is 0x03"),
        ("0x0403", None),
        ("0x040300", None),
        ("10de:9999", "no PCI function of this host is 10de:9999"),
        ("0000:99:00.0", "no PCI function of this host is 0000:99:00.0"),
        ("04:70:00:00:00:99", "no PCI function"),
        ("../..", "no PCI function"),
    ],
)
def test_what_selects_a_function(run: Runner, function: str, expected: str | None) -> None:
    answer = run(mzid=MZID, functions=[WANTED_GPU, WANTED_AUDIO | {"function": function}])
    assert (expected is None) == ("msg" not in answer)
    assert expected is None or expected in answer["msg"]


def test_more_functions_than_are_meant(machine: Machine, run: Runner) -> None:
    machine.add_function("0000:42:00.0", vendor="0x10de", device="0x2204", device_class="0x030200")
    answer = run(mzid=MZID, functions=[WANTED_GPU])
    assert f"10de:2204 selects 2 functions of this host ({GPU}, 0000:42:00.0)" in answer["msg"]
    assert machine.writes == []


def test_all_of_a_group_goes_to_one_guest(machine: Machine, run: Runner) -> None:
    answer = run(mzid=MZID, functions=[WANTED_GPU])
    assert (
        f"{AUDIO} (snd_hda_intel, multimedia device 10de:1aef) in the same IOMMU group 40"
        in answer["msg"]
    )
    answer = run(mzid=MZID, functions=[WANTED_GPU, WANTED_AUDIO | {"node": "beta"}])
    assert f"{AUDIO} of beta is in the same IOMMU group 40 as {GPU}" in answer["msg"]
    assert machine.writes == []


def test_a_disk_that_the_host_needs_is_never_given(machine: Machine, run: Runner) -> None:
    wanted = [{"node": "alpha", "nic": "disk0", "function": DISK}]
    machine.put("/proc/self/mountinfo", "29 1 259:1 / /srv rw - ext4 /dev/nvme0n1p1 rw\n")
    for force in (False, True):
        answer = run(mzid=MZID, functions=wanted, force=force)
        assert "is needed by this host: /dev/nvme0n1p1 is mounted on /srv" in answer["msg"]
    machine.put("/proc/self/mountinfo", "")
    assert run(mzid=MZID, functions=wanted)["changed"]
    assert machine.driver(DISK) == "vfio-pci"


def test_a_console_is_given_only_if_that_is_said(machine: Machine, run: Runner) -> None:
    machine.put(f"{DEVICES}/{GPU}/boot_vga", "1")
    answer = run(mzid=MZID, functions=[WANTED_GPU, WANTED_AUDIO], force=True)
    assert "the firmware shows the host's console on it" in answer["msg"]
    assert run(mzid=MZID, functions=[WANTED_GPU | {"console": True}, WANTED_AUDIO])["changed"]


def test_the_way_to_the_operator_is_never_given(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ansible_collections.mergetb.sriov.plugins.module_utils.observe._management.devices",
        lambda *_arguments: {NIC: "ens3f0 carries a default route"},
    )
    answer = run(mzid=MZID, functions=[WANTED_NIC], force=True)
    assert "is needed by this host: ens3f0 carries a default route" in answer["msg"]


def test_only_real_use_is_use(machine: Machine, run: Runner) -> None:
    """Until then, a driver without network interface counted as use."""
    machine.put(f"/proc/driver/nvidia/gpus/{GPU}/information", "Device Minor: \t 0\n")
    machine.add_process(77, "python3", "/dev/nvidia0")
    answer = run(mzid=MZID, functions=[WANTED_GPU, WANTED_AUDIO])
    assert f"function {GPU}: process 77 (python3) has /dev/nvidia0 open" in answer["msg"]

    machine.alter_link("ens3f0", up=True)
    answer = run(mzid=MZID, functions=[WANTED_NIC])
    assert f"function {NIC}: interface ens3f0 is up" in answer["msg"]
    assert run(mzid=MZID, functions=[WANTED_NIC], force=True)["changed"]


def test_a_pf_with_vfs_is_not_given(machine: Machine, run: Runner) -> None:
    machine.write(f"{DEVICES}/{NIC}/sriov_numvfs", "2")
    answer = run(mzid=MZID, functions=[WANTED_NIC])
    assert "has 2 VFs, which would go with its driver: set its count to 0" in answer["msg"]
    run(mzid="two.hello.demo", vfs=[vf()])
    answer = run(mzid=MZID, functions=[WANTED_NIC], force=True)
    assert "materialization two.hello.demo has VF 0 of PF" in answer["msg"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"vlan": None}, "it has no VLAN"),
        ({"function": "0000:03:10.0"}, "is a VF"),
        ({"function": "0000:00:1c.0", "pf": None, "vlan": None}, "is a bridge"),
    ],
)
def test_what_is_not_for_a_guest(
    machine: Machine, run: Runner, changes: dict[str, t.Any], expected: str
) -> None:
    machine.add_function("0000:00:1c.0", device_class="0x060400")
    machine.write(f"{DEVICES}/{NIC}/sriov_numvfs", "1")
    assert expected in run(mzid=MZID, functions=[WANTED_NIC | changes])["msg"]


class Killed(Exception):
    pass


class Fuse(list[Event]):
    """A log that ends the run at an entry."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def append(self, event: Event) -> None:
        if len(self) == self.limit:
            raise Killed
        super().append(event)


@pytest.mark.parametrize("phase", ["give", "free"])
def test_killed_at_any_point_the_next_run_converges(tmp_path: Path, phase: str) -> None:
    limit, ended = 0, False
    params: dict[str, t.Any] = {
        "mzid": MZID,
        "run": None,
        "driver": "vfio-pci",
        "force": False,
        "vfs": [],
    }
    params |= {"attributes": None, "unsupported": None, "without_vst": "refuse"}
    functions = [
        {"pf": None, "vlan": None, "mtu": None, "driver": None, "console": False, **wanted}
        for wanted in ALL
    ]
    give = params | {"state": "present", "functions": functions}
    free = params | {"state": "absent", "functions": []}
    while not ended:
        machine = new_machine(tmp_path / str(limit))
        if phase == "free":
            materialization.run(machine, give, check_mode=False)
        plain, machine.log = machine.log, Fuse(limit)
        try:
            materialization.run(machine, give if phase == "give" else free, check_mode=False)
            ended = True
        except Killed:
            pass
        machine.log = plain
        changed = [
            address
            for address, now, native in zip(
                (NIC, GPU, AUDIO), drivers(machine), NATIVE, strict=True
            )
            if now != native
        ]
        assert set(changed) <= set(held(machine)), "changed and not remembered"
        materialization.run(machine, give if phase == "give" else free, check_mode=False)
        assert drivers(machine) == (GIVEN if phase == "give" else NATIVE)
        limit += 1
    assert limit > 6


def reboot(machine: Machine) -> None:
    for address in (NIC, GPU, AUDIO):
        machine.write(f"{DEVICES}/{address}/driver_override", "")
        machine.write(f"{DEVICES}/{address}/driver/unbind", address)
        machine.bind(address, machine.native[address])


def test_a_boot_gives_them_again(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, functions=ALL)
    reboot(machine)
    machine.alter_link("ens3f0", up=True)  # The host's network manager takes what it finds.
    assert len(_restore.run(machine, check_mode=True, seconds=0).changed) == 3
    outcome = _restore.run(machine, seconds=0)
    assert (outcome.functions, outcome.problems) == (3, [])
    assert drivers(machine) == GIVEN
    assert _restore.run(machine, seconds=0).changed == []
    run(mzid=MZID, state="absent")
    assert drivers(machine) == NATIVE


def test_a_boot_leaves_what_is_in_doubt_without_driver(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, functions=ALL)
    reboot(machine)
    machine.alter_link("ens3f0", permanent_mac="04:70:00:00:00:31")
    machine.put(f"{DEVICES}/{GPU}/device", "0x2205")
    outcome = _restore.run(machine, seconds=0)
    assert [driver for driver, _override in drivers(machine)] == [None, "nvidia", "snd_hda_intel"]
    assert any("is another NIC" in text for text in outcome.problems)
    assert any(f"{GPU} 10de:2204 did not come back" in text for text in outcome.problems)


def test_a_boot_takes_nothing_that_the_host_has_come_to_need(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, functions=[{"node": "alpha", "nic": "disk0", "function": DISK}])
    machine.write(f"{DEVICES}/{DISK}/driver_override", "")
    machine.write(f"{DEVICES}/{DISK}/driver/unbind", DISK)
    machine.bind(DISK, "nvme")
    machine.put("/proc/self/mountinfo", "29 1 259:1 / /srv rw - ext4 /dev/nvme0n1p1 rw\n")
    outcome = _restore.run(machine, seconds=0)
    assert machine.driver(DISK) == "nvme"
    assert "in use: /dev/nvme0n1p1 is mounted on /srv" in outcome.problems[0]


def test_a_ledger_with_vfs_of_a_whole_pf_is_no_ledger(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, functions=[WANTED_NIC])
    ledger = dict(_ledger.read(machine))
    ledger["two.hello.demo"] = [ledger_entry(pf_mac=MAC)]
    with pytest.raises(Exception, match="the whole PF"):
        _ledger.write(machine, ledger)
    assert machine.exists(f"{GROUPS}/40")
