# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.tests.unit import acting

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


def run(directory: Path, x0: t.Any, x1: t.Any, **how: t.Any) -> dict[str, t.Any]:
    """Write the map of what two hosts have told."""
    arguments = {"path": str(directory / "map"), "mzid": "one.hello.demo", "results": "given"}
    return acting.run("device_map", arguments, {"x0": {"given": x0}, "x1": {"given": x1}}, **how)


def test_device_map(tmp_path: Path) -> None:
    told = {"devices": [DEVICE]}, {"devices": [DEVICE | {"node": "beta"}]}
    assert run(tmp_path, *told, check=True)["changed"]
    assert not (tmp_path / "map").exists()
    assert run(tmp_path, *told) == {"changed": True, "path": str(tmp_path / "map")}
    document = json.loads((tmp_path / "map").read_text(encoding="utf-8"))
    assert (document["version"], document["mzid"]) == (1, "one.hello.demo")
    assert [(it["node"], it["host"]) for it in document["devices"]] == [
        ("alpha", "x0"),
        ("beta", "x1"),
    ]
    assert not run(tmp_path, *told)["changed"]


def test_no_map_of_half_an_experiment(tmp_path: Path) -> None:
    for other in (None, {}, {"failed": True, "msg": "no"}, {"skipped": True}):
        result = run(tmp_path, {"devices": [DEVICE]}, other)
        assert result["skipped"]
        assert result["msg"] == "host x1 returned no devices"
    assert not (tmp_path / "map").exists()


def test_devices_that_make_no_map(tmp_path: Path) -> None:
    result = run(tmp_path, {"devices": [{"nic": "eth1"}]}, {"devices": []})
    assert result["failed"]
    assert "node must be a string" in result["msg"]
    result = run(tmp_path, {"devices": [DEVICE, DEVICE]}, {"devices": []})
    assert "2 devices have host and pci_address" in result["msg"]
