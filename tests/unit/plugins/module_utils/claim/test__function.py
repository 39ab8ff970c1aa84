# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _restore
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.modules import materialization, numvfs
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


def test_a_boot_touches_no_other_card_in_the_slot(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, functions=ALL)
    reboot(machine)
    machine.alter_link("ens3f0", permanent_mac="04:70:00:00:00:31")
    machine.put(f"{DEVICES}/{GPU}/device", "0x2205")
    outcome = _restore.run(machine, seconds=0)
    assert [driver for driver, _override in drivers(machine)] == ["igb", "nvidia", "snd_hda_intel"]
    for label in (f"{NIC} ens3f0", f"{GPU} 10de:2204"):
        assert any(f"{label}" in text and "did not come back" in text for text in outcome.problems)


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


MAC2, NIC2 = "04:70:00:00:00:40", "0000:04:00.0"
DISKF: dict[str, t.Any] = {"node": "alpha", "nic": "disk0", "function": DISK}


def test_a_card_that_moved_is_not_taken_for_another(machine: Machine, run: Runner) -> None:
    """The card of MAC is in another slot now, and an equal card is in its old one."""
    run(mzid=MZID, functions=[WANTED_NIC])
    reboot_one(machine, NIC)
    machine.alter_link("ens3f0", permanent_mac=MAC2, mac=MAC2)
    machine.add_pf(NIC2, "ens4f0", MAC, up=False)
    _restore.run(machine, seconds=0)
    run(mzid=MZID, functions=[WANTED_NIC])
    assert machine.driver(NIC) != "vfio-pci", "the guest gets another NIC"


def test_a_card_that_moved_while_it_was_reserved(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, state="reserved", run="a", functions=[WANTED_NIC])
    machine.alter_link("ens3f0", permanent_mac=MAC2)
    machine.add_pf(NIC2, "ens4f0", MAC, up=False)
    run(mzid=MZID, run="a", functions=[WANTED_NIC])
    assert machine.driver(NIC) != "vfio-pci", "the guest gets another NIC"


def test_a_boot_leaves_the_hosts_own_nic_in_the_slot(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, functions=[WANTED_NIC])
    reboot_one(machine, NIC)
    machine.alter_link("ens3f0", permanent_mac=MAC2, up=True)
    machine.netlink.ips[machine.netlink.interfaces["ens3f0"].ifindex] = ["192.0.2.7/24"]
    _restore.run(machine, seconds=0)
    assert machine.driver(NIC) == "igb", "the host's storage network lost its NIC"


def reboot_one(machine: Machine, address: str) -> None:
    machine.write(f"{DEVICES}/{address}/driver_override", "")
    machine.write(f"{DEVICES}/{address}/driver/unbind", address)
    machine.bind(address, machine.native[address])


def test_a_disk_that_a_container_has_mounted_stays(machine: Machine, run: Runner) -> None:
    machine.put("/proc/self/mountinfo", "")
    machine.put("/proc/4711/mountinfo", "29 1 259:1 / /data rw - ext4 /dev/nvme0n1p1 rw\n")
    assert "is mounted on /data" in run(mzid=MZID, functions=[DISKF])["msg"]


def test_the_second_disk_of_a_btrfs_stays(machine: Machine, run: Runner) -> None:
    machine.put("/proc/self/mountinfo", "29 1 0:35 / / rw - btrfs /dev/sda1 rw\n")
    machine.put("/sys/fs/btrfs/9d/devices/nvme0n1p1/x", "")
    assert "is part of the Btrfs 9d" in run(mzid=MZID, functions=[DISKF])["msg"]


def test_a_disk_behind_a_loop_device_stays(machine: Machine, run: Runner) -> None:
    machine.put("/proc/self/mountinfo", "29 1 7:0 / /mnt rw - ext4 /dev/loop0 rw\n")
    machine.put("/sys/block/loop0/loop/backing_file", "/dev/nvme0n1p1\n")
    assert "is behind /dev/loop0" in run(mzid=MZID, functions=[DISKF])["msg"]


def test_a_controller_above_the_boot_disk_stays(machine: Machine, run: Runner) -> None:
    vmd, disk = "0000:0e:00.0", "10000:e1:00.0"
    machine.add_function(vmd, driver="vmd", device="0x201d", device_class="0x010400")
    machine.add_function(disk, driver="nvme", device_class="0x010802", bridge=f"{vmd}/pci10000:e0")
    machine.add_node(disk, "/dev/nvme1n1p2", "259:7", kind="block", within="nvme/nvme1/nvme1n1")
    machine.put("/proc/self/mountinfo", "29 1 259:7 / / rw - ext4 /dev/nvme1n1p2 rw\n")
    answer = run(mzid=MZID, functions=[{"node": "alpha", "nic": "raid0", "function": vmd}])
    assert "/dev/nvme1n1p2 is mounted on /" in answer["msg"]


def test_the_gpu_of_the_console_without_driver_stays(machine: Machine, run: Runner) -> None:
    machine.put(f"{DEVICES}/{GPU}/boot_vga", "1")
    machine.write(f"{DEVICES}/{GPU}/driver/unbind", GPU)
    answer = run(mzid=MZID, functions=[WANTED_GPU, WANTED_AUDIO])
    assert "console: true" in answer["msg"]


def test_a_reserved_pf_gets_no_vfs(
    machine: Machine,
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(mzid=MZID, state="reserved", run="a", functions=[WANTED_NIC])
    make = Runner(numvfs, machine, monkeypatch, capsys)
    answer = make(pfs=[{"pf": "ens3f0", "numvfs": 2}])
    assert "has reserved the whole PF" in answer["msg"]


def test_a_nic_with_an_open_rdma_device_stays(machine: Machine, run: Runner) -> None:
    machine.add_node(NIC, "/dev/infiniband/uverbs0", "231:192", within="infiniband_verbs")
    machine.add_process(77, "ib_write_bw", "/dev/infiniband/uverbs0")
    answer = run(mzid=MZID, functions=[WANTED_NIC])
    assert "(ib_write_bw) has /dev/infiniband/uverbs0 open" in answer["msg"]


def test_a_controller_with_a_usb_nic_in_use_stays(machine: Machine, run: Runner) -> None:
    usb = "0000:00:14.0"
    machine.add_function(usb, driver="xhci_hcd", device_class="0x0c0330")
    machine.add_interface("enx1", f"{usb}/usb1/1-1/1-1:1.0", mac="02:00:00:00:00:77", up=True)
    machine.netlink.ips[machine.netlink.interfaces["enx1"].ifindex] = ["192.0.2.7/24"]
    answer = run(mzid=MZID, functions=[{"node": "alpha", "nic": "usb0", "function": usb}])
    assert "interface enx1 is up" in answer["msg"] or "enx1 has" in answer["msg"]


def test_a_vf_in_the_group_of_anothers_function_stays(machine: Machine, run: Runner) -> None:
    run(mzid="two.hello.demo", functions=[WANTED_GPU, WANTED_AUDIO])
    machine.write(f"{DEVICES}/{NIC}/sriov_numvfs", "1")
    machine.move_to_group("0000:03:10.0", "40")
    answer = run(mzid=MZID, vfs=[vf()])
    assert "is in the IOMMU group 40 of 0000:03:10.0" in answer["msg"]


@pytest.mark.parametrize(
    "functions",
    [
        [WANTED_NIC | {"vlan": 5000}],
        [WANTED_NIC | {"vlan": -1}],
        [WANTED_GPU | {"driver": "a b"}, WANTED_AUDIO],
        [WANTED_NIC | {"function": NIC}],
        [WANTED_AUDIO | {"vlan": 100}, WANTED_GPU],
        [WANTED_GPU, WANTED_AUDIO, WANTED_AUDIO],
    ],
)
def test_check_mode_is_true(
    machine: Machine, run: Runner, functions: list[dict[str, t.Any]]
) -> None:
    a = run(check_mode=True, mzid=MZID, functions=functions)
    b = run(mzid=MZID, functions=functions)
    assert ("msg" in a) == ("msg" in b)
    assert ("msg" in a) or a["diff"] == b["diff"]


def test_an_override_that_was_left_is_taken_back(machine: Machine, run: Runner) -> None:
    """Freed with only override to be restored; diff."""
    run(mzid=MZID, functions=[WANTED_NIC])
    # killed after probe, before the override was put back
    ledger = dict(_ledger.read(machine))
    ledger[MZID] = [ledger[MZID][0]._replace(state="leaving")]
    _ledger.write(machine, ledger)
    machine.write(f"{DEVICES}/{NIC}/driver_override", "igb")
    machine.write(f"{DEVICES}/{NIC}/driver/unbind", NIC)
    machine.bind(NIC, "igb")
    assert run(check_mode=True, mzid=MZID, state="absent")["changed"]
    run(mzid=MZID, state="absent")
    assert machine.read(f"{DEVICES}/{NIC}/driver_override") == "(null)"
    assert _ledger.read(machine) == {}


def test_another_card_in_the_slot_has_its_own_baseline(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, functions=[DISKF])
    reboot_one(machine, DISK)
    machine.write(f"{DEVICES}/{DISK}/driver/unbind", DISK)
    machine.put(f"{DEVICES}/{DISK}/device", "0x9999")
    machine.bind(DISK, "other")
    machine.native[DISK] = "other"
    run(mzid=MZID, functions=[DISKF])
    assert machine.driver(DISK) == "vfio-pci"
    run(mzid=MZID, state="absent")
    assert machine.driver(DISK) == "other"


def test_the_override_of_before_comes_back(machine: Machine, run: Runner) -> None:
    machine.write(f"{DEVICES}/{DISK}/driver_override", "nvme")
    run(mzid=MZID, functions=[DISKF])
    run(mzid=MZID, state="absent")
    assert machine.read(f"{DEVICES}/{DISK}/driver_override") == "nvme"
    machine.write(f"{DEVICES}/{DISK}/driver/unbind", DISK)
    machine.write(f"{DEVICES}/{DISK}/driver_override", "vfio-pci")
    run(mzid=MZID, functions=[DISKF])
    run(mzid=MZID, state="absent")
    assert machine.read(f"{DEVICES}/{DISK}/driver_override") == "vfio-pci"
    assert machine.driver(DISK) is None
    machine.bind(DISK, "vfio-pci")
    run(mzid=MZID, functions=[DISKF])
    run(mzid=MZID, state="absent")
    assert machine.read(f"{DEVICES}/{DISK}/driver_override") == "vfio-pci"
    assert machine.driver(DISK) == "vfio-pci"


def test_a_boot_leaves_a_pf_that_got_vfs(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, functions=[WANTED_NIC])
    reboot_one(machine, NIC)
    machine.write(f"{DEVICES}/{NIC}/sriov_numvfs", "2")
    _restore.run(machine, seconds=0)
    assert machine.driver(NIC) == "igb"


@pytest.mark.parametrize("pf", [NIC, MAC])
def test_a_pf_that_a_guest_has_can_be_told_to_have_no_vfs(
    pf: str,
    machine: Machine,
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(mzid=MZID, functions=[WANTED_NIC])
    make = Runner(numvfs, machine, monkeypatch, capsys)
    answer = make(pfs=[{"pf": pf, "numvfs": 0}])
    assert not answer["changed"]


def test_an_idle_virtio_nic_is_free(machine: Machine, run: Runner) -> None:
    v = "0000:00:05.0"
    machine.add_function(v, driver="virtio-pci", vendor="0x1af4", device="0x1041")
    machine.add_interface("eth9", f"{v}/virtio2", mac="04:70:00:00:00:50")
    machine.native[v] = "virtio-pci"
    a = run(mzid=MZID, functions=[WANTED_NIC | {"function": "04:70:00:00:00:50"}])
    assert "msg" not in a


def test_another_nic_in_the_slot_is_not_freed(machine: Machine, run: Runner) -> None:
    """The NIC had no driver when it was given; now the host's own NIC is in its slot."""
    machine.add_function("0000:06:00.0", device="0x10c9")
    machine._pf_macs["0000:06:00.0"] = MAC2
    machine._pf_interfaces["0000:06:00.0"] = "ens6f0"
    machine.bind("0000:06:00.0", "igb")
    run(mzid=MZID, functions=[WANTED_NIC | {"function": MAC2, "pf": "ens6f0"}])
    ledger = dict(_ledger.read(machine))
    ledger[MZID] = [ledger[MZID][0]._replace(baseline_driver=None)]
    _ledger.write(machine, ledger)
    machine.write(f"{DEVICES}/0000:06:00.0/driver_override", "")
    machine.write(f"{DEVICES}/0000:06:00.0/driver/unbind", "0000:06:00.0")
    machine._pf_macs["0000:06:00.0"] = "04:70:00:00:00:66"
    machine.bind("0000:06:00.0", "igb")
    run(mzid=MZID, state="absent")
    assert machine.driver("0000:06:00.0") == "igb"
