# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs
from ansible_collections.mergetb.sriov.plugins.modules import numvfs
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    Machine,
    ledger_entry,
)
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

PF = "0000:01:00.0"
MAC = "04:70:00:00:00:10"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", MAC, numvfs=2, autoprobe=True, up=False)
    machine.add_pf("0000:01:00.1", "ens1f1", "04:70:00:00:00:11")
    machine.log.clear()
    return machine


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(numvfs, machine, monkeypatch, capsys)


BOTH = [{"pf": MAC, "numvfs": 3}, {"pf": "ens1f1", "numvfs": 0}]


def test_check_mode_writes_nothing_and_predicts_the_run(machine: Machine, run: Runner) -> None:
    before = machine.files()

    predicted = run(check_mode=True, pfs=BOTH)

    assert machine.files() == before
    assert machine.log == []
    done = run(pfs=BOTH)
    for key in ("changed", "steps", "diff"):
        assert predicted[key] == done[key]
    assert done["changed"]
    assert done["steps"] == {
        PF: ["link up", "sriov_drivers_autoprobe 0", "sriov_numvfs 0", "sriov_numvfs 3"],
        _numvfs.UDEV_RULES: ["write"],
    }
    assert done["diff"][0]["before"] == {PF: 2, "0000:01:00.1": 0}
    assert done["diff"][0]["after"] == {PF: 3, "0000:01:00.1": 0}
    assert done["diff"][1]["before"] == ""
    assert done["diff"][1]["after"].encode() == machine.read_bytes(_numvfs.UDEV_RULES)
    assert predicted["pfs"][0]["numvfs"] == 2
    assert done["pfs"][0] == {
        "address": PF,
        "interface": "ens1f0",
        "mac": MAC,
        "driver": "igb",
        "numvfs": 3,
        "totalvfs": 7,
        "autoprobe": False,
        "vfs": ["0000:01:10.0", "0000:01:10.2", "0000:01:10.4"],
    }


def test_a_second_run_writes_nothing(machine: Machine, run: Runner) -> None:
    run(pfs=BOTH)
    before = machine.files()
    machine.log.clear()

    assert not run(pfs=BOTH)["changed"]
    assert not run(check_mode=True, pfs=BOTH)["changed"]
    assert machine.files() == before
    assert machine.log == []


OTHER = "0000:01:00.1"
OTHER_MAC = "04:70:00:00:00:11"
# What the first version wrote for both PFs.
TAKEN_OVER = """\
# Made by mergetb.sriov.numvfs; changes are lost at its next run.
ACTION=="add|change|move", SUBSYSTEM=="net", KERNELS=="0000:01:00.0", \
ATTR{address}=="04:70:00:00:00:10", ATTR{[pci/0000:01:00.0]sriov_drivers_autoprobe}="0", \
ATTR{[pci/0000:01:00.0]sriov_numvfs}="2", RUN+="/sbin/ip link set dev $name up"
ACTION=="add|change|move", SUBSYSTEM=="net", KERNELS=="0000:01:00.1", \
ATTR{address}=="04:70:00:00:00:11", ATTR{[pci/0000:01:00.1]sriov_drivers_autoprobe}="0", \
RUN+="/sbin/ip link set dev $name up", \
RUN+="/bin/sh -c 'echo 4 > /sys/bus/pci/devices/0000:01:00.1/sriov_numvfs'"
"""


def at_boot(machine: Machine) -> dict[str | None, int]:
    """The counts in the rules, by MAC."""
    return {mac: count for (_address, mac), count in _numvfs.counts_at_boot(machine).items()}


def hold(machine: Machine, vf: int, **fields: object) -> None:
    """A VF of the second PF for a materialization."""
    entry = ledger_entry(pf_mac=OTHER_MAC, pf_address=OTHER, pf_name="ens1f1", vf=vf, **fields)
    _ledger.write(machine, {"one.hello.demo": [entry]})
    machine.log.clear()


def test_a_pf_that_a_run_does_not_name_keeps_its_rule(machine: Machine, run: Runner) -> None:
    run(pfs=[{"pf": MAC, "numvfs": 3}, {"pf": OTHER_MAC, "numvfs": 4}])

    done = run(pfs=[{"pf": OTHER_MAC, "numvfs": 1}])

    assert at_boot(machine) == {MAC: 3, OTHER_MAC: 1}
    assert done["steps"] == {
        OTHER: ["sriov_numvfs 0", "sriov_numvfs 1"],
        _numvfs.UDEV_RULES: ["write"],
    }
    assert not run(pfs=[{"pf": MAC, "numvfs": 3}])["changed"]


def test_a_pf_is_given_up_by_name(machine: Machine, run: Runner) -> None:
    run(pfs=[{"pf": MAC, "numvfs": 3}, {"pf": OTHER_MAC, "numvfs": 4}])
    for pf, left in ((OTHER_MAC, {MAC: 3}), (MAC, {})):
        gone = [{"pf": pf, "numvfs": 0}]
        predicted = run(check_mode=True, pfs=gone)
        done = run(pfs=gone)
        for key in ("changed", "steps", "diff"):
            assert predicted[key] == done[key]
        assert at_boot(machine) == left
        assert not run(pfs=gone)["changed"]
    assert done["steps"] == {PF: ["sriov_numvfs 0"], _numvfs.UDEV_RULES: ["remove"]}
    assert not machine.exists(_numvfs.UDEV_RULES)
    assert run(pfs=[{"pf": MAC, "numvfs": 2}])["changed"], "it can be had again"


def test_rules_of_the_first_version_are_taken_over(machine: Machine, run: Runner) -> None:
    machine.put(_numvfs.UDEV_RULES, TAKEN_OVER)
    assert at_boot(machine) == {MAC: 2, OTHER_MAC: 4}

    done = run(pfs=[{"pf": MAC, "numvfs": 3}])

    assert at_boot(machine) == {MAC: 3, OTHER_MAC: 4}
    before, after = done["diff"][1]["before"].splitlines(), done["diff"][1]["after"].splitlines()
    assert before[2] == after[2]
    assert "changes are lost" not in after[0]
    assert not run(pfs=[{"pf": MAC, "numvfs": 3}])["changed"]


@pytest.mark.parametrize(
    "others",
    [
        "# by hand\n",
        'SUBSYSTEM=="net", NAME="x"',
        'SUBSYSTEM=="net", \\\n  NAME="x"\n\n',
        'SUBSYSTEM=="net", NAME="x" \\',
        'SUBSYSTEM=="net", NAME="x" \\\n',
        "# this comment ends here \\\n",
        "#" + TAKEN_OVER.splitlines()[1] + "\n",
    ],
)
def test_lines_of_others_stay(machine: Machine, run: Runner, others: str) -> None:
    machine.put(_numvfs.UDEV_RULES, others)

    run(pfs=BOTH)

    text = (machine.read_bytes(_numvfs.UDEV_RULES) or b"").decode()
    assert others in text
    assert at_boot(machine) == {MAC: 3}
    if others.endswith("\\"):
        assert f"{others}\n\n" in text, "else it would swallow the rule"
    assert not run(pfs=BOTH)["changed"]
    run(pfs=[{"pf": MAC, "numvfs": 0}])
    assert others in (machine.read_bytes(_numvfs.UDEV_RULES) or b"").decode()
    assert at_boot(machine) == {}


def test_the_rule_follows_a_card_that_moved(machine: Machine, run: Runner) -> None:
    machine.put(_numvfs.UDEV_RULES, TAKEN_OVER.replace(PF, "0000:09:00.0"))

    run(pfs=[{"pf": MAC, "numvfs": 2}])

    assert _numvfs.counts_at_boot(machine) == {(PF, MAC): 2, (OTHER, OTHER_MAC): 4}


def test_the_rule_of_the_card_that_was_in_the_slot_before_stays(
    machine: Machine, run: Runner
) -> None:
    """It holds for that card only, which may be put back; it is given up by its name."""
    gone = "04:70:00:00:00:99"
    machine.put(_numvfs.UDEV_RULES, TAKEN_OVER.replace(MAC, gone))

    run(pfs=[{"pf": MAC, "numvfs": 2}])

    assert at_boot(machine) == {gone: 2, MAC: 2, OTHER_MAC: 4}
    given_up = run(pfs=[{"pf": gone, "numvfs": 0}])
    assert at_boot(machine) == {MAC: 2, OTHER_MAC: 4}
    assert given_up["steps"] == {_numvfs.UDEV_RULES: ["write"]}
    assert given_up["pfs"] == []
    assert f"no PF of this host is {gone}" in given_up["warnings"][0]
    again = run(pfs=[{"pf": gone, "numvfs": 0}])
    assert not again["changed"]
    assert "no PF of this host is" in again["warnings"][0]


@pytest.mark.parametrize("selector", ["04:70:00:00:00:99", "0000:09:00.0", "ens9"])
def test_a_pf_that_is_not_there_cannot_have_vfs(run: Runner, selector: str) -> None:
    answer = run(pfs=[{"pf": selector, "numvfs": 1}])
    assert answer["failed"]
    assert selector in answer["msg"]
    # An interface name does not say which rule it is about.
    assert run(pfs=[{"pf": selector, "numvfs": 0}]).get("failed", False) is (selector == "ens9")


def test_a_pf_whose_interface_is_elsewhere_is_not_taken_for_gone(
    machine: Machine, run: Runner
) -> None:
    run(pfs=BOTH)
    machine.write(f"{DEVICES}/{PF}/sriov_numvfs", "0")
    machine.remove("/sys/class/net/ens1f0")
    shutil.rmtree(machine.path(f"{DEVICES}/{PF}/net"))
    del machine.netlink.interfaces["ens1f0"]
    _ledger.write(machine, {"one.hello.demo": [ledger_entry()]})

    text = f"PF {MAC} is {PF} by its udev rule, which has no network interface here"
    assert text in run(pfs=[{"pf": MAC, "numvfs": 0}])["msg"]
    by_address = [{"pf": PF, "numvfs": 0}]
    assert "materialization one.hello.demo holds it for" in run(pfs=by_address)["msg"]
    assert at_boot(machine) == {MAC: 3}
    _ledger.write(machine, {})
    assert run(pfs=by_address)["changed"]
    assert at_boot(machine) == {}


def test_a_pf_without_driver_is_given_up(machine: Machine, run: Runner) -> None:
    run(pfs=BOTH)
    machine.write(f"{DEVICES}/{PF}/sriov_numvfs", "0")
    machine.remove(f"{DEVICES}/{PF}/driver")
    assert run(pfs=[{"pf": PF, "numvfs": 0}])["steps"] == {_numvfs.UDEV_RULES: ["remove"]}


def test_a_pf_whose_vfs_are_held_is_not_given_up_although_they_are_not_there(
    machine: Machine, run: Runner
) -> None:
    run(pfs=[{"pf": OTHER_MAC, "numvfs": 4}])
    machine.write(f"{DEVICES}/{OTHER}/sriov_numvfs", "0")
    hold(machine, 3)

    for count in (0, 3):
        answer = run(pfs=[{"pf": OTHER_MAC, "numvfs": count}])
        assert f"VF 3 of PF {OTHER}: materialization one.hello.demo holds it" in answer["msg"]
    assert machine.log == []
    assert at_boot(machine) == {OTHER_MAC: 4}
    assert run(pfs=[{"pf": OTHER_MAC, "numvfs": 4}])["pfs"][0]["numvfs"] == 4
    assert run(pfs=[{"pf": OTHER_MAC, "numvfs": 0}], force=True)["changed"]
    assert at_boot(machine) == {}


def test_a_lost_card_whose_vfs_are_held_is_not_given_up(machine: Machine, run: Runner) -> None:
    machine.put(_numvfs.UDEV_RULES, TAKEN_OVER.replace(OTHER_MAC, "04:70:00:00:00:99"))
    hold(machine, 1)
    entry = ledger_entry(pf_mac="04:70:00:00:00:99", pf_address="0000:01:00.1", vf=1)
    _ledger.write(machine, {"one.hello.demo": [entry]})

    answer = run(pfs=[{"pf": "04:70:00:00:00:99", "numvfs": 0}])

    assert "VF 1 of PF 04:70:00:00:00:99: materialization one.hello.demo holds" in answer["msg"]
    assert at_boot(machine) == {MAC: 2, "04:70:00:00:00:99": 4}


def test_what_does_not_change_is_not_refused(machine: Machine, run: Runner) -> None:
    hold(machine, 3)
    assert not run(pfs=[{"pf": OTHER_MAC, "numvfs": 0}])["changed"]
    assert not run(pfs=[{"pf": OTHER_MAC, "numvfs": 0}], at_boot=False)["changed"]


def test_a_claim_between_look_and_write_is_seen(
    machine: Machine, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that wants the PF's first VF starts while this one is between its look and its writes.

    It comes at once where there is no lock, and in its turn where there is one.
    """
    run(pfs=[{"pf": OTHER_MAC, "numvfs": 4}])
    looked, came = threading.Event(), threading.Event()
    in_use = _numvfs.in_use
    Path(machine.path(_ledger.DIRECTORY)).mkdir(parents=True, exist_ok=True)

    def look(*args: t.Any) -> list[str]:
        found = in_use(*args)
        looked.set()
        assert came.wait(10)
        return found

    def materialize() -> None:
        assert looked.wait(10)
        with open(machine.path(_ledger._LOCK), "a") as lock:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                claim()
                return
            came.set()
            fcntl.flock(lock, fcntl.LOCK_EX)
            claim()

    def claim() -> None:
        vfs = _pci.read_pf(machine, OTHER).vfs
        if vfs:
            entry = ledger_entry(pf_mac=OTHER_MAC, pf_address=OTHER, address=vfs[0])
            _ledger.write(machine, {"one.hello.demo": [entry]})
        came.set()

    monkeypatch.setattr(_numvfs, "in_use", look)
    other = threading.Thread(target=materialize)
    other.start()
    run(pfs=[{"pf": OTHER_MAC, "numvfs": 0}])
    other.join()

    assert _pci.read_pf(machine, OTHER).vfs == ()
    assert _ledger.read(machine) == {}, "a VF of the ledger is destroyed"


def test_check_mode_takes_no_lock(machine: Machine, run: Runner) -> None:
    with _ledger.locked(machine):
        assert run(check_mode=True, pfs=BOTH)["changed"]


def test_the_rules_stay_as_they_are(machine: Machine, run: Runner) -> None:
    machine.replace(_numvfs.UDEV_RULES, "# by hand\n")
    machine.log.clear()

    done = run(pfs=BOTH, at_boot=False)

    assert machine.read_bytes(_numvfs.UDEV_RULES) == b"# by hand\n"
    assert done["diff"][1]["before"] == done["diff"][1]["after"] == "# by hand\n"
    assert not run(pfs=BOTH, at_boot=False)["changed"]


def test_vfs_in_use_are_destroyed_only_by_force(machine: Machine, run: Runner) -> None:
    [name] = machine.names(f"{DEVICES}/0000:01:10.0/net")
    machine.alter_link(name, up=True)
    with _ledger.locked(machine):
        before = machine.files()

    for check_mode in (True, False):
        answer = run(check_mode=check_mode, pfs=BOTH)
        assert answer["failed"]
        assert f"interface {name} is up" in answer["msg"]
    assert machine.files() == before
    assert machine.log == []
    assert run(pfs=BOTH, force=True)["pfs"][0]["numvfs"] == 3


def test_a_pf_that_no_rule_can_name_is_told_before_anything_is_written(
    machine: Machine, run: Runner
) -> None:
    machine.add_pf("0000:02:00.0", None, MAC, driver="nvme")
    machine.log.clear()
    pfs = [{"pf": "0000:02:00.0", "numvfs": 1}]

    assert "set at_boot to false" in run(pfs=pfs)["msg"]
    assert machine.log == []
    assert run(pfs=pfs, at_boot=False)["changed"]


def test_an_error_is_one_message(machine: Machine, run: Runner) -> None:
    answer = run(pfs=[*BOTH, {"pf": "ens9", "numvfs": 1}])

    assert answer["failed"]
    assert answer["msg"].startswith("no network interface of this host is 'ens9'")
    assert machine.log == []


def test_the_arguments_are_checked(run: Runner) -> None:
    assert "missing required arguments: pfs" in run()["msg"]
    assert "numvfs" in run(pfs=[{"pf": MAC}])["msg"]
    assert "numvfs" in run(pfs=[{"pf": MAC, "numvfs": "many"}])["msg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
@pytest.mark.parametrize("check_mode", [True, False])
def test_rules_that_are_masked_are_refused_before_the_first_write(
    machine: Machine, run: Runner, check_mode: bool
) -> None:
    machine.mask(_numvfs.UDEV_RULES)
    answer = run(check_mode=check_mode, pfs=BOTH)
    assert answer["failed"]
    assert f"{_numvfs.UDEV_RULES} is no regular file" in answer["msg"]
    assert machine.log == []
    assert Path(machine.path("/dev/null")).is_char_device()
    assert run(check_mode=check_mode, pfs=BOTH, at_boot=False)["changed"]
