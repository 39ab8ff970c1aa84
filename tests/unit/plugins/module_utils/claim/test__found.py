# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import threading
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment, _found
from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Policy
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.tests.unit.claims import CLAIM, ISOLATED, MACS, MZID, VFS
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, Machine, ledger_entry


def test_ports_are_found_by_permanent_mac(machine: Machine) -> None:
    ports = _found.read_pfs(machine, [MACS[1], "04:70:00:00:00:99"])

    assert list(ports) == [MACS[1]]
    assert ports[MACS[1]].pf.address == "0000:01:00.1"
    assert ports[MACS[1]].link.name == "ens1f1"
    assert list(ports[MACS[1]].states or ()) == [0, 1]


def test_only_the_vfs_that_a_run_is_about_are_read(machine: Machine) -> None:
    """The kernel may have another VF of the PF locked, and show nothing of it."""
    found = _found.look(machine, MZID, [CLAIM], {MZID: [ledger_entry(vf=2)]})

    assert list(found.devices) == [VFS[0], VFS[2]]
    assert list(found.drivers) == list(VFS)


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


NUMVFS = f"{DEVICES}/0000:01:00.0/sriov_numvfs"


TRUNK = Policy("vfio-pci", trunk=True)


@pytest.mark.parametrize("count", ["0", "3"], ids=["destroyed", "made"])
@pytest.mark.parametrize("vst", [True, False])
def test_vfs_that_are_just_being_made_or_destroyed_tell_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, count: str, vst: bool
) -> None:
    """Whatever the kernel shows in between, no NIC loses VST by it, and nothing is written."""
    monkeypatch.setattr(_found, "_SETTLE_SECONDS", 0)
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
    monkeypatch.setattr(_found, "_SETTLE_SECONDS", 0)

    def gone(ifindex: int) -> t.Any:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    machine.netlink.vf_states = gone
    with pytest.raises(SriovError, match=r"PF ens1f0 .*cannot be read: .*No such device"):
        _assignment.run(machine, MZID, [CLAIM], TRUNK)
