# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what a small experiment costs in a large facility of simulated hosts.

Usage: experiment.py [--hosts N]

An experiment takes VFs of two hosts. It is materialized in check mode, since nothing can be changed
on a simulated host: one call a host, which reads and judges all that a real run does. One of twenty
hosts of the large facility is dead. The table has wall and CPU seconds beside those in a facility
of the two hosts alone. Runs in the one and in the other take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import typing as t
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader
from facility import CHECKOUT, Cost, Facility, mac, pf_name, prepared

USED = (0, 1)
DEAD_EVERY = 20
RUNS = 5
GOAL = 1.2


def experiment() -> dict[str, t.Any]:
    """A link between two guests, each with a VF of its host."""
    endpoints = [
        {
            "host": f"x{host}",
            "node": f"n{host}",
            "vf": {
                "virtif": {"name": "eth1", "mac": f"02:72:00:00:01:{host:02x}"},
                "parent": {"pf": {"name": pf_name(0), "mac": mac(host, 0)}, "vfIndex": 0},
                "vid": 100,
            },
        }
        for host in USED
    ]
    link = {
        "realization": {
            "link": {"id": "lan"},
            "segments": {"1": {"vid": 100, "endpoints": endpoints}},
        }
    }
    return {"rid": "small", "eid": "hello", "pid": "demo", "links": [link]}


def new_facility(directory: Path, hosts: int) -> Facility:
    directory.mkdir()
    (directory / "experiment.json").write_text(json.dumps(experiment()), encoding="utf-8")
    dead = [number for number in range(hosts) if number % DEAD_EVERY == DEAD_EVERY - 1]
    return Facility(directory, hosts, {"free": prepared}, dead)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=1000)
    hosts = parser.parse_args().hosts
    with tempfile.TemporaryDirectory() as directory:
        facilities = [
            new_facility(Path(directory, str(count)), count) for count in (len(USED), hosts)
        ]
        costs: list[tuple[Cost, ...]] = [
            tuple(facility.materialize("experiment.json", len(USED)) for facility in facilities)
            for _run in range(RUNS)
        ]
    print(f"{'materialize, 2 hosts':24} {'of 2':>8} {f'of {hosts}':>8} {'ratio':>6} {'goal':>6}")
    for name in ("seconds", "cpu"):
        small, large = (
            statistics.median(getattr(cost[index], name) for cost in costs) for index in (0, 1)
        )
        goal = f"{GOAL:.1f}" if name == "seconds" else ""
        print(f"{name:24} {small:8.2f} {large:8.2f} {large / small:6.2f} {goal:>6}")


if __name__ == "__main__":
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])
    main()
