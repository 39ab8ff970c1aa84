# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.tests.unit import acting

AGREED = {"devices": [], "steps": {"ens1f0 VF 0": ["vlan 100"]}}
OPTIONS = {"reserved": "reserved", "looked": "looked", "given": "given"}


def test_hosts_are_judged_by_their_answers() -> None:
    hostvars: dict[str, dict[str, t.Any]] = {
        "x0": {"reserved": AGREED},
        "x1": {"reserved": AGREED, "looked": {"failed": True, "msg": "another run came"}},
        "x2": {},
    }
    result = acting.run("agreement", OPTIONS, hostvars, left=["x0"])
    assert result == {"changed": False, "missing": ["x1", "x2"], "lost": [], "changes": True}


def test_all_agree() -> None:
    hostvars: dict[str, dict[str, t.Any]] = {
        "x0": {"reserved": {"devices": [], "steps": {}}, "looked": {}}
    }
    result = acting.run("agreement", OPTIONS, hostvars, check=True)
    assert result == {"changed": False, "missing": [], "lost": [], "changes": False}


def test_another_run_came_between() -> None:
    lost = {"failed": False, "lost": True, "msg": "run b has reserved other VFs"}
    hostvars: dict[str, dict[str, t.Any]] = {
        "x0": {"reserved": AGREED, "given": AGREED},
        "x1": {"reserved": AGREED, "given": lost},
    }
    assert acting.run("agreement", OPTIONS, hostvars)["lost"] == ["x1"]
