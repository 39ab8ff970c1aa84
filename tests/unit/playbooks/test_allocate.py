# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook allocate on made-up hosts: an action of the same name plays sriov_info."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _materialization
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import command_line, models, played

HOSTS = ("x0", "x1")
MZID = "one.hello.demo"
ARGUMENTS = (
    *("-e", "sriov_experiment=hello.pb64", "-e", f"sriov_mzid={MZID}"),
    *("-e", "sriov_materialization=out.json"),
)


def prepared(host: str) -> dict[str, t.Any]:
    """Return what sriov_info tells of a host of the example facility that nobody uses."""
    return {
        "changed": False,
        "platform": {},
        "iommu_groups": 24,
        "lldp": False,
        "ports": [],
        "materializations": {},
        "pfs": [
            {
                "interface": f"ens1f{index}",
                "mac": f"04:72:00:00:1{host[1]}:0{index}",
                "numa_node": None,
                "numvfs": 7,
                "problem": None,
                "vfs": [{"index": vf, "driver": None} for vf in range(7)],
            }
            for index in range(2)
        ],
    }


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a path of collections with a copy of this one, whose sriov_info is played."""
    return played.collections(tmp_path_factory.mktemp("collections"), "sriov_info")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with the example facility, its hosts, and an experiment for it."""
    monkeypatch.chdir(tmp_path)
    models.hello().save_xir()
    shutil.copy(PHOBOS / "phobos.xir", tmp_path)
    played.tell(tmp_path, {host: prepared(host) for host in HOSTS})
    return tmp_path


def allocate(
    collections: Path, directory: Path, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the playbook."""
    return played.run(
        collections,
        directory,
        "allocate",
        *ARGUMENTS,
        *arguments,
        check=check,
    )


def chosen(directory: Path) -> dict[str, list[dict[str, t.Any]]]:
    """Return what the role materialize makes of the file, by host."""
    materialization = _document.load(str(directory / "out.json"), _document.MATERIALIZATION)
    pfs = {
        host: [{"name": p["interface"], "mac": p["mac"], "max_vfs": 7} for p in told["pfs"]]
        for host, told in ((host, prepared(host)) for host in HOSTS)
    }
    return _materialization.vfs(materialization, pfs)["hosts"]


def test_materialization_is_written_and_kept(collections: Path, directory: Path) -> None:
    checked = allocate(collections, directory, "--check", "--diff")
    assert not (directory / "out.json").exists()
    assert '+    "rid": "one"' in checked.stdout

    first = allocate(collections, directory)
    assert "alpha eth1: x0 ens1f1 VF 0, VLAN 2, MAC " in first.stdout
    assert "changed=1" in first.stdout
    hosts = chosen(directory)
    assert sorted(len(vfs) for vfs in hosts.values()) == [2, 3]
    written = (directory / "out.json").read_bytes()

    found = {host: prepared(host) for host in HOSTS}
    for host, vfs in hosts.items():
        found[host]["materializations"][MZID] = [
            {
                "node": vf["node"],
                "nic": vf["nic"],
                "pf_mac": vf["pf"]["mac"],
                "vf": vf["vf_index"],
                "vlan": vf["vlan"],
                "values": {"mac": vf["mac"], "vlan": vf["vlan"]},
            }
            for vf in vfs
        ]
    played.tell(directory, found)
    second = allocate(collections, directory, "-e", "sriov_placement=pack")
    assert "changed=0" in second.stdout
    assert second.stdout.count("(kept)") == 5
    assert (directory / "out.json").read_bytes() == written


def test_options(collections: Path, directory: Path) -> None:
    (directory / "host_vars").mkdir()
    (directory / "host_vars" / "x0.yml").write_text("sriov_excluded_pfs: [ens1f0]\n")
    (directory / "host_vars" / "x1.yml").write_text("sriov_excluded_pfs: [ens1f0]\n")
    allocate(collections, directory, "-e", "sriov_placement=pack", "-e", "sriov_vlans=100-199")
    vfs = [vf for vfs in chosen(directory).values() for vf in vfs]
    assert {vf["pf"]["name"] for vf in vfs} == {"ens1f1"}
    assert {vf["vlan"] for vf in vfs} == {100, 101}


def test_an_inventory_that_names_no_facility(collections: Path, directory: Path) -> None:
    """An operator's own inventory sets `sriov_pfs` and nothing else."""
    hostvars = command_line.inventory(directory, "phobos.xir")["_meta"]["hostvars"]
    hosts = {host: {"sriov_pfs": hostvars[host]["sriov_pfs"]} for host in HOSTS}
    (directory / "hosts.json").write_text(json.dumps({"hypervisors": {"hosts": hosts}}))
    command_line.run(
        directory,
        "playbook",
        *("-i", "hosts.json", "mergetb.sriov.allocate", *ARGUMENTS),
        ANSIBLE_COLLECTIONS_PATH=str(collections),
        ANSIBLE_INVENTORY_ENABLED="ansible.builtin.yaml",
    )
    assert sum(map(len, chosen(directory).values())) == 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-e", "sriov_vlans=9-1"], "VLANs '9-1' must be ranges of 1 to 4094"),
        (["-e", "sriov_placement=best"], "value of sriov_placement must be one of: spread, pack"),
        (["--limit", "x0"], "nobody knows what is in use on x1: ask all hypervisors"),
        (
            ["-e", '{"sriov_excluded_pfs": [ens1f0, ens1f1]}'],
            "alpha eth1: 1 VF is needed; x0 ens1f0: it is excluded, x0 ens1f1",
        ),
    ],
)
def test_nothing_is_written(
    collections: Path, directory: Path, arguments: list[str], told: str
) -> None:
    result = allocate(collections, directory, *arguments, check=False)
    assert result.returncode
    assert told in result.stdout
    assert not (directory / "out.json").exists()
