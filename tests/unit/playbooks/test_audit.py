# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook audit on this machine as it is, and on made-up hosts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _audit
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import command_line, facts, models, played

SCHEMA = json.loads(
    (Path(_audit.__file__).parents[3] / "docs/audit.schema.json").read_text(encoding="utf-8")
)
TEMPLATE = "{{ lookup('pipe', 'touch here') }}"


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a path of collections with a copy of this one, whose sriov_info is played."""
    return played.collections(tmp_path_factory.mktemp("collections"), "sriov_info")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory with the example facility, whose hosts are as it says."""
    shutil.copy(PHOBOS / "phobos.xir", tmp_path)
    played.tell(tmp_path, facts.truth(models.PHOBOS, "x0", "x1"))
    return tmp_path


def run(
    directory: Path, code: int, *arguments: str, inventory: str = "phobos.xir", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the playbook, which must end with an exit code."""
    result = command_line.run(
        directory,
        "playbook",
        *("-i", inventory, "mergetb.sriov.audit", *arguments),
        check=False,
        **environment,
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result


def document(directory: Path, name: str = "audit.json") -> dict[str, t.Any]:
    """Return the document that a run has written."""
    document = json.loads((directory / name).read_text(encoding="utf-8"))
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    return document


def found(document: dict[str, t.Any]) -> list[tuple[str, str, str]]:
    """Return severity, check and element of the findings."""
    return [(f["severity"], f["check"], f["element"]) for f in document["findings"]]


def test_this_machine_is_none_of_the_model(directory: Path) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (directory / "group_vars").mkdir()
    (directory / "group_vars" / "all.json").write_text(json.dumps(local), encoding="utf-8")
    result = run(directory, 2)
    told = document(directory)
    for host in ("x0", "x1"):
        assert told["hosts"][host]["error"] is None
        for pf in range(2):
            assert ("error", "mac", f"{host} ens1f{pf}") in found(told)
    assert "no port of the host has this MAC address" in result.stdout
    assert "the model and the hosts differ: error: " in result.stdout


def test_model_that_is_right(collections: Path, directory: Path) -> None:
    result = run(directory, 0, ANSIBLE_COLLECTIONS_PATH=str(collections))
    assert document(directory)["findings"] == []
    assert "the model agrees with the hosts" in result.stdout
    assert sorted(path.name for path in directory.glob("[a-z]*")) == [
        *("audit.json", "calls", "phobos.xir", "told.json")
    ]


def test_model_is_corrected(collections: Path, directory: Path) -> None:
    told = facts.truth(models.PHOBOS, "x0", "x1")
    told["x0"]["pfs"][0]["totalvfs"] = 4
    told["x1"]["ports"][2]["speed"] = 10**8
    played.tell(directory, told)
    before = (directory / "phobos.xir").read_bytes()
    arguments = ("-e", "sriov_fix=corrected.xir", "-e", "sriov_audit=found.json", "--check")
    result = run(directory, 2, *arguments, ANSIBLE_COLLECTIONS_PATH=str(collections))
    assert "the model declares 7 VFs, the NIC offers 4 VFs" in result.stdout
    assert found(document(directory, "found.json")) == [
        ("error", "max_vfs", "x0 ens1f0"),
        ("warning", "capacity", "x1 ens1f0"),
    ]
    assert (directory / "phobos.xir").read_bytes() == before

    again = run(directory, 0, inventory="corrected.xir", ANSIBLE_COLLECTIONS_PATH=str(collections))
    assert "the model agrees with the hosts" in again.stdout


def test_host_out_of_reach_and_failed_host(collections: Path, directory: Path) -> None:
    failed = {"failed": True, "msg": "not root"}
    played.tell(directory, {"x0": None, "x1": failed})
    result = run(directory, 2, ANSIBLE_COLLECTIONS_PATH=str(collections))
    told = document(directory)
    assert found(told) == [("error", "unread", "x0"), ("error", "unread", "x1")]
    assert told["hosts"]["x0"]["error"].endswith("no route to host")
    assert told["hosts"]["x1"]["error"] == "not root"
    assert "error: 2, warning: 0, info: 0" in result.stdout


def test_warnings_do_not_fail(collections: Path, directory: Path) -> None:
    told = facts.truth(models.PHOBOS, "x0", "x1")
    told["x1"]["ports"][2]["speed"] = 10**8
    played.tell(directory, told)
    run(directory, 0, "--limit", "x1", ANSIBLE_COLLECTIONS_PATH=str(collections))
    told_by_run = document(directory)
    assert found(told_by_run) == [("warning", "capacity", "x1 ens1f0")]
    assert list(told_by_run["hosts"]) == ["x1"]


@pytest.mark.parametrize("name", ["sriov_fix", "sriov_audit"])
def test_model_is_never_overwritten(collections: Path, directory: Path, name: str) -> None:
    (directory / "link.xir").symlink_to("phobos.xir")
    before = (directory / "phobos.xir").read_bytes()
    result = run(directory, 2, "-e", f"{name}=link.xir", ANSIBLE_COLLECTIONS_PATH=str(collections))
    assert "which is never changed; name another" in result.stdout + result.stderr
    assert (directory / "phobos.xir").read_bytes() == before
    assert not (directory / "audit.json").exists()


@pytest.mark.parametrize("encoding", ["wire", "JSON", "JSON, indented"])
def test_texts_stay_literal(collections: Path, directory: Path, encoding: str) -> None:
    facility = models.phobos()
    [port, _other] = models.resource(facility, "x0").ni_cs[0].ports
    port.name, port.mac = TEMPLATE, TEMPLATE
    models.pf(facility, "x0").capacity = 1
    (directory / "phobos.xir").write_bytes(models.facility_writers(facility)[encoding]())
    told = facts.truth(models.PHOBOS, "x0", "x1")
    told["x0"]["ports"][2]["neighbour"] |= {"system": TEMPLATE}
    played.tell(directory, told | {"x1": {"failed": True, "msg": TEMPLATE}})
    result = run(
        *(directory, 2, "-e", "sriov_fix=corrected.xir"), ANSIBLE_COLLECTIONS_PATH=str(collections)
    )
    assert not (directory / "here").exists()
    assert TEMPLATE in result.stdout
    audit = document(directory)
    elements = {finding["element"] for finding in audit["findings"]}
    assert f"x0 {TEMPLATE}" in elements
    assert audit["hosts"]["x1"]["error"] == TEMPLATE
    corrected = _document.load(str(directory / "corrected.xir"), _document.FACILITY)
    [x0] = [resource for resource in corrected.resources if resource.id == "x0"]
    assert x0.NICs[0].ports[0].name == TEMPLATE
    assert x0.NICs[1].ports[0].capacity == 10**9
    text = (directory / "corrected.xir").read_text(encoding="utf-8")
    assert text.startswith("{\n") == (encoding == "JSON, indented")


def test_model_of_a_configuration_or_by_name(collections: Path, directory: Path) -> None:
    (directory / "lab.xir.yml").write_text("plugin: mergetb.sriov.xir\nmodel: phobos.xir\n")
    path: dict[str, t.Any] = {"ANSIBLE_COLLECTIONS_PATH": str(collections)}
    run(directory, 0, inventory="lab.xir.yml", **path)
    assert document(directory)["model"] == str(directory / "phobos.xir")
    hosts = {"hypervisors": {"hosts": {"x0": None}}}
    (directory / "hosts.json").write_text(json.dumps(hosts), encoding="utf-8")
    arguments = ("-e", "sriov_model=phobos.xir")
    run(
        *(directory, 0, *arguments),
        inventory="hosts.json",
        ANSIBLE_INVENTORY_ENABLED="ansible.builtin.yaml",
        **path,
    )
    assert document(directory)["model"] == "phobos.xir"
