# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _progress
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output._progress import Wave


def test_a_wave_counts_all_and_names_those_that_are_not_ready() -> None:
    wave = Wave(2, [f"x{number}" for number in range(7)], 40)
    for host in ("x0", "x1"):
        wave.reach(host, _progress.WAITING)
        wave.restart(host)
        wave.reach(host, _progress.READY)
    wave.reach("x2", _progress.WAITING)
    wave.reach("x3", _progress.REFUSED, ["no IOMMU", "no\n driver"])
    wave.reach("x4", _progress.FAILED, "the host did not come back")
    wave.reach("x5", _progress.UNREACHABLE, "no route to host")
    wave.reach("of another wave", _progress.FAILED)

    told = [
        "Wave 2, 7 hosts: 2 ready, 1 waiting for a restart, 1 refused, 1 failed, 1 not reached, "
        "1 not prepared to the end, 2 of these restarted; 40 left",
        "  x2: waiting for a restart",
        "  x3: refused: no IOMMU; no driver",
        "  x4: failed: the host did not come back",
        "  x5: not reached: no route to host",
        "  x6: not prepared to the end",
    ]
    assert wave.lines(goes_on=True) == told
    *lines, advice = wave.lines(goes_on=False)
    assert lines == told
    assert "40 left, because too many hosts failed in this wave. Mend them" in advice


def test_a_run_that_somebody_ended_is_not_told_as_one_that_failed() -> None:
    wave = Wave(1, ["x0"], 2)
    wave.reach("x0", _progress.READY)
    assert "failed" not in wave.lines(goes_on=False)[-1]


def test_a_restart_ends_the_waiting_for_it() -> None:
    wave = Wave(1, ["x0"], 0)
    wave.reach("x0", _progress.WAITING)
    wave.restart("x0")
    assert wave.lines(goes_on=False) == [
        "Wave 1, 1 host: 0 ready, 1 not prepared to the end, 1 of these restarted; 0 left",
        "  x0: not prepared to the end",
    ]


def test_check_mode_tells_what_would_be() -> None:
    wave = Wave(1, ["x0"], 0, check_mode=True)
    wave.restart("x0")
    wave.reach("x0", _progress.READY)
    assert wave.lines(goes_on=False) == [
        "Wave 1, 1 host would be: 1 ready, 1 of these restarted; 0 left"
    ]


def test_a_message_does_not_draw_on_the_terminal() -> None:
    wave = Wave(1, ["x0"], 0)
    wave.reach("x0", _progress.FAILED, "\x1b[1A\nWave 1, 1 host: 1 ready; 0 left\u202e")
    assert wave.lines(goes_on=False)[1:] == [
        "  x0: failed: \\x1b[1A Wave 1, 1 host: 1 ready; 0 left\\u202e"
    ]
