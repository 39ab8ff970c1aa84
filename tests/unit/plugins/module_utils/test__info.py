# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _info, _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    NEW_VF,
    Machine,
    config_space,
    ledger_entry,
)

MAC = "04:70:00:00:00:10"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    config = config_space((0x01, bytes(40)), (0x10, struct.pack("<IIHH", 0, 0, 7, 7)))
    machine.add_pf("0000:01:00.0", "ens1f0", MAC, numvfs=1, config=config)
    machine.bind("0000:01:10.0", "vfio-pci")
    machine.alter_vf("ens1f0", 0, vlan=100)
    machine.add_function("0000:05:00.0", driver="nvme")
    machine.log.clear()
    return machine


def test_a_pf_with_a_vf(machine: Machine) -> None:
    assert _info.gather(machine, None) == {
        "iommu_groups": 3,
        "pfs": [
            {
                "address": "0000:01:00.0",
                "interface": "ens1f0",
                "mac": MAC,
                "vendor": "0x8086",
                "device": "0x10c9",
                "driver": "igb",
                "iommu_group": "1",
                "numa_node": None,
                "numvfs": 1,
                "totalvfs": 7,
                "autoprobe": False,
                "capabilities": {
                    "extended": True,
                    "sriov": True,
                    "total_vfs": 7,
                    "acs": False,
                    "aer": True,
                    "ari": False,
                },
                "problem": None,
                "vfs": [
                    {
                        "index": 0,
                        "address": "0000:01:10.0",
                        "driver": "vfio-pci",
                        "iommu_group": "2",
                        "numa_node": None,
                        **NEW_VF._replace(vlan=100)._asdict(),
                    }
                ],
            }
        ],
        "materializations": {},
    }
    assert machine.writes == []


def test_what_the_ledger_holds(machine: Machine) -> None:
    _ledger.write(machine, {"one.hello.demo": [ledger_entry()]})

    held = _info.gather(machine, [])["materializations"]
    assert held == {"one.hello.demo": [ledger_entry()._asdict()]}


def test_chosen_pfs(machine: Machine) -> None:
    machine.add_pf("0000:01:00.1", "ens1f1", "04:70:00:00:00:11")

    def addresses(*selectors: str) -> list[str]:
        return [pf["address"] for pf in _info.gather(machine, selectors)["pfs"]]

    assert addresses("04:70:00:00:00:11", "0000:01:00.0") == ["0000:01:00.1", "0000:01:00.0"]
    assert addresses() == []
    with pytest.raises(SriovError, match="'ens9'"):
        addresses("ens9")


def test_a_host_without_sriov(tmp_path: Path) -> None:
    assert _info.gather(Machine(tmp_path), None) == {
        "iommu_groups": 0,
        "pfs": [],
        "materializations": {},
    }


def test_a_pf_without_interface_says_why_its_vfs_have_no_attributes(machine: Machine) -> None:
    machine.add_pf("0000:02:00.0", None, MAC, driver="nvme", numvfs=1)
    machine.add_pf("0000:03:00.0", None, MAC, driver="nvme")

    _first, second, third = _info.gather(machine, None)["pfs"]
    assert "no network interface" in second["problem"]
    [vf] = second["vfs"]
    assert set(vf) == {"index", "address", "driver", "iommu_group", "numa_node"}
    assert third["problem"] is None


def test_vfs_that_the_kernel_leaves_out_are_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def incomplete(ifindex: int) -> None:
        raise SriovError("the kernel reports the attributes of 78 of 300 VFs")

    monkeypatch.setattr(machine.netlink, "vf_states", incomplete)

    [pf] = _info.gather(machine, None)["pfs"]
    assert "78 of 300" in pf["problem"]
    assert "vlan" not in pf["vfs"][0]


def test_a_vf_that_the_driver_does_not_report_has_no_attributes(machine: Machine) -> None:
    machine.netlink.vfs.clear()

    [pf] = _info.gather(machine, None)["pfs"]
    assert "vlan" not in pf["vfs"][0]
