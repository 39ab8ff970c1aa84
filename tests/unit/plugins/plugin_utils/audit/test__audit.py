# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import jsonschema
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _audit, _correction
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.tests.unit import command_line, facts, models
from mergetbapi import xir

COLLECTION = Path(_audit.__file__).parents[3]
SCHEMA = json.loads((COLLECTION / "docs/audit.schema.json").read_text(encoding="utf-8"))


def message(facility: xir.Facility | bytes | str) -> t.Any:
    """Return a facility as the collection reads it."""
    data = facility.encode() if isinstance(facility, str) else bytes(facility)
    return _document.decode(data, _document.FACILITY)


def truth() -> dict[str, dict[str, t.Any]]:
    """Return what the hypervisors of the example facility tell when all is as its model says."""
    return facts.truth(models.PHOBOS, "x0", "x1", vfs=7)


def document(facility: t.Any, told: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the document of an audit, which is as the schema says."""
    document = _audit.document("phobos.xir", facility, told, _audit.findings(facility, told))
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    return json.loads(json.dumps(document))


def liar() -> xir.Facility:
    """Return the example facility with ten lies."""
    facility = models.phobos()
    x0, x1 = (models.resource(facility, name) for name in ("x0", "x1"))
    models.pf(facility, "x0", 0).sriov.pf.max_v_fs = 16
    models.pf(facility, "x0", 1).mac = "04:72:00:00:99:99"
    models.pf(facility, "x1", 0).capacity = 25 * 10**9
    x0.ni_cs[1].model = xir.NicModel.ConnectX5
    x1.ni_cs[0].model = xir.NicModel.Intel300
    # Cabled crosswise: what is at xleaf0 is said to be at xleaf1.
    first, second = (models.pf(facility, "x1", index) for index in range(2))
    first.connector, second.connector = second.connector, first.connector
    x0.ni_cs[0].ports[0].mac = "04:70:00:00:99:99"
    x0.ni_cs[0].ports[0].name = "eno7"
    x1.ni_cs[1].ports.append(
        xir.Port(
            name="ens1f2",
            mac="04:72:00:00:11:02",
            roles=[xir.LinkRole.XpLink],
            sriov=xir.Sriov(pf=xir.SriovPf(max_v_fs=7)),
        )
    )
    return facility


LIES = [
    ("error", "max_vfs", "x0 ens1f0", 16, 7, 7, True),
    ("error", "mac", "x0 ens1f1", "04:72:00:00:99:99", *["04:72:00:00:10:01"] * 2, True),
    ("error", "leaf", "x1 ens1f0", "xleaf1 swp2", "xleaf0 swp2", "xleaf0 swp2", False),
    ("error", "leaf", "x1 ens1f1", "xleaf0 swp2", "xleaf1 swp2", "xleaf1 swp2", False),
    ("error", "mac", "x1 ens1f2", "04:72:00:00:11:02", None, None, False),
    ("warning", "mac", "x0 eno7", "04:70:00:00:99:99", None, None, False),
    ("warning", "nic_model", "x0 NIC 1", "ConnectX5", "82576", None, False),
    ("warning", "nic_model", "x1 NIC 0", "Intel300", "Intel200", "Intel200", True),
    ("warning", "capacity", "x1 ens1f0", 25 * 10**9, 10**9, 10**9, True),
    ("info", "unknown_port", "x0 eno1", None, "04:70:00:00:10:00", None, False),
]


def told_lies(document: dict[str, t.Any]) -> list[tuple[t.Any, ...]]:
    """Return the findings of a document as ``LIES`` has them."""
    keys = ("severity", "check", "element", "declared", "actual", "right", "fix")
    return [tuple(finding[key] for key in keys) for finding in document["findings"]]


def test_model_that_is_right() -> None:
    told = document(message(models.PHOBOS), truth())
    assert told["findings"] == []
    assert told["facility"] == "phobos"
    nothing = {"error": 0, "warning": 0, "info": 0}
    clean = {"error": None, "asked": None, "findings": nothing}
    assert told["hosts"] == {"x0": clean, "x1": clean}
    assert _audit.table([]) == ["the model agrees with the hosts (error: 0, warning: 0, info: 0)"]


def test_ten_lies() -> None:
    told = document(message(liar()), truth())
    assert told_lies(told) == LIES
    assert told["hosts"]["x0"]["findings"] == {"error": 2, "warning": 2, "info": 1}


def test_ten_lies_of_which_four_are_corrected(tmp_path: Path) -> None:
    found = _audit.findings(message(liar()), truth())
    text = _correction.corrected(bytes(liar()), [each.fix for each in found if each.fix])
    told = document(message(text), truth())
    assert told_lies(told) == [lie for lie in LIES if not lie[-1]]

    corrected = xir.Facility().parse(base64.b64decode(text))
    for resource, right in zip(corrected.resources, models.PHOBOS.resources, strict=True):
        assert resource.ni_cs[0].model == right.ni_cs[0].model
    (tmp_path / "corrected.xir").write_text(text, encoding="ascii")
    inventory = command_line.inventory(tmp_path, "corrected.xir")
    [first, second] = inventory["_meta"]["hostvars"]["x0"]["sriov_pfs"]
    assert (first["max_vfs"], second["mac"]) == (7, "04:72:00:00:10:01")


def test_findings_are_the_same_in_every_encoding() -> None:
    for data in models.facility_encodings(liar()).values():
        assert told_lies(document(message(data), truth())) == LIES


def test_hosts_that_could_not_be_asked() -> None:
    told = document(message(models.PHOBOS), truth() | {"x1": {"error": "no route\nto host"}})
    [finding] = told["findings"]
    assert (finding["severity"], finding["check"], finding["host"]) == ("error", "unread", "x1")
    assert told["hosts"]["x1"]["error"] == "no route\nto host"
    assert told["hosts"]["x1"]["findings"]["error"] == 1


def test_host_that_the_model_lacks() -> None:
    [finding] = document(message(models.PHOBOS), {"y0": truth()["x0"]})["findings"]
    assert (finding["severity"], finding["check"], finding["element"]) == (
        "error",
        "unknown_host",
        "y0",
    )


def test_table_is_for_terminals() -> None:
    facility = models.phobos()
    models.resource(facility, "x0").ni_cs[0].ports[0].name = "{{ 7 * 7 }}"
    models.resource(facility, "x0").ni_cs[0].ports[0].mac = "\x1b[2J"
    told = {"x0": truth()["x0"], "x1": {"error": "a\nb\x1b[2J"}}
    found = _audit.findings(message(facility), told)
    header, *rows, total = _audit.table(found)
    assert header.split() == ["severity", "element", "declared", "actual", "right", "what"]
    assert len(rows) == len(found) == 3
    assert total == "error: 1, warning: 1, info: 1"
    assert all(line.isprintable() for line in rows)
    assert "x0 {{ 7 * 7 }}" in rows[1]
    assert "'\\x1b[2J'" in rows[1]
