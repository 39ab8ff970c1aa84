# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import os
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _restore
from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    NEW_VF,
    Machine,
    ledger_entry,
)

PF = "0000:01:00.0"
MACS = ("04:70:00:00:00:10", "04:70:00:00:00:11")
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")
MZID = "one.hello.demo"
ENTRY = ledger_entry()
OTHER_PF = ledger_entry(
    nic="eth2",
    pf_name="ens1f1",
    pf_mac=MACS[1],
    pf_address="0000:01:00.1",
    address="0000:01:10.1",
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Just booted: VFs without drivers and without attributes."""
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", MACS[0], numvfs=3)
    machine.add_pf("0000:01:00.1", "ens1f1", MACS[1], numvfs=2)
    machine.add_driver("vfio-pci")
    machine.log.clear()
    return machine


def restore(
    machine: Machine, *entries: _ledger.Entry, check: bool = False
) -> _restore.RestoreOutcome:
    _ledger.write(machine, {MZID: list(entries)})
    machine.log.clear()
    return _restore.run(machine, check_mode=check, seconds=0)


def test_each_vf_is_what_the_ledger_says(machine: Machine) -> None:
    values = {**ENTRY.values, "vlan": 200}
    second = ledger_entry(node="beta", vf=2, address=VFS[2], vlan=200, values=values)

    outcome = restore(machine, ENTRY, second, OTHER_PF)

    assert outcome.ready == 3
    assert outcome.problems == []
    assert outcome.changed == [
        f"{MZID} alpha.eth1: VF {VFS[0]}",
        f"{MZID} beta.eth1: VF {VFS[2]}",
        f"{MZID} alpha.eth2: VF 0000:01:10.1",
    ]
    assert [machine.driver(address) for address in VFS] == ["vfio-pci", None, "vfio-pci"]
    assert machine.vf("ens1f0", 0) == NEW_VF._replace(mac=ENTRY.values["mac"], vlan=100)
    assert machine.vf("ens1f0", 2).vlan == 200


def test_what_is_only_reserved_is_nobodys_yet(machine: Machine) -> None:
    reserved = ledger_entry(
        nic="eth2", vf=1, address=VFS[1], state=_ledger.RESERVED, runs=("night",)
    )

    outcome = restore(machine, ENTRY, reserved)

    assert outcome == _restore.RestoreOutcome(1, [f"{MZID} alpha.eth1: VF {VFS[0]}"], [])
    assert machine.driver(VFS[1]) is None
    assert machine.vf("ens1f0", 1) == NEW_VF


def test_a_ledger_in_doubt_gives_nobody_a_driver(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An entry without values was bound once, without VLAN and MAC."""
    _ledger.write(machine, {MZID: [ENTRY]})
    document = json.loads(machine.read(_ledger.PATH) or "")
    document["materializations"][MZID][0]["values"] = None
    machine.replace(_ledger.PATH, json.dumps(document))
    monkeypatch.setattr(_restore, "Host", lambda: machine)

    assert _restore.main([]) == 1

    assert "entry 1: values None is not possible" in capsys.readouterr().err
    assert [machine.driver(address) for address in VFS] == [None, None, None]


def test_a_second_time_nothing_is_written(machine: Machine) -> None:
    restore(machine, ENTRY)
    machine.log.clear()

    assert _restore.run(machine) == _restore.RestoreOutcome(1, [], [])
    assert machine.writes == []


def test_check_mode_tells_what_differs_and_writes_nothing(machine: Machine) -> None:
    outcome = restore(machine, ENTRY, check=True)

    assert outcome == _restore.RestoreOutcome(0, [f"{MZID} alpha.eth1: VF {VFS[0]}"], [])
    assert machine.writes == []
    assert not machine.exists(_ledger._LOCK)


def test_no_ledger_is_no_work(machine: Machine) -> None:
    assert _restore.run(machine) == _restore.RestoreOutcome(0, [], [])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"pf_mac": "04:70:00:00:00:99"}, "PF ens1f0 (04:70:00:00:00:99) did not come back"),
        ({"vf": 3}, "came back with 3 VFs, VF 3 is not among them: run mergetb.sriov.prepare"),
        ({"pf_address": "0000:3b:00.0"}, f"moved from 0000:3b:00.0 to {PF}: run mergetb.sriov.pre"),
        ({"address": VFS[1]}, f"its VF moved from {VFS[1]} to {VFS[0]}: run mergetb.sriov.mat"),
        ({"state": _ledger.CHANGING}, "a run for it did not end: run mergetb.sriov.materialize"),
        ({"state": _ledger.LEAVING}, "a run for it did not end"),
    ],
)
@pytest.mark.parametrize("driver", [None, "igbvf", "vfio-pci"])
def test_a_vf_in_doubt_has_no_driver_and_the_others_go_on(
    machine: Machine, change: dict[str, t.Any], problem: str, driver: str | None
) -> None:
    if driver:
        machine.bind(VFS[0], driver)

    outcome = restore(machine, ENTRY._replace(**change), OTHER_PF)

    assert outcome.ready == 1
    [told] = outcome.problems
    assert told.startswith(f"{MZID} alpha.eth1: ")
    assert problem in told
    if change.keys() <= {"pf_address", "address", "state"}:
        assert machine.driver(VFS[0]) is None
    assert machine.vf("ens1f0", 0) == NEW_VF
    assert machine.driver("0000:01:10.1") == "vfio-pci"


def test_attributes_that_are_refused_leave_no_driver(machine: Machine) -> None:
    machine.netlink.refuse = lambda vf, name, value: errno.EINVAL * (value == 200)
    refused = ledger_entry(
        node="beta",
        vf=1,
        address=VFS[1],
        vlan=200,
        values={**ENTRY.values, "vlan": 200, "mac": "02:00:00:00:01:02"},
    )

    outcome = restore(machine, ENTRY, refused)

    [told] = outcome.problems
    assert told.startswith(f"{MZID} beta.eth1: VF 1 of PF ens1f0")
    assert [machine.driver(address) for address in VFS] == ["vfio-pci", None, None]


def test_a_driver_that_is_not_loaded(machine: Machine) -> None:
    outcome = restore(machine, ENTRY._replace(driver="mlx5_vfio_pci"), OTHER_PF)

    assert ["the driver 'mlx5_vfio_pci' is not loaded" in text for text in outcome.problems] == [
        True
    ]
    assert machine.driver("0000:01:10.1") == "vfio-pci"


def test_a_vf_that_a_guest_uses_is_left_alone(machine: Machine) -> None:
    """As when the service is started again by hand."""
    restore(machine, ENTRY)
    machine.alter_vf("ens1f0", 0, vlan=7)
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    machine.add_process(7, "qemu", f"/dev/vfio/{group}")
    machine.log.clear()

    outcome = _restore.run(machine)

    assert outcome.problems == [
        f"{MZID} alpha.eth1: in use: process 7 (qemu) has /dev/vfio/{group} open"
    ]
    assert machine.writes == []


def test_pfs_that_come_late_are_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{DEVICES}/{PF}/sriov_numvfs"
    machine.write(path, "0")
    _ledger.write(machine, {MZID: [ENTRY]})
    links = machine.netlink.links
    asked: list[int] = []

    def come_late() -> list[t.Any]:
        asked.append(len(asked))
        if len(asked) == 5:
            machine.write(path, "3")
        return links()

    monkeypatch.setattr(machine.netlink, "links", come_late)

    assert _restore.run(machine, seconds=30).ready == 1
    assert len(asked) >= 5


def test_vfs_of_a_pf_that_moved_are_not_waited_for(machine: Machine) -> None:
    """The udev rules make none where it is now."""
    machine.write(f"{DEVICES}/{PF}/sriov_numvfs", "0")
    moved = ENTRY._replace(pf_address="0000:3b:00.0")
    _ledger.write(machine, {MZID: [moved, OTHER_PF]})

    started = time.monotonic()
    outcome = _restore.run(machine, seconds=30)

    assert time.monotonic() - started < 10
    assert (outcome.ready, outcome.again) == (1, False)
    [told] = outcome.problems
    assert f"PF ens1f0 ({MACS[0]}) moved from 0000:3b:00.0 to {PF}" in told


def test_an_interface_that_is_renamed_meanwhile(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen at a boot: udev gave the PF its name between two reads."""
    _ledger.write(machine, {MZID: [ENTRY]})
    links = machine.netlink.links
    asked: list[int] = []

    def rename() -> list[t.Any]:
        asked.append(len(asked))
        early = len(asked) == 1
        return [link._replace(name=f"eth{link.ifindex}") if early else link for link in links()]

    monkeypatch.setattr(machine.netlink, "links", rename)

    assert _restore.run(machine, seconds=30) == _restore.RestoreOutcome(
        1, [f"{MZID} alpha.eth1: VF {VFS[0]}"], []
    )


NUMVFS = f"{DEVICES}/{PF}/sriov_numvfs"


def test_vfs_that_are_just_being_made_keep_no_other_pf_from_being_restored(
    machine: Machine,
) -> None:
    """Asked at each of the moments that the kernel shows."""
    machine.write(NUMVFS, "0")
    _ledger.write(machine, {MZID: [ENTRY, OTHER_PF]})
    outcomes: list[_restore.RestoreOutcome] = []
    machine.between = lambda: outcomes.append(_restore.run(machine, seconds=0))

    machine.write(NUMVFS, "3")

    assert len(outcomes) == 3
    for outcome in outcomes:
        assert outcome.ready == 1
        assert outcome.again
        [told] = outcome.problems
        assert f"PF ens1f0 ({MACS[0]}): its VFs are just being made or destroyed" in told
    assert machine.driver("0000:01:10.1") == "vfio-pci"
    assert machine.driver(VFS[0]) is None
    assert _restore.run(machine, seconds=0).ready == 2


def test_vfs_that_are_just_being_made_are_waited_for(machine: Machine) -> None:
    machine.write(NUMVFS, "0")
    _ledger.write(machine, {MZID: [ENTRY, OTHER_PF]})
    making, looked = threading.Event(), threading.Event()
    links = machine.netlink.links
    looks = []

    def look() -> list[t.Any]:
        looks.append(0)
        if len(looks) > 2:
            looked.set()
        return links()

    def stop() -> None:
        making.set()
        assert looked.wait(30)

    machine.netlink.links = look
    machine.between = stop
    kernel = threading.Thread(target=machine.write, args=(NUMVFS, "3"))
    kernel.start()
    try:
        assert making.wait(30)
        outcome = _restore.run(machine, seconds=30)
    finally:
        looked.set()
        kernel.join(30)

    assert (outcome.ready, outcome.problems) == (2, [])
    assert machine.vf("ens1f0", 0).vlan == 100


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENODEV, "No such device"),
        SriovError("the attributes of 78 of 300 VFs"),
        KeyError(7),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_whatever_one_pf_raises_the_others_are_restored(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception, turn: int
) -> None:
    """In whatever of the readings of the PF it does."""
    index = machine.netlink.interfaces["ens1f0"].ifindex
    states = machine.netlink.vf_states
    asked: list[int] = []

    def fail(ifindex: int) -> t.Any:
        asked.append(ifindex)
        if ifindex == index and asked.count(index) >= turn:
            raise error
        return states(ifindex)

    monkeypatch.setattr(machine.netlink, "vf_states", fail)

    outcome = restore(machine, ENTRY, OTHER_PF)

    assert asked.count(index) >= min(turn, 3)
    assert machine.driver("0000:01:10.1") == "vfio-pci"
    if turn < 4:
        assert outcome.ready == 1
        assert outcome.again
        assert str(error) in " ".join(outcome.problems)
        assert machine.driver(VFS[0]) is None


def test_a_vf_that_the_kernel_has_locked_keeps_no_other_vf(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while somebody takes a VF of it, which a guest has open, from its driver."""
    monkeypatch.setattr(_host, "_READ_SECONDS", 0.1)
    for address in (VFS[0], VFS[1]):
        path = machine.path(f"{DEVICES}/{address}/driver_override")
        os.unlink(path)
        os.mkfifo(path)

    second = ENTRY._replace(nic="eth3", vf=2, address=VFS[2])
    outcome = restore(machine, ENTRY, second, OTHER_PF)

    [told] = outcome.problems
    assert "driver_override could not be read within 0.1 s" in told
    assert "A guest that has such a VF open is the usual cause" in told
    assert (outcome.ready, outcome.again) == (2, True)
    assert machine.driver(VFS[2]) == machine.driver("0000:01:10.1") == "vfio-pci"


@pytest.mark.parametrize("mode", ["vst", "trunk"])
def test_a_vf_of_a_nic_that_has_changed_its_ways_is_in_doubt(machine: Machine, mode: str) -> None:
    entry = ENTRY._replace(vlan_mode=mode)
    if mode == "vst":
        machine.netlink.without_attributes.add("ens1f0")
    else:
        entry = entry._replace(values={})
    machine.bind(VFS[0], "vfio-pci")

    outcome = restore(machine, entry, OTHER_PF)

    [told] = outcome.problems
    does = "does not tag VLANs" if mode == "vst" else "tags VLANs"
    assert f"{does} for its VFs, other than when its guest got the VF" in told
    assert machine.driver(VFS[0]) is None
    assert outcome.ready == 1


def test_a_vf_that_is_changed_before_it_gets_its_driver_gets_none(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.alter_vf("ens1f0", 0, **ENTRY.values)
    states = machine.netlink.vf_states
    asked: list[int] = []

    def change(ifindex: int) -> t.Any:
        asked.append(ifindex)
        if len(asked) == 3:
            machine.alter_vf("ens1f0", 0, spoofchk=False)
        return states(ifindex)

    monkeypatch.setattr(machine.netlink, "vf_states", change)

    outcome = restore(machine, ENTRY, OTHER_PF)

    assert "it has spoofchk False where True must be" in outcome.problems[0]
    assert outcome.again
    assert machine.driver(VFS[0]) is None
    assert machine.driver("0000:01:10.1") == "vfio-pci"


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"pf_mac": "04:70:00:00:00:99"}, True),
        ({"vf": 3}, True),
        ({"pf_address": "0000:3b:00.0"}, False),
        ({"address": VFS[1]}, False),
        ({"state": _ledger.CHANGING}, False),
        ({"driver": "mlx5_vfio_pci"}, True),
    ],
)
def test_another_try_comes_where_it_may_help(
    machine: Machine, change: dict[str, t.Any], again: bool
) -> None:
    assert restore(machine, ENTRY._replace(**change), OTHER_PF).again == again


@pytest.mark.parametrize(
    ("outcome", "check", "code"),
    [
        (_restore.RestoreOutcome(1, [], ["y"], True), False, 75),
        (_restore.RestoreOutcome(1, [], ["y"], True), True, 1),
        (_restore.RestoreOutcome(2, [], []), False, 0),
        (_restore.RestoreOutcome(2, ["x"], []), False, 0),
        (_restore.RestoreOutcome(2, ["x"], []), True, 1),
        (_restore.RestoreOutcome(1, [], ["y"]), False, 1),
    ],
)
def test_the_program_tells_how_it_went(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: _restore.RestoreOutcome,
    check: bool,
    code: int,
) -> None:
    monkeypatch.setattr(_restore, "run", lambda host, check_mode: outcome)

    assert _restore.main(["--check"] if check else []) == code
    told = capsys.readouterr()
    assert f"{outcome.ready} VFs are as the ledger says" in told.out
    for text in outcome.changed:
        assert f"{'differs' if check else 'restored'}: {text}\n" in told.out
    for text in outcome.problems:
        assert f"not restored: {text}\n" in told.err


def test_a_ledger_that_cannot_be_read_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.put(_ledger.PATH, "{")
    monkeypatch.setattr(_restore, "Host", lambda: machine)

    assert _restore.main([]) == 1
    assert f"not restored: the ledger {_ledger.PATH} cannot be read" in capsys.readouterr().err


def test_what_lies_on_a_pf_may_have_its_permanent_mac(machine: Machine) -> None:
    """So it is with ipvlan and MACsec; none of the PF's VFs came back."""
    upper = machine.add_interface("ipvl0", mac=MACS[0])
    machine.netlink.interfaces["ipvl0"] = upper._replace(permanent_mac=MACS[0], kind="ipvlan")

    outcome = restore(machine, ENTRY)

    assert (outcome.ready, outcome.problems) == (1, [])


def test_another_pf_of_the_same_mac_keeps_its_vfs(machine: Machine) -> None:
    """The last of the kernel's list was taken for the PF, and its VF lost its driver."""
    machine.add_pf("0000:03:00.0", "ens3", MACS[0], numvfs=2)
    machine.bind("0000:03:10.0", "vfio-pci")

    outcome = restore(machine, ENTRY, OTHER_PF)

    assert machine.driver("0000:03:10.0") == "vfio-pci"
    assert machine.driver(VFS[0]) is None
    assert outcome.ready == 1
    (problem,) = outcome.problems
    assert problem.startswith(f"{MACS[0]} is the permanent MAC of several PFs: 0000:01:00.0, 0000:")
