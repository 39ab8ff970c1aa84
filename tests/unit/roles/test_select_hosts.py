# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run reaches the hosts that it is about, and no other of the facility."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.mergetb.sriov.tests.unit import command_line, models
from ansible_collections.mergetb.sriov.tests.unit.local_facility import MATERIALIZE, Facility

if t.TYPE_CHECKING:
    from pathlib import Path

DEAD = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.fixture
def facility(tmp_path: Path) -> Facility:
    return Facility(tmp_path, real_module=False)


def leave_out(facility: Facility, host: str) -> None:
    """Have the experiment take no VF of a host."""
    experiment = copy.deepcopy(models.EXPERIMENT)
    for link in experiment.links:
        for segment in link.realization.segments.values():
            segment.endpoints = [item for item in segment.endpoints if item.host != host]
    (facility.directory / "one.hello.demo.pb64").write_text(experiment.to_json(), encoding="utf-8")


def was_called(facility: Facility, host: str) -> bool:
    return (facility.directory / host / "calls").exists()


@pytest.mark.parametrize("action", ["materialize", "dematerialize"])
def test_a_dead_host_that_is_not_used_does_not_matter(facility: Facility, action: str) -> None:
    """One dead hypervisor failed every experiment of the facility."""
    leave_out(facility, "x1")
    facility.connect("x1", **DEAD)
    document = facility.document(action, 0, *MATERIALIZE)
    assert document["outcome"] == "ok"
    assert list(document["hosts"]) == ["x0"]


def test_a_dead_host_that_is_used(facility: Facility) -> None:
    facility.connect("x1", **DEAD)
    document = facility.document("materialize", 4, *MATERIALIZE)
    assert document["outcome"] == "refused"
    assert facility.calls("x0") == ["reserved", "withdrawn"]


def test_a_host_that_the_experiment_has_left_gives_its_vfs_back(facility: Facility) -> None:
    facility.document("materialize", 0, *MATERIALIZE)
    leave_out(facility, "x1")
    document = facility.document("materialize", 0, *MATERIALIZE)
    assert list(document["hosts"]) == ["x0", "x1"]
    assert facility.calls("x1") == ["reserved", "present"] * 2
    facility.document("materialize", 0, *MATERIALIZE)
    assert facility.calls("x1") == ["reserved", "present"] * 2, "it is in no device map any more"


def test_a_sweep_asks_all_hosts(facility: Facility) -> None:
    leave_out(facility, "x1")
    facility.document("dematerialize", 0, *MATERIALIZE, "-e", "sriov_sweep=true", "--check")
    assert was_called(facility, "x1")


def test_who_gives_the_id_alone_asks_all_hosts(facility: Facility) -> None:
    facility.document("dematerialize", 0, "-e", "sriov_mzid=one.hello.demo", "--check")
    assert was_called(facility, "x0")
    assert was_called(facility, "x1")


@pytest.mark.parametrize("action", ["materialize", "dematerialize"])
def test_a_limit_that_would_cut_the_experiment_in_half(facility: Facility, action: str) -> None:
    document = facility.document(action, 10, *MATERIALIZE, "--limit", "x0")
    assert document["outcome"] == "refused"
    assert "'one.hello.demo' is on host x1, too, which the play leaves out" in document["message"]
    assert not was_called(facility, "x0")


def test_a_limit_that_leaves_it_whole(facility: Facility) -> None:
    leave_out(facility, "x1")
    document = facility.document("materialize", 0, *MATERIALIZE, "--limit", "x0")
    assert json.loads((facility.directory / "device_map.json").read_text(encoding="utf-8"))
    assert list(document["hosts"]) == ["x0"]


def test_a_playbook_with_both(facility: Facility) -> None:
    """The hosts of the one run must not become hosts of the other."""
    (facility.directory / "both.yml").write_text(
        json.dumps(
            [
                {"import_playbook": "mergetb.sriov.materialize", "vars": {"sriov_sweep": True}},
                {"import_playbook": "mergetb.sriov.dematerialize"},
            ]
        ),
        encoding="utf-8",
    )
    leave_out(facility, "x1")
    command_line.run(
        facility.directory,
        *("playbook", "-i", "phobos.xir", "both.yml", *MATERIALIZE),
        *("-e", "sriov_device_map=other.json"),
        check=True,
        **facility.environment,
    )
    assert facility.calls("x1") == ["reserved", "present"]
    assert facility.calls("x0") == ["reserved", "present", "absent (check)", "absent"]


def test_an_experiment_without_vfs_and_a_dead_host(facility: Facility) -> None:
    experiment = copy.deepcopy(models.EXPERIMENT)
    for link in experiment.links:
        for segment in link.realization.segments.values():
            segment.endpoints = []
    (facility.directory / "one.hello.demo.pb64").write_text(experiment.to_json(), encoding="utf-8")
    facility.connect("x1", **DEAD)
    assert facility.document("materialize", 0, *MATERIALIZE)["devices"] == []


def test_what_was_taken_back_is_in_no_device_map(facility: Facility) -> None:
    """The next run of the experiment, which is on another host now, needed the first one still."""
    facility.document("materialize", 0, *MATERIALIZE)
    facility.document("dematerialize", 0, *MATERIALIZE)
    told = json.loads((facility.directory / "device_map.json").read_text(encoding="utf-8"))
    assert (told["mzid"], told["devices"]) == ("one.hello.demo", [])
    leave_out(facility, "x1")
    facility.connect("x1", **DEAD)
    facility.document("materialize", 0, *MATERIALIZE)


def test_the_id_of_another_experiment(facility: Facility) -> None:
    """Its VFs were freed on the hosts of the one in the file."""
    other = ("-e", "sriov_mzid=two.other.demo")
    document = facility.document("dematerialize", 10, *MATERIALIZE, *other)
    assert "and sriov_mzid is 'two.other.demo': leave one of the two out" in document["message"]
    document = facility.document("materialize", 0, *MATERIALIZE, *other)
    assert document["mzid"] == "one.hello.demo", "materialize has no such variable"


def test_the_id_and_a_limit_that_would_cut_the_experiment_in_half(facility: Facility) -> None:
    facility.document("materialize", 0, *MATERIALIZE)
    facility.document("dematerialize", 10, "-e", "sriov_mzid=one.hello.demo", "--limit", "x0")
    assert facility.calls("x0") == ["reserved", "present"]


def test_a_group_of_the_inventory_does_not_get_in_the_way(facility: Facility) -> None:
    groups: dict[str, t.Any] = {"sriov_materialization_hosts": {"hosts": {"store0": {}}}}
    (facility.directory / "more.yml").write_text(
        json.dumps({"all": {"children": groups}}), encoding="utf-8"
    )
    document = facility.document("materialize", 0, *MATERIALIZE, "-i", "more.yml")
    assert list(document["hosts"]) == ["x0", "x1"]


@pytest.mark.parametrize("host", ["localhost", "store0"])
def test_a_host_of_the_former_map_that_offers_no_vfs_any_more(
    facility: Facility, host: str
) -> None:
    former = {"version": 1, "mzid": "one.hello.demo", "devices": [{"host": host}]}
    (facility.directory / "device_map.json").write_text(json.dumps(former), encoding="utf-8")
    done = facility.run("materialize", *MATERIALIZE)
    assert done.returncode == 0
    # Some releases of Ansible wrap the lines of a warning.
    told = " ".join((done.stdout + done.stderr).split())
    assert f"has host '{host}', which is not in group hypervisors any more" in told
