# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that lost their power while guests held VFs; since then `prepare` ran and nothing else."""

from __future__ import annotations

import json
import typing as t

import pytest

SERVICE = "mergetb-sriov-restore.service"
CHECK = "python3 /usr/local/lib/mergetb-sriov/restore.pyz --check"


@pytest.fixture(scope="module")
def x0(machines: dict[str, t.Any]) -> t.Any:
    return machines["x0"]


@pytest.fixture(scope="module")
def moved(machines: dict[str, t.Any]) -> t.Any:
    """The host whose NICs are elsewhere on PCI than before."""
    return machines["x1"]


def result(machine: t.Any) -> list[str]:
    shown = machine.check_output(f"systemctl show --property=ActiveState,Result {SERVICE}")
    return shown.splitlines()


def journal(machine: t.Any) -> str:
    return machine.check_output(f"journalctl --boot --output=cat --unit={SERVICE}")


def ledger(machine: t.Any) -> list[dict[str, t.Any]]:
    document = json.loads(machine.check_output("cat /var/lib/mergetb-sriov/ledger.json"))
    [entries] = document["materializations"].values()
    return entries


def test_the_service_of_the_boot_gave_them_back(x0: t.Any) -> None:
    assert result(x0) == ["Result=success", "ActiveState=active"]
    assert journal(x0).count("restored: ") == 3
    assert "3 VFs are as the ledger says" in journal(x0)


def test_nothing_differs_from_the_ledger(x0: t.Any) -> None:
    done = x0.run(CHECK)
    assert (done.rc, done.stdout) == (0, "3 VFs are as the ledger says\n"), done.stderr


def test_the_check_sees_drift(x0: t.Any) -> None:
    """And the service mends it, as it would at a boot."""
    address = ledger(x0)[0]["address"]
    x0.check_output(f"echo {address} > /sys/bus/pci/devices/{address}/driver/unbind")

    done = x0.run(CHECK)
    assert done.rc == 1
    assert f"VF {address}" in done.stdout
    x0.check_output(f"systemctl restart {SERVICE}")
    assert x0.run(CHECK).rc == 0


def test_vfs_that_moved_were_given_to_nobody(moved: t.Any) -> None:
    assert result(moved) == ["Result=exit-code", "ActiveState=failed"]
    told = journal(moved)
    assert told.count("not restored: ") == 3
    assert "0 VFs are as the ledger says" in told
    for entry in ledger(moved):
        assert f"({entry['pf_mac']}) moved from {entry['pf_address']} to " in told


def test_nor_are_they_once_they_are_there_again(moved: t.Any) -> None:
    """Although a VF of one PF is now where one of the other was."""
    recorded = {entry["address"] for entry in ledger(moved)}
    present = moved.check_output("ls /sys/bus/pci/devices").split()
    assert recorded & set(present)

    assert moved.run(f"systemctl restart {SERVICE}").rc != 0

    assert moved.run("ls -d /sys/bus/pci/devices/*/virtfn*/driver").stdout == ""
    vfs = [
        vf
        for link in json.loads(moved.check_output("ip -d -j link show"))
        for vf in link.get("vfinfo_list", [])
    ]
    assert len(vfs) == 14
    assert {vf["address"] for vf in vfs} == {"00:00:00:00:00:00"}
    assert [entry for vf in vfs for entry in vf["vlan_list"] if entry] == []
