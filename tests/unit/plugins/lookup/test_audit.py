# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import facts, models
from mergetbapi import xir

MODEL = str(PHOBOS / "phobos.xir")
FACTS = facts.truth(models.PHOBOS, "x0", "x1")


def lookup(*paths: str, **options: t.Any) -> list[dict[str, t.Any]]:
    """Return what the lookup finds."""
    return lookup_loader.get("mergetb.sriov.audit").run(list(paths), {}, **options)


def slow() -> dict[str, t.Any]:
    """Return facts with a slow link and a failed host."""
    told = facts.truth(models.PHOBOS, "x0", "x1")
    told["x0"]["ports"][2]["speed"] = 10**8
    return told | {"x1": {"failed": True, "msg": "no Python"}}


def test_audits() -> None:
    first, second = lookup(MODEL, MODEL, facts=slow())
    assert first == second
    assert [(f["check"], f["element"]) for f in first["findings"]] == [
        ("unread", "x1"),
        ("capacity", "x0 ens1f0"),
    ]
    assert first["hosts"]["x1"]["error"] == "no Python"
    assert first["model"] == MODEL
    assert first["table"][-1] == "error: 1, warning: 1, info: 0"
    assert first["corrected"] is None


def test_host_out_of_reach() -> None:
    [audit] = lookup(MODEL, facts=FACTS | {"x1": {"unreachable": True, "msg": "no route"}})
    assert audit["hosts"]["x1"]["error"] == "no route"


def test_corrected_model(tmp_path: Path) -> None:
    [audit] = lookup(MODEL, facts=slow(), corrected=True)
    (tmp_path / "corrected.xir").write_text(audit["corrected"], encoding="ascii")
    facility = _document.load(str(tmp_path / "corrected.xir"), _document.FACILITY)
    [x0] = [resource for resource in facility.resources if resource.id == "x0"]
    assert x0.NICs[1].ports[0].capacity == 10**8


def test_nothing_to_correct_gives_the_same_model() -> None:
    [audit] = lookup(MODEL, facts=FACTS, corrected=True)
    assert audit["findings"] == []
    wire = base64.b64decode(audit["corrected"])
    assert xir.Facility().parse(wire) == models.PHOBOS


def test_configuration_of_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    shutil.copy(MODEL, tmp_path / "models")
    configuration = tmp_path / "models" / "lab.xir.yml"
    configuration.write_text("plugin: mergetb.sriov.xir\nmodel: phobos.xir\n")
    told = facts.truth(models.PHOBOS, "x0")
    told["x0"]["ports"][2]["management"] = "it carries the default route"
    [audit] = lookup("models/lab.xir.yml", facts=told)
    assert audit["model"] == "models/phobos.xir"
    assert [f["check"] for f in audit["findings"]] == ["management"]

    configuration.write_text("model: phobos.xir\nlink_roles: [InfraLink]\n")
    assert lookup("models/lab.xir.yml", facts=told)[0]["findings"] == []

    configuration.write_text("plugin: mergetb.sriov.xir\n")
    with pytest.raises(AnsibleLookupError, match="the option model is missing"):
        lookup("models/lab.xir.yml", facts=told)
    with pytest.raises(AnsibleLookupError, match="phobos.xir is the file that is read"):
        configuration.write_text("model: phobos.xir\n")
        lookup("models/lab.xir.yml", facts=told, targets=["models/phobos.xir"])


@pytest.mark.parametrize("targets", [[MODEL], ["new.json", MODEL]])
def test_model_is_no_target(targets: list[str]) -> None:
    with pytest.raises(AnsibleLookupError, match="which is never changed; name another"):
        lookup(MODEL, facts=FACTS, targets=targets)


def test_targets_are_different_files(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("{}")
    targets = [str(tmp_path / "audit.json"), str(tmp_path / "." / "audit.json")]
    with pytest.raises(AnsibleLookupError, match="name another"):
        lookup(MODEL, facts=FACTS, targets=targets)


def test_file_that_is_no_facility() -> None:
    path = str(PHOBOS / "experiment.pb64")
    with pytest.raises(AnsibleLookupError, match=f"^{path}: this is a materialization"):
        lookup(path, facts=FACTS)
