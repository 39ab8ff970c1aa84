# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role in playbooks that an operator wrote, which may keep Ansible from ending a play early."""

from __future__ import annotations

import json
import subprocess
import typing as t

import pytest
from ansible_collections.mergetb.sriov.tests.unit import command_line
from ansible_collections.mergetb.sriov.tests.unit.local_facility import (
    MATERIALIZE,
    Facility,
    of_hosts,
)

if t.TYPE_CHECKING:
    from pathlib import Path

ROLE = {"ansible.builtin.include_role": {"name": "mergetb.sriov.materialize"}}
UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.fixture
def facility(tmp_path: Path) -> Facility:
    """The example facility with the module's stand-in."""
    return Facility(tmp_path, real_module=False)


def play(facility: Facility, **keywords: t.Any) -> subprocess.CompletedProcess[str]:
    """Run an operator's own play with the role and further *keywords*."""
    own = {"hosts": "hypervisors", "gather_facts": False, **keywords}
    path: Path = facility.directory / "own.yml"
    path.write_text(json.dumps([own]), encoding="utf-8")
    return command_line.run(
        facility.directory,
        *("playbook", "-i", "phobos.xir", "own.yml", *MATERIALIZE),
        check=False,
        **facility.environment,
    )


RESCUED = {"tasks": [{"block": [ROLE], "rescue": [{"ansible.builtin.debug": {"msg": "rescued"}}]}]}


@pytest.mark.parametrize(
    ("keywords", "reachable"),
    [
        (RESCUED, True),
        ({"tasks": [{**ROLE, "ignore_errors": True}], "ignore_errors": True}, True),
        ({"tasks": [ROLE], "ignore_unreachable": True}, False),
        ({"tasks": [ROLE], "serial": 1}, True),
        ({"tasks": [ROLE], "strategy": "free"}, True),
    ],
    ids=["rescue", "ignore_errors", "ignore_unreachable", "serial", "free"],
)
def test_one_host_refuses_in_a_play_that_would_go_on(
    facility: Facility, keywords: dict[str, t.Any], reachable: bool
) -> None:
    """The first host was given its VFs all the same."""
    if reachable:
        facility.fail("x1", "check", "VF is in use")
    else:
        facility.connect("x1", **UNREACHABLE)
    done = play(facility, **keywords)
    calls = facility.calls("x0")
    assert "present" not in calls, done.stdout
    assert calls == ["reserved", "withdrawn"]
    assert not (facility.directory / "device_map.json").exists()


def test_a_strategy_of_the_configuration_does_not_count(facility: Facility) -> None:
    """With the strategy free, each host was a run of its own."""
    document = facility.document("materialize", 0, *MATERIALIZE, ANSIBLE_STRATEGY="free")
    assert document["outcome"] == "ok"
    assert (facility.directory / "device_map.json").exists()
    facility.fail("x1", "check", "VF is in use")
    document = facility.document("materialize", 10, *MATERIALIZE, ANSIBLE_STRATEGY="free")
    assert document["outcome"] == "refused"
    assert facility.calls("x0") == ["reserved", "present", "reserved", "withdrawn"]


def test_no_device_map_of_half_an_experiment(facility: Facility) -> None:
    """Where a failure is rescued, the play goes on with the other host."""
    facility.fail("x1", "write", "VF did not take its VLAN")
    play(facility, **RESCUED)
    assert facility.calls("x0") == ["reserved", "present"]
    assert not (facility.directory / "device_map.json").exists()


def test_another_run_came_where_nothing_had_to_be_reserved(facility: Facility) -> None:
    """Each of two runs with different aims could be given on one host."""
    facility.fail("x0", "steps", "")
    facility.document("materialize", 0, *MATERIALIZE)
    assert facility.calls("x0") == ["reserved", "present"]
    assert facility.calls("x1") == ["reserved", "reserved", "present"]
    facility.fail("x1", "again", "run B has reserved other VFs")
    document = facility.document("materialize", 10, *MATERIALIZE)
    assert document["outcome"] == "refused"
    assert of_hosts(document, "outcome") == ["untouched", "refused"]
    assert facility.calls("x0")[2:] == ["reserved", "withdrawn"]
    assert facility.calls("x1")[3:] == ["reserved", "reserved"]


def test_another_run_came_where_a_vf_is_only_to_be_mended(facility: Facility) -> None:
    """What is held in the same way already is not reserved, so the other run did not see it."""
    for host, name in (("x0", "steps"), ("x1", "steps"), ("x1", "mends")):
        facility.fail(host, name, "")
    facility.fail("x1", "again", "run B has reserved other VFs")
    document = facility.document("materialize", 10, *MATERIALIZE)
    assert document["outcome"] == "refused"
    assert facility.calls("x0") == ["reserved", "withdrawn"]
    assert facility.calls("x1") == ["reserved", "reserved"]


def test_all_hosts_change(facility: Facility) -> None:
    for host in ("x0", "x1"):
        facility.fail(host, "steps", "")
    facility.document("materialize", 0, *MATERIALIZE)
    assert [facility.calls(host) for host in ("x0", "x1")] == [["reserved", "present"]] * 2


def test_another_run_comes_between_once(facility: Facility) -> None:
    """Its reservation was gone on the one host, and the other had its VFs: half an experiment."""
    facility.fail("x1", "lost", "once\n")
    document = facility.document("materialize", 0, *MATERIALIZE)
    assert of_hosts(document, "outcome") == ["ok", "ok"]
    assert [facility.calls(host) for host in ("x0", "x1")] == [["reserved", "present"] * 2] * 2
    assert (facility.directory / "device_map.json").exists()


@pytest.mark.parametrize("refuses", [False, True])
def test_another_run_comes_between_twice(facility: Facility, refuses: bool) -> None:
    """What was given on the other host is freed, and no host is left out of that."""
    facility.fail("x1", "lost", "once\n" if refuses else "once\nagain\n")
    if refuses:
        facility.fail("x0", "anew", "VF 0 belongs to materialization two")
    document = facility.document("materialize", 2, *MATERIALIZE)
    assert document["outcome"] == "failed"
    assert document["devices"] == []
    assert "came between, twice, so all VFs of one.hello.demo were freed" in document["message"]
    second = ["reserved", "withdrawn"] if refuses else ["reserved", "present"]
    for host in ("x0", "x1"):
        assert facility.calls(host) == ["reserved", "present", *second, "absent", "absent"]
    assert not (facility.directory / "device_map.json").exists()
