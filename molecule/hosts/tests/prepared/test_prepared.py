# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts after `prepare`, which restarted them."""

from __future__ import annotations

import typing as t

import pytest

WANTED = ("intel_iommu=on", "iommu=pt")


def test_each_host_is_unlike_the_twins(machines: dict[str, t.Any]) -> None:
    for machine in machines.values():
        assert machine.host.package("dracut").is_installed
        assert not machine.host.package("initramfs-tools").is_installed
    loader = machines["sdboot"].host.check_output("bootctl status")
    assert "Product: systemd-boot" in loader
    routes = {
        name: machine.host.check_output("ip -4 route show default")
        for name, machine in machines.items()
    }
    assert " dev bond0 " in f"{routes['bond']} "
    assert " dev br0 " in f"{routes['ovs']} "
    assert machines["ovs"].host.check_output("ovs-vsctl list-ports br0").split() == [
        "enp0s2",
        "enp1s0",
    ]


def test_the_kernel_has_the_arguments_of_the_iommu(machine: t.Any) -> None:
    for arguments in (machine.running(), machine.next_boot()):
        assert set(WANTED) <= set(arguments)
        assert not set(machine.against_an_iommu) & set(arguments)


def test_it_has_all_others_that_it_had(machine: t.Any) -> None:
    for arguments in (machine.running(), machine.next_boot()):
        assert sorted(arguments) == sorted({*machine.kept, *WANTED})


def test_the_iommu_works(machine: t.Any) -> None:
    assert machine.host.file("/sys/class/iommu").listdir() != []
    assert machine.host.file("/sys/kernel/iommu_groups").listdir() != []


@pytest.mark.parametrize("name", ["bond", "ovs"])
def test_a_pf_that_no_traffic_of_the_operator_passes_has_its_vfs(
    machines: dict[str, t.Any], name: str
) -> None:
    counts = machines[name].host.check_output("cat /sys/class/net/enp[12]s0/device/sriov_numvfs")
    assert counts.split() == ["0", "2"]


@pytest.mark.parametrize(
    ("name", "interface", "through"),
    [
        ("sdboot", "enp0s2", "enp0s2"),
        ("bond", "enp0s2", "bond0"),
        ("bond", "enp1s0", "bond0"),
        ("ovs", "enp0s2", "br0"),
        ("ovs", "enp1s0", "br0"),
    ],
)
def test_the_nics_that_the_operator_comes_through_are_refused(
    machines: dict[str, t.Any], name: str, interface: str, through: str
) -> None:
    answer = machines[name].module("preflight", pfs=[{"name": interface, "max_vfs": 1}])
    texts = [each["text"] for each in answer["problems"] if each["severity"] == "error"]
    refusal = next((text for text in texts if "it is the management NIC" in text), None)
    assert refusal, texts
    assert interface in refusal
    assert through in refusal
