# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import acting

EXPERIMENT = str(PHOBOS / "one.hello.demo.pb64")
FACILITY: dict[str, dict[str, t.Any]] = {f"x{number}": {} for number in range(20)}


def select(arguments: dict[str, t.Any], limit: t.Sequence[str] | None = None) -> dict[str, t.Any]:
    """Run the action in a facility."""
    return acting.run("materialization_hosts", arguments, FACILITY, limit=limit)


def former(directory: Path, *hosts: str, mzid: str = "one.hello.demo") -> str:
    """Write the device map of an earlier run."""
    path = directory / "device_map.json"
    document = {"version": 1, "mzid": mzid, "devices": [{"host": host} for host in hosts]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        ({"path": EXPERIMENT}, ["x0", "x1"]),
        ({"path": EXPERIMENT, "device_map": "/nowhere/device_map.json"}, ["x0", "x1"]),
        ({"path": EXPERIMENT, "sweep": True}, list(FACILITY)),
        ({}, list(FACILITY)),
    ],
    ids=["named", "no former map", "sweep", "nobody knows"],
)
def test_hosts(arguments: dict[str, t.Any], hosts: list[str]) -> None:
    assert select(arguments)["hosts"] == hosts


def test_hosts_of_the_former_device_map(tmp_path: Path) -> None:
    arguments = {"path": EXPERIMENT, "device_map": former(tmp_path, "x7", "x0", "gone")}
    result = select(arguments)
    assert result["hosts"] == ["x0", "x1", "x7"]
    assert [text.partition(", which is")[0] for text in result["warnings"]] == [
        f"{arguments['device_map']} has host 'gone'"
    ]
    former(tmp_path, "x7", mzid="two.hello.demo")
    assert select(arguments)["hosts"] == ["x0", "x1"]


def test_a_play_that_leaves_hosts_out(tmp_path: Path) -> None:
    arguments = {"path": EXPERIMENT, "device_map": former(tmp_path, "x7")}
    result = select(arguments, ["x0", "x2"])
    assert result["failed"]
    assert (
        "materialization 'one.hello.demo' is on host x1, x7, too, which the play" in result["msg"]
    )
    limit = ["x0", "x1", "x7"]
    result = select(arguments, limit)
    assert result["hosts"] == limit


def test_no_host_is_of_the_inventory() -> None:
    """Then `materialization_info` tells all that is wrong."""
    strangers: dict[str, dict[str, t.Any]] = {"y0": {}, "y1": {}}
    result = acting.run("materialization_hosts", {"path": EXPERIMENT}, strangers)
    assert result["hosts"] == ["y0"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"devices": [1]}', '{"devices": [{}]}', "[" * 9999]
)
def test_what_is_no_device_map(tmp_path: Path, content: str) -> None:
    path = tmp_path / "device_map.json"
    path.write_text(content, encoding="utf-8")
    arguments = {"path": EXPERIMENT, "device_map": str(path)}
    result = select(arguments)
    assert result["msg"].startswith(f"{path}: this is no device map")


def test_file_that_is_no_materialization() -> None:
    result = select({"path": str(PHOBOS / "phobos.xir")})
    assert "this is a facility model" in result["msg"]


def test_the_id_alone(tmp_path: Path) -> None:
    arguments = {"mzid": "one.hello.demo", "device_map": former(tmp_path, "x7")}
    assert select(arguments)["hosts"] == list(FACILITY)
    assert select(arguments, ["x7", "x8"])["hosts"] == ["x7", "x8"]
    assert "is on host x7, too" in select(arguments, ["x8"])["msg"]


def test_the_id_of_another_materialization() -> None:
    result = select({"path": EXPERIMENT, "mzid": "two.hello.demo"})
    assert (
        "is materialization 'one.hello.demo', and sriov_mzid is 'two.hello.demo'" in result["msg"]
    )
    assert select({"path": EXPERIMENT, "mzid": "one.hello.demo"})["mzid"] == "one.hello.demo"


def test_a_sweep_within_a_limit() -> None:
    assert select({"path": EXPERIMENT, "sweep": True}, ["x0"])["failed"]


def test_a_hostile_device_map(tmp_path: Path) -> None:
    arguments = {"path": EXPERIMENT, "device_map": former(tmp_path, "\x1b[2J\nfake")}
    [warning] = select(arguments)["warnings"]
    assert warning.isprintable()


def test_each_run_has_a_group_of_its_own() -> None:
    assert len({select({"path": EXPERIMENT})["group"] for _run in range(9)}) == 9
