# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result document: how a run for a materialization ended, as a whole and per host. PRIVATE.

docs/result.md describes the document.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _device_map, _files

VERSION = 1
"""The version of the document. A change that breaks its readers raises it."""

ACTIONS = {
    f"mergetb.sriov.{action}": action for action in ("materialize", "dematerialize", "release")
}
"""The action of a run, by the role that does it."""

EXIT_CODES = {"ok": 0, "failed": 2, "unreachable": 4, "refused": 10}
"""By outcome. The first three are those of ansible-playbook, which never ends with 10.

A run that was refused because a host was not reached ends with 4; see ``exit_code``.
"""

MODULE = "mergetb.sriov.materialization"
READERS = ("mergetb.sriov.materialization_hosts", "mergetb.sriov.materialization_info")
"""The actions that read a materialization."""


class Run(t.NamedTuple):
    """What is known of a run apart from its tasks. The times are UTC in ISO 8601.

    ``mzid`` is the id that the run was called with, None if it was called with none.
    """

    action: str
    hosts: t.Sequence[str]
    mzid: str | None
    check_mode: bool
    started: str
    ended: str


class Event(t.NamedTuple):
    """What a task returned on a host: ``ok``, ``failed`` or ``unreachable``.

    ``host`` is None for a task that runs once for all hosts. ``state`` and ``mzid`` are options of
    the module materialization, None for other tasks. ``check_mode`` is that of the task. ``reads``
    tells whether the task has read the materialization.
    """

    host: str | None
    status: str
    state: str | None
    check_mode: bool
    result: t.Mapping[str, t.Any]
    reads: bool = False
    mzid: str | None = None

    @property
    def plans(self) -> bool:
        """Whether the task tells what the run is going to change, or has changed."""
        return self.state is not None and self.state != "withdrawn"

    @property
    def writes(self) -> bool:
        """Whether the task may have changed VFs of the host."""
        return self.state in ("present", "absent") and not self.check_mode

    @property
    def changes(self) -> bool:
        """Whether the task has changed VFs of the host."""
        return self.writes and self.status == "ok" and bool(self.result.get("changed"))


def document(run: Run, events: t.Sequence[Event]) -> dict[str, t.Any]:
    """Return the result document of a run. ``events`` are in the order of time."""
    judged = list(_judged(events))
    hosts = {
        name: _host([item for item in judged if item[0].host == name], check_mode=run.check_mode)
        for name in sorted(run.hosts)
    }
    outcomes = {outcome for _event, outcome in judged}
    # A host that is not reached prevents changes on all others, as one that refuses does.
    if "unreachable" in outcomes and not any(event.writes for event in events):
        outcomes.add("refused")
        outcomes.discard("unreachable")
    # What goes host by host may have changed one before another refuses.
    if "refused" in outcomes and any(event.changes for event in events):
        outcomes.add("failed")
    messages = [
        _message(event) for event, outcome in judged if event.host is None and outcome != "ok"
    ]
    if not messages and (unasked := _unasked(run, events)):
        outcomes.add("refused")
        messages.append(
            f"host {unasked[0]} was not asked: it failed or was not reached earlier in the playbook"
        )
    if not hosts and not messages:
        outcomes.add("refused")
        messages.append("the inventory has no host that the play is for")
    found = _read(events)
    mzid = found.get("mzid") or _asked_for(events) or run.mzid or None
    leafs = found.get("leafs", []) if run.action == "materialize" else []
    given = _given(events, [name for name, host in hosts.items() if host["outcome"] == "ok"])
    return {
        "version": VERSION,
        "mzid": mzid,
        "action": run.action,
        "outcome": next(
            (it for it in ("failed", "unreachable", "refused") if it in outcomes), "ok"
        ),
        "message": "\n".join(messages) or None,
        "check_mode": run.check_mode,
        "started": run.started,
        "ended": run.ended,
        "hosts": hosts,
        "devices": _devices(given, mzid),
        "leafs": [leaf | {"guest_tagged": _guest_tagged(leaf, given)} for leaf in leafs],
    }


def exit_code(document: t.Mapping[str, t.Any]) -> int:
    """Return the exit code: that of the outcome, or 4 if a run was refused for want of a host."""
    outcomes = {host["outcome"] for host in document["hosts"].values()}
    refused = document["outcome"] == "refused"
    return EXIT_CODES[
        "unreachable" if refused and "unreachable" in outcomes else document["outcome"]
    ]


def _unasked(run: Run, events: t.Iterable[Event]) -> list[str]:
    """Return the hosts that no task was for, where some task was for a host."""
    asked = {event.host for event in events} - {None}
    return [host for host in run.hosts if asked and host not in asked]


def _judged(events: t.Iterable[Event]) -> t.Iterator[tuple[Event, str]]:
    """Yield each event with its outcome. A failure is a refusal until a task has written."""
    began = False
    for event in events:
        began = began or event.writes
        if event.status == "failed" and not began:
            yield event, "refused"
        else:
            yield event, event.status


def _host(judged: t.Iterable[tuple[Event, str]], *, check_mode: bool) -> dict[str, t.Any]:
    """Return what the document says of a host.

    If a task that writes did not end well, nobody knows whether it has changed something.
    """
    host = {"outcome": "untouched", "changed": False, "message": None, "changes": []}
    planned: list[dict[str, t.Any]] = []
    for event, outcome in judged:
        if outcome != "ok":
            host |= {"outcome": outcome, "message": _message(event)}
            if event.writes:
                host |= {"changed": None, "changes": planned}
        elif event.plans:
            planned = _changes(event.result.get("diff") or {"before": {}, "after": {}})
            if event.writes or check_mode:
                host["outcome"] = "ok"
                # A host that was through may be asked once more, in case another run came between.
                if event.result["changed"] or not host["changed"]:
                    host |= {"changed": event.result["changed"], "changes": planned}
    return host


def _message(event: Event) -> str:
    # With no_log, Ansible says only that it says nothing.
    return str(event.result.get("msg", event.result.get("censored", "")))


def _changes(diff: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    before, after = diff["before"], diff["after"]
    return [
        {"what": what, "before": before.get(what), "after": after.get(what)}
        for what in {**before, **after}
    ]


def _read(events: t.Sequence[Event]) -> t.Mapping[str, t.Any]:
    """Return what the task returned that read the materialization."""
    read = [event.result for event in events if event.reads and event.status == "ok"]
    return read[-1] if read else {}


def _asked_for(events: t.Sequence[Event]) -> str | None:
    """Return the ``mzid`` that the tasks were called with."""
    return next((event.mzid for event in reversed(events) if event.mzid), None)


def _given(events: t.Iterable[Event], hosts: t.Collection[str]) -> list[dict[str, t.Any]]:
    """Return what the module returned for the guest NICs of ``hosts``."""
    devices = {
        event.host: event.result.get("devices", [])
        for event in events
        if event.plans and event.status == "ok" and event.host in hosts
    }
    return [{**device, "host": host} for host in devices for device in devices[host]]


def _devices(given: list[dict[str, t.Any]], mzid: str | None) -> list[dict[str, t.Any]]:
    try:
        return _device_map.device_map(given, mzid or "")["devices"] if given else []
    except InputError:
        # The role makes the same map in a task. If that fails, its failure is among the events.
        return []


def _guest_tagged(leaf: t.Mapping[str, t.Any], given: list[dict[str, t.Any]]) -> list[int]:
    """Return the VLANs of a leaf's port whose tags the guests set, not the NIC."""
    return sorted(
        {
            device["vlan"]
            for device in given
            if (device["host"], device["pf"]) == (leaf["host"], leaf["pf"])
            and device.get("vlan_mode") == _device_map.TRUNK
        }
    )


def clear(path: str) -> None:
    """Remove the document of an earlier run.

    :raises InputError: it cannot be removed, or none could be written
    """
    path = _files.absolute(path)
    _files.require_writable(path)
    _files.remove(path)


def save(path: str, result: t.Mapping[str, t.Any]) -> None:
    """Write a document; a reader sees all of it or nothing.

    :raises InputError: it cannot be written
    """
    _files.write(_files.absolute(path), f"{json.dumps(result, indent=2)}\n".encode())
