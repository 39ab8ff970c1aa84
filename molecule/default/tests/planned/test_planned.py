# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each plan so far, and the run behind it: they agree, step by step."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

Step = tuple[str, str, str]

REBOOT: Step = ("reboot", "host", "reboot")


class Pair(t.NamedTuple):
    """What was planned for a host, and what was done to it until the next plan."""

    plan: list[Step]
    run: list[Step]


@pytest.fixture(scope="module")
def pairs() -> dict[str, list[Pair]]:
    """The plans with their runs in the order of time, by host."""
    found: dict[str, list[Pair]] = {}
    for line in Path(os.environ["SRIOV_STEPS"]).read_text(encoding="utf-8").splitlines():
        noted = json.loads(line)
        host = found.setdefault(noted["host"], [])
        if "plan" in noted:
            steps = [(step["role"], step["element"], step["action"]) for step in noted["plan"]]
            host.append(Pair(steps, []))
        elif host:
            host[-1].run.extend(
                (noted["role"], element, action)
                for element, actions in noted["steps"].items()
                for action in actions
            )
    return {name: host for name, host in found.items() if host}


def test_without_permission_the_run_ends_before_the_reboot(pairs: dict[str, list[Pair]]) -> None:
    for host in pairs.values():
        bare = host[0]
        assert REBOOT in bare.plan
        assert bare.run
        assert bare.run == bare.plan[: bare.plan.index(REBOOT)]


def test_plan_and_run_agree(pairs: dict[str, list[Pair]]) -> None:
    for host in pairs.values():
        assert host[1].plan[0] == REBOOT
        for plan, run in host[1:]:
            assert run == plan


def test_in_the_end_nothing_was_left_to_do(pairs: dict[str, list[Pair]]) -> None:
    assert all(host[-1].plan == [] for host in pairs.values())
