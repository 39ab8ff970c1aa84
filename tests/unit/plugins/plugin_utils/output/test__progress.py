# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _progress
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output._progress import Wave


def test_a_wave_counts_all_and_names_those_that_are_not_ready() -> None:
    wave = Wave(2, [f"x{number}" for number in range(7)], 40)
    for host in ("x0", "x1"):
        wave.restart(host)
        wave.reach(host, _progress.WAITING)
        wave.reach(host, _progress.READY)
    wave.reach("x2", _progress.WAITING)
    wave.reach("x3", _progress.REFUSED, ["no IOMMU", "no\n driver"])
    wave.reach("x4", _progress.FAILED, "the host did not come back")
    wave.reach("x5", _progress.UNREACHABLE, "no route to host")
    wave.reach("of another wave", _progress.FAILED)

    assert wave.lines() == [
        "Wave 2, 7 hosts: 2 ready, 1 waiting for a restart, 1 refused, 1 failed, 1 not reached, "
        "1 stopped, since other hosts failed, 2 of these were restarted; 40 left",
        "  x2: waiting for a restart",
        "  x3: refused: no IOMMU; no driver",
        "  x4: failed: the host did not come back",
        "  x5: not reached: no route to host",
        "  x6: stopped, since other hosts failed",
    ]


def test_one_host() -> None:
    wave = Wave(1, ["x0"], 0)
    wave.restart("x0")
    wave.reach("x0", _progress.READY)
    assert wave.lines() == ["Wave 1, 1 host: 1 ready, 1 of these was restarted; 0 left"]
