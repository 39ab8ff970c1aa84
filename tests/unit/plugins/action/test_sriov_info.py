# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _known
from ansible_collections.mergetb.sriov.tests.unit import acting

ANSWER: dict[str, t.Any] = {
    "platform": {},
    "iommu_groups": 9,
    "lldp": True,
    "ports": [],
    "pfs": [],
    "materializations": {},
}


def run(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, t.Any], **arguments: t.Any
) -> dict[str, t.Any]:
    """Return the result where the module answers so."""
    monkeypatch.setattr(ActionBase, "_execute_module", lambda *_, **__: dict(answer))
    return acting.run("sriov_info", arguments, {"x0": {}}, host="x0")


def test_a_whole_answer_becomes_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, ANSWER, firmware=True)
    facts = result.pop("ansible_facts")
    assert result == ANSWER
    assert list(facts) == [_known.FACT]
    assert _known.recall(_known.Whose("x0", ""), facts, "") is not None


def test_of_a_part_the_ledger_becomes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, ANSWER, pfs=[])
    assert list(result["ansible_facts"]) == [_known.LEDGER_FACT]


def test_a_failure_becomes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = {"failed": True, "msg": "it takes root"}
    assert run(monkeypatch, failure, firmware=True) == failure


def test_the_python_that_ansible_found_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else Ansible looks for it again, with one more call to the host."""
    found = {"discovered_interpreter_python": "/usr/bin/python3"}
    facts = run(monkeypatch, ANSWER | {"ansible_facts": found}, firmware=True)["ansible_facts"]
    assert facts.keys() == {"discovered_interpreter_python", _known.FACT}
