# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pages say of the documents, and what the code makes, from the host's answer on."""

from __future__ import annotations

import json
import os
import re
import typing as t
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.mergetb.sriov.plugins.modules import materialization, plan_info
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _audit
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _leafs
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _device_map, _result
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _plan
from ansible_collections.mergetb.sriov.tests.unit import facts, models
from ansible_collections.mergetb.sriov.tests.unit.fabricated import NEW_VF
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CONFIG, Hypervisor
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

DOCS = Path(_plan.__file__).parents[3] / "docs"
PF = "0000:01:00.0"
MAC = "04:70:00:00:00:10"
MZID = "one.hello.demo"
VF = {
    "node": "alpha",
    "nic": "eth1",
    "pf": {"name": "ens1f0", "mac": MAC},  # as the facility model has it
    "vf_index": 0,
    "mac": "02:00:00:00:0a:00",
    "vlan": 100,
}
CODE = re.compile("`(.+?)`")
# Of each document the objects whose keys are data: names, severities, states, attributes.
BY_NAME: dict[str, set[str]] = {
    "audit": {"hosts", "hosts.*.findings"},
    "device_map": set(),
    "plan": {"hosts", "summary"},
    "result": {"hosts", "hosts.*.changes[].before", "hosts.*.changes[].after"},
}
TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    list: "list",
    dict: "object",
    type(None): "null",
}


@pytest.fixture
def host(tmp_path: Path) -> Hypervisor:
    """A host whose PF has another name than in the model, and a guest on its first VF."""
    host = Hypervisor(tmp_path)
    host.add_pf(PF, "enp1s0f0", MAC, numvfs=2, config=CONFIG)
    host.add_driver("vfio-pci")
    host.alter_vf("enp1s0f0", 0, **NEW_VF._asdict())
    return host


@pytest.fixture
def given(
    host: Hypervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, t.Any]:
    """What the module answers that gives a guest the VF."""
    return Runner(materialization, host, monkeypatch, capsys)(mzid=MZID, vfs=[VF])


@pytest.fixture
def device_map(given: dict[str, t.Any]) -> dict[str, t.Any]:
    return _device_map.device_map([{**device, "host": "x0"} for device in given["devices"]], MZID)


@pytest.fixture
def result(given: dict[str, t.Any]) -> dict[str, t.Any]:
    """The document of a run that has changed attributes and a driver on one of its hosts."""
    leafs = _leafs.ports([_leafs.Uplink("", "x0", "ens1f0", "xleaf0", "swp1", "lan", None, 100)])
    read = {"mzid": MZID, "leafs": leafs}
    return _result.document(
        _result.Run("materialize", ["x0", "x1"], None, False, "", ""),
        [
            _result.Event(None, "ok", state=None, check_mode=False, result=read, reads=True),
            _result.Event("x0", "ok", state="present", check_mode=False, result=given),
            _result.Event(
                "x1", "failed", state="present", check_mode=False, result={"msg": "no driver"}
            ),
        ],
    )


@pytest.fixture
def plan(
    given: dict[str, t.Any],
    host: Hypervisor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> dict[str, t.Any]:
    """The plan of a host whose VFs are in use, and that of one that was not asked."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    run = Runner(plan_info, host, monkeypatch, capsys)
    pfs = [{"name": "ens1f0", "mac": MAC, "max_vfs": 4}]
    return _plan.document(
        {"x0": run(prepare={"pfs": pfs}), "x1": {"unreachable": True, "msg": "no route to host"}},
        mzid="",
    )


@pytest.fixture
def audit() -> dict[str, t.Any]:
    """The audit of a model that has one PF wrong, and of a host that did not answer."""
    facility = models.phobos()
    models.pf(facility, "x0", 0).sriov.pf.max_v_fs = 16
    model = _document.decode(bytes(facility), _document.FACILITY)
    told = facts.truth(models.PHOBOS, "x0", vfs=7) | {"x1": {"error": "no route to host"}}
    return _audit.document("phobos.xir", model, told, _audit.findings(model, told))


def emitted(value: t.Any, by_name: set[str], at: str = "") -> t.Iterator[tuple[str, str]]:
    """Each key of a document as the pages write it, with the type of its value."""
    if isinstance(value, list):
        for item in value:
            yield from emitted(item, by_name, f"{at}[]")
    elif isinstance(value, dict):
        for key, item in value.items():
            path = f"{at}.*" if at in by_name else f"{at}.{key}".lstrip(".")
            if at not in by_name:
                yield path, TYPES[type(item)]
            yield from emitted(item, by_name, path)


def table(page: str, header: str) -> list[list[str]]:
    """The cells of the rows of all tables of a page that begin with a column."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    rows = "".join(re.findall(rf"^\| {header} \|.*\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE))
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows.splitlines()]


def first_cells(page: str, header: str) -> set[str]:
    """What stands in code in the first column of such tables."""
    return {name for first, *_rest in table(page, header) for name in CODE.findall(first)}


def documented(page: str) -> dict[str, str]:
    """The types that a page gives each key. That of the result has devices by reference."""
    keys = {
        key: types for first, types, _meaning in table(page, "key") for key in CODE.findall(first)
    }
    if page == "result":
        devices = documented("device_map").items()
        keys |= {key: types for key, types in devices if key.startswith("devices[].")}
    return keys


def schema(page: str) -> t.Any:
    return json.loads((DOCS / f"{page}.schema.json").read_text(encoding="utf-8"))


def keys_of(part: t.Any, root: t.Any, at: str = "") -> t.Iterator[str]:
    """The keys that a part of the JSON schema ``root`` names, as the pages write them."""
    if "$ref" in part:
        part = root["$defs"][part["$ref"].rpartition("/")[2]]
    for key, item in part.get("properties", {}).items():
        path = f"{at}.{key}".lstrip(".")
        yield path
        yield from keys_of(item, root, path)
    if isinstance(part.get("additionalProperties"), dict):
        yield from keys_of(part["additionalProperties"], root, f"{at}.*")
    if "items" in part:
        yield from keys_of(part["items"], root, f"{at}[]")


@pytest.mark.parametrize("page", BY_NAME)
def test_keys_are_those_that_the_code_emits(page: str, request: pytest.FixtureRequest) -> None:
    found = list(emitted(request.getfixturevalue(page), BY_NAME[page]))
    types = documented(page)

    assert set(types) == {key for key, _type in found}
    assert [(key, kind) for key, kind in found if kind not in types[key]] == []


@pytest.mark.parametrize("page", BY_NAME)
def test_schemas_have_the_keys_of_their_pages(page: str) -> None:
    assert set(keys_of(schema(page), schema(page))) == set(documented(page))


def test_the_device_map_is_of_its_schema(device_map: dict[str, t.Any]) -> None:
    jsonschema.validate(device_map, schema("device_map"), jsonschema.Draft202012Validator)


def test_a_result_has_the_devices_of_the_map() -> None:
    """Each schema is complete, so that a reader needs one file."""
    assert schema("result")["$defs"]["device"] == schema("device_map")["$defs"]["device"]


def test_pf_is_the_name_in_the_model(
    device_map: dict[str, t.Any], result: dict[str, t.Any], plan: dict[str, t.Any]
) -> None:
    assert [device["pf"] for device in device_map["devices"]] == ["ens1f0"]
    assert [leaf["pf"] for leaf in result["leafs"]] == ["ens1f0"]
    changes = result["hosts"]["x0"]["changes"]
    assert [each["what"] for each in changes] == [f"ens1f0 ({MAC}) VF 0", "0000:01:10.0"]
    assert {vf["pf"] for vf in plan["hosts"]["x0"]["disturbed"]} == {PF}


def test_values_are_those_of_the_schemas_and_the_code() -> None:
    audit, plan, result = (schema(page)["$defs"] for page in ("audit", "plan", "result"))
    assert first_cells("audit", "check") == set(audit["finding"]["properties"]["check"]["enum"])
    assert first_cells("audit", "severity") == set(audit["severity"]["enum"])
    assert first_cells("plan", "state") == set(plan["state"]["enum"]) == set(_plan.STATES)

    codes = {
        (int(code), outcome.strip("`")) for code, outcome, *_rest in table("result", "exit code")
    }
    refused_for_want_of_a_host = (4, "refused")
    assert codes == {(code, outcome) for outcome, code in _result.EXIT_CODES.items()} | {
        refused_for_want_of_a_host
    }
    assert set(result["host"]["properties"]["outcome"]["enum"]) == {
        *_result.EXIT_CODES,
        "untouched",
    }
