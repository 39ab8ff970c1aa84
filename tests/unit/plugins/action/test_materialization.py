# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _known
from ansible_collections.mergetb.sriov.tests.unit import acting

LEDGER = {"one.hello.demo": [{"vlan": 100}]}


def run(monkeypatch: pytest.MonkeyPatch, answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the result where the module answers so."""
    monkeypatch.setattr(ActionBase, "_execute_module", lambda *_, **__: dict(answer))
    return acting.run("materialization", {"mzid": "one.hello.demo"}, {"x0": {}}, host="x0")


def test_the_ledger_becomes_a_fact_and_leaves_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, {"changed": True, "devices": [], "materializations": LEDGER})
    facts = result.pop("ansible_facts")
    assert result == {"changed": True, "devices": []}
    assert facts[_known.LEDGER_FACT]["materializations"] == LEDGER


@pytest.mark.parametrize("answer", [{"failed": True, "msg": "in use"}, {"changed": False}])
def test_without_ledger_nothing_is_remembered(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, t.Any]
) -> None:
    assert run(monkeypatch, answer) == answer
