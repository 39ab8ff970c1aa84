# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible_collections.mergetb.sriov.tests.unit import acting
from ansible_collections.mergetb.sriov.tests.unit.plans import READY, REBOOT, check

HOSTVARS = {"x0": {"planned": REBOOT}, "x1": {"planned": READY}}


def test_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    arguments = {"path": str(path), "results": "planned", "accept": ["ready"]}
    result = acting.run("plan", arguments, HOSTVARS)
    assert result["path"] == str(path)
    assert result["not_accepted"] == ["x0"]
    assert result["lines"][-1] == "2 hosts: 1 ready, 1 needs restart"
    document = check(json.loads(path.read_text(encoding="utf-8")))
    assert document["action"] == "prepare"
    assert document["hosts"] == {"x0": REBOOT, "x1": READY}


def test_plan_of_a_materialization(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    arguments = {"path": str(path), "results": "planned", "mzid": "one.hello.demo"}
    assert acting.run("plan", arguments, HOSTVARS)["not_accepted"] == []
    document = check(json.loads(path.read_text(encoding="utf-8")))
    assert (document["action"], document["mzid"]) == ("materialize", "one.hello.demo")


def test_states_are_checked(tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path / "out"), "results": "planned", "accept": ["readi"]}
    with pytest.raises(AnsibleError, match="accept must be one or more of"):
        acting.run("plan", arguments, HOSTVARS)


def test_a_host_that_was_not_planned(tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path / "out"), "results": "planned"}
    result = acting.run("plan", arguments, HOSTVARS | {"x2": {}})
    assert result["failed"]
    assert result["msg"].startswith("host x2 has no variable planned: all hosts must")
    assert not (tmp_path / "out").exists()
