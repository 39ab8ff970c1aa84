# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed, and runs at once, on a real kernel."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

KILL_RUNS = Path(__file__).with_name("kill_runs.py")
VFS = 2


def test_a_run_that_is_killed_at_any_step_is_finished_by_the_next(
    machines: dict[str, t.Any], pfs: dict[str, list[dict[str, t.Any]]]
) -> None:
    x0 = machines["x0"]
    x0.check_output("printf %%s %s > /run/kill_runs.py", KILL_RUNS.read_text())
    macs = " ".join(pf["mac"] for pf in pfs["x0"])

    points = json.loads(x0.check_output(f"python3 /run/kill_runs.py {VFS} {macs}"))

    assert points.keys() == {"materialize", "change", "restore", "dematerialize"}
    assert all(count >= 3 * VFS for count in points.values()), points
