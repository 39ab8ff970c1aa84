# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let many runs want the same VFs at once.

Usage: race_runs.py RUNS MAC

Each of RUNS processes wants the first three VFs of the PF with the MAC, every second one for the
same materialization and the others each for one of their own. Prints the outcome of each run, and
the ledger before and after, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import typing as t

sys.path.insert(0, "/run/library")

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment, _request  # noqa: E402
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import (  # noqa: E402
    SriovError,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host  # noqa: E402
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger  # noqa: E402

SHARED = "shared.hello.demo"
VFS = 3


def run(mzid: str, number: int, mac: str) -> str:
    claims = [
        _request.Claim(
            node="n",
            nic=f"eth{vf}",
            pf_name="pf",
            pf_mac=mac,
            vf=vf,
            mac=f"02:00:00:{number:02x}:00:{vf:02x}",
            vlan=100 + number,
            mtu=None,
        )
        for vf in range(VFS)
    ]
    try:
        done = _assignment.run(Host(), mzid, claims, _request.Policy("vfio-pci"))
    except SriovError as error:
        return f"refused: {error}"
    return "changed" if done["changed"] else "unchanged"


def raced(runs: int, mac: str) -> list[tuple[str, str]]:
    """The materialization and the outcome of each of *runs* that start together."""
    start_read, start_write = os.pipe()
    outcomes = []
    for number in range(runs):
        shared = number % 2 == 0
        mzid = SHARED if shared else f"own{number}.hello.demo"
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(start_write)
            os.read(start_read, 1)  # until all are there
            os.write(write, run(mzid, 0 if shared else number, mac).encode())
            os._exit(0)
        os.close(write)
        outcomes.append((mzid, read))
    os.close(start_write)
    answers = []
    for mzid, read in outcomes:
        with os.fdopen(read, "rb") as pipe:
            answers.append((mzid, pipe.read().decode()))
        os.wait()
    return answers


def ledger() -> dict[str, t.Any]:
    return {
        mzid: [[entry.vf, entry.values["vlan"], entry.state] for entry in entries]
        for mzid, entries in _ledger.vfs(_ledger.read(Host())).items()
    }


def main() -> None:
    before = ledger()
    answers = raced(int(sys.argv[1]), sys.argv[2])
    after = ledger()
    for mzid in after.keys() - before.keys():
        _assignment.run(Host(), mzid, [], _request.Policy("vfio-pci"))
    print(json.dumps({"before": before, "runs": answers, "after": after, "end": ledger()}))


if __name__ == "__main__":
    main()
