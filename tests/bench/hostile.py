# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what reading a facility model takes, also of one that is made to take much.

Each model is read in a process of its own, and one of half the size. Printed are the size, CPU
seconds, the memory that reading takes at most for each byte of the file, and how many times as long
the whole takes as its half.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

CHECKOUT = Path(__file__).resolve().parents[2]


def varint(number: int) -> bytes:
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def models(scale: float) -> dict[str, bytes]:
    """Facility models by what they are."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _schema

    few = int(1_000 * scale)
    many = int(10_000 * scale)
    most = int((_document.MESSAGE_LIMIT - 16) * scale)
    nics = [{"ports": [{"name": "p", "connector": {"element": "c"}, "roles": ["LinkRole_XpLink"]}]}]
    hosts = [{"id": f"h{i}", "NICs": nics, "roles": ["Role_Hypervisor"]} for i in range(many)]
    switches = [{"id": f"s{i}", "NICs": nics, "roles": ["Role_Leaf"]} for i in range(many)]
    cabled = _schema.build("Facility", {"id": "bench", "resources": hosts + switches})
    terse = [{"id": f"{i:x}", "roles": [25], "alloc": [7]} for i in range(2 * many)]
    empty = b"\x0a\x01f\x1a\x03\x0a\x01x"
    return {
        f"{2 * many} resources on one cable": cabled.SerializeToString(),
        f"{2 * many} hypervisors without NIC": _schema.build(
            "Facility", {"id": "bench", "resources": terse}
        ).SerializeToString(),
        "as many empty resources as are read": empty + b"\x1a\x00" * most,
        "the same as JSON": b'{"id": "f", "resources": [{"id": "x"}' + b",{}" * most + b"]}",
        "eighteen times as many": empty + b"\x1a\x00" * (few * 19_000),
        "nothing but empty names of roles": b'{"id": "f", "resources": [{"id": "x", "roles": [""'
        + b',""' * (few * 500)
        + b"]}]}",
    }


def read(path: str) -> None:
    """Read a model; print the CPU seconds and the memory that this takes."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import (
        _document,
        _errors,
        _xir,
    )

    def megabytes() -> float:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024

    before, start = megabytes(), time.process_time()
    try:
        facility = _document.load(path, _document.FACILITY)
        _xir.inventory(facility, hypervisors_only=False, link_roles=["XpLink"])
        told = "read"
    except _errors.InputError:
        told = "refused"
    print(json.dumps([time.process_time() - start, megabytes() - before, told]))


def measure(data: bytes) -> tuple[float, float, str]:
    with tempfile.NamedTemporaryFile(suffix=".xir") as file:
        file.write(data)
        file.flush()
        command = [sys.executable, __file__, file.name]
        return tuple(json.loads(subprocess.check_output(command, cwd=CHECKOUT)))


def main() -> None:
    """Print a line for each model."""
    halves = models(0.5)
    for (name, whole), half in zip(models(1).items(), halves.values(), strict=True):
        seconds, megabytes, told = measure(whole)
        halved, _megabytes, _told = measure(half)
        size = len(whole) / 2**20
        print(
            f"{name}: {size:.1f} MB, {told} in {seconds:.1f} s, {megabytes:.0f} MB or"
            f" {megabytes / size:.0f} bytes a byte; {seconds / max(halved, 0.01):.1f}x of half"
        )


if __name__ == "__main__":
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])
    if len(sys.argv) > 1:
        read(sys.argv[1])
    else:
        main()
