# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.tests.unit.claims import (
    CLAIM,
    MACS,
    MZID,
    POLICY,
    VFS,
    entry,
    foreign,
    plan,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"pf_mac": "04:70:00:00:00:99"},
            "no interface of this host has the permanent MAC 04:70:00:00:00:99 of PF ens1f0",
        ),
        ({"vf": 3}, "VF 3 of PF ens1f0 is not there: the PF has 3 VFs; run mergetb.sriov.prepare"),
        ({"vf": -1}, "VF -1 of PF ens1f0 is not there"),
        ({"vlan": 0}, r"it has no VLAN \(vlan 0\), so its frames would leave untagged"),
        ({"vlan": 4095}, "vlan 4095 is not within 0"),
        ({"vlan": -1}, "vlan -1 is not within 0"),
        ({"mac": "02:00"}, "mac '02:00' is not six hexadecimal bytes"),
        ({"mac": "03:00:00:00:00:01"}, "is a multicast address"),
        ({"mtu": 1501}, "its MTU 1501 is larger than the 1500 of PF ens1f0: raise the MTU"),
        ({"vf": 1}, "VF 1 of PF ens1f0 belongs to materialization two.hello.demo"),
        (
            {"vlan": 300},
            "materialization two.hello.demo has VLAN 300 on PF ens1f0 for alpha.eth1: two exp",
        ),
    ],
)
def test_what_stands_against_a_claim(
    machine: Machine, change: dict[str, t.Any], problem: str
) -> None:
    ledger = {"two.hello.demo": [foreign(vf=1, vlan=300)]}

    with pytest.raises(SriovError, match=f"^alpha.eth1: .*{problem}"):
        plan(machine, [CLAIM._replace(**change)], ledger)


def test_all_that_stands_against_the_claims_is_told(machine: Machine) -> None:
    claims = [CLAIM._replace(vf=9, mtu=9000), CLAIM._replace(node="beta", vlan=0), CLAIM]

    with pytest.raises(SriovError) as caught:
        plan(machine, claims, {"other": [foreign(pf_mac=MACS[1])]})

    problems = str(caught.value).split("; alpha", 1)
    assert "VF 9" in problems[0]
    assert "MTU 9000" in problems[1]
    assert "beta.eth1: it has no VLAN" in problems[1]


GUEST_OF_OTHERS = foreign(vf=2, vlan=300)


def test_a_mac_of_another_materialization_on_the_host(machine: Machine) -> None:
    """The card switches between its VFs by MAC; some cards do so whatever the VLAN is."""
    claim = CLAIM._replace(pf_mac=MACS[1], mac=GUEST_OF_OTHERS.values["mac"])

    with pytest.raises(
        SriovError,
        match="^alpha.eth1: materialization two has its MAC 02:00:00:00:09:09 on this host for al",
    ):
        plan(machine, [claim], {"two": [GUEST_OF_OTHERS]})


@pytest.mark.parametrize("interface", ["ens1f0", "ens1f1", "eno1"])
def test_the_mac_of_an_interface_of_the_host(machine: Machine, interface: str) -> None:
    machine.add_interface("eno1", "0000:00:1f.6", mac="04:70:00:00:00:99")
    mac = machine.netlink.interfaces[interface].permanent_mac
    assert mac

    problem = f"its MAC {mac} is that of this host's interface {interface}"
    with pytest.raises(SriovError, match=problem):
        plan(machine, [CLAIM._replace(mac=mac)], {})


def test_the_mac_of_the_vf_itself_is_nobody_elses(machine: Machine) -> None:
    machine.alter_vf("ens1f0", 0, mac=CLAIM.mac)
    machine.bind(VFS[0], "igbvf")
    machine.alter_link("eth1", mac=CLAIM.mac)

    assert plan(machine, [CLAIM], {}).changes


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"vlan": CLAIM.vlan}, "is on the same VLAN 100: the two would reach each other"),
        ({"mac": CLAIM.mac}, "has the same MAC 02:00:00:00:01:01"),
    ],
)
def test_what_a_vf_outside_the_ledger_has(
    machine: Machine, attributes: dict[str, t.Any], problem: str
) -> None:
    machine.alter_vf("ens1f0", 2, **attributes)
    assert plan(machine, [CLAIM], {}).changes, "nobody can use a VF without driver"
    machine.bind(VFS[2], "vfio-pci")

    with pytest.raises(
        SriovError,
        match=f"VF 2 of PF ens1f0 has the driver vfio-pci and no materialization, and {problem}",
    ):
        plan(machine, [CLAIM], {})
    own = CLAIM._replace(nic="eth2", vf=2, mac="02:00:00:00:01:02")
    assert plan(machine, [CLAIM, own], {}).changes, "this run gives that VF another MAC"
    assert plan(machine, [CLAIM], {MZID: [entry(own)]}).changes, "this run takes that VF back"


def test_a_mac_that_isolates_nobody(machine: Machine) -> None:
    """The lookup refuses it; the module, which others call, too, gave the VF."""
    with pytest.raises(SriovError, match="would leave the guest the choice of its MAC"):
        _assignment.run(machine, MZID, [CLAIM._replace(mac="00:00:00:00:00:00")], POLICY)
    assert machine.writes == []


@pytest.mark.parametrize("mtu", [None, 68, 9000])
def test_an_mtu_that_the_pf_can_carry(machine: Machine, mtu: int | None) -> None:
    plan(machine, [CLAIM._replace(pf_mac=MACS[1], mtu=mtu)], {})
