# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import re
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play import _agreement

AGREED = {"changed": True, "devices": []}
FAILED = {"failed": True, "msg": "VF is in use"}
UNREACHABLE = {"unreachable": True, "msg": "no route to host"}
SKIPPED = {"skipped": True, "skip_reason": "Conditional result was False"}


@pytest.mark.parametrize(
    ("reserved", "looked", "agreed"),
    [
        (AGREED, None, True),
        (AGREED, {}, True),
        (AGREED, SKIPPED, True),
        (AGREED, AGREED, True),
        (AGREED, FAILED, False),
        (AGREED, UNREACHABLE, False),
        (AGREED, {"changed": False}, False),
        (AGREED | FAILED, None, False),
        (FAILED, None, False),
        (UNREACHABLE, None, False),
        (SKIPPED, None, False),
        ({}, None, False),
        (None, None, False),
    ],
)
def test_only_an_answer_is_an_agreement(
    reserved: dict[str, t.Any] | None, looked: dict[str, t.Any] | None, agreed: bool
) -> None:
    missing = _agreement.missing({"x0": AGREED, "x1": reserved}, {"x0": None, "x1": looked})
    assert missing == ([] if agreed else ["x1"])


@pytest.mark.parametrize("idle", [{}, None, FAILED, AGREED, {"steps": {}}])
def test_any_host_with_steps_is_a_change(idle: dict[str, t.Any] | None) -> None:
    assert _agreement.changes({"x0": idle, "x1": {"steps": {"ens1f0 VF 0": ["vlan 100"]}}})
    assert not _agreement.changes({"x0": idle, "x1": AGREED})


def test_older_runs_sort_first() -> None:
    early = datetime.datetime(2026, 11, 20, 9, tzinfo=datetime.timezone.utc)
    names = [_agreement.run_name(early + datetime.timedelta(hours=hours)) for hours in range(30)]
    assert names == sorted(names)
    assert re.fullmatch("2026-11-20T09:00:00Z-[0-9a-f]{6}", names[0])
    assert len({_agreement.run_name(early) for _run in range(10)}) > 1
