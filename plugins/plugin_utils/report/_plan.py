# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plans of all hosts as one document, and that as text. PRIVATE to the collection.

docs/plan.md describes the document.
"""

from __future__ import annotations

import itertools
import json
import typing as t

VERSION = 1
"""The version of the document. A change that breaks its readers raises it."""

STATES = {
    "ready": "ready",
    "change": "will change",
    "reboot": "needs restart",
    "blocked": "blocked",
    "unreachable": "unreachable",
}
"""The states of a host, each with its words in the table."""

_PLAN = ("state", "restart", "steps", "blockers", "notes", "disturbed")


def document(results: t.Mapping[str, t.Mapping[str, t.Any]], *, mzid: str) -> dict[str, t.Any]:
    """Return the document of the ``results`` of the module plan_info, by host.

    :param mzid: id of the materialization that was planned; empty if the preparation was
    """
    hosts = {name: _host(result) for name, result in results.items()}
    return {
        "version": VERSION,
        "action": "materialize" if mzid else "prepare",
        "mzid": mzid or None,
        "summary": {
            state: sum(host["state"] == state for host in hosts.values()) for state in STATES
        },
        "hosts": hosts,
    }


def _host(result: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if "state" in result:
        return {key: result[key] for key in _PLAN}
    unreachable = result.get("unreachable", False)
    return {
        "state": "unreachable" if unreachable else "blocked",
        "restart": None,
        "steps": [],
        "blockers": [{"role": "plan", "message": str(result.get("msg", "the module failed"))}],
        "notes": [],
        "disturbed": [],
    }


def lines(document: t.Mapping[str, t.Any]) -> list[str]:
    """Return a document as text: what the run does to which hosts, then a table of the hosts."""
    hosts = document["hosts"]
    text: list[str] = []
    for names, host in _alike(hosts):
        about = _about(host)
        if about:
            text += [f"{', '.join(names)}: {STATES[host['state']]}", *about, ""]
    rows = [("HOST", "STATE", "RESTART", "STEPS", "VFs IN USE")]
    rows += [
        (
            name,
            STATES[host["state"]],
            host["restart"] or "-",
            str(len(host["steps"])),
            str(sum(bool(vf["users"]) for vf in host["disturbed"])),
        )
        for name, host in hosts.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    counts = [f"{count} {STATES[state]}" for state, count in document["summary"].items() if count]
    return [*text, "", f"{len(hosts)} hosts: {', '.join(counts)}"]


def _alike(
    hosts: t.Mapping[str, dict[str, t.Any]],
) -> t.Iterator[tuple[list[str], dict[str, t.Any]]]:
    """Yield the plan of hosts that have the same one, with their names; most hosts are alike."""
    names: dict[str, list[str]] = {}
    for name, host in hosts.items():
        names.setdefault(json.dumps(host, sort_keys=True), []).append(name)
    for group in names.values():
        yield group, hosts[group[0]]


def _about(host: t.Mapping[str, t.Any]) -> list[str]:
    steps = itertools.groupby(host["steps"], key=lambda step: (step["role"], step["element"]))
    return [
        *(
            f"  {role:<12}  {element}: {', '.join(step['action'] for step in actions)}"
            for (role, element), actions in steps
        ),
        *(f"  BLOCKED at {item['role']}: {item['message']}" for item in host["blockers"]),
        *(f"  note: {note}" for note in host["notes"]),
        *(f"  {_disturbance(vf)}" for vf in host["disturbed"]),
    ]


def _disturbance(vf: t.Mapping[str, t.Any]) -> str:
    what = "is destroyed" if vf["by"] == "destroyed" else "goes away during the reboot"
    users = "; ".join(vf["users"]) or "nobody uses it"
    return f"VF {vf['vf']} ({vf['address']}) of PF {vf['pf']} {what}: {users}"
