# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import threading
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment
from ansible_collections.mergetb.sriov.plugins.module_utils.claim._assignment import Claim, Policy
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import (
    CHANGING,
    LEAVING,
    Entry,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    NEW_VF,
    Machine,
    ledger_entry,
)
from ansible_collections.mergetb.sriov.tests.unit.interleaving import overtaken

MZID = "one.hello.demo"
MACS = ("04:70:00:00:00:10", "04:70:00:00:00:11")
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")
CLAIM = Claim("alpha", "eth1", "ens1f0", MACS[0], 0, "02:00:00:00:01:01", 100, 1500)
BASELINE = NEW_VF._asdict()
ISOLATED = NEW_VF._replace(mac=CLAIM.mac, vlan=CLAIM.vlan)

Ledger = dict[str, list[Entry]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf("0000:01:00.0", "ens1f0", MACS[0], numvfs=3)
    machine.add_pf("0000:01:00.1", "ens1f1", MACS[1], numvfs=2, mtu=9000)
    machine.add_driver("vfio-pci")
    machine.log.clear()
    return machine


def plan(machine: Machine, claims: list[Claim], ledger: Ledger) -> _assignment.Plan:
    found = _assignment.look(machine, MZID, claims, ledger)
    return _assignment.plan(MZID, claims, Policy("vfio-pci"), found)


def carry_out(machine: Machine, claims: list[Claim], ledger: Ledger) -> list[Ledger]:
    saved: list[Ledger] = []
    planned = plan(machine, claims, ledger)
    found = _assignment.look(machine, MZID, claims, ledger)
    _assignment.refuse(machine, planned, found, MZID)
    _assignment.apply(machine, planned, MZID, saved.append)
    return saved


def entry(claim: Claim = CLAIM, **changes: t.Any) -> Entry:
    return ledger_entry(node=claim.node, nic=claim.nic, vf=claim.vf, **changes)


def foreign(**changes: t.Any) -> Entry:
    """An entry of another materialization, whose guest has another MAC."""
    vlan = changes.get("vlan", 100)
    values = {**ledger_entry().values, "mac": "02:00:00:00:09:09", "vlan": vlan}
    return ledger_entry(values=values, **changes)


def test_ports_are_found_by_permanent_mac(machine: Machine) -> None:
    ports = _assignment.read_ports(machine, [MACS[1], "04:70:00:00:00:99"])

    assert list(ports) == [MACS[1]]
    assert ports[MACS[1]].pf.address == "0000:01:00.1"
    assert ports[MACS[1]].link.name == "ens1f1"
    assert list(ports[MACS[1]].states or ()) == [0, 1]


def test_only_the_vfs_that_a_run_is_about_are_read(machine: Machine) -> None:
    """The kernel may have another VF of the PF locked, and show nothing of it."""
    found = _assignment.look(machine, MZID, [CLAIM], {MZID: [ledger_entry(vf=2)]})

    assert list(found.devices) == [VFS[0], VFS[2]]
    assert list(found.drivers) == list(VFS)


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
    assert during == {MZID: [held._replace(state=LEAVING)]}, "it is held until it is given back"
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
        ({"vlan": CLAIM.vlan}, "is on its VLAN 100 and would reach it: take the driver from that"),
        ({"mac": CLAIM.mac}, "has its MAC 02:00:00:00:01:01"),
    ],
)
def test_what_a_vf_outside_the_ledger_has(
    machine: Machine, attributes: dict[str, t.Any], problem: str
) -> None:
    machine.alter_vf("ens1f0", 2, **attributes)
    assert plan(machine, [CLAIM], {}).changes, "nobody can use a VF without driver"
    machine.bind(VFS[2], "vfio-pci")

    with pytest.raises(
        SriovError, match=f"VF 2 of PF ens1f0, which vfio-pci has and no materialization, {problem}"
    ):
        plan(machine, [CLAIM], {})
    own = CLAIM._replace(nic="eth2", vf=2, mac="02:00:00:00:01:02")
    assert plan(machine, [CLAIM, own], {}).changes, "this run gives that VF another MAC"
    assert plan(machine, [CLAIM], {MZID: [entry(own)]}).changes, "this run takes that VF back"


def test_a_guest_that_runs_keeps_its_vf_when_its_pf_is_in_another_namespace(
    machine: Machine,
) -> None:
    """The VF was called gone and forgotten, and its next owner took its VLAN for the baseline."""
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    held = _ledger.read(machine)
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    machine.add_process(7, "qemu", f"/dev/vfio/{group}")
    machine.hide_interface("ens1f0", "0000:01:00.0")
    machine.log.clear()

    for force in (False, True):
        with pytest.raises(SriovError) as caught:
            _assignment.run(machine, MZID, [], Policy("vfio-pci"), force=force)
        assert str(caught.value) == (
            f"materialization {MZID} keeps its VFs: alpha.eth1: VF {VFS[0]} is still there, but no "
            f"interface here has the MAC {MACS[0]} of PF ens1f0 at 0000:01:00.0: load its driver, "
            "or move its interface back from the network namespace where it is, and run this "
            f"again; process 7 (qemu) has /dev/vfio/{group} open"
        )
    assert machine.writes == []
    assert _ledger.read(machine) == held
    with pytest.raises(SriovError, match="no interface of this host has the permanent MAC"):
        _assignment.run(machine, "two", [CLAIM], Policy("vfio-pci"))


def test_a_vf_that_its_pf_does_not_list_but_pci_does(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the VFs of a PF are destroyed, the links of the PF go first."""
    monkeypatch.setattr(_assignment, "_SETTLE_SECONDS", 0)
    third = CLAIM._replace(vf=2)
    _assignment.run(machine, MZID, [third], Policy("vfio-pci"))
    os.unlink(machine.path(f"{DEVICES}/0000:01:00.0/virtfn2"))

    with pytest.raises(SriovError, match="PF ens1f0 .*: its VFs are just being made or destro"):
        _assignment.run(machine, MZID, [], Policy("vfio-pci"))


def test_a_vf_whose_pf_another_one_is_taken_for_is_not_forgotten(machine: Machine) -> None:
    """The guest's VF was forgotten, and a VF of the other PF got its baseline."""
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    machine.add_process(7, "qemu", f"/dev/vfio/{group}")
    machine.hide_interface("ens1f0", "0000:01:00.0")
    machine.add_pf("0000:03:00.0", "ens3", MACS[0], numvfs=2)
    held = _ledger.read(machine)
    machine.log.clear()

    with pytest.raises(SriovError) as caught:
        _assignment.run(machine, MZID, [], Policy("vfio-pci"))
    assert f"VF {VFS[0]} is still there, but no interface here has the MAC" in str(caught.value)
    assert "that of PF 0000:03:00.0 is the same" in str(caught.value)
    assert f"process 7 (qemu) has /dev/vfio/{group} open" in str(caught.value)
    assert machine.writes == []
    assert _ledger.read(machine) == held
    assert VFS[0] in _usage.holders(machine, [VFS[0]])
    assert _usage.holders(machine, ["0000:03:10.0"]) == {}


def test_a_vf_that_a_guest_has_open_although_it_shows_no_driver(machine: Machine) -> None:
    """So it is while the kernel unbinds it, for which it waits until the guest has ended.

    The guest was put on no VLAN, or on the VLAN of the VF's next owner.
    """
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    os.unlink(machine.path(f"{DEVICES}/{VFS[0]}/driver"))
    machine.add_process(7, "qemu", f"/dev/vfio/{group} (deleted)")
    machine.log.clear()

    for claims in ([], [CLAIM._replace(vlan=200)]):
        with pytest.raises(SriovError, match=f"process 7 \\(qemu\\) has /dev/vfio/{group} open"):
            _assignment.run(machine, MZID, claims, Policy("vfio-pci"))
    assert machine.writes == []
    _ledger.write(machine, {})
    machine.log.clear()
    with pytest.raises(SriovError, match=f"process 7 \\(qemu\\) has /dev/vfio/{group} open"):
        _assignment.run(machine, "two", [CLAIM], Policy("vfio-pci"))
    assert machine.writes == []


def test_several_pfs_of_one_mac_are_refused(machine: Machine) -> None:
    """The first of the kernel's list was taken, which may change with each boot."""
    machine.add_pf("0000:03:00.0", "ens3", MACS[0], numvfs=2)
    machine.log.clear()

    with pytest.raises(SriovError, match="the permanent MAC of several PFs: 0000:01:00.0, 0000:03"):
        _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    assert machine.writes == []


@pytest.mark.parametrize("first", [True, False])
def test_what_lies_on_a_pf_may_have_its_permanent_mac(machine: Machine, first: bool) -> None:
    """So it is with ipvlan and MACsec, which were taken for the PF: "no network interface"."""
    interfaces = machine.netlink.interfaces
    upper = machine.add_interface("ipvl0", mac=MACS[0])
    interfaces["ipvl0"] = upper._replace(permanent_mac=MACS[0], kind="ipvlan")
    if first:
        interfaces["ens1f0"] = interfaces.pop("ens1f0")

    given = _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))

    assert [device["pci_address"] for device in given["devices"]] == [VFS[0]]


def test_a_card_that_is_gone_for_good_can_be_forgotten(machine: Machine) -> None:
    """Another card is in its slot, and has VFs at the same addresses."""
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    machine.alter_link("ens1f0", mac="04:70:00:00:00:77", permanent_mac="04:70:00:00:00:77")
    before = machine.vf("ens1f0", 0)

    _assignment.run(machine, MZID, [], Policy("vfio-pci"))

    assert _ledger.read(machine) == {}
    assert machine.vf("ens1f0", 0) == before


RUN = "2026-11-27T12:00:00Z-aaaaaa"
OTHER_RUN = "2026-11-27T12:00:01Z-bbbbbb"
POLICY = Policy("vfio-pci")


def reserve(machine: Machine, *claims: Claim, run: str = RUN, mzid: str = MZID) -> dict[str, t.Any]:
    return _assignment.reserve(machine, mzid, claims, POLICY, run=run)


def test_a_reservation_touches_no_vf_and_keeps_others_out(machine: Machine) -> None:
    before = machine.files()

    predicted = _assignment.reserve(machine, MZID, [CLAIM], POLICY, run=RUN, check_mode=True)
    assert machine.files() == before
    reserved = reserve(machine, CLAIM)

    assert reserved == predicted
    assert reserved["changed"]
    assert reserved["devices"][0]["pci_address"] == VFS[0]
    assert [event.subject for event in machine.writes] == [_ledger.PATH]
    assert _ledger.read(machine) == {MZID: [entry(state=_ledger.RESERVED, runs=(RUN,))]}
    whose = f"is reserved for materialization {MZID} by run {RUN}"
    with pytest.raises(SriovError, match=f"^alpha.eth1: VF 0 of PF ens1f0 {whose}$"):
        reserve(machine, CLAIM, mzid="two", run=OTHER_RUN)
    with pytest.raises(SriovError, match="materialization one.hello.demo has VLAN 100 on PF"):
        reserve(machine, CLAIM._replace(vf=1), mzid="two", run=OTHER_RUN)
    done = _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)
    assert {**done, "warnings": [], "reserved": [f"ens1f0 ({MACS[0]}) VF 0"]} == reserved
    assert _ledger.read(machine) == {MZID: [entry()]}
    assert machine.vf("ens1f0", 0) == ISOLATED


def test_what_is_held_already_needs_no_reservation(machine: Machine) -> None:
    _assignment.run(machine, MZID, [CLAIM], POLICY)
    machine.log.clear()

    assert not reserve(machine, CLAIM)["changed"]
    assert not _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)["changed"]
    assert machine.writes == []

    machine.alter_vf("ens1f0", 0, vlan=7)
    mended = reserve(machine, CLAIM)
    assert mended["steps"]
    assert mended["reserved"] == []


def test_a_change_of_a_held_vf_is_reserved_beside_it(machine: Machine) -> None:
    _assignment.run(machine, MZID, [CLAIM], POLICY)
    [held] = _ledger.read(machine)[MZID]

    reserve(machine, CLAIM._replace(vlan=200))

    before, wanted = _ledger.read(machine)[MZID]
    assert before == held
    assert (wanted.state, wanted.vlan, wanted.values["vlan"]) == (_ledger.RESERVED, 200, 200)
    for vlan in (100, 200):
        with pytest.raises(SriovError, match=f"materialization {MZID} has VLAN {vlan} on PF"):
            reserve(machine, CLAIM._replace(vf=1, vlan=vlan), mzid="two", run=OTHER_RUN)
    _assignment.withdraw(machine, MZID, run=RUN)
    assert _ledger.read(machine) == {MZID: [held]}


def gives_way(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> list[float]:
    """The younger run takes its reservation back while the older one waits; the waits, in s."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        _assignment.withdraw(machine, "two", run=OTHER_RUN)

    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(_assignment, "time", clock)
    return waits


@pytest.mark.parametrize(
    "younger",
    [
        CLAIM,
        CLAIM._replace(vf=1, nic="eth9", mac="02:00:00:00:01:09"),
        CLAIM._replace(vf=1, vlan=7),
    ],
    ids=["VF", "VLAN", "MAC"],
)
def test_of_two_experiments_that_meet_in_opposite_order_the_older_is_given(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, younger: Claim
) -> None:
    """Each was the first on one of two hosts; on this one, the younger was."""
    reserve(machine, younger, mzid="two", run=OTHER_RUN)
    waits = gives_way(monkeypatch, machine)

    assert reserve(machine, CLAIM)["changed"]

    assert len(waits) == 1
    assert list(_ledger.read(machine)) == [MZID]


def test_a_younger_run_that_had_the_lock_first_gives_way(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older run looked before it had the lock, and both were refused."""
    reserved = {"two": [entry(state=_ledger.RESERVED, runs=(OTHER_RUN,))]}
    gives_way(monkeypatch, machine)

    overtaken(machine, lambda: reserve(machine, CLAIM), lambda: _ledger.write(machine, reserved))

    assert list(_ledger.read(machine)) == [MZID]


@pytest.mark.parametrize(
    ("claim", "runs", "message"),
    [
        (CLAIM, (OTHER_RUN, "2026-11-27T11:59:59Z-a"), "is reserved for materialization two"),
        (CLAIM._replace(vf=99), (OTHER_RUN,), "VF 99"),
    ],
    ids=["an older run", "no such VF"],
)
def test_a_run_does_not_wait_for_what_no_wait_helps(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    claim: Claim,
    runs: tuple[str, ...],
    message: str,
) -> None:
    _ledger.write(machine, {"two": [entry(state=_ledger.RESERVED, runs=runs)]})
    waits = gives_way(monkeypatch, machine)

    with pytest.raises(SriovError, match=message):
        reserve(machine, CLAIM, claim)

    assert waits == []


def test_a_younger_run_that_stays_is_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve(machine, CLAIM, mzid="two", run=OTHER_RUN)
    monkeypatch.setattr(_assignment, "_YOUNGER_SECONDS", 0)

    with pytest.raises(SriovError, match=f"reserved for materialization two by run {OTHER_RUN}"):
        reserve(machine, CLAIM)


def test_a_reservation_is_taken_back_by_its_own_run_alone(machine: Machine) -> None:
    reserve(machine, CLAIM)
    machine.log.clear()

    assert not _assignment.withdraw(machine, MZID, run=OTHER_RUN)["changed"]
    assert not _assignment.withdraw(machine, "two", run=RUN)["changed"]
    assert machine.writes == []
    taken = _assignment.withdraw(machine, MZID, run=RUN, check_mode=True)
    assert machine.writes == []
    assert _assignment.withdraw(machine, MZID, run=RUN) == taken

    assert taken["changed"]
    assert _ledger.read(machine) == {}


def test_the_next_run_finishes_what_a_killed_one_reserved(machine: Machine) -> None:
    reserve(machine, CLAIM)

    reserve(machine, CLAIM, run=OTHER_RUN)
    _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=OTHER_RUN)

    assert _ledger.read(machine) == {MZID: [entry()]}


@pytest.mark.parametrize("first", [RUN, OTHER_RUN])
def test_runs_of_one_materialization_share_what_they_reserve(machine: Machine, first: str) -> None:
    """One of them is refused on another host and takes its reservation back here."""
    second = OTHER_RUN if first == RUN else RUN
    reserve(machine, CLAIM, run=RUN)
    reserve(machine, CLAIM, run=OTHER_RUN)

    _assignment.withdraw(machine, MZID, run=first)
    with pytest.raises(SriovError, match="is reserved for"):
        reserve(machine, CLAIM, mzid="two", run="2026-11-27T12:00:02Z-cccccc")
    _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=second)

    assert _ledger.read(machine) == {MZID: [entry()]}


def test_a_run_of_the_same_materialization_with_another_aim_is_refused(machine: Machine) -> None:
    """Else one host could get what the one run wants, and the next what the other does."""
    reserve(machine, CLAIM)

    for claims in ([], [CLAIM._replace(vlan=200)], [CLAIM, CLAIM._replace(nic="eth2", vf=1)]):
        with pytest.raises(
            SriovError,
            match=f"run {RUN} has reserved other VFs, .* -e sriov_mzid={MZID} -e sriov_run={RUN}$",
        ):
            reserve(machine, *claims, run=OTHER_RUN)
    reserve(machine, CLAIM._replace(vlan=200), run=RUN)
    [reserved] = _ledger.read(machine)[MZID]
    assert reserved.vlan == 200, "a run may think better of it"


def test_a_mac_that_isolates_nobody(machine: Machine) -> None:
    """The lookup refuses it; the module, which others call, too, gave the VF."""
    with pytest.raises(SriovError, match="would leave the guest the choice of its MAC"):
        _assignment.run(machine, MZID, [CLAIM._replace(mac="00:00:00:00:00:00")], POLICY)
    assert machine.writes == []


def test_a_run_takes_nothing_that_another_gave_meanwhile(tmp_path: Path) -> None:
    """Where a run had nothing to reserve, it left no trace, and took what the other had given.

    Both runs ended well, and the materialization had nothing on either host.
    """
    hosts = []
    for name in ("x0", "x1"):
        hosts.append(Machine(tmp_path / name))
        hosts[-1].add_pf("0000:01:00.0", "ens1f0", MACS[0], numvfs=1)
        hosts[-1].add_driver("vfio-pci")
    aims: dict[str, list[list[Claim]]] = {RUN: [[CLAIM], []], OTHER_RUN: [[], [CLAIM]]}
    for run, number in ((RUN, 1), (OTHER_RUN, 0), (RUN, 0), (OTHER_RUN, 1)):
        reserve(hosts[number], *aims[run][number], run=run)

    def carry_out(run: str, number: int) -> None:
        _assignment.run(hosts[number], MZID, aims[run][number], POLICY, reserved_by=run)

    carry_out(RUN, 0)
    carry_out(OTHER_RUN, 1)
    for run, number in ((RUN, 1), (OTHER_RUN, 0)):
        with pytest.raises(SriovError, match=f"run {run} has no reservation for VF 0 of PF ens1f0"):
            carry_out(run, number)
        assert _ledger.read(hosts[number]) == {MZID: [entry()]}


def test_a_run_drops_no_reservation_of_another(machine: Machine) -> None:
    reserve(machine, run=OTHER_RUN)
    reserve(machine, CLAIM)

    with pytest.raises(SriovError, match=f"run {RUN} has reserved other VFs on this host meanw"):
        _assignment.run(machine, MZID, [], POLICY, reserved_by=OTHER_RUN)
    _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)

    assert _ledger.read(machine) == {MZID: [entry()]}


def test_what_a_run_is_going_to_take_is_reserved_too(machine: Machine) -> None:
    second = CLAIM._replace(nic="eth2", vf=1, mac="02:00:00:00:01:02")
    _assignment.run(machine, MZID, [CLAIM, second], POLICY)
    before = _ledger.read(machine)

    reserve(machine, CLAIM)
    with pytest.raises(SriovError, match=f"run {RUN} has reserved other VFs"):
        reserve(machine, CLAIM, second, run=OTHER_RUN)
    reserve(machine, CLAIM, run=OTHER_RUN)
    for run in (RUN, OTHER_RUN):
        _assignment.withdraw(machine, MZID, run=run)
    assert _ledger.read(machine) == before
    reserve(machine, CLAIM)
    _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)

    assert _ledger.read(machine) == {MZID: [entry()]}
    assert machine.driver(VFS[1]) is None


def test_a_run_whose_reservation_was_released_changes_nothing(machine: Machine) -> None:
    reserve(machine, CLAIM)
    _assignment.run(machine, MZID, [], POLICY)
    assert _ledger.read(machine) == {}
    machine.log.clear()

    with pytest.raises(SriovError, match=f"run {RUN} has no reservation for VF 0 of PF ens1f0 any"):
        _assignment.run(machine, MZID, [CLAIM], POLICY, reserved_by=RUN)

    assert machine.writes == []


def test_a_reserved_vf_of_ones_own_is_given_back_untouched(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")
    machine.alter_vf("ens1f0", 0, vlan=7)
    reserve(machine, CLAIM)
    machine.log.clear()

    _assignment.run(machine, MZID, [], POLICY)

    assert _ledger.read(machine) == {}
    assert [event.subject for event in machine.writes] == [_ledger.PATH]


@pytest.mark.parametrize("mtu", [None, 68, 9000])
def test_an_mtu_that_the_pf_can_carry(machine: Machine, mtu: int | None) -> None:
    plan(machine, [CLAIM._replace(pf_mac=MACS[1], mtu=mtu)], {})


def test_one_vf_for_two_nics(machine: Machine) -> None:
    with pytest.raises(SriovError, match="VF 0 of PF .* is listed twice"):
        plan(machine, [CLAIM, CLAIM._replace(nic="eth2", vlan=200)], {})


def test_a_used_vf_is_not_changed(machine: Machine) -> None:
    *_during, ledger = carry_out(machine, [CLAIM], {})
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    machine.add_process(7, "qemu", f"/dev/vfio/{group}")
    machine.log.clear()

    carry_out(machine, [CLAIM], ledger)
    machine.log.clear()
    for claims in ([], [CLAIM._replace(vlan=200)]):
        with pytest.raises(SriovError) as caught:
            carry_out(machine, claims, ledger)
        assert str(caught.value) == (
            f"materialization {MZID} would change VFs that are in use: VF {VFS[0]}: process 7 "
            f"(qemu) has /dev/vfio/{group} open. End that use first, or take them all the same "
            f"with sriov_force_mzid={MZID}"
        )
    assert machine.writes == []


def test_force_takes_a_used_vf(machine: Machine) -> None:
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    machine.add_process(7, "qemu", f"/dev/vfio/{group}")

    _assignment.run(machine, MZID, [], Policy("vfio-pci"), force=True)

    assert machine.driver(VFS[0]) is None


@pytest.mark.parametrize("held", [False, True])
def test_a_vf_that_is_in_use_and_in_no_ledger_is_not_taken(machine: Machine, held: bool) -> None:
    """Even where it has all that it would get: its user is none of ours."""
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    if not held:
        machine.remove(_ledger.PATH)
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    machine.add_process(7, "qemu", f"/dev/vfio/{group}")

    if held:
        assert not _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))["changed"]
    else:
        with pytest.raises(SriovError, match=r"process 7 \(qemu\)"):
            _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))


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
    [held] = _ledger.read(machine)[MZID]
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


NUMVFS = f"{DEVICES}/0000:01:00.0/sriov_numvfs"
TRUNK = Policy("vfio-pci", trunk=True)


@pytest.mark.parametrize("count", ["0", "3"], ids=["destroyed", "made"])
@pytest.mark.parametrize("vst", [True, False])
def test_vfs_that_are_just_being_made_or_destroyed_tell_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, count: str, vst: bool
) -> None:
    """Whatever the kernel shows in between, no NIC loses VST by it, and nothing is written."""
    monkeypatch.setattr(_assignment, "_SETTLE_SECONDS", 0)
    if not vst:
        machine.netlink.without_attributes.add("ens1f0")
    if count == "3":
        machine.write(NUMVFS, "0")
    told = []

    def try_to_get_it() -> None:
        before = list(machine.writes)
        with pytest.raises(SriovError) as caught:
            _assignment.run(machine, MZID, [CLAIM], TRUNK)
        told.append(str(caught.value))
        assert machine.writes == before

    machine.between = try_to_get_it
    machine.write(NUMVFS, count)

    assert len(told) == 3
    assert all("its VFs are just being made or destroyed" in text for text in told), told
    assert _ledger.read(machine) == {}


def test_a_run_waits_for_vfs_that_are_just_being_made(machine: Machine) -> None:
    """In two threads: the kernel makes VFs while a run looks at them again and again."""
    machine.write(NUMVFS, "0")
    making, looked = threading.Event(), threading.Event()
    states = machine.netlink.vf_states
    looks = []

    def look(ifindex: int) -> t.Any:
        looks.append(ifindex)
        if len(looks) > 3:
            looked.set()
        return states(ifindex)

    def stop() -> None:
        making.set()
        assert looked.wait(30)

    machine.netlink.vf_states = look
    machine.between = stop
    kernel = threading.Thread(target=machine.write, args=(NUMVFS, "3"))
    kernel.start()
    try:
        assert making.wait(30)
        done = _assignment.run(machine, MZID, [CLAIM], TRUNK)
    finally:
        looked.set()
        kernel.join(30)

    assert len(looks) > 3
    assert done["devices"][0]["vlan_mode"] == "vst"
    assert machine.vf("ens1f0", 0) == ISOLATED


def test_a_pf_whose_interface_goes_away_meanwhile(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_assignment, "_SETTLE_SECONDS", 0)

    def gone(ifindex: int) -> t.Any:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    machine.netlink.vf_states = gone
    with pytest.raises(SriovError, match=r"PF ens1f0 .*cannot be read: .*No such device"):
        _assignment.run(machine, MZID, [CLAIM], TRUNK)


def test_a_driver_that_is_not_loaded(machine: Machine) -> None:
    with pytest.raises(SriovError, match="'mlx5_vfio_pci' is not loaded"):
        _assignment.run(machine, MZID, [CLAIM], Policy("mlx5_vfio_pci"))


def test_the_difference(machine: Machine) -> None:
    leaving = CLAIM._replace(vf=1, mac="02:00:00:00:01:02")
    *_during, ledger = carry_out(machine, [leaving], {})
    machine.bind(VFS[0], "igbvf")
    planned = plan(machine, [CLAIM], ledger)
    devices = _assignment.look(machine, MZID, [CLAIM], ledger).devices

    plain = {"mac": NEW_VF.mac, "vlan": 0, "qos": 0, "vlan_proto": "802.1Q"}
    assert _assignment.difference(planned, devices) == {
        "before": {
            f"ens1f0 ({MACS[0]}) VF 1": {**plain, "mac": leaving.mac, "vlan": 100},
            f"ens1f0 ({MACS[0]}) VF 0": plain,
            VFS[1]: "vfio-pci",
            VFS[0]: "igbvf",
        },
        "after": {
            f"ens1f0 ({MACS[0]}) VF 1": plain,
            f"ens1f0 ({MACS[0]}) VF 0": {**plain, "mac": CLAIM.mac, "vlan": 100},
            VFS[1]: None,
            VFS[0]: "vfio-pci",
        },
    }


def test_the_devices_of_the_device_map(machine: Machine) -> None:
    Path(machine.path(f"{DEVICES}/{VFS[2]}/numa_node")).write_text("1\n")
    claims = [CLAIM._replace(vf=2, mtu=None), CLAIM._replace(pf_name="x", pf_mac=MACS[1])]

    policy = Policy("vfio-pci")
    first, second = _assignment.run(machine, MZID, claims, policy, check_mode=True)["devices"]
    assert first == {
        "node": "alpha",
        "nic": "eth1",
        "pci_address": VFS[2],
        "pf": "ens1f0",
        "vf_index": 2,
        "mac": CLAIM.mac,
        "vlan": 100,
        "vlan_mode": "vst",
        "mtu": None,
        "driver": "vfio-pci",
        "numa_node": 1,
    }
    assert (second["pf"], second["pci_address"]) == ("x", "0000:01:10.1")
    assert (second["mtu"], second["numa_node"]) == (1500, None)
