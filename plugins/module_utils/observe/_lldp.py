# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lldpd has heard from the devices at the other ends of the host's cables (IEEE 802.1AB)."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

_SECONDS = 10
_SWITCHING = ("Bridge", "Router")


class Neighbour(t.NamedTuple):
    """A device and its port that a cable leads to; `None` for what the device does not tell.

    *port* is the port's name. *description* is what the port's owner calls it.
    """

    system: str | None
    port: str | None
    description: str | None


def neighbours(host: Host) -> dict[str, Neighbour] | None:
    """The neighbour of each interface that has one; `None` if the host cannot know any.

    That is so if lldpd is not installed, does not run, or does not answer.
    """
    if not host.has_command("lldpctl"):
        return None
    try:
        done = host.run(["lldpctl", "-f", "json0"], seconds=_SECONDS)
    except SriovError:
        return None
    try:
        return parse(done.out) if done.rc == 0 else None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def parse(text: str) -> dict[str, Neighbour]:
    """The neighbours in what `lldpctl -f json0` prints, by interface.

    Unlike that of `-f json`, its structure does not depend on how many there are: each element is a
    list of objects, and a text is their `value`. A document of another kind raises any error.
    """
    heard: dict[str, list[dict[str, t.Any]]] = {}
    for entry in json.loads(text)["lldp"][0].get("interface", []):
        heard.setdefault(entry["name"], []).append(entry)
    # A guest may speak on the wire too; the cable leads to the switch.
    return {
        interface: _neighbour(next(filter(_is_switch, entries), entries[0]))
        for interface, entries in heard.items()
    }


def _is_switch(entry: dict[str, t.Any]) -> bool:
    return any(
        capability.get("enabled") and capability.get("type") in _SWITCHING
        for chassis in entry.get("chassis", [])
        for capability in chassis.get("capability", [])
    )


def _neighbour(entry: dict[str, t.Any]) -> Neighbour:
    chassis = entry.get("chassis", [{}])[0]
    port = entry.get("port", [{}])[0]
    identity = port.get("id", [{}])[0]
    description = _value(port, "descr")
    name = identity.get("value")
    # lldpd on a switch with Linux gives the MAC as the port's id, and its name as description.
    if identity.get("type") == "mac" and description:
        name = description
    return Neighbour(_value(chassis, "name") or _value(chassis, "id"), name, description)


def _value(element: dict[str, t.Any], name: str) -> str | None:
    value: str | None = element.get(name, [{}])[0].get("value")
    return value
