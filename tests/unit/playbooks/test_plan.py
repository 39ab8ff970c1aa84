# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook plan on made-up hosts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import played
from ansible_collections.mergetb.sriov.tests.unit.plans import (
    BLOCKED,
    READY,
    REBOOT,
    check,
)


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played.collections(tmp_path_factory.mktemp("collections"), "plan_info")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("phobos.xir", "one.hello.demo.pb64"):
        shutil.copy(PHOBOS / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_the_plan_is_shown_and_written(
    collections: Path, directory: Path, arguments: list[str]
) -> None:
    played.tell(directory, {"x0": REBOOT, "x1": READY})
    done = played.run(collections, directory, "plan", *arguments)
    assert "x0    needs restart  reboot   3      1" in done.stdout
    assert "x1    ready          -        0      0" in done.stdout
    document = check(json.loads((directory / "plan.json").read_text(encoding="utf-8")))
    assert document["action"] == "prepare"
    assert document["hosts"] == {"x0": REBOOT, "x1": READY}
    assert "changed=1" not in done.stdout


def test_the_plan_of_a_materialization(collections: Path, directory: Path) -> None:
    played.tell(directory, {"x0": READY, "x1": READY})
    played.run(collections, directory, "plan", "-e", "sriov_materialization=one.hello.demo.pb64")
    document = check(json.loads((directory / "plan.json").read_text(encoding="utf-8")))
    assert (document["action"], document["mzid"]) == ("materialize", "one.hello.demo")


def test_hosts_that_fail_or_are_out_of_reach_stay_in_the_plan(
    collections: Path, directory: Path
) -> None:
    played.tell(directory, {"x0": None, "x1": {"failed": True, "msg": "this takes root"}})
    done = played.run(collections, directory, "plan", "-e", "sriov_plan=out.json", check=False)
    assert done.returncode == 2
    assert "(sriov_plan_accept): x0, x1" in done.stdout
    document = check(json.loads((directory / "out.json").read_text(encoding="utf-8")))
    assert document["hosts"]["x0"]["state"] == "unreachable"
    assert "no route to host" in document["hosts"]["x0"]["blockers"][0]["message"]
    assert document["hosts"]["x1"]["blockers"] == [{"role": "plan", "message": "this takes root"}]


@pytest.mark.parametrize(
    ("accept", "code"),
    [("[ready]", 2), ("[ready, change]", 2), ("[ready, reboot]", 0), ("[readi]", 2)],
)
def test_the_exit_code_is_for_gates(
    collections: Path, directory: Path, accept: str, code: int
) -> None:
    played.tell(directory, {"x0": REBOOT, "x1": READY})
    gate = f"{{sriov_plan_accept: {accept}}}"
    assert played.run(collections, directory, "plan", "-e", gate, check=False).returncode == code


def test_blocked_hosts_fail_the_plan(collections: Path, directory: Path) -> None:
    played.tell(directory, {"x0": BLOCKED, "x1": READY})
    done = played.run(collections, directory, "plan", check=False)
    assert done.returncode == 2
    assert "BLOCKED at preflight: ens1f0: it has no driver; load it" in done.stdout


def test_no_text_of_a_host_is_a_template(collections: Path, directory: Path) -> None:
    hostile = "{{ lookup('ansible.builtin.pipe', 'touch pwned; echo ran') }}"
    steps = [{"role": "vfs", "element": hostile, "action": hostile}]
    blocked = {**BLOCKED, "steps": steps, "blockers": [{"role": "vfs", "message": hostile}]}
    played.tell(directory, {"x0": blocked, "x1": {"failed": True, "msg": hostile}})
    done = played.run(collections, directory, "plan", check=False)
    assert done.returncode == 2
    assert not (directory / "pwned").exists()
    assert f"BLOCKED at plan: {hostile}" in done.stdout
    hosts = json.loads((directory / "plan.json").read_text(encoding="utf-8"))["hosts"]
    assert hosts["x0"]["steps"] == steps
    assert hosts["x1"]["blockers"] == [{"role": "plan", "message": hostile}]
