# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import errno
import functools
import json
import os
import platform
import shutil
import struct
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import VfState
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _info
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    NEW_VF,
    config_space,
    ledger_entry,
)
from ansible_collections.mergetb.sriov.tests.unit.vdpa_machine import FEATURES, VdpaMachine

MAC = "04:70:00:00:00:10"
PF = "0000:01:00.0"
VF = "0000:01:10.0"
CARD = "0000:3b:00.0"
FIRMWARE = f"mstconfig -d {CARD} -e query SRIOV_EN NUM_OF_VFS"
NO_JSON = Completed(3, "-E- invalid argument: -j\n", "")
LLDP = {
    "lldp": [
        {
            "interface": [
                {
                    "name": "ens1f0",
                    "chassis": [{"name": [{"value": "xleaf0"}]}],
                    "port": [{"id": [{"type": "ifname", "value": "swp1"}]}],
                }
            ]
        }
    ]
}


class Machine(BootMachine):
    """A host that has the commands that it has answers of, and counts what is read of it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, {})
        self.accesses: collections.Counter[str] = collections.Counter()

    def has_command(self, name: str) -> bool:
        return any(command.split()[0] == name for command in self.answers)

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        return NO_JSON if "-j" in argv else super().run(argv, seconds=seconds)

    def exists(self, path: str) -> bool:
        self.accesses["exists"] += 1
        return super().exists(path)

    def read_bytes(self, path: str) -> bytes | None:
        self.accesses["read"] += 1
        return super().read_bytes(path)

    def target(self, path: str) -> str | None:
        self.accesses["target"] += 1
        return super().target(path)

    def names(self, path: str) -> list[str]:
        self.accesses["names of /proc" if path == "/proc" else "names"] += 1
        return super().names(path)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    config = config_space((0x01, bytes(40)), (0x10, struct.pack("<IIHH", 0, 0, 7, 7)))
    machine.add_pf(PF, "ens1f0", MAC, numvfs=1, config=config)
    machine.bind(VF, "vfio-pci")
    machine.alter_vf("ens1f0", 0, vlan=100)
    machine.add_function("0000:05:00.0", driver="nvme", device_class="0x010802")
    machine.put("/proc/sys/kernel/osrelease", "6.1.0-27-amd64\n")
    machine.log.clear()
    return machine


def test_a_host(machine: Machine) -> None:
    machine.answers["lldpctl -f json0"] = Completed(0, json.dumps(LLDP), "")
    routes = [{"dst": "default", "dev": "ens1f0"}]
    machine.answers["ip -json -4 route show table all default"] = Completed(
        0, json.dumps(routes), ""
    )
    machine.put(f"{DEVICES}/{PF}/sriov_vf_device", "10ca\n")
    machine.put("/sys/firmware/acpi/tables/DMAR", "")
    machine.put("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n")

    assert _info.gather(machine, None) == {
        "platform": {
            "arch": platform.machine(),
            "kernel": "6.1.0-27-amd64",
            "iommu": "Intel VT-d",
            "iommu_effective": False,
            "iommufd": False,
            "lockdown": "none",
        },
        "iommu_groups": 3,
        "lldp": True,
        "ports": [
            {
                "address": PF,
                "interface": "ens1f0",
                "mac": MAC,
                "vendor": "0x8086",
                "device": "0x10c9",
                "driver": "igb",
                "up": True,
                "carrier": None,
                "speed": None,
                "mtu": 1500,
                "pcie": None,
                "numa_node": None,
                "management": "ens1f0 carries a default route",
                "neighbour": {"system": "xleaf0", "port": "swp1", "description": None},
            }
        ],
        "pfs": [
            {
                "address": PF,
                "interface": "ens1f0",
                "mac": MAC,
                "vendor": "0x8086",
                "device": "0x10c9",
                "vf_device": "0x10ca",
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
                "acs": None,
                "group_mates": [],
                "firmware": None,
                "problem": None,
                "vfs": [
                    {
                        "index": 0,
                        "address": VF,
                        "driver": "vfio-pci",
                        "iommu_group": "2",
                        "numa_node": None,
                        **NEW_VF._replace(vlan=100)._asdict(),
                        "users": [],
                        "group_mates": [],
                    }
                ],
            }
        ],
        "vdpa": None,
        "materializations": {},
    }
    assert machine.writes == []


def test_what_the_ledger_holds(machine: Machine) -> None:
    _ledger.write(machine, {"one.hello.demo": [ledger_entry()]})

    held = _info.gather(machine, [])["materializations"]
    assert held == {"one.hello.demo": [ledger_entry()._asdict()]}


def test_who_uses_a_vf_but_not_whose_it_is(machine: Machine) -> None:
    _ledger.write(machine, {"one.hello.demo": [ledger_entry()]})
    machine.add_process(4711, "qemu", "/dev/vfio/2")

    assert vf(machine)["users"] == ["process 4711 (qemu) has /dev/vfio/2 open"]


def vf(machine: Machine) -> dict[str, t.Any]:
    return _info.gather(machine, [PF])["pfs"][0]["vfs"][0]


def test_functions_in_the_group_of_a_vf(machine: Machine) -> None:
    """Of the bridges only one with a driver of its own is in the way of a guest."""
    machine.add_function("0000:06:00.0", group="2")
    bridge: dict[str, t.Any] = {"group": "2", "device_class": "0x060400"}
    machine.add_function("0000:00:01.0", driver="pcieport", **bridge)
    machine.add_function("0000:00:01.1", driver="shpchp", **bridge)

    assert vf(machine)["group_mates"] == ["0000:00:01.1", "0000:06:00.0"]


def test_functions_in_the_group_of_a_pf(machine: Machine) -> None:
    machine.add_function("0000:06:00.0", group="1")

    [pf] = _info.gather(machine, None)["pfs"]
    assert pf["group_mates"] == ["0000:06:00.0"]


def test_chosen_pfs(machine: Machine) -> None:
    machine.add_pf("0000:01:00.1", "ens1f1", "04:70:00:00:00:11")

    def addresses(*selectors: str) -> list[str]:
        return [pf["address"] for pf in _info.gather(machine, selectors)["pfs"]]

    assert addresses("04:70:00:00:00:11", PF) == ["0000:01:00.1", PF]
    assert addresses() == []
    with pytest.raises(SriovError, match="'ens9'"):
        addresses("ens9")


def test_a_host_without_sriov(tmp_path: Path) -> None:
    found = _info.gather(Machine(tmp_path), None, firmware=True)

    assert found["platform"]["iommu"] is None
    assert {name: found[name] for name in found if name != "platform"} == {
        "iommu_groups": 0,
        "lldp": False,
        "ports": [],
        "pfs": [],
        "vdpa": None,
        "materializations": {},
    }


def test_a_pf_without_interface_says_why_its_vfs_have_no_attributes(machine: Machine) -> None:
    machine.add_pf("0000:02:00.0", None, MAC, driver="nvme", numvfs=1)
    machine.add_pf("0000:03:00.0", None, MAC, driver="nvme")

    _first, second, third = _info.gather(machine, None)["pfs"]
    assert "no network interface" in second["problem"]
    [vf] = second["vfs"]
    assert set(vf) == {
        *("index", "address", "driver", "iommu_group", "numa_node", "users", "group_mates")
    }
    assert third["problem"] is None


@pytest.mark.parametrize(
    "error",
    [SriovError("of 78 of 300 VFs"), OSError(errno.ENODEV, "of 78 of 300 VFs")],
)
def test_attributes_that_the_kernel_does_not_tell(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    machine.add_pf("0000:02:00.0", "ens2f0", "04:70:00:00:00:20", numvfs=1)
    states = machine.netlink.vf_states
    broken = machine.netlink.interfaces["ens1f0"].ifindex

    def incomplete(ifindex: int) -> dict[int, VfState]:
        if ifindex == broken:
            raise error
        return states(ifindex)

    monkeypatch.setattr(machine.netlink, "vf_states", incomplete)

    first, second = _info.gather(machine, None)["pfs"]
    assert "78 of 300" in first["problem"]
    assert "vlan" not in first["vfs"][0]
    assert (second["problem"], second["vfs"][0]["vlan"]) == (None, 0)


def test_a_vf_that_the_driver_does_not_report_has_no_attributes(machine: Machine) -> None:
    machine.netlink.vfs.clear()
    assert "vlan" not in vf(machine)


def test_a_pf_that_keeps_no_attributes_says_so(machine: Machine) -> None:
    """As the kernel tells it of virtio."""
    machine.netlink.without_attributes.add("ens1f0")
    [pf] = _info.gather(machine, None)["pfs"]
    assert pf["problem"] == "its driver keeps no attributes for VFs (no VST)"
    assert "vlan" not in pf["vfs"][0]


def test_vfs_that_are_just_being_made_are_not_taken_for_a_pf_without_attributes(
    machine: Machine,
) -> None:
    machine.write(f"{DEVICES}/{PF}/sriov_numvfs", "0")
    seen = []
    machine.between = lambda: seen.extend(_info.gather(machine, None)["pfs"])

    machine.write(f"{DEVICES}/{PF}/sriov_numvfs", "1")

    assert [pf["problem"] for pf in seen] == [
        "its VFs are just being made or destroyed: look again"
    ]


def test_vfs_that_vanish_meanwhile(machine: Machine) -> None:
    shutil.rmtree(os.path.realpath(machine.path(f"{DEVICES}/{VF}")))

    [pf] = _info.gather(machine, None)["pfs"]
    assert pf["vfs"] == []
    assert pf["problem"] == f"there is no PCI device {VF} on this host"


@pytest.fixture
def connectx(machine: Machine) -> Machine:
    """Two ports of a card that the kernel offers no SR-IOV for, and a device that is no NIC."""
    for number in range(2):
        address = f"0000:3b:00.{number}"
        machine.add_function(address, vendor="0x15b3", device="0x1017", driver="mlx5_core")
        machine.add_interface(f"ens3f{number}", address, mac=f"0c:42:a1:00:00:1{number}")
    machine.add_function("0000:3c:00.0", vendor="0x15b3", device_class="0x0c0800")
    return machine


def firmware(machine: Machine) -> dict[str, t.Any]:
    pfs = _info.gather(machine, None, firmware=True)["pfs"]
    assert [pf["address"] for pf in pfs] == [PF, CARD, "0000:3b:00.1"]
    assert [pf["firmware"] for pf in pfs] == [None, pfs[1]["firmware"], pfs[1]["firmware"]]
    assert pfs[1]["totalvfs"] is None
    return pfs[1]["firmware"]


def table(*rows: str) -> Completed:
    return Completed(0, "\n".join(["Configurations: Default Current Next Boot", *rows]), "")


def test_firmware_with_sriov_off(connectx: Machine) -> None:
    machine = connectx
    machine.answers[FIRMWARE] = table(" SRIOV_EN False(0) False(0) True(1)", " NUM_OF_VFS 0 8 16")

    assert firmware(machine) == {"enabled": False, "numvfs": 8, "problem": None}
    assert [call for call in machine.calls if call[0] == "mstconfig"] == [FIRMWARE.split()]


def test_firmware_is_asked_where_that_is_wished(connectx: Machine) -> None:
    connectx.answers[FIRMWARE] = table(" SRIOV_EN True(1) True(1) True(1)", " NUM_OF_VFS 0 8 8")

    [pf] = _info.gather(connectx, None)["pfs"]
    assert pf["firmware"] is None
    [pf] = _info.gather(connectx, ["ens3f0"], firmware=True)["pfs"]
    assert pf["firmware"] == {"enabled": True, "numvfs": 8, "problem": None}
    assert sum(call[0] == "mstconfig" for call in connectx.calls) == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "mstconfig and mlxconfig are not installed on this host"),
        (Completed(3, "-E- Failed to open the device: broken\n", ""), "Failed to open the device"),
        (table(" SRIOV_EN nonsense"), "cannot be read for certain"),
        (
            Completed(3, "-E- The Device doesn't support SRIOV_EN parameter\n", ""),
            "SRIOV_EN: the card's firmware does not offer it",
        ),
    ],
)
def test_a_card_that_does_not_answer(
    connectx: Machine, answer: Completed | None, problem: str
) -> None:
    if answer:
        connectx.answers[FIRMWARE] = answer
        connectx.answers[FIRMWARE.replace("SRIOV_EN ", "")] = table(" NUM_OF_VFS 0 8 16")

    found = firmware(connectx)
    assert found["enabled"] is None
    assert problem in found["problem"]
    assert found["numvfs"] == (8 if problem.startswith("SRIOV_EN") else None)


class Asked(t.NamedTuple):
    """What one run asked of a host."""

    netlink: dict[str, int]
    accesses: dict[str, int]


def asked(directory: Path, count: int, *, driver: str, one_group: bool) -> Asked:
    """What a run asks of a host with 2 PFs that have *count* VFs each, all of which are held."""
    machine = Machine(directory / f"{count}")
    entries = []
    for number in range(2):
        pf, name, mac = f"0000:0{number}:00.0", f"ens{number}", f"04:70:00:00:00:0{number}"
        vfs = [f"0000:1{number}:{vf >> 3:02x}.{vf & 7}" for vf in range(count)]
        machine.add_pf(pf, name, mac, numvfs=count, totalvfs=count, vf_addresses=vfs)
        for vf, address in enumerate(vfs):
            if one_group:
                machine.move_to_group(address, "1")
            machine.bind(address, driver)
            entries.append(ledger_entry(pf_mac=mac, vf=vf))
    _ledger.write(machine, {"one.hello.demo": entries})
    for pid in range(1, 9):
        machine.add_process(pid, "qemu", f"/dev/vfio/{pid}")
    netlink: collections.Counter[str] = collections.Counter()
    for name in ("links", "addresses", "vf_states"):

        def counted(*arguments: t.Any, name: str = name, call: t.Any = None) -> t.Any:
            netlink[name] += 1
            return call(*arguments)

        call = getattr(machine.netlink, name)
        setattr(machine.netlink, name, functools.partial(counted, name=name, call=call))
    machine.accesses.clear()

    found = _info.gather(machine, None)

    assert [len(pf["vfs"]) for pf in found["pfs"]] == [count, count]
    assert len(found["materializations"]["one.hello.demo"]) == 2 * count
    return Asked(dict(netlink), dict(machine.accesses))


@pytest.mark.parametrize("one_group", [False, True])
@pytest.mark.parametrize(
    ("driver", "netlink", "scans"),
    [
        ("vfio-pci", {"links": 1, "vf_states": 2, "addresses": 1}, 2),
        ("igbvf", {"links": 2, "vf_states": 2, "addresses": 2}, 1),
    ],
)
def test_what_is_read_grows_as_the_vfs_do(
    tmp_path: Path, driver: str, netlink: dict[str, int], scans: int, one_group: bool
) -> None:
    """Netlink and the processes are asked once, however many VFs there are."""
    few, some, many = (
        asked(tmp_path, count, driver=driver, one_group=one_group) for count in (8, 16, 24)
    )

    assert few.netlink == some.netlink == many.netlink == netlink
    assert many.accesses.get("names of /proc", 0) == scans
    step = {name: some.accesses[name] - count for name, count in few.accesses.items()}
    assert step == {name: many.accesses[name] - some.accesses[name] for name in step}
    assert max(step.values()) <= 16 * 8, "VFs more, at most 8 accesses of a kind for each"


def test_vdpa(tmp_path: Path) -> None:
    machine = VdpaMachine(tmp_path)

    found = _info.gather(machine, [])["vdpa"]

    assert found == {
        "management_devices": [
            {"name": "vdpasim_net", "classes": ("net",), "max_vqs": 3, "features": FEATURES}
        ],
        "devices": [],
    }
