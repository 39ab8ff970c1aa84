# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _result
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output._result import Event, Run

SCHEMA = json.loads(
    (Path(_result.__file__).parents[3] / "docs/result.schema.json").read_text(encoding="utf-8")
)

RUN = Run(
    action="materialize",
    hosts=["x1", "x0"],
    mzid=None,
    check_mode=False,
    started="2026-11-20T12:00:00.000Z",
    ended="2026-11-20T12:00:01.500Z",
)

DEVICE = {
    "node": "alpha",
    "nic": "eth1",
    "pci_address": "0000:01:10.0",
    "pf": "ens1f0",
    "vf_index": 0,
    "mac": "02:72:00:00:00:01",
    "vlan": 100,
    "vlan_mode": "vst",
    "mtu": None,
    "driver": "vfio-pci",
    "numa_node": None,
}
LEAF = {
    "leaf": "xleaf0",
    "port": "swp1",
    "host": "x0",
    "pf": "ens1f0",
    "mode": "trunk",
    "vlans": [100],
    "access_vlan": None,
}
CHANGE = {"what": "ens1f0 VF 0", "before": {"vlan": 0}, "after": {"vlan": 100}}


def read(**result: t.Any) -> Event:
    """Return that the materialization was read, or could not be."""
    found = {"mzid": "one.hello.demo", "hosts": {}, "leafs": [LEAF]}
    status = "failed" if result else "ok"
    return Event(None, status, state=None, check_mode=False, result=result or found, reads=True)


def done(host: str, *, check: bool, changed: bool = True, **device: t.Any) -> Event:
    """Return that the module has ended well on a host."""
    what = CHANGE["what"]
    result = {
        "changed": changed,
        "devices": [DEVICE | device],
        "diff": {"before": {what: CHANGE["before"]}, "after": {what: CHANGE["after"]}},
    }
    return Event(host, "ok", state="present", check_mode=check, result=result)


def ended(host: str | None, status: str, *, check: bool, module: bool = True) -> Event:
    """Return that a task has not ended well."""
    return Event(
        host,
        status,
        state="present" if module else None,
        check_mode=check,
        result={"msg": f"{status}!"},
    )


CHECKED = [read(), done("x0", check=True), done("x1", check=True, node="beta")]


def document(*events: Event, run: Run = RUN) -> dict[str, t.Any]:
    """Return the document of a run, which is of the schema."""
    result = _result.document(run, events)
    jsonschema.validate(result, SCHEMA, jsonschema.Draft202012Validator)
    return result


def of_hosts(result: dict[str, t.Any], key: str) -> list[t.Any]:
    """Return a value of each host."""
    return [result["hosts"][host][key] for host in ("x0", "x1")]


def test_schema_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    right = document(*CHECKED, done("x0", check=False))
    for key in right:
        wrong = {name: value for name, value in right.items() if name != key}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)
    for wrong in (
        right | {"version": 2},
        right | {"outcome": "untouched"},
        right | {"devices": [DEVICE]},
        right | {"leafs": [LEAF]},
        right | {"hosts": {"x0": {}}},
        right | {"ended": "yesterday"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)


def test_every_outcome_has_an_exit_code() -> None:
    assert set(_result.EXIT_CODES) == set(SCHEMA["properties"]["outcome"]["enum"])
    assert len(set(_result.EXIT_CODES.values())) == len(_result.EXIT_CODES)
    assert list(_result.ACTIONS.values()) == SCHEMA["properties"]["action"]["enum"]


def test_ok() -> None:
    result = document(*CHECKED, done("x1", check=False, changed=False, node="beta"), ok("x0"))
    assert result["outcome"] == "ok"
    assert list(result["hosts"]) == ["x0", "x1"]
    assert of_hosts(result, "changed") == [True, False]
    assert of_hosts(result, "changes") == [[CHANGE], [CHANGE]]
    assert [(device["node"], device["host"]) for device in result["devices"]] == [
        ("alpha", "x0"),
        ("beta", "x1"),
    ]
    assert result["leafs"] == [LEAF | {"guest_tagged": []}]


def ok(host: str, **device: t.Any) -> Event:
    """Return that the module has done its work on a host."""
    return done(host, check=False, **device)


def test_check_mode() -> None:
    result = document(*CHECKED, run=RUN._replace(check_mode=True))
    assert result["check_mode"] is True
    assert of_hosts(result, "outcome") == ["ok", "ok"]
    assert of_hosts(result, "changed") == [True, True]


def test_vlans_that_guests_tag() -> None:
    trunk = [ok("x0", vlan_mode="trunk"), ok("x1", vlan_mode="trunk", vlan=7, node="beta")]
    assert document(*CHECKED, *trunk)["leafs"] == [LEAF | {"guest_tagged": [100]}]
    assert document(*CHECKED, ok("x0", vlan_mode="vst"))["leafs"][0]["guest_tagged"] == []


def test_leafs_are_set_up_for_what_is_given_only() -> None:
    result = document(*CHECKED, ok("x0"), run=RUN._replace(action="dematerialize"))
    assert (result["mzid"], result["leafs"]) == ("one.hello.demo", [])


def test_refused_input() -> None:
    result = document(read(msg="3 problems"), run=RUN._replace(mzid="one.hello.demo"))
    assert (result["outcome"], result["message"]) == ("refused", "3 problems")
    assert result["mzid"] == "one.hello.demo"
    assert of_hosts(result, "outcome") == ["untouched", "untouched"]
    assert (result["devices"], result["leafs"]) == ([], [])


def test_refused_by_a_host() -> None:
    result = document(read(), done("x0", check=True), ended("x1", "failed", check=True))
    assert (result["outcome"], result["message"]) == ("refused", None)
    assert of_hosts(result, "outcome") == ["untouched", "refused"]
    assert of_hosts(result, "message") == [None, "failed!"]
    assert of_hosts(result, "changed") == [False, False]
    assert of_hosts(result, "changes") == [[], []]
    assert result["devices"] == []


def test_failed() -> None:
    result = document(*CHECKED, ended("x1", "failed", check=False), ok("x0"))
    assert result["outcome"] == "failed"
    assert of_hosts(result, "outcome") == ["ok", "failed"]
    assert of_hosts(result, "changed") == [True, None]
    assert of_hosts(result, "changes") == [[CHANGE], [CHANGE]]
    assert [device["host"] for device in result["devices"]] == ["x0"]


def test_failed_after_the_last_write() -> None:
    later = ended(None, "failed", check=False, module=False)
    result = document(*CHECKED, ok("x0"), ok("x1", node="beta"), later)
    assert (result["outcome"], result["message"]) == ("failed", "failed!")
    assert of_hosts(result, "outcome") == ["ok", "ok"]


def test_unreachable_before_the_first_write() -> None:
    result = document(read(), ended("x0", "unreachable", check=True), done("x1", check=True))
    assert (result["outcome"], _result.exit_code(result)) == ("refused", 4)
    assert of_hosts(result, "outcome") == ["unreachable", "untouched"]
    assert of_hosts(result, "changed") == [False, False]


def test_connection_that_is_lost_while_writing() -> None:
    result = document(*CHECKED, ok("x0"), ended("x1", "unreachable", check=False))
    assert result["outcome"] == "unreachable"
    assert of_hosts(result, "outcome") == ["ok", "unreachable"]
    assert of_hosts(result, "changed") == [True, None]
    assert result["hosts"]["x1"]["changes"] == [CHANGE]


def test_which_outcome_counts() -> None:
    unreachable = ended("x0", "unreachable", check=True)
    refused = document(unreachable, ended("x1", "failed", check=True))
    assert (refused["outcome"], _result.exit_code(refused)) == ("refused", 4)
    assert document(unreachable, ended("x1", "failed", check=False))["outcome"] == "failed"


def test_no_host() -> None:
    result = document(run=RUN._replace(hosts=[], mzid=""))
    assert (result["outcome"], result["mzid"], result["hosts"]) == ("refused", None, {})
    assert result["message"] == "the inventory has no host that the play is for"


def test_id_from_the_arguments_of_the_module() -> None:
    assert document(ok("x0")._replace(mzid="one.hello.demo"))["mzid"] == "one.hello.demo"


def test_devices_that_make_no_device_map() -> None:
    result = document(*CHECKED, ok("x0"), ok("x1"), ended(None, "failed", check=False))
    assert (result["outcome"], result["devices"]) == ("failed", [])


def test_texts_are_data() -> None:
    text = "{{ lookup('pipe', 'id') }}\n\x00\u00fc\udc80"
    event = ended("x0", "failed", check=True)._replace(result={"msg": text})
    assert document(event)["hosts"]["x0"]["message"] == text


def test_save(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("former", encoding="utf-8")
    _result.save(str(path), {"text": "\u00fc\udc80\x00"})
    assert json.loads(path.read_bytes()) == {"text": "\u00fc\udc80\x00"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_save_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.mkdir()
    with pytest.raises(InputError, match="result.json: cannot be written: Is a directory"):
        _result.save(str(path), {})
    with pytest.raises(TypeError):
        _result.save(str(tmp_path / "other.json"), {"not": {"JSON"}})
    assert os.listdir(tmp_path) == ["result.json"]


def test_clear(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    _result.clear(str(path))
    path.write_text("former", encoding="utf-8")
    _result.clear(str(path))
    assert list(tmp_path.iterdir()) == []
    path.mkdir()
    with pytest.raises(InputError, match="result.json is a directory; name a file"):
        _result.clear(str(path))
    with pytest.raises(InputError, match="the directory .*/nowhere does not exist"):
        _result.clear(str(tmp_path / "nowhere" / "result.json"))


def test_clear_leaves_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InputError, match="pipe is not a regular file; name another"):
        _result.clear(str(path))
    assert path.is_fifo()


def test_a_run_that_goes_host_by_host_has_changed_one_when_another_refuses() -> None:
    """It was told as refused, which says that nothing was changed on any host."""
    run = _result.Run("release", ["x0", "x1"], "one.hello.demo", False, "", "")
    changed = {"changed": True, "diff": {"before": {}, "after": {}}}
    events = [
        _result.Event("x0", "ok", "absent", True, changed),
        _result.Event("x1", "failed", "absent", True, {"msg": "in use"}),
        _result.Event("x0", "ok", "absent", False, changed),
    ]
    told = _result.document(run, events)
    assert told["outcome"] == "failed"
    assert of_hosts(told, "outcome") == ["ok", "refused"]
