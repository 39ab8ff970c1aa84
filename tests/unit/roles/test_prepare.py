# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role `prepare`, with all that it calls, on fabricated hosts in many states at once."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _stages
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare._stages import Preparation, Step
from ansible_collections.mergetb.sriov.tests.unit import preparing
from ansible_collections.mergetb.sriov.tests.unit.fabricated_facility import Facility
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CARD, Hypervisor
from ansible_collections.mergetb.sriov.tests.unit.preparing import STATES, WITH_CARD, State

PREPARE = "mergetb.sriov.prepare"
PERMITTED = ("-e", "sriov_reboot=true")
PLAN_INFO = "mergetb.sriov.plan_info"
REBOOT = "ansible.builtin.reboot"


def variables(wanted: Preparation) -> dict[str, t.Any]:
    """The variables of the role that ask for this."""
    return {f"sriov_{name}": value for name, value in wanted._asdict().items()}


def add(facility: Facility, name: str, state: State) -> _stages.RunPlan:
    """A host in *state*, and its plan."""
    plans: list[_stages.RunPlan] = []

    def make(directory: Path) -> Hypervisor:
        host = preparing.bare(directory)
        state.make(host)
        plans.append(_stages.prepare(host, state.wanted._replace(reboot=True)))
        return host

    facility.add(name, make, **variables(state.wanted))
    return plans[0]


@pytest.fixture
def facility(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facility:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Facility(tmp_path)


def test_each_run_does_what_was_planned(facility: Facility) -> None:
    """One play over hosts in all states, which have to take different roles in the same order."""
    plans = {state.name: add(facility, state.name, state) for state in STATES}

    check = facility.play(PREPARE, *PERMITTED, "--check", "--diff")
    run = facility.play(PREPARE, *PERMITTED)
    again = facility.play(PREPARE, *PERMITTED)

    steps = {name: plan.steps for name, plan in plans.items()}
    assert {name: run.steps(name) for name in plans} == steps
    assert {name: check.steps(name) for name in plans} == steps
    # All that blocks a host is one message, before anything is written.
    blockers = {
        name: [blocker.message for blocker in plan.blockers] or None for name, plan in plans.items()
    }
    assert {name: run.failure(name) for name in plans} == blockers
    assert {name: check.failure(name) for name in plans} == blockers
    assert {name: again.failure(name) for name in plans} == blockers
    # A host that is blocked or ready takes one call, and in the end all are.
    calls = {name: run.calls(name) for name in plans}
    done = [name for name, plan in plans.items() if plan.state in ("blocked", "ready")]
    assert {name: calls[name] for name in done} == dict.fromkeys(done, [PLAN_INFO])
    assert {name: again.calls(name) for name in plans} == dict.fromkeys(plans, [PLAN_INFO])
    assert {task.status for task in again.tasks} == {"ok", "failed"}, "none is skipped"
    assert not any(task.changed for task in again.tasks)
    # The others take what they have to do, and a restart one look more.
    assert {name: calls[name].count(REBOOT) for name in plans} == {
        name: int(plan.restart == "reboot") for name, plan in plans.items()
    }
    assert calls["old_restore_program"] == [PLAN_INFO, "mergetb.sriov.restore_service"]
    assert calls["card_off_and_lost_iommu"] == [
        PLAN_INFO,
        "mergetb.sriov.mlx_config",
        "mergetb.sriov.reboot_marker",
        REBOOT,
        PLAN_INFO,
        "mergetb.sriov.reboot_marker",
        "mergetb.sriov.numvfs",
    ]


def test_what_no_plan_can_know_is_looked_at_anew(facility: Facility) -> None:
    reset = WITH_CARD._replace(mlx_reset=True)
    surprises = [
        State(preparing.card_without_tool, WITH_CARD, "change"),
        State(preparing.card_off_that_is_not_reset, reset, "reboot", "firmware reset"),
    ]
    plans = {state.name: add(facility, state.name, state) for state in surprises}

    check = facility.play(PREPARE, *PERMITTED, "--check")
    run = facility.play(PREPARE, *PERMITTED)
    again = facility.play(PREPARE)

    for name, plan in plans.items():
        assert check.steps(name) == plan.steps
        assert run.calls(name).count(REBOOT) == 1
        assert ("vfs", CARD, "sriov_numvfs 5") in run.steps(name)
        assert again.calls(name) == [PLAN_INFO]
    assert run.steps("card_without_tool")[:2] == [
        ("mlx_firmware", "mstflint", "install"),
        ("mlx_firmware", CARD, "SRIOV_EN=1 NUM_OF_VFS=5"),
    ]


PING = {"ansible.builtin.ping": None}


def test_the_play_of_an_operator_goes_on_where_it_may(facility: Facility) -> None:
    """Not on a host that waits for its restart, and not on one that is refused."""
    names = ("prepared", "old_restore_program", "nothing_done", "lost_iommu", "no_iommu")
    plans = {
        state.name: add(facility, state.name, state) for state in STATES if state.name in names
    }
    bare = plans["nothing_done"].steps
    play = {"hosts": "all", "gather_facts": False, "roles": [PREPARE], "post_tasks": [PING]}

    for arguments in (["--check"], []):
        done = facility.play([play], *arguments)
        assert {task.host for task in done.tasks if task.action.endswith(".ping")} == {
            "prepared",
            "old_restore_program",
        }
        assert done.steps("nothing_done") == bare[: bare.index(Step("reboot", "host", "reboot"))]
        assert done.steps("lost_iommu") == []
        assert "Nothing more is done to this host" in done.output


def test_each_role_does_its_part_alone(facility: Facility) -> None:
    """As in plays that operators wrote before there was a role for all of it."""
    add(facility, "host", State(preparing.card_off, WITH_CARD, "reboot"))
    modules = {stage.role: f"mergetb.sriov.{stage.module}" for stage in _stages.STAGES}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "roles": [f"mergetb.sriov.{role}" for role in modules],
    }

    done = facility.play([play], *PERMITTED)

    assert done.failure("host") is None
    assert done.calls("host") == [
        modules["preflight"],
        modules["iommu"],
        # The roles that need to know what the host is look once for all of them.
        modules["preflight"],
        modules["mlx_firmware"],
        modules["reboot"],
        REBOOT,
        # The roles that named the causes look whether they are gone.
        modules["iommu"],
        modules["mlx_firmware"],
        modules["reboot"],
        modules["vfs"],
        modules["vfio"],
        modules["restore"],
    ]
    done = facility.play([{**play, "roles": ["mergetb.sriov.vfs"]}])
    assert done.calls("host") == [modules["preflight"], modules["vfs"]]
