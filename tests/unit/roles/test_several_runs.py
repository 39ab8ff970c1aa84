# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several runs in one playbook, or in a play that an operator wrote."""

from __future__ import annotations

import copy
import json
import subprocess
import typing as t

import pytest
from ansible_collections.mergetb.sriov.tests.unit import command_line, models
from ansible_collections.mergetb.sriov.tests.unit.local_facility import MATERIALIZE, Facility

if t.TYPE_CHECKING:
    from pathlib import Path

DEAD = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
ON_ALL = {"hosts": "hypervisors", "gather_facts": False}
ONE_HOST_FAILS = {
    **ON_ALL,
    "tasks": [{"ansible.builtin.fail": {}, "when": "inventory_hostname == 'x1'"}],
}
ONE_HOST_IS_LOST = {
    **ON_ALL,
    "tasks": [
        {"ansible.builtin.ping": {}, "when": "inventory_hostname == 'x1'", "vars": DEAD},
    ],
}


@pytest.fixture
def facility(tmp_path: Path) -> Facility:
    return Facility(tmp_path, real_module=False)


def play(
    facility: Facility, *plays: dict[str, t.Any], arguments: t.Sequence[str] = MATERIALIZE
) -> subprocess.CompletedProcess[str]:
    (facility.directory / "own.yml").write_text(json.dumps(plays), encoding="utf-8")
    return command_line.run(
        facility.directory,
        *("playbook", "-i", "phobos.xir", "own.yml", *arguments),
        check=False,
        **facility.environment,
    )


def imported(action: str, **variables: t.Any) -> dict[str, t.Any]:
    return {"import_playbook": f"mergetb.sriov.{action}", "vars": variables}


def document(facility: Facility) -> t.Any:
    return json.loads(facility.result.read_text(encoding="utf-8"))


def calls(facility: Facility, host: str) -> list[str]:
    return facility.calls(host) if (facility.directory / host / "calls").exists() else []


def on_one_host(facility: Facility, name: str, host: str, rid: str) -> None:
    """Write an experiment that takes VFs of one host."""
    experiment = copy.deepcopy(models.EXPERIMENT)
    experiment.rid = rid
    for link in experiment.links:
        for segment in link.realization.segments.values():
            segment.endpoints = [item for item in segment.endpoints if item.host == host]
    (facility.directory / name).write_text(experiment.to_json(), encoding="utf-8")


def test_ten_experiments_are_dematerialized(facility: Facility) -> None:
    """The tenth was told that another run gives VFs as fast as it frees them."""
    role = {"name": "mergetb.sriov.dematerialize"}
    tasks = [{"ansible.builtin.include_role": role, "loop": [*range(10)]}]
    done = play(facility, {**ON_ALL, "any_errors_fatal": True, "tasks": tasks})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "keywords",
    [{}, {"serial": 1, "any_errors_fatal": True}, {"ignore_errors": True}, {"strategy": "free"}],
    ids=["plain", "serial", "ignore_errors", "free"],
)
def test_an_experiment_is_taken_from_all_of_its_hosts_or_from_none(
    facility: Facility, keywords: dict[str, t.Any]
) -> None:
    """The first host freed its VFs, and a guest used those of the second."""
    facility.fail("x1", "check", "VF is in use")
    play(facility, {**ON_ALL, "roles": ["mergetb.sriov.dematerialize"], **keywords})
    assert calls(facility, "x0") == ["absent (check)"]


@pytest.mark.parametrize("lost", [ONE_HOST_FAILS, ONE_HOST_IS_LOST], ids=["failed", "unreachable"])
@pytest.mark.parametrize("action", ["materialize", "dematerialize"])
def test_a_host_that_was_lost_in_an_earlier_play(
    facility: Facility, action: str, lost: dict[str, t.Any]
) -> None:
    """Ansible leaves it out, so the rest of the experiment went on without it and told ok."""
    play(facility, lost, imported(action))
    assert calls(facility, "x0") == []
    told = document(facility)
    assert told["outcome"] == "refused"
    assert "failed or was not reached earlier in this playbook: x1" in told["message"]


@pytest.mark.parametrize("lost", [ONE_HOST_FAILS, ONE_HOST_IS_LOST], ids=["failed", "unreachable"])
def test_a_host_that_is_lost_between_two_runs(facility: Facility, lost: dict[str, t.Any]) -> None:
    """What it had answered to the first counted, and the other host kept its reservation."""
    play(facility, imported("materialize"), lost, imported("materialize"))
    assert calls(facility, "x0") == ["reserved", "present"]
    assert document(facility)["outcome"] == "refused"


def test_an_answer_to_an_earlier_run_is_no_agreement(facility: Facility) -> None:
    role = {**ON_ALL, "roles": ["mergetb.sriov.materialize"]}
    play(facility, role, {**role, "serial": 1})
    assert calls(facility, "x0") == ["reserved", "present", "reserved", "withdrawn"]


def test_the_hosts_of_one_run_are_not_those_of_the_next(facility: Facility) -> None:
    on_one_host(facility, "a.json", "x0", "one")
    on_one_host(facility, "b.json", "x1", "two")
    play(
        facility,
        imported("materialize", sriov_materialization="a.json", sriov_device_map="a.map"),
        imported("materialize", sriov_materialization="b.json", sriov_device_map="b.map"),
        arguments=(),
    )
    assert calls(facility, "x0") == calls(facility, "x1") == ["reserved", "present"]
    assert list(document(facility)["hosts"]) == ["x1"]


def test_the_first_run_that_did_not_end_well_is_told(facility: Facility) -> None:
    facility.connect("x1", **DEAD)
    on_one_host(facility, "b.json", "x0", "two")
    done = play(
        facility,
        imported("materialize", sriov_materialization="one.hello.demo.pb64"),
        imported("dematerialize", sriov_materialization="b.json", sriov_device_map="b.map"),
        arguments=(),
    )
    assert document(facility)["mzid"] == "one.hello.demo"
    assert document(facility)["outcome"] == "refused"
    assert done.returncode == 4


def test_what_was_kept_stays_in_the_device_map(facility: Facility) -> None:
    """What the hosts had answered to an earlier run emptied it."""
    take_back = {**ON_ALL, "roles": ["mergetb.sriov.dematerialize"], "ignore_errors": True}
    in_use = {"dest": str(facility.directory / "x1/check"), "content": "VF is in use"}
    becomes_used = {**ON_ALL, "tasks": [{"ansible.builtin.copy": in_use, "run_once": True}]}
    give = imported("materialize")
    play(facility, give, take_back, give, becomes_used, take_back)
    assert calls(facility, "x0")[-1] == "absent (check)"
    told = json.loads((facility.directory / "device_map.json").read_text(encoding="utf-8"))
    assert told["devices"]
