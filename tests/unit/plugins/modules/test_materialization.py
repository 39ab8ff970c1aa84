# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _restore
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.modules import materialization
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    NEW_VF,
    PROBE,
    Event,
    Machine,
)
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

MAC = "04:70:00:00:00:10"
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")
MZID = "one.hello.demo"
BEFORE = (
    NEW_VF._replace(mac="02:0a:00:00:00:01", vlan=7, spoofchk=False, trust=True),
    NEW_VF,
    NEW_VF._replace(max_tx_rate=100),
)


def nic(vf: int, **changes: t.Any) -> dict[str, t.Any]:
    return {
        "node": "alpha",
        "nic": f"eth{vf}",
        "link": "lan",
        "pf": {"name": "ens1f0", "mac": MAC.upper()},
        "vf_index": vf,
        "mac": f"02:00:00:00:0A:0{vf}",
        "vlan": 100 + vf,
        "mtu": 1500,
        "addresses": ["10.0.0.1/24"],
        **changes,
    }


def new_machine(directory: Path) -> Machine:
    """VF 0 was the host's own and had attributes, the others were nobody's."""
    machine = Machine(directory)
    machine.add_pf("0000:01:00.0", "ens1f0", MAC, numvfs=3)
    machine.add_driver("vfio-pci")
    machine.bind(VFS[0], "igbvf")
    for vf, state in enumerate(BEFORE):
        machine.alter_vf("ens1f0", vf, **state._asdict())
    machine.log.clear()
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return new_machine(tmp_path)


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(materialization, machine, monkeypatch, capsys)


def ledger(machine: Machine) -> dict[str, list[int]]:
    """The VF indexes that each materialization holds."""
    return {
        mzid: [entry.vf for entry in entries]
        for mzid, entries in _ledger.vfs(_ledger.read(machine)).items()
    }


def isolated(vf: int) -> t.Any:
    return BEFORE[vf]._replace(
        mac=f"02:00:00:00:0a:0{vf}", vlan=100 + vf, spoofchk=True, trust=False
    )


def state(machine: Machine) -> list[tuple[t.Any, str | None]]:
    return [(machine.vf("ens1f0", vf), machine.driver(VFS[vf])) for vf in range(3)]


def test_check_mode_writes_nothing_and_predicts_the_run(machine: Machine, run: Runner) -> None:
    before = machine.files()
    vfs = [nic(0), nic(1)]

    predicted = run(check_mode=True, mzid=MZID, vfs=vfs)

    assert machine.files() == before, "not even the lock"
    assert machine.writes == []
    done = run(mzid=MZID, vfs=vfs)
    remembered = done.pop("materializations")
    assert predicted == done
    assert done["changed"]
    assert [entry["nic"] for entry in remembered[MZID]] == ["eth0", "eth1"]
    assert done["devices"][0] == {
        "kind": "vf",
        "node": "alpha",
        "nic": "eth0",
        "pci_address": VFS[0],
        "pf": "ens1f0",
        "vf_index": 0,
        "mac": "02:00:00:00:0a:00",
        "vlan": 100,
        "vlan_mode": "vst",
        "mtu": 1500,
        "driver": "vfio-pci",
        "numa_node": None,
    }
    assert done["diff"]["before"][VFS[0]] == "igbvf"
    assert done["diff"]["after"][VFS[0]] == "vfio-pci"
    assert state(machine) == [
        (isolated(0), "vfio-pci"),
        (isolated(1), "vfio-pci"),
        (BEFORE[2], None),
    ]
    assert ledger(machine) == {MZID: [0, 1]}


def test_a_second_run_writes_nothing(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, vfs=[nic(0), nic(1)])
    before = machine.files()
    machine.log.clear()

    done = run(mzid=MZID, vfs=[nic(0), nic(1)])

    assert not done["changed"]
    assert len(done["devices"]) == 2
    assert machine.writes == []
    assert machine.files() == before


def test_the_ledger_is_written_first_and_the_driver_set_last(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, vfs=[nic(0)])

    subjects = [event.subject for event in machine.writes]
    actions = [event.action for event in machine.log]
    assert subjects[0] == _ledger.PATH
    assert subjects[1] == f"{DEVICES}/{VFS[0]}/driver/unbind"
    assert subjects[-2:] == [PROBE, _ledger.PATH]
    assert actions.index("set_vf") > machine.log.index(
        Event("write", f"{DEVICES}/{VFS[0]}/driver/unbind", VFS[0])
    )
    assert "vf_states" in actions[actions.index("set_vf") :]
    assert machine.log.index(Event("write", PROBE, VFS[0])) > len(actions) - 1 - actions[
        ::-1
    ].index("vf_states")


def test_absent_restores_what_was_there_before(machine: Machine, run: Runner) -> None:
    before = state(machine)
    run(mzid="two.hello.demo", vfs=[nic(2)])
    run(mzid=MZID, vfs=[nic(0), nic(1)])

    predicted = run(check_mode=True, mzid=MZID, state="absent")
    assert ledger(machine) == {MZID: [0, 1], "two.hello.demo": [2]}
    done = run(mzid=MZID, state="absent")

    assert list(done.pop("materializations")) == ["two.hello.demo"]
    assert predicted == done
    assert done["devices"] == []
    assert state(machine)[:2] == before[:2]
    assert ledger(machine) == {"two.hello.demo": [2]}
    machine.log.clear()
    assert not run(mzid=MZID, state="absent")["changed"]
    assert machine.writes == []
    assert state(machine)[2] == (isolated(2), "vfio-pci")


def test_absent_passes_over_the_vfs_that_are_listed(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, vfs=[nic(0)])

    run(mzid=MZID, state="absent", vfs=[nic(0), nic(1)])

    assert ledger(machine) == {}
    assert machine.driver(VFS[0]) == "igbvf"


def test_a_changed_materialization_touches_only_what_differs(machine: Machine, run: Runner) -> None:
    run(mzid=MZID, vfs=[nic(0), nic(1)])
    machine.log.clear()

    done = run(mzid=MZID, vfs=[nic(1), nic(2)])

    assert done["changed"]
    assert not [event for event in machine.writes if VFS[1] in (event.subject, event.value)]
    assert state(machine) == [
        (BEFORE[0], "igbvf"),
        (isolated(1), "vfio-pci"),
        (isolated(2), "vfio-pci"),
    ]
    assert ledger(machine) == {MZID: [1, 2]}


def test_a_vf_of_another_materialization_refuses_all(machine: Machine, run: Runner) -> None:
    run(mzid="two.hello.demo", vfs=[nic(1)])
    before = machine.files()
    machine.log.clear()

    for check_mode in (True, False):
        answer = run(check_mode=check_mode, mzid=MZID, vfs=[nic(0), nic(1)])
        assert answer["failed"]
        assert answer["msg"] == (
            "alpha.eth1: VF 1 of PF ens1f0 belongs to materialization two.hello.demo"
        )
    assert machine.files() == before
    assert machine.writes == []


def test_a_vf_in_use_refuses_all(machine: Machine, run: Runner) -> None:
    machine.alter_link("eth1", up=True)
    before = machine.files()

    answer = run(check_mode=True, mzid=MZID, vfs=[nic(1), nic(0)])
    assert f"VF {VFS[0]}: interface eth1 is up" in answer["msg"]
    assert machine.files() == before
    assert run(mzid=MZID, vfs=[nic(1), nic(0)])["msg"] == answer["msg"]
    assert machine.writes == []


def test_attributes_that_are_refused_leave_no_driver_and_a_true_ledger(
    machine: Machine, run: Runner
) -> None:
    """I1; the claim stays, so that nobody else gets what is half done, and can be given back.
    The other VF of the run goes on."""
    before = state(machine)
    machine.netlink.refuse = lambda vf, name, value: errno.EINVAL * (value == 101)

    answer = run(mzid=MZID, vfs=[nic(0), nic(1)])

    assert "vlan 101" in answer["msg"]
    assert [machine.driver(address) for address in VFS] == ["vfio-pci", None, None]
    assert machine.vf("ens1f0", 1) == BEFORE[1]
    held = _ledger.vfs(_ledger.read(machine))[MZID]
    assert [(entry.vf, entry.state) for entry in held] == [(0, "ready"), (1, "changing")]
    assert "belongs to" in run(mzid="two.hello.demo", vfs=[nic(1)])["msg"]
    run(mzid=MZID, state="absent")
    assert state(machine) == before
    assert ledger(machine) == {}


def test_a_ledger_that_is_damaged_stops_everything(machine: Machine, run: Runner) -> None:
    machine.replace(_ledger.PATH, '{"version": 1, "materia')
    machine.log.clear()

    for options in ({"vfs": [nic(0)]}, {"state": "absent"}):
        answer = run(mzid=MZID, **options)
        assert answer["msg"].startswith(f"the ledger {_ledger.PATH} cannot be read")
    assert machine.writes == []
    assert machine.read(_ledger.PATH) == '{"version": 1, "materia'


def test_another_run_that_does_not_end(
    machine: Machine, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 0)
    with _ledger.locked(machine):
        answer = run(mzid=MZID, vfs=[nic(0)])
        assert "another run has held the lock" in answer["msg"]
        assert not run(check_mode=True, mzid=MZID, vfs=[nic(0)]).get("failed")
    assert machine.writes == []
    assert run(mzid=MZID, vfs=[nic(0)])["changed"]


def test_the_lock_is_held_while_anything_is_written(
    machine: Machine, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def replace(path: str, text: str, *, mode: int) -> None:
        with open(machine.path(_ledger._LOCK)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(json.loads(text)["materializations"].keys())

    monkeypatch.setattr(machine, "replace", replace)
    run(mzid=MZID, vfs=[nic(0)])

    assert held == [{MZID}, {MZID}], "before the first change and after the last"


class Killed(BaseException):
    """Stands for SIGKILL."""


class Fuse(list[t.Any]):
    """A log that ends the run before its event number *limit*."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def append(self, event: Event) -> None:
        if len(self) == self.limit:
            raise Killed
        super().append(event)


PHASES: dict[str, dict[str, t.Any]] = {
    "materialize": {"vfs": [nic(0), nic(1, mtu=None)]},
    "change": {"vfs": [nic(1, vlan=200), nic(2)]},
    "reboot": {},
    "dematerialize": {"state": "absent"},
}


def reboot(machine: Machine) -> None:
    """All VFs are made anew, by a rule that is not the concern here."""
    path = f"{DEVICES}/0000:01:00.0/sriov_numvfs"
    machine.write(path, "0")
    machine.write(path, "3")


def carry_out(machine: Machine, phase: str, run: str = "night") -> None:
    """Reserve and then give, as the playbook does; *run* is its name."""
    if phase == "reboot":
        assert _restore.run(machine, seconds=0).problems == []
        return
    options: dict[str, t.Any] = {
        "mzid": MZID,
        "run": None,
        "driver": "vfio-pci",
        "force": False,
        "vfs": [],
        "functions": [],
    }
    policy = {"attributes": None, "unsupported": None, "without_vst": "refuse"}
    params = {**options, **policy, "state": "present", **PHASES[phase]}
    if params["vfs"]:
        params["run"] = run
        materialization.run(machine, {**params, "state": "reserved"}, check_mode=False)
    materialization.run(machine, params, check_mode=False)


def with_fuse(machine: Machine, limit: int, phase: str) -> bool:
    """Whether the run came to its end."""
    plain = machine.log
    machine.log = machine.netlink._log = Fuse(limit)
    try:
        carry_out(machine, phase)
    except Killed:
        return False
    finally:
        machine.log = machine.netlink._log = plain
    return True


def check_isolation(
    machine: Machine,
    before: list[tuple[t.Any, str | None]],
    earlier: list[tuple[t.Any, str | None]],
) -> None:
    """What must hold at every moment: I1, and I7 for the ledger. *before* was the state without
    any materialization, *earlier* the one before the run."""
    held = {
        entry.vf: entry for entry in _ledger.vfs(_ledger.read(machine)).get(MZID, []) if entry.held
    }
    for vf, (attributes, driver) in enumerate(state(machine)):
        if (attributes, driver) != before[vf]:
            assert vf in held, "changed and not remembered"
        if driver == "vfio-pci" and (attributes, driver) != earlier[vf]:
            wanted = held[vf].values
            assert {name: attributes._asdict()[name] for name in wanted} == wanted


@pytest.mark.parametrize("phase", PHASES)
def test_killed_at_any_point_the_next_run_converges(tmp_path: Path, phase: str) -> None:
    """I7, for every access that changes something, whatever came before it."""
    limit, ended = 0, False
    while not ended:
        machine = new_machine(tmp_path / str(limit))
        before = state(machine)
        for earlier in list(PHASES)[: list(PHASES).index(phase)]:
            carry_out(machine, earlier)
        if phase == "reboot":
            reboot(machine)
            before = state(machine)
        now = state(machine)

        ended = with_fuse(machine, limit, phase)
        check_isolation(machine, before, now)
        carry_out(machine, phase, run="the next")
        check_isolation(machine, before, now)

        last = {
            "materialize": {0: 100, 1: 101},
            "change": {1: 200, 2: 102},
            "reboot": {1: 200, 2: 102},
            "dematerialize": {},
        }[phase]
        assert ledger(machine) == ({MZID: list(last)} if last else {})
        for vf in range(3):
            attributes, driver = state(machine)[vf]
            if vf in last:
                assert (attributes.vlan, driver) == (last[vf], "vfio-pci")
            else:
                assert (attributes, driver) == before[vf]
        limit += 1
    assert limit > 6


@pytest.mark.parametrize("phase", ["materialize", "change", "dematerialize"])
def test_rebooted_at_any_point_no_guest_gets_a_vf_that_is_not_isolated(
    tmp_path: Path, phase: str
) -> None:
    limit, ended = 0, False
    while not ended:
        machine = new_machine(tmp_path / str(limit))
        for earlier in list(PHASES)[: list(PHASES).index(phase)]:
            if earlier != "reboot":
                carry_out(machine, earlier)

        ended = with_fuse(machine, limit, phase)
        reboot(machine)
        outcome = _restore.run(machine, seconds=0)

        held = [entry for entry in _ledger.vfs(_ledger.read(machine)).get(MZID, []) if entry.held]
        assert outcome.ready == sum(entry.state == _ledger.READY for entry in held)
        assert len(outcome.problems) == len(held) - outcome.ready
        for entry in held:
            bound = machine.driver(entry.address) == "vfio-pci"
            assert bound == (entry.state == _ledger.READY)
            if bound:
                assert machine.vf("ens1f0", entry.vf).vlan == entry.values["vlan"]
        carry_out(machine, phase)
        limit += 1


def test_the_arguments_are_checked(run: Runner) -> None:
    assert "missing required arguments: mzid" in run()["msg"]
    assert "state" in run(mzid=MZID, state="gone")["msg"]
    broken = nic(0)
    del broken["vlan"]
    assert "missing required arguments: vlan" in run(mzid=MZID, vfs=[broken])["msg"]
