# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import jsonschema
import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _plan
from ansible_collections.mergetb.sriov.tests.unit.plans import BLOCKED, READY, REBOOT, SCHEMA, check


def planned(results: dict[str, t.Any], mzid: str = "") -> dict[str, t.Any]:
    return check(_plan.document(results, mzid=mzid))


def test_all_hosts_are_in_the_document() -> None:
    results = {
        "x0": {**REBOOT, "changed": False},
        "x1": BLOCKED,
        "x2": {"unreachable": True, "msg": "no route to host"},
        "x3": {"failed": True, "msg": "this takes root"},
    }
    document = planned(results)
    assert document["summary"] == {
        "ready": 0,
        "change": 0,
        "reboot": 1,
        "blocked": 2,
        "unreachable": 1,
    }
    assert document["hosts"]["x0"] == REBOOT
    assert document["hosts"]["x2"]["state"] == "unreachable"
    assert document["hosts"]["x3"]["blockers"] == [{"role": "plan", "message": "this takes root"}]


def test_the_action_is_told() -> None:
    assert planned({"x0": READY})["action"] == "prepare"
    assert planned({"x0": READY}, "one.hello.demo")["action"] == "materialize"


def test_hosts_that_are_alike_are_told_of_once() -> None:
    text = _plan.lines(planned({"x0": REBOOT, "x1": READY, "x2": REBOOT}))
    assert text == [
        "x0, x2: needs restart",
        "  iommu         boot entries of grub: make again, add iommu=pt",
        "  reboot        host: reboot",
        "  VF 0 (0000:01:10.0) of PF 0000:01:00.0 goes away during the reboot: process 4711"
        " (qemu-system-x86, guest alpha) has /dev/vfio/42 open",
        "",
        "HOST  STATE          RESTART  STEPS  VFs IN USE",
        "x0    needs restart  reboot   3      1",
        "x1    ready          -        0      0",
        "x2    needs restart  reboot   3      1",
        "",
        "3 hosts: 1 ready, 2 needs restart",
    ]


def test_what_blocks_is_told() -> None:
    text = _plan.lines(planned({"x0": BLOCKED}))
    assert text[:3] == [
        "x0: blocked",
        "  BLOCKED at preflight: ens1f0: it has no driver; load it",
        "  note: it has no Advanced Error Reporting",
    ]


def test_schema_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for wrong in (
        {**planned({}), "version": 2},
        planned({}) | {"hosts": {"x0": {**READY, "state": "fine"}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check(wrong)
