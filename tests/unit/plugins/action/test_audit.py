# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import acting, facts, models

MODEL = str(PHOBOS / "phobos.xir")


def audit(results: t.Mapping[str, t.Any], path: object, **arguments: t.Any) -> dict[str, t.Any]:
    """Compare the example facility with what hosts have told."""
    arguments = {"model": MODEL, "results": "found", "path": str(path)} | arguments
    return acting.run("audit", arguments, {host: {"found": it} for host, it in results.items()})


def slow() -> dict[str, t.Any]:
    """Return facts with a slow link and a failed host."""
    told = facts.truth(models.PHOBOS, "x0", "x1")
    told["x0"]["ports"][2]["speed"] = 10**8
    return told | {"x1": {"failed": True, "msg": "no Python"}}


def test_findings_and_the_corrected_model(tmp_path: Path) -> None:
    path, corrected = tmp_path / "audit.json", tmp_path / "corrected.xir"
    result = audit(slow(), path, corrected_path=str(corrected))
    assert (result["changed"], result["path"]) == (True, str(path))
    assert result["summary"] == {"error": 1, "warning": 1, "info": 0}
    assert result["lines"][-1] == "error: 1, warning: 1, info: 0"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["model"] == MODEL
    assert len(document["findings"]) == 2
    assert corrected.exists()
    assert not audit(slow(), path, corrected_path=str(corrected))["changed"]


def test_without_a_correction(tmp_path: Path) -> None:
    result = audit(facts.truth(models.PHOBOS, "x0", "x1"), tmp_path / "out")
    assert result["summary"] == {"error": 0, "warning": 0, "info": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["path", "corrected_path"])
def test_the_model_is_no_target(tmp_path: Path, name: str) -> None:
    targets = {"path": str(tmp_path / "out"), "corrected_path": "", name: MODEL}
    result = audit(slow(), **targets)
    assert result["failed"]
    assert "which is never changed; name another" in result["msg"]
    assert list(tmp_path.iterdir()) == []
