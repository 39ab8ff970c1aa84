# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure a facility of simulated hosts in two slices beside one run, both by ansible-runner.

Usage: slices.py [--hosts N]

All hosts are prepared, since nothing can be changed on a simulated host. What the slices found is
compared with what the one run found.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader
from facility import CHECKOUT, HOSTS, Facility, held, prepared

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.tests.unit import sliced

SLICES = 2
PLAYBOOKS: dict[str, dict[str, str]] = {
    "mergetb.sriov.prepare": {},
    "mergetb.sriov.audit": {"sriov_audit": "audit.json"},
}


def new_facility(directory: Path, hosts: int) -> sliced.Facility:
    """The facility, some of whose VFs are held."""
    from ansible_collections.mergetb.sriov.tests.unit import sliced

    directory.mkdir()
    Facility(directory, hosts, {"free": prepared, "held": held})
    return sliced.Facility(
        inventory=[directory / "bench.xir", directory / "hosts.yml"],
        collections=str(directory / "collections"),
        environment={"ANSIBLE_FORKS": str(2 * (os.cpu_count() or 1))},
        cache=directory / "cache",
    )


def told(slices: t.Sequence[sliced.Slice], files: t.Mapping[str, str]) -> dict[str, t.Any]:
    """What the documents of all slices say of each host."""
    return {
        host: said
        for part in slices
        for name in files.values()
        for host, said in part.document(name)["hosts"].items()
    }


def compare(
    directory: Path, facility: sliced.Facility, hosts: int, playbook: str
) -> tuple[float, float]:
    """Return the wall seconds of one run and of the slices, which must find the same."""
    from ansible_collections.mergetb.sriov.tests.unit import sliced

    seconds, found = [], []
    files = PLAYBOOKS[playbook]
    for count in (1, SLICES):
        start = time.perf_counter()
        done = sliced.run(directory, facility, playbook, sliced.limits(hosts, count), **files)
        seconds.append(time.perf_counter() - start)
        found.append(told(done, files))
        if any(part.code for part in done):
            sys.exit(f"{playbook} failed:\n{done[0].output[-4000:]}")
    if found[0] != found[1]:
        sys.exit(f"{playbook}: the slices have not found what the one run has")
    return seconds[0], seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=HOSTS)
    hosts = parser.parse_args().hosts
    print(f"{f'{hosts} hosts':24} {'one run':>8} {f'{SLICES} slices':>8} {'ratio':>6}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        facility = new_facility(Path(name, "facility"), hosts)
        for playbook in PLAYBOOKS:
            whole, halves = compare(Path(name, "runner"), facility, hosts, playbook)
            print(f"{playbook:24} {whole:8.1f} {halves:8.1f} {halves / whole:6.2f}", flush=True)


if __name__ == "__main__":
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])
    main()
