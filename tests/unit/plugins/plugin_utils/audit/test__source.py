# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _source
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import facts, models
from mergetbapi import xir

MODEL = str(PHOBOS / "phobos.xir")
FACTS = facts.truth(models.PHOBOS, "x0", "x1")


def slow() -> dict[str, t.Any]:
    """Return facts with a slow link and a failed host."""
    told = facts.truth(models.PHOBOS, "x0", "x1")
    told["x0"]["ports"][2]["speed"] = 10**8
    return told | {"x1": {"failed": True, "msg": "no Python"}}


def test_audit() -> None:
    document, found = _source.source(MODEL).audit(slow())
    assert [(finding.check, finding.element) for finding in found] == [
        ("unread", "x1"),
        ("capacity", "x0 ens1f0"),
    ]
    assert document["hosts"]["x1"]["error"] == "no Python"
    assert document["model"] == MODEL


def test_host_out_of_reach() -> None:
    told = FACTS | {"x1": {"unreachable": True, "msg": "no route"}}
    document, _found = _source.source(MODEL).audit(told)
    assert document["hosts"]["x1"]["error"] == "no route"


def test_corrected_model(tmp_path: Path) -> None:
    source = _source.source(MODEL)
    _audit, found = source.audit(slow())
    (tmp_path / "corrected.xir").write_text(source.corrected(found), encoding="ascii")
    facility = _document.load(str(tmp_path / "corrected.xir"), _document.FACILITY)
    [x0] = [resource for resource in facility.resources if resource.id == "x0"]
    assert x0.NICs[1].ports[0].capacity == 10**8


def test_nothing_to_correct_gives_the_same_model() -> None:
    source = _source.source(MODEL)
    _document, found = source.audit(FACTS)
    assert found == []
    assert xir.Facility().parse(base64.b64decode(source.corrected(found))) == models.PHOBOS


def test_configuration_of_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    shutil.copy(MODEL, tmp_path / "models")
    configuration = tmp_path / "models" / "lab.xir.yml"
    configuration.write_text("plugin: mergetb.sriov.xir\nmodel: phobos.xir\n")
    told = facts.truth(models.PHOBOS, "x0")
    told["x0"]["ports"][2]["management"] = "it carries the default route"
    document, found = _source.source("models/lab.xir.yml").audit(told)
    assert document["model"] == "models/phobos.xir"
    assert [finding.check for finding in found] == ["management"]

    configuration.write_text("model: phobos.xir\nlink_roles: [InfraLink]\n")
    assert _source.source("models/lab.xir.yml").audit(told)[1] == []
    for target in ("phobos.xir", "lab.xir.yml"):
        with pytest.raises(InputError, match=f"{target} is the file that is read"):
            _source.source("models/lab.xir.yml").refuse_overwriting([f"models/{target}"])

    configuration.write_text("plugin: mergetb.sriov.xir\n")
    with pytest.raises(InputError, match="the option model is missing"):
        _source.source("models/lab.xir.yml")


@pytest.mark.parametrize("targets", [[MODEL], ["new.json", MODEL]])
def test_model_is_no_target(targets: list[str]) -> None:
    with pytest.raises(InputError, match="which is never changed; name another"):
        _source.source(MODEL).refuse_overwriting(targets)


def test_targets_are_different_files(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("{}")
    targets = [str(tmp_path / "audit.json"), str(tmp_path / "." / "audit.json")]
    with pytest.raises(InputError, match="name another"):
        _source.source(MODEL).refuse_overwriting(targets)
    _source.source(MODEL).refuse_overwriting(targets[:1])


def test_file_that_is_no_facility() -> None:
    path = str(PHOBOS / "one.hello.demo.pb64")
    with pytest.raises(InputError, match=f"^{path}: this is a materialization"):
        _source.source(path).audit(FACTS)
