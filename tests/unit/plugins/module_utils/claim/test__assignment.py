# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment
from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Policy
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import CHANGING, LEAVING
from ansible_collections.mergetb.sriov.tests.unit.claims import (
    BASELINE,
    CLAIM,
    ISOLATED,
    MACS,
    MZID,
    VFS,
    carry_out,
    entry,
    foreign,
    plan,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import NEW_VF, Machine, ledger_entry


def test_a_vf_is_claimed_and_its_baseline_recorded(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")
    machine.alter_vf("ens1f0", 0, vlan=7, max_tx_rate=10)

    other = foreign(vlan=300, vf=1)

    during, after = carry_out(machine, [CLAIM], {"other": [other]})

    baseline = NEW_VF._replace(vlan=7, max_tx_rate=10)._asdict()
    held = entry(baseline=baseline, baseline_driver="igbvf")
    assert during == {"other": [other], MZID: [held._replace(state=CHANGING)]}
    assert after == {"other": [other], MZID: [held]}
    assert machine.vf("ens1f0", 0) == ISOLATED._replace(max_tx_rate=10)
    assert machine.driver(VFS[0]) == "vfio-pci"


def test_the_baseline_is_kept_when_the_vf_is_held_already(machine: Machine) -> None:
    held = entry(baseline={**BASELINE, "vlan": 7}, baseline_driver="igbvf")

    during, after = carry_out(machine, [CLAIM], {MZID: [held]})

    assert during == {MZID: [held._replace(state=CHANGING)]}
    assert after == {MZID: [held]}


def test_another_guest_of_the_same_vf_is_recorded(machine: Machine) -> None:
    claim = CLAIM._replace(node="beta", nic="eth7")

    _during, after = carry_out(machine, [claim], {MZID: [entry()]})

    assert after == {MZID: [entry(claim)]}


def test_all_is_as_it_must_be(machine: Machine) -> None:
    *_during, ledger = carry_out(machine, [CLAIM], {})

    planned = plan(machine, [CLAIM], ledger)
    assert not planned.changes
    assert planned.during == planned.after == ledger


def test_a_vf_is_given_back_exactly_as_it_was(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")
    before = NEW_VF._replace(mac="02:0a:00:00:00:01", vlan=7, qos=1, spoofchk=False, trust=True)
    machine.alter_vf("ens1f0", 0, **before._asdict())
    *_during, ledger = carry_out(machine, [CLAIM], {})
    assert machine.vf("ens1f0", 0) == ISOLATED

    during, after = carry_out(machine, [], ledger)

    [held] = ledger[MZID]
    assert during == {MZID: [held._replace(state=LEAVING)]}, "it is held until it is freed"
    assert after == {}
    assert machine.vf("ens1f0", 0) == before
    assert machine.driver(VFS[0]) == "igbvf"


def test_a_vf_without_driver_gets_none_back(machine: Machine) -> None:
    *_during, ledger = carry_out(machine, [CLAIM], {})

    carry_out(machine, [], ledger)

    assert machine.driver(VFS[0]) is None
    assert _pci.read_device(machine, VFS[0]).driver_override is None


def test_only_what_changes_is_touched(machine: Machine) -> None:
    stays = CLAIM
    goes = CLAIM._replace(nic="eth2", vf=1, mac="02:00:00:00:01:02")
    changes = CLAIM._replace(nic="eth3", vf=2, mac="02:00:00:00:01:03")
    comes = CLAIM._replace(nic="eth4", pf_name="ens1f1", pf_mac=MACS[1], mac="02:00:00:00:01:04")
    *_during, ledger = carry_out(machine, [stays, goes, changes], {})
    machine.log.clear()

    planned = plan(machine, [stays, changes._replace(vlan=200), comes], ledger)
    assert [
        (step.target.address, bool(step.unbind), bool(step.bind)) for step in planned.steps
    ] == [
        (VFS[1], True, False),
        (VFS[2], True, True),
        ("0000:01:10.1", False, True),
    ]
    assert all(step.attributes for step in planned.steps)
    assert planned.taken == {"0000:01:10.1"}
    carry_out(machine, [stays, changes._replace(vlan=200), comes], ledger)
    assert not [event for event in machine.writes if VFS[0] in str(event)]
    assert machine.vf("ens1f0", 1) == NEW_VF
    assert machine.vf("ens1f0", 2).vlan == 200


def test_one_name_of_two_pfs_does_not_mix_them_up(machine: Machine) -> None:
    other = CLAIM._replace(nic="eth2", pf_mac=MACS[1], mac="02:00:00:00:01:02", vlan=200)

    carry_out(machine, [CLAIM, other], {})

    assert machine.vf("ens1f0", 0) == ISOLATED
    assert machine.vf("ens1f1", 0) == ISOLATED._replace(mac=other.mac, vlan=200)


def test_a_driver_without_trust_trusts_no_vf(machine: Machine) -> None:
    machine.alter_vf("ens1f0", 0, trust=None)
    *_during, ledger = carry_out(machine, [CLAIM], {})
    assert machine.vf("ens1f0", 0) == ISOLATED._replace(trust=None)

    carry_out(machine, [], ledger)
    assert machine.vf("ens1f0", 0) == NEW_VF._replace(trust=None)


def test_a_trusted_vf_loses_trust(machine: Machine) -> None:
    machine.alter_vf("ens1f0", 0, trust=True, spoofchk=False, qos=3, vlan_proto="802.1ad", vlan=5)

    carry_out(machine, [CLAIM], {})

    assert machine.vf("ens1f0", 0) == ISOLATED


def test_a_driver_without_spoofchk_does_not_isolate(machine: Machine) -> None:
    machine.alter_vf("ens1f0", 0, spoofchk=None)

    with pytest.raises(SriovError, match="the driver does not keep spoofchk"):
        plan(machine, [CLAIM], {})


def test_a_held_vf_that_is_gone_needs_nothing(machine: Machine) -> None:
    gone = [ledger_entry(vf=5), ledger_entry(pf_mac="04:70:00:00:00:99"), ledger_entry()]
    ledger = {MZID: gone}

    planned = plan(machine, [], ledger)
    assert not planned.steps
    assert planned.after == {}


EXTRA: dict[str, t.Any] = {"link_state": "enable", "max_tx_rate": 1000, "trust": True}


def test_attributes_of_the_policy(machine: Machine) -> None:
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci", EXTRA))

    assert machine.vf("ens1f0", 0) == ISOLATED._replace(**EXTRA)


def no_link_state(vf: int, name: str, value: t.Any) -> int:
    return errno.EOPNOTSUPP if name == "link_state" else 0


def test_an_attribute_that_is_not_supported_fails(machine: Machine) -> None:
    machine.netlink.refuse = no_link_state

    with pytest.raises(SriovError, match="link_state enable was refused: Operation not supported"):
        _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci", EXTRA))
    assert machine.driver(VFS[0]) is None
    assert machine.vf("ens1f0", 0) == NEW_VF


@pytest.mark.parametrize("keeps", [False, True])
def test_a_vf_goes_without_what_it_may_go_without(machine: Machine, keeps: bool) -> None:
    policy = Policy("vfio-pci", EXTRA, dispensable={"link_state", "query_rss"})
    policy = policy._replace(attributes={**EXTRA, "query_rss": True})
    if keeps:
        machine.alter_vf("ens1f0", 0, query_rss=False)
    machine.netlink.refuse = no_link_state

    done = _assignment.run(machine, MZID, [CLAIM], policy)

    assert done["changed"]
    [warning] = done["warnings"]
    assert "link_state enable was refused" in warning
    assert warning.endswith("the VF goes without")
    got: dict[str, t.Any] = {"max_tx_rate": 1000, "trust": True}
    assert machine.vf("ens1f0", 0) == ISOLATED._replace(**got, query_rss=True if keeps else None)
    assert machine.driver(VFS[0]) == "vfio-pci"
    [held] = _ledger.vfs(_ledger.read(machine))[MZID]
    assert held.refused == (["link_state"] if keeps else ["link_state", "query_rss"])
    machine.log.clear()
    again = _assignment.run(machine, MZID, [CLAIM], policy)
    assert not again["changed"], "what was refused is not tried again"
    assert machine.writes == []


@pytest.fixture
def without_vst(machine: Machine) -> None:
    machine.netlink.without_attributes.add("ens1f0")


@pytest.mark.usefixtures("without_vst")
def test_a_nic_without_vst_is_refused(machine: Machine) -> None:
    with pytest.raises(SriovError, match="alpha.eth1: PF ens1f0 tags no VLANs for its VFs"):
        _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    assert machine.writes == []


@pytest.mark.usefixtures("without_vst")
def test_a_nic_without_vst_can_hand_the_vlan_to_the_guest(machine: Machine) -> None:
    policy = Policy("vfio-pci", trunk=True)
    other = CLAIM._replace(nic="eth2", pf_mac=MACS[1], mac="02:00:00:00:01:02", vlan=200)

    done = _assignment.run(machine, MZID, [CLAIM, other], policy)

    assert [(item["vlan"], item["vlan_mode"]) for item in done["devices"]] == [
        (100, "trunk"),
        (200, "vst"),
    ]
    assert machine.vf("ens1f0", 0) == NEW_VF
    assert machine.driver(VFS[0]) == "vfio-pci"
    assert not _assignment.run(machine, MZID, [CLAIM, other], policy)["changed"]
    _assignment.run(machine, MZID, [], policy)
    assert machine.driver(VFS[0]) is None
    assert _ledger.read(machine) == {}
