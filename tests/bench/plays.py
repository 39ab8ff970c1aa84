# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the playbooks over facilities of simulated hosts, by the CPU time of all processes.

That of the modules is part of it: a simulated host has the processor of the controller.
"""

from __future__ import annotations

import json
import os
import tempfile
import typing as t
from pathlib import Path

from facility import Facility, mac, pf_name, prepared
from rows import Cost, Row, cost, tell

PING: dict[str, t.Any] = {"ansible.builtin.ping": None}
NOTHING: dict[str, t.Any] = {"ansible.builtin.debug": {"msg": ""}}
ONCE = NOTHING | {"run_once": True}

READ_ONLY_HOSTS = 40
SLICED_HOSTS = 20
ROUNDS = 3
AT_ONCE = 20
USED = (0, 1)
DEAD_EVERY = 20

PREPARE = "mergetb.sriov.prepare"
MATERIALIZE = "mergetb.sriov.materialize"


def preparation(facility: Facility) -> Row:
    """`prepare` of hosts that are prepared, beside a play of one task."""
    tell(f"prepare, {facility.hosts} hosts")
    ours = facility.play(PREPARE)
    floor = facility.tasks(PING)
    return Row(
        f"prepare, {facility.hosts:,} hosts that are prepared",
        [ours.cpu],
        "s",
        [floor.cpu],
        "ping",
        1.2,
        f"{ours.megabytes:.0f} MB",
    )


def reading(facility: Facility) -> t.Iterator[Row]:
    """The playbooks that change nothing, beside plays with as many tasks that do nothing."""
    hosts = facility.hosts
    for playbook, idle in (
        ("plan", [PING, NOTHING, NOTHING, *[ONCE] * 3]),
        ("audit", [PING, NOTHING, *[ONCE] * 3]),
        ("report", [PING, NOTHING, *[ONCE] * 3]),
    ):
        tell(f"{playbook}, {hosts} hosts")
        ours, floor = facility.play(f"mergetb.sriov.{playbook}"), facility.tasks(*idle)
        more = 1000 * (ours.cpu - floor.cpu) / hosts
        remark = f"{ours.cpu:.1f} s, and {floor.cpu:.1f} s"
        what = f"{playbook}, {hosts} hosts: a host, beyond as many tasks that do nothing"
        yield Row(what, [more], "ms", goal=60, remark=remark)


def from_cache(facility: Facility) -> t.Iterator[Row]:
    tell(f"report from the cache, {facility.hosts} hosts")
    done = facility.play("mergetb.sriov.report", reached=1, sriov_from_cache="all")
    what = f"report from the fact cache, {facility.hosts:,} hosts"
    yield Row(what, [done.cpu], goal=30)
    yield Row(f"{what}: memory", [done.megabytes], "MB", goal=300)


def experiment(directory: Path, *, macs: t.Sequence[str]) -> str:
    """The file of a link between two guests, with a VF each of the PFs that have *macs*."""
    endpoints = [
        {
            "host": f"x{host}",
            "node": f"n{host}",
            "vf": {
                "virtif": {"name": "eth1", "mac": f"02:72:00:00:01:{host:02x}"},
                "parent": {"pf": {"name": pf_name(0), "mac": macs[host]}, "vfIndex": 0},
                "vid": 100,
            },
        }
        for host in USED
    ]
    link = {"link": {"id": "lan"}, "segments": {"1": {"vid": 100, "endpoints": endpoints}}}
    document = {"rid": "small", "eid": "hello", "pid": "demo", "links": [{"realization": link}]}
    path = directory / "experiment.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def of_simulated(facility: Facility) -> str:
    return experiment(facility.directory, macs=[mac(host, 0) for host in USED])


def check(facility: Facility) -> Cost:
    """Check what a materialization would do, which uses two of the hosts."""
    path = of_simulated(facility)
    return facility.play(MATERIALIZE, "--check", reached=len(USED), sriov_materialization=path)


def materializations(smallest: Facility, others: t.Sequence[Facility]) -> t.Iterator[Row]:
    """One experiment, in facilities of several sizes with dead hosts, in turns."""
    for facility in others:
        facility.kill(range(DEAD_EVERY - 1, facility.hosts, DEAD_EVERY))
    costs: dict[int, list[float]] = {}
    for _round in range(ROUNDS):
        for facility in (smallest, *others):
            tell(f"materialize on 2 of {facility.hosts} hosts")
            costs.setdefault(facility.hosts, []).append(check(facility).cpu)
    for facility in others:
        facility.kill([])
        yield Row(
            f"materialize --check, 2 of {facility.hosts:,} hosts",
            costs[facility.hosts],
            "s",
            costs[smallest.hosts],
            "of 2",
            1.2,
            f"{facility.hosts // DEAD_EVERY} other hosts are dead",
        )
    tell(f"{AT_ONCE} materializations at once")
    path = of_simulated(smallest)
    words = smallest.command(MATERIALIZE, "--check", "-e", f"sriov_materialization={path}")
    # The shell waits for all, so their time counts.
    script = f'for run in $(seq {AT_ONCE}); do "$@" & done; wait'
    done = cost(["sh", "-c", script, "sh", *words], smallest.directory, **smallest.environment)
    yield Row(
        f"materialize --check, {AT_ONCE} at once: each",
        [done.cpu / AT_ONCE],
        "s",
        costs[smallest.hosts],
        "alone",
        1.2,
    )


def calls() -> t.Iterator[Row]:
    """How many modules a run calls on a host, which is fabricated, so that it can be changed."""
    from ansible_collections.mergetb.sriov.tests.unit import fabricated_facility

    tell("module calls")
    with tempfile.TemporaryDirectory() as directory:
        facility = fabricated_facility.Facility(Path(directory))
        for host in USED:
            pfs = [{"name": pf_name(0), "mac": mac(0, 0), "max_vfs": 16}]
            facility.add(f"x{host}", prepared, sriov_pfs=pfs, xir_facility="bench")
        path = experiment(Path(directory), macs=[mac(0, 0)] * len(USED))
        given = ("-e", f"sriov_materialization={path}")
        for playbook, arguments, goal in (
            ("prepare", (), 1),
            ("materialize", given, 2),
            ("dematerialize", given, 1),
        ):
            done = facility.play(f"mergetb.sriov.{playbook}", *arguments)
            if done.code:
                raise SystemExit(done.output)
            most = max(len(done.calls(f"x{host}")) for host in USED)
            yield Row(f"{playbook}: module calls a host", [most], "calls", goal=goal)


def slices(directory: Path) -> Row:
    """`audit` by ansible-runner, in two slices beside one run, which must find the same."""
    from ansible_collections.mergetb.sriov.tests.unit import sliced

    tell(f"two slices of {SLICED_HOSTS} hosts")
    simulated = Facility(directory / "sliced", SLICED_HOSTS, {"free": prepared})
    facility = sliced.Facility(
        inventory=[simulated.directory / "bench.xir", simulated.directory / "hosts.yml"],
        collections=str(simulated.directory / "collections"),
        environment={"ANSIBLE_FORKS": simulated.environment["ANSIBLE_FORKS"]},
        cache=directory / "cache",
    )
    spent, found = [], []
    for count in (1, 2):
        before = os.times()
        limits = sliced.limits(SLICED_HOSTS, count)
        done = sliced.run(
            directory / "runner", facility, "mergetb.sriov.audit", limits, sriov_audit="audit.json"
        )
        after = os.times()
        spent.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
        found.append(
            {
                host: said
                for part in done
                for host, said in part.document("audit.json")["hosts"].items()
            }
        )
    if found[0] != found[1]:
        raise SystemExit("the slices have not found what the one run has")
    what = f"audit by ansible-runner, {SLICED_HOSTS} hosts in 2 slices"
    return Row(what, spent[1:], "s", spent[:1], "one run", 1.5)


def rows(sizes: t.Sequence[int]) -> t.Iterator[Row]:
    yield from calls()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        facilities = []
        for hosts in sizes:
            tell(f"simulate {hosts} hosts")
            facilities.append(Facility(directory / f"of{hosts}", hosts, {"free": prepared}))
        smallest = Facility(directory / "used", len(USED), {"free": prepared})
        yield from materializations(smallest, facilities)
        read_only = Facility(directory / "read_only", READ_ONLY_HOSTS)
        yield from reading(read_only)
        facilities[-1].remember(read_only)
        yield from from_cache(facilities[-1])
        yield slices(directory)
        for facility in facilities:
            yield preparation(facility)
