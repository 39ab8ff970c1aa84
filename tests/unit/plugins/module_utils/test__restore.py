# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _ledger, _restore
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


def restore(machine: Machine, *entries: _ledger.Entry, check: bool = False) -> _restore.Outcome:
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

    assert outcome == _restore.Outcome(1, [f"{MZID} alpha.eth1: VF {VFS[0]}"], [])
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

    assert _restore.run(machine) == _restore.Outcome(1, [], [])
    assert machine.writes == []


def test_check_mode_tells_what_differs_and_writes_nothing(machine: Machine) -> None:
    outcome = restore(machine, ENTRY, check=True)

    assert outcome == _restore.Outcome(0, [f"{MZID} alpha.eth1: VF {VFS[0]}"], [])
    assert machine.writes == []
    assert not machine.exists(_ledger._LOCK)


def test_no_ledger_is_no_work(machine: Machine) -> None:
    assert _restore.run(machine) == _restore.Outcome(0, [], [])


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
    asked = []

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
    assert outcome.ready == 1
    [told] = outcome.problems
    assert f"PF ens1f0 ({MACS[0]}) moved from 0000:3b:00.0 to {PF}" in told


def test_an_interface_that_is_renamed_meanwhile(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen at a boot: udev gave the PF its name between two reads."""
    _ledger.write(machine, {MZID: [ENTRY]})
    links = machine.netlink.links
    asked = []

    def rename() -> list[t.Any]:
        asked.append(len(asked))
        early = len(asked) == 1
        return [link._replace(name=f"eth{link.index}") if early else link for link in links()]

    monkeypatch.setattr(machine.netlink, "links", rename)

    assert _restore.run(machine, seconds=30) == _restore.Outcome(
        1, [f"{MZID} alpha.eth1: VF {VFS[0]}"], []
    )


@pytest.mark.parametrize(
    ("outcome", "check", "code"),
    [
        (_restore.Outcome(2, [], []), False, 0),
        (_restore.Outcome(2, ["x"], []), False, 0),
        (_restore.Outcome(2, ["x"], []), True, 1),
        (_restore.Outcome(1, [], ["y"]), False, 1),
    ],
)
def test_the_program_tells_how_it_went(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: _restore.Outcome,
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
