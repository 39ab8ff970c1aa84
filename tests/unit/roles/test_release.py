# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
import typing as t

from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import played

if t.TYPE_CHECKING:
    from pathlib import Path


def test_the_run_must_have_reserved_something(tmp_path: Path) -> None:
    """The id of a materialization has dots."""
    entry = {
        "node": "alpha",
        "nic": "eth1",
        "pf_name": "ens1f0",
        "vf": 0,
        "address": "0000:01:10.0",
    }
    entry |= {"state": "reserved", "runs": ["night"]}
    collections = played.collections(tmp_path / "collections", "sriov_info")
    (tmp_path / "phobos.xir").write_bytes((PHOBOS / "phobos.xir").read_bytes())
    told = {"changed": False, "materializations": {}}
    held = {**told, "materializations": {"one.hello.demo": [entry]}}
    played.tell(tmp_path, {"x0": told, "x1": held})
    for run, code in (("night", 0), ("day", 2)):
        done = played.run(
            collections,
            tmp_path,
            "release",
            *("-e", "sriov_mzid=one.hello.demo", "-e", f"sriov_run={run}", "--check"),
            *("-e", "ansible_connection=local"),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
    assert "has a reservation of run day for one.hello.demo; its runs are: night" in done.stdout
