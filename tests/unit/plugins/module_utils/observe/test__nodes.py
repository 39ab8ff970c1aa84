# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _nodes, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._pci import read_device
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine

DISK, GPU = "0000:05:00.0", "0000:41:00.0"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_function(DISK, driver="nvme", device_class="0x010802")
    machine.add_node(DISK, "/dev/nvme0", "241:0")
    for number, name in enumerate(("nvme0n1", "nvme0n1p1", "nvme0n1p2")):
        machine.add_node(DISK, f"/dev/{name}", f"259:{number}", kind="block", within="nvme/nvme0")
    machine.add_function(GPU, driver="amdgpu", device_class="0x030000")
    machine.add_node(GPU, "/dev/dri/card1", "226:1", within="drm")
    return machine


def nodes(machine: Machine, address: str) -> list[_nodes.Node]:
    return _nodes.of_functions(machine, [address])[address]


def test_the_files_of_each_function(machine: Machine) -> None:
    found = _nodes.of_functions(machine, [DISK, GPU])
    assert sorted(node.path for node in found[DISK]) == [
        "/dev/nvme0",
        "/dev/nvme0n1",
        "/dev/nvme0n1p1",
        "/dev/nvme0n1p2",
    ]
    assert [node.path for node in found[GPU]] == ["/dev/dri/card1"]


def test_the_disks_of_an_nvme_subsystem_with_several_paths(machine: Machine) -> None:
    other = "0000:06:00.0"
    machine.add_function(other, driver="nvme", device_class="0x010802")
    machine._link("/sys/class/nvme/nvme1", f"/sys/bus/pci/devices/{other}/nvme/nvme1")
    subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys1"
    machine.put(f"{subsystem}/nvme1", "")
    machine.put(f"{subsystem}/nvme1n1/uevent", "DEVNAME=nvme1n1\n")
    machine._link("/sys/class/nvme-subsystem/nvme-subsys1", subsystem)
    machine._link("/sys/dev/block/259:9", f"{subsystem}/nvme1n1")
    assert [node.path for node in nodes(machine, other)] == ["/dev/nvme1n1"]


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/proc/self/mountinfo", "29 1 259:1 / / rw - ext4 /dev/root rw\n", "p1 is mounted on /"),
        (
            "/proc/self/mountinfo",
            "29 1 0:40 / /a\\040b rw shared:1 - btrfs /dev/nvme0n1p2 rw\n",
            "p2 is mounted on /a b",
        ),
        ("/proc/swaps", "Filename\n/dev/nvme0n1p2 partition 1 0 -2\n", "p2 is swap"),
        ("/sys/dev/block/259:1/holders/dm-0", "", "p1 is part of dm-0"),
        ("/proc/self/mountinfo", "29 1 8:1 / / rw - ext4 /dev/sda1 rw\nbroken\n", None),
    ],
)
def test_what_the_host_keeps_on_disks(
    machine: Machine, path: str, content: str, expected: str | None
) -> None:
    machine.put(path, content)
    assert _nodes.storage(machine, nodes(machine, DISK)) == (
        [f"/dev/nvme0n1{expected}"] if expected else []
    )
    told = _usage.users(machine, [read_device(machine, DISK)]).get(DISK, [])
    assert told == ([f"/dev/nvme0n1{expected}"] if expected else [])


def test_the_console(machine: Machine) -> None:
    assert _nodes.console(machine, GPU, nodes(machine, GPU)) is None
    machine.add_node(GPU, "/dev/fb0", "29:0", within="graphics")
    assert "/dev/fb0" in str(_nodes.console(machine, GPU, nodes(machine, GPU)))
    machine.put(f"/sys/bus/pci/devices/{GPU}/boot_vga", "1")
    assert "firmware" in str(_nodes.console(machine, GPU, []))


def test_an_open_device_file_is_use(machine: Machine) -> None:
    device = read_device(machine, GPU)
    assert _usage.users(machine, [device]) == {}
    machine.add_process(9, "Xorg", "/dev/dri/card1")
    assert _usage.users(machine, [device]) == {GPU: ["process 9 (Xorg) has /dev/dri/card1 open"]}
