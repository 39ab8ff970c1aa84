# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two workers of the real ansible-runner, each with its half of a facility, and one with all."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.unit import (
    command_line,
    fabricated_facility,
    preparing,
    sliced,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES
from ansible_collections.mergetb.sriov.tests.unit.fabricated_facility import Facility
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CONFIG, Hypervisor
from mergetbapi import xir

PF = "0000:01:00.0"
HOSTS = ("x0", "x1", "x2", "x3")
# Their NICs have fewer VFs than the model promises.
SHORT = ("x1", "x2")


def mac(host: str) -> str:
    return f"04:70:00:00:00:1{host[1:]}"


def model() -> bytes:
    resources = [
        xir.Resource(
            id=host,
            facility="four",
            roles=[xir.Role.TbNode, xir.Role.Hypervisor],
            alloc=[xir.AllocMode.Physical, xir.AllocMode.Virtual],
        )
        for host in HOSTS
    ]
    for resource in resources:
        port = xir.Port(
            parent=resource.id,
            name="ens1f0",
            mac=mac(resource.id),
            roles=[xir.LinkRole.XpLink],
            sriov=xir.Sriov(pf=xir.SriovPf(max_v_fs=4)),
        )
        resource.ni_cs.append(xir.Nic(kind=xir.NicKind.ENS, ports=[port]))
    return bytes(xir.Facility(id="four", resources=resources))


def prepared(host: str) -> t.Callable[[Path], Hypervisor]:
    """A host that is ready, or lacks one VF."""

    def make(directory: Path) -> Hypervisor:
        machine = Hypervisor(directory)
        total, now = (3, 2) if host in SHORT else (4, 4)
        machine.add_pf(PF, "ens1f0", mac(host), totalvfs=total, autoprobe=True, config=CONFIG)
        pf = {"name": "ens1f0", "mac": mac(host), "max_vfs": total}
        wanted = preparing.WANTED._replace(pfs=[pf], numvfs={"ens1f0": now})
        preparing.carry_out(machine, wanted)
        return machine

    return make


class Site:
    """Four hosts, and runs over them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._facility = Facility(directory)
        for host in HOSTS:
            variables = {"sriov_numvfs": 3} if host in SHORT else {}
            self._facility.add(host, prepared(host), **variables)
        model_file, hosts_file = directory / "four.xir", directory / "hosts.yml"
        model_file.write_bytes(model())
        self._facility.write_inventory(hosts_file)
        self._tasks = directory / "tasks"
        self._runner = sliced.Facility(
            inventory=[model_file, hosts_file],
            collections=command_line.COLLECTIONS,
            environment=fabricated_facility.environment(self._tasks)
            | {"ANSIBLE_CALLBACKS_ENABLED": "tasks"},
            cache=directory / "cache",
        )

    def run(self, playbook: str, slices: t.Sequence[str], **variables: str) -> list[sliced.Slice]:
        return sliced.run(self.directory / "runner", self._runner, playbook, slices, **variables)

    def lose(self, host: str) -> None:
        """Let nobody ask the host any more."""
        (self.directory / host / "python").unlink()

    def tasks(self) -> dict[str, list[fabricated_facility.Task]]:
        """The tasks of each host in the runs."""
        tasks = fabricated_facility.noted(self._tasks)
        return {host: [task for task in tasks if task.host == host] for host in HOSTS}

    def numvfs(self) -> dict[str, str | None]:
        """How many VFs each host has."""
        found = {}
        for name in HOSTS:
            with self._facility.host(name) as host:
                found[name] = host.read(f"{DEVICES}/{PF}/sriov_numvfs")
        return found


ONE = sliced.limits(4, 1)
TWO = sliced.limits(4, 2)


@pytest.fixture
def whole(tmp_path: Path) -> Site:
    return Site(tmp_path / "whole")


@pytest.fixture
def halves(tmp_path: Path) -> Site:
    return Site(tmp_path / "halves")


def codes(slices: list[sliced.Slice], code: int) -> list[sliced.Slice]:
    """The slices, all of which must have ended with an exit code."""
    assert [part.code for part in slices] == [code] * len(slices), slices[0].output
    return slices


def test_limits() -> None:
    assert ONE == ["hypervisors[0:3]"]
    assert TWO == ["hypervisors[0:1]", "hypervisors[2:3]"]
    assert sliced.limits(1000, 3)[1:] == ["hypervisors[333:665]", "hypervisors[666:999]"]


def test_prepare(whole: Site, halves: Site) -> None:
    codes(whole.run("mergetb.sriov.prepare", ONE), 0)
    parts = codes(halves.run("mergetb.sriov.prepare", TWO), 0)
    assert halves.tasks() == whole.tasks()
    assert halves.numvfs() == whole.numvfs() == {"x0": "4", "x1": "3", "x2": "3", "x3": "4"}
    assert [part.left for part in parts] == [[], []]


def test_audit(whole: Site, halves: Site) -> None:
    """Each worker sends back the findings of its hosts."""
    [of_all] = codes(whole.run("mergetb.sriov.audit", ONE, sriov_audit="audit.json"), 2)
    slices = codes(halves.run("mergetb.sriov.audit", TWO, sriov_audit="audit.json"), 2)
    expected = of_all.document("audit.json")
    documents = [part.document("audit.json") for part in slices]
    assert [list(document["hosts"]) for document in documents] == [["x0", "x1"], ["x2", "x3"]]
    assert documents[0]["hosts"] | documents[1]["hosts"] == expected["hosts"]
    findings = documents[0]["findings"] + documents[1]["findings"]
    assert sorted(findings, key=str) == sorted(expected["findings"], key=str)
    assert {finding["host"] for finding in findings} == {*SHORT}


def rows(page: str) -> list[dict[str, t.Any]]:
    """The PFs of a report with their VFs, but for the times at which hosts were asked."""
    data = json.loads(re.findall('id="data">(.*?)</script>', page, re.DOTALL)[0])
    strings, lists, columns = data["strings"], data["lists"], data["pfs"]
    del columns["asked"]
    own = {"host", "error", "pf", "pf_mac", "leaf", "port", "declared", "pf_note"}
    return [
        {
            name: strings[place] if name in own else [strings[each] for each in lists[place]]
            for name, place in zip(columns, places, strict=True)
        }
        for places in zip(*columns.values(), strict=True)
    ]


def test_one_report_of_what_two_workers_found(whole: Site, halves: Site) -> None:
    """They share the fact cache. Who reports from there asks no host."""
    made = []
    for site, slices in ((whole, ONE), (halves, TWO)):
        codes(site.run("mergetb.sriov.audit", slices, sriov_audit="audit.json"), 2)
        for host in HOSTS:
            site.lose(host)
        [done] = site.run(
            "mergetb.sriov.report", ONE, sriov_report="report.html", sriov_from_cache="all"
        )
        assert "hosts: 0 of 4 answered" in done.output
        made.append((done.artifacts / "report.html").read_text(encoding="utf-8"))
    first, second = map(rows, made)
    assert first == second
    assert [row["host"] for row in first] == [*HOSTS]
    assert [len(row["vf"]) for row in first] == [4, 2, 2, 4]
