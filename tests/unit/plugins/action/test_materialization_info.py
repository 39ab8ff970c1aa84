# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import acting, models

HOSTVARS = {
    f"x{host}": {
        "sriov_pfs": [
            {"name": f"ens1f{index}", "mac": f"04:72:00:00:1{host}:0{index}", "max_vfs": 7}
            for index in range(2)
        ]
    }
    for host in range(2)
}
EXPERIMENT = {"path": str(PHOBOS / "one.hello.demo.pb64")}


def test_materialization() -> None:
    result = acting.run("materialization_info", EXPERIMENT, HOSTVARS)
    assert result["mzid"] == "one.hello.demo"
    assert [vf["vlan"] for vf in result["hosts"]["x0"]] == [100, 200, 300]
    assert {*result} == {"changed", "mzid", "hosts", "functions", "leafs", "run"}
    assert result["changed"] is False


def test_each_run_has_its_name() -> None:
    first, second = (acting.run("materialization_info", EXPERIMENT, HOSTVARS) for _run in range(2))
    assert first["run"] != second["run"]


def test_problems_name_the_file() -> None:
    for hostvars, count in (({}, 6), ({"x0": HOSTVARS["x0"]}, 3)):
        result = acting.run("materialization_info", EXPERIMENT, hostvars)
        assert result["failed"]
        assert result["msg"].startswith(
            f"{EXPERIMENT['path']}: materialization one.hello.demo is refused, {count} problems:\n"
        )
        assert "'beta' 'eth1': host 'x1' is not in this play" in result["msg"]


def test_file_that_is_no_materialization() -> None:
    path = str(PHOBOS / "phobos.xir")
    result = acting.run("materialization_info", {"path": path}, HOSTVARS)
    assert result["msg"].startswith(f"{path}: this is a facility model")


def test_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "experiment.json").write_text(models.EXPERIMENT.to_json(), encoding="utf-8")
    result = acting.run("materialization_info", {"path": "~/experiment.json"}, HOSTVARS)
    assert result["mzid"] == "one.hello.demo"
