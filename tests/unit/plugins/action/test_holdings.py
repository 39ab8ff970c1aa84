# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.tests.unit import acting

HOSTVARS: dict[str, dict[str, t.Any]] = {"x0": {"found": {"materializations": {}}}, "x1": {}}


def test_hosts_that_are_left_are_shown() -> None:
    result = acting.run("holdings", {"results": "found"}, HOSTVARS, left=["x0"])
    assert result == {"changed": False, "lines": ["nothing is held"]}


def test_unknown_materialization() -> None:
    result = acting.run("holdings", {"results": "found", "mzid": "six"}, HOSTVARS, left=["x0"])
    assert result["failed"]
    assert "holds anything for six" in result["msg"]
