# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what reading a facility model takes that is made to take much.

Each model is read in a process of its own, and one of half the size.

Usage: hostile.py MODEL
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
import typing as t

from ansible.plugins.loader import init_plugin_loader
from rows import CHECKOUT, Row, in_own_process, peak, tell


def models(scale: float) -> dict[str, bytes]:
    """Facility models by what they are."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _schema

    many = int(20_000 * scale)
    most = int((_document.MESSAGE_LIMIT - 16) * scale)
    nics = [{"ports": [{"name": "p", "connector": {"element": "c"}, "roles": ["LinkRole_XpLink"]}]}]
    cabled = [
        {"id": f"h{i}", "NICs": nics, "roles": ["Role_Leaf" if i % 2 else "Role_Hypervisor"]}
        for i in range(many)
    ]
    return {
        "20,000 resources on one cable": _schema.build(
            "Facility", {"id": "bench", "resources": cabled}
        ).SerializeToString(),
        "as many empty resources as are read": b"\x0a\x01f\x1a\x03\x0a\x01x" + b"\x1a\x00" * most,
        "the same as JSON": b'{"id": "f", "resources": [{"id": "x"}' + b",{}" * most + b"]}",
    }


def read(path: str) -> tuple[float, float]:
    """The CPU seconds and the MB that reading a model takes."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import (
        _document,
        _errors,
        _xir,
    )

    before, start = peak(), time.process_time()
    with contextlib.suppress(_errors.InputError):
        facility = _document.load(path, _document.FACILITY)
        _xir.inventory(facility, hypervisors_only=False, link_roles=["XpLink"])
    return time.process_time() - start, peak() - before


def measure(data: bytes) -> tuple[float, float]:
    with tempfile.NamedTemporaryFile(suffix=".xir") as file:
        file.write(data)
        file.flush()
        seconds, megabytes = in_own_process("hostile.py", file.name)
        return seconds, megabytes


def rows() -> t.Iterator[Row]:
    tell("hostile models")
    halves = models(0.5)
    for name, whole in models(1).items():
        seconds, megabytes = measure(whole)
        halved, _megabytes = measure(halves[name])
        what = f"model, {name}"
        yield Row(what, [seconds], "s", [halved], "of half the size", 2.5)
        per_byte = megabytes * 2**20 / len(whole)
        yield Row(f"{what}: memory", [per_byte], "bytes a byte", goal=100)


if __name__ == "__main__":
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])
    print(json.dumps(read(sys.argv[1])))
