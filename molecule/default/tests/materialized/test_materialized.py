# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `materialize` promises in the device map, held against what other tools see on the hosts."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])


@pytest.fixture(scope="module")
def devices() -> list[dict[str, t.Any]]:
    return json.loads((PROJECT / ".twin-molecule/device_map.json").read_text())["devices"]


@pytest.fixture(scope="module")
def vfs(machines: dict[str, t.Any]) -> dict[tuple[str, str, int], dict[str, t.Any]]:
    """What `ip` reports of each VF, by host, MAC of the PF, and index."""
    return {
        (name, link["address"], vf["vf"]): vf
        for name, machine in machines.items()
        for link in json.loads(machine.check_output("ip -d -j link show"))
        for vf in link.get("vfinfo_list", [])
    }


def key(device: dict[str, t.Any], pfs: dict[str, list[dict[str, t.Any]]]) -> tuple[str, str, int]:
    macs = {pf["name"]: pf["mac"] for pf in pfs[device["host"]]}
    return device["host"], macs[device["pf"]], device["vf_index"]


def test_the_map_has_all_guest_nics(devices: list[dict[str, t.Any]]) -> None:
    assert [(device["node"], device["nic"], device["vlan"]) for device in devices] == [
        ("alpha", "eth1", 100),
        ("alpha", "eth2", 200),
        ("alpha", "eth3", 300),
        ("beta", "eth1", 100),
        ("beta", "eth2", 200),
        ("beta", "eth3", 300),
    ]


def test_each_vf_is_isolated(
    devices: list[dict[str, t.Any]],
    vfs: dict[tuple[str, str, int], dict[str, t.Any]],
    pfs: dict[str, list[dict[str, t.Any]]],
) -> None:
    for device in devices:
        vf = vfs[key(device, pfs)]
        assert vf["address"] == device["mac"]
        assert [entry["vlan"] for entry in vf["vlan_list"]] == [device["vlan"]]
        assert vf["spoofchk"] is True
        assert vf["trust"] is False


def test_each_vf_is_with_vfio(devices: list[dict[str, t.Any]], machines: dict[str, t.Any]) -> None:
    for device in devices:
        link = f"/sys/bus/pci/devices/{device['pci_address']}/driver"
        assert machines[device["host"]].file(link).linked_to.endswith("/vfio-pci")


def test_the_address_is_that_of_the_vf(
    devices: list[dict[str, t.Any]],
    machines: dict[str, t.Any],
    pfs: dict[str, list[dict[str, t.Any]]],
) -> None:
    for device in devices:
        _host, mac, index = key(device, pfs)
        machine = machines[device["host"]]
        interface = machine.check_output("grep -lsx %s /sys/class/net/*/address", mac).split("/")[4]
        target = machine.check_output(f"readlink /sys/class/net/{interface}/device/virtfn{index}")
        assert target == f"../{device['pci_address']}"


def test_other_vfs_are_as_they_were(
    devices: list[dict[str, t.Any]],
    vfs: dict[tuple[str, str, int], dict[str, t.Any]],
    pfs: dict[str, list[dict[str, t.Any]]],
) -> None:
    for other in set(vfs) - {key(device, pfs) for device in devices}:
        assert vfs[other]["address"] == "00:00:00:00:00:00"
        assert [entry for entry in vfs[other]["vlan_list"] if entry] == []


def test_a_second_run_changes_nothing() -> None:
    command = [
        "ansible-playbook",
        f"--extra-vars=@{PROJECT}/molecule/vars.yml",
        "--extra-vars=sriov_materialization={{ experiment }}",
        "mergetb.sriov.materialize",
    ]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    recap = [line for line in run.stdout.splitlines() if "changed=" in line]
    assert len(recap) == 2
    assert all("changed=0 " in line for line in recap), run.stdout
