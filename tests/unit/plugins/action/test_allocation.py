# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import acting, models


def hostvars(capacity: int) -> dict[str, t.Any]:
    """Return what is known of two prepared hosts, whose links are that fast."""
    return {
        f"x{host}": {
            "sriov_pfs": [
                {
                    "name": f"ens1f{index}",
                    "mac": f"04:72:00:00:1{host}:0{index}",
                    "max_vfs": 7,
                    "capacity": capacity,
                    "leaf": {"host": "xleaf0", "port": None},
                }
                for index in range(2)
            ],
            "found": {
                "materializations": {},
                "pfs": [
                    {
                        "interface": f"ens1f{index}",
                        "mac": f"04:72:00:00:1{host}:0{index}",
                        "numa_node": None,
                        "numvfs": 7,
                        "problem": None,
                        "vfs": [{"index": vf, "driver": None} for vf in range(7)],
                    }
                    for index in range(2)
                ],
            },
        }
        for host in range(2)
    }


FAST = hostvars(10**9)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home directory with the experiment as mergexp saves it."""
    monkeypatch.chdir(tmp_path)
    models.hello().save_xir()
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def allocate(
    hostvars: t.Mapping[str, t.Any], *, check: bool = False, **arguments: t.Any
) -> dict[str, t.Any]:
    """Allocate the experiment on two hosts."""
    arguments = {
        "experiment": "~/hello.pb64",
        "mzid": "one.hello.demo",
        "path": "~/out.json",
        "results": "found",
        "hosts": ["x0", "x1"],
    } | arguments
    return acting.run("allocation", arguments, hostvars, check=check)


def test_allocation(directory: Path) -> None:
    assert allocate(FAST, check=True)["changed"]
    assert not (directory / "out.json").exists()
    spread = allocate(FAST, vlans="100-199", facility="phobos")
    assert (spread["changed"], spread["path"]) == (True, str(directory / "out.json"))
    assert len(spread["lines"]) == 5
    assert all("VLAN 10" in line for line in spread["lines"])
    document = json.loads((directory / "out.json").read_text(encoding="utf-8"))
    assert document["rid"] == "one"
    assert document["vms"][0]["vmAlloc"]["facility"] == "phobos"
    packed = allocate(FAST, vlans="100-199", placement="pack")
    assert packed["lines"] != spread["lines"]


def test_excluded_pfs_give_no_vf(directory: Path) -> None:
    excluding = copy.deepcopy(FAST)
    excluding["x0"]["sriov_excluded_pfs"] = ["ens1f0", "ens1f1"]
    assert all(" x1 " in line for line in allocate(excluding)["lines"])


def test_problems_name_the_file(directory: Path) -> None:
    path = f"{directory}/hello.pb64"
    assert allocate(hostvars(10**6))["msg"].startswith(
        f"{path}: the allocation for one.hello.demo is refused, "
    )
    assert allocate(FAST, vlans="9-1")["msg"].startswith(f"{path}: VLANs '9-1' must be ranges of")
    assert not (directory / "out.json").exists()


def test_every_host_must_be_in_the_inventory(directory: Path) -> None:
    result = allocate({"x0": FAST["x0"]})
    assert result["msg"] == "host x1 is not in the inventory; add it there"


def test_arguments_are_checked(directory: Path) -> None:
    with pytest.raises(AnsibleError, match="placement must be one of: spread, pack"):
        allocate(FAST, placement="best")


def test_file_that_is_no_experiment() -> None:
    path = str(PHOBOS / "one.hello.demo.pb64")
    assert allocate(FAST, experiment=path)["msg"].startswith(f"{path}: this is a materialization")
