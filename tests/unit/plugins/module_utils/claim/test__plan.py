# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment, _found, _plan
from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Policy
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _usage
from ansible_collections.mergetb.sriov.tests.unit.claims import (
    CLAIM,
    MACS,
    MZID,
    VFS,
    carry_out,
    plan,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, NEW_VF, Machine


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
    monkeypatch.setattr(_found, "_SETTLE_SECONDS", 0)
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


def test_a_card_that_is_gone_for_good_can_be_forgotten(machine: Machine) -> None:
    """Another card is in its slot, and has VFs at the same addresses."""
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    machine.alter_link("ens1f0", mac="04:70:00:00:00:77", permanent_mac="04:70:00:00:00:77")
    before = machine.vf("ens1f0", 0)

    _assignment.run(machine, MZID, [], Policy("vfio-pci"))

    assert _ledger.read(machine) == {}
    assert machine.vf("ens1f0", 0) == before


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
            f"materialization {MZID} would change what is in use: VF {VFS[0]}: process 7 "
            f"(qemu) has /dev/vfio/{group} open. End that use first, or take them all the same "
            f"with sriov_force_mzid={MZID}"
        )
    assert machine.writes == []


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


def test_a_driver_that_is_not_loaded(machine: Machine) -> None:
    with pytest.raises(SriovError, match="'mlx5_vfio_pci' is not loaded"):
        _assignment.run(machine, MZID, [CLAIM], Policy("mlx5_vfio_pci"))


def test_the_difference(machine: Machine) -> None:
    leaving = CLAIM._replace(vf=1, mac="02:00:00:00:01:02")
    *_during, ledger = carry_out(machine, [leaving], {})
    machine.bind(VFS[0], "igbvf")
    planned = plan(machine, [CLAIM], ledger)
    devices = _found.look(machine, MZID, [CLAIM], ledger).devices

    plain = {"mac": NEW_VF.mac, "vlan": 0, "qos": 0, "vlan_proto": "802.1Q"}
    assert _plan.difference(planned, devices) == {
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
        "kind": "vf",
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


def test_force_takes_a_used_vf(machine: Machine) -> None:
    _assignment.run(machine, MZID, [CLAIM], Policy("vfio-pci"))
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    machine.add_process(7, "qemu", f"/dev/vfio/{group}")

    _assignment.run(machine, MZID, [], Policy("vfio-pci"), force=True)

    assert machine.driver(VFS[0]) is None
