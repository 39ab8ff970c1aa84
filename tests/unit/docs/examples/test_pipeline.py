# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example of a pipeline, by the real ansible-runner, on two fabricated hosts."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.tests.unit import command_line
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES
from ansible_collections.mergetb.sriov.tests.unit.fabricated_facility import Facility
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CONFIG, Hypervisor

PIPELINE = Path(__file__).resolve().parents[4] / "docs/examples/pipeline.py"
MZID = "one.hello.demo"
VF = "0000:01:10.0"
PF = "0000:01:00.0"
DEAD = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
CONFIGURATION = f"""
[defaults]
collections_path = {command_line.COLLECTIONS}
[inventory]
enable_plugins = ansible.builtin.yaml
"""


def mac(host: str) -> str:
    return f"04:70:00:00:00:1{host[1:]}"


def prepared(host: str) -> t.Callable[[Path], Hypervisor]:
    def make(directory: Path) -> Hypervisor:
        machine = Hypervisor(directory)
        machine.add_pf(PF, "ens1f0", mac(host), numvfs=2, config=CONFIG)
        machine.add_driver("vfio-pci")
        return machine

    return make


def materialization() -> dict[str, t.Any]:
    """A link between two guests, each with a VF of its host."""
    endpoints = [
        {
            "host": host,
            "node": f"on-{host}",
            "vf": {
                "virtif": {"name": "eth1", "mac": f"02:72:00:00:01:0{host[1:]}"},
                "parent": {"pf": {"name": "ens1f0", "mac": mac(host)}, "vfIndex": 0},
                "vid": 100,
            },
        }
        for host in ("x0", "x1")
    ]
    segments = {"1": {"vid": 100, "endpoints": endpoints}}
    link = {"realization": {"link": {"id": "lan"}, "segments": segments}}
    return {"rid": "one", "eid": "hello", "pid": "demo", "links": [link]}


class Site:
    """Two hosts, and the directory that the pipeline gives to ansible-runner."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "pipeline"
        self.facility = Facility(directory)
        for name in ("inventory", "project"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "project/ansible.cfg").write_text(CONFIGURATION, encoding="utf-8")
        self._materialization = directory / "experiment.json"
        self._materialization.write_text(json.dumps(materialization()), encoding="utf-8")

    def add(self, host: str, **variables: t.Any) -> None:
        pf = {"name": "ens1f0", "mac": mac(host), "max_vfs": 2}
        self.facility.add(host, prepared(host), **{"sriov_pfs": [pf], **variables})

    def run(self, action: str, code: int, *, mzid: str = MZID) -> str:
        """Run the example, which must end with an exit code, and return what it printed."""
        self.facility.write_inventory(self.directory / "inventory/hosts.yml")
        done = subprocess.run(
            [sys.executable, PIPELINE, action, self.directory, mzid, self._materialization],
            env={
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "HOME": str(self.directory),
                "LC_ALL": "C.UTF-8",
            },
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def artifacts(self) -> list[Path]:
        """What the runs have left, the oldest first."""
        found = (self.directory / "artifacts").iterdir()
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)

    def documents(self) -> list[dict[str, t.Any]]:
        """The result documents of the runs, the oldest first."""
        return [json.loads((path / "result.json").read_text("utf-8")) for path in self.artifacts()]

    def device_map(self) -> dict[str, t.Any]:
        path = self.directory / f"device_maps/{MZID}.json"
        return json.loads(path.read_text(encoding="utf-8"))

    def held(self) -> dict[str, list[str]]:
        """The materializations that have or reserve a VF, by host."""
        found = {}
        for name in ("x0", "x1"):
            with self.facility.host(name) as host:
                found[name] = sorted(_ledger.read(host))
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def events(artifacts: Path) -> list[dict[str, t.Any]]:
    """The events of a run in their order."""
    found = [json.loads(path.read_text("utf-8")) for path in artifacts.glob("job_events/*.json")]
    return sorted(found, key=lambda event: event["counter"])


def test_vfs_are_given_and_taken_back(site: Site) -> None:
    site.add("x0")
    site.add("x1")

    given = site.run("materialize", 0)

    assert given.splitlines()[-1] == f"{MZID}: given"
    assert "... Reserve the VFs on each host" in given
    assert "    x0: changed" in given
    assert "    x1: changed" in given
    [artifacts], [document] = site.artifacts(), site.documents()
    assert document["outcome"] == "ok"
    assert (artifacts / "rc").read_text(encoding="utf-8") == "0"
    assert {event["event"] for event in events(artifacts)} >= {
        "playbook_on_task_start",
        "runner_on_ok",
        "playbook_on_stats",
    }
    assert [device["host"] for device in site.device_map()["devices"]] == ["x0", "x1"]
    assert site.held() == {"x0": [MZID], "x1": [MZID]}

    taken = site.run("dematerialize", 0)

    assert taken.splitlines()[-1] == f"{MZID}: taken back"
    assert [document["action"] for document in site.documents()] == ["materialize", "dematerialize"]
    assert site.device_map()["devices"] == []
    assert site.held() == {"x0": [], "x1": []}


def test_a_vf_that_is_in_use(site: Site) -> None:
    site.add("x0")
    site.add("x1")
    with site.facility.host("x1") as host:
        host.bind(VF, "vfio-pci")
        group = host.link(f"{DEVICES}/{VF}/iommu_group")
        host.add_process(4711, "qemu-system-x86", f"/dev/vfio/{group}")

    refused = site.run("materialize", 10)

    assert refused.splitlines()[-1] == f"{MZID}: refused"
    assert "\nx1: " in refused
    assert "process 4711" in refused
    assert [document["outcome"] for document in site.documents()] == ["refused"]
    assert site.held() == {"x0": [], "x1": []}


def test_a_dead_host(site: Site) -> None:
    site.add("x0")
    site.add("x1", **DEAD)

    lost = site.run("materialize", 4)

    assert lost.splitlines()[-1] == f"{MZID}: unreachable"
    assert "\nx1: " in lost
    [artifacts], [document] = site.artifacts(), site.documents()
    assert document["outcome"] == "refused"
    assert "runner_on_unreachable" in {event["event"] for event in events(artifacts)}
    assert site.held()["x0"] == []
    assert site.run("dematerialize", 4).splitlines()[-1] == f"{MZID}: unreachable"


def test_what_failed_half_way_is_undone(site: Site) -> None:
    site.add("x0")
    site.add("x1")
    with site.facility.host("x1") as host:
        host.faults["write", f"{DEVICES}/{VF}/driver_override"] = errno.EIO

    failed = site.run("materialize", 2)

    assert failed.splitlines()[-1] == f"{MZID}: undone"
    outcomes = [(document["action"], document["outcome"]) for document in site.documents()]
    assert outcomes == [("materialize", "failed"), ("dematerialize", "ok")]
    assert site.held() == {"x0": [], "x1": []}


def test_an_experiment_that_had_vfs_keeps_them(site: Site) -> None:
    site.add("x0")
    site.add("x1")
    site.run("materialize", 0)
    with site.facility.host("x1") as host:
        host.faults["write", f"{DEVICES}/{VF}/driver_override"] = errno.EIO
        host.alter_vf("ens1f0", 0, vlan=7)

    failed = site.run("materialize", 2)

    assert failed.splitlines()[-1] == f"{MZID}: failed"
    assert site.held() == {"x0": [MZID], "x1": [MZID]}


def test_the_materialization_of_another_experiment(site: Site) -> None:
    site.add("x0")
    site.add("x1")

    failed = site.run("materialize", 2, mzid="two.other.demo")

    assert f" is of {MZID}: name that" in failed
    assert failed.splitlines()[-1] == "two.other.demo: failed"


def test_a_run_that_does_not_begin(site: Site) -> None:
    site.add("x0")
    (site.directory / "project/ansible.cfg").write_text("[defaults]\n", encoding="utf-8")

    failed = site.run("materialize", 2)

    assert "left no document" in failed
    assert failed.splitlines()[-1] == f"{MZID}: failed"
    assert len(site.artifacts()) == 1, "nothing is undone"
