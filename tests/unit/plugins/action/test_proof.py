# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

from ansible_collections.mergetb.sriov.tests.unit import acting

DEVICES = [{"mac": "02:00:00:00:00:01", "vlan": 100}]


def console(text: bytes) -> dict[str, t.Any]:
    return {"logs": {"results": [{"content": base64.b64encode(text).decode()}]}}


def test_the_guests_of_all_hosts_and_all_wires_count() -> None:
    flow = {"source": "02:00:00:00:00:01", "vlan": 100, "frames": 3}
    arguments = {"consoles": "logs", "captures": [{"flows": [flow]}], "devices": DEVICES}
    hostvars = {"x0": console(b"guest: ping 10.0.1.1 ok\n"), "x1": {"logs": {"results": []}}}
    assert acting.run("proof", arguments, hostvars) == {
        "changed": False,
        "proven": True,
        "answered": ["10.0.1.1"],
        "lost": [],
        "stray": [],
        "unseen": [],
    }

    hostvars["x1"] = console(b"\xff guest: ping 10.0.1.9 lost\n")
    result = acting.run("proof", arguments, hostvars)
    assert (result["proven"], result["lost"]) == (False, ["ping 10.0.1.9 lost"])


def test_a_host_without_guests_told_nothing() -> None:
    arguments: dict[str, t.Any] = {"consoles": "logs", "captures": [], "devices": DEVICES}
    assert "host x0 has no variable logs" in acting.run("proof", arguments, {"x0": {}})["msg"]
