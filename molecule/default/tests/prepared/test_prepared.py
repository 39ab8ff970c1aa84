# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as `prepare` leaves it: VFs that belong to nobody. So it is after a restart, too."""

from __future__ import annotations

import json
import typing as t


def sysfs(machine: t.Any, mac: str) -> str:
    """The sysfs directory of the PF with the permanent MAC *mac*."""
    links = json.loads(machine.check_output("ip -d -j link show"))
    names = [link["ifname"] for link in links if link.get("permaddr", link["address"]) == mac]
    assert len(names) == 1
    return f"/sys/class/net/{names[0]}/device"


def test_the_iommu_works(machine: t.Any) -> None:
    assert "intel_iommu=on" in machine.file("/proc/cmdline").content_string.split()
    assert machine.file("/sys/class/iommu").listdir() != []
    assert machine.file("/sys/kernel/iommu_groups").listdir() != []


def test_each_pf_has_its_vfs(machine: t.Any, own_pfs: list[dict[str, t.Any]]) -> None:
    for pf in own_pfs:
        base = sysfs(machine, pf["mac"])
        assert int(machine.file(f"{base}/sriov_numvfs").content_string) == pf["max_vfs"]


def test_no_vf_has_a_driver(machine: t.Any, own_pfs: list[dict[str, t.Any]]) -> None:
    for pf in own_pfs:
        base = sysfs(machine, pf["mac"])
        assert machine.file(f"{base}/sriov_drivers_autoprobe").content_string.strip() == "0"
        assert machine.run(f"ls -d {base}/virtfn*/driver").stdout == ""


def test_no_vf_has_a_vlan(machine: t.Any, own_pfs: list[dict[str, t.Any]]) -> None:
    for link in json.loads(machine.check_output("ip -d -j link show")):
        for vf in link.get("vfinfo_list", []):
            assert [entry for entry in vf["vlan_list"] if entry] == []
            assert vf["address"] == "00:00:00:00:00:00"


def test_the_pfs_are_up(machine: t.Any, own_pfs: list[dict[str, t.Any]]) -> None:
    links = json.loads(machine.check_output("ip -d -j link show"))
    up = {link["address"] for link in links if "UP" in link["flags"]}
    assert {pf["mac"] for pf in own_pfs} <= up


def test_vfio_pci_is_loaded(machine: t.Any) -> None:
    assert machine.file("/sys/bus/pci/drivers/vfio-pci").is_directory


def test_nobody_holds_a_vf(machine: t.Any) -> None:
    ledger = machine.file("/var/lib/mergetb-sriov/ledger.json")
    assert not ledger.exists or json.loads(ledger.content_string)["materializations"] == {}
