# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VLANs that the ports of leaf switches must carry for guests. PRIVATE to the collection.

A NIC sends every frame of a VF with the VLAN's tag and takes only such frames for the VF, so the
port of the leaf must carry the VLAN tagged. The waypoints of a materialization tell what it gives
to which port. The port of a NIC that a guest has as a whole is in access mode, because nobody tags
there. If a materialization has no waypoint at a leaf, somebody else sets that leaf up.
"""

from __future__ import annotations

import collections
import itertools
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import listed

_VLANS = frozenset(range(1, 4095))
_TOLD = 2
"""How many waypoints of one port count; there should be only one."""


class Uplink(t.NamedTuple):
    """A guest's NIC, and the port of the leaf that its PF is cabled to.

    ``what`` names the NIC in messages. ``port`` is None if the facility model does not name it.
    ``link`` and ``segment`` are those of the materialization.
    """

    what: str
    host: str
    pf: str
    leaf: str
    port: str | None
    link: str
    segment: t.Any
    vlan: int
    access: bool = False


def ports(uplinks: t.Iterable[Uplink]) -> list[dict[str, t.Any]]:
    """Return for each port its ``leaf``, ``port``, ``host``, ``pf`` and VLANs, all sorted.

    ``vlans`` are tagged. A port of mode ``access`` has none, but an ``access_vlan``.
    """
    vlans: dict[tuple[str, str, str, str], set[int]] = collections.defaultdict(set)
    access: dict[tuple[str, str, str, str], int] = {}
    for uplink in uplinks:
        key = uplink.leaf, uplink.port or "", uplink.host, uplink.pf
        tagged = vlans[key]
        if uplink.access:
            access[key] = uplink.vlan
        else:
            tagged.add(uplink.vlan)
    return [
        {
            "leaf": leaf,
            "port": port or None,
            "host": host,
            "pf": pf,
            "mode": "access" if (leaf, port, host, pf) in access else "trunk",
            "vlans": sorted(carried),
            "access_vlan": access.get((leaf, port, host, pf)),
        }
        for (leaf, port, host, pf), carried in sorted(vlans.items())
    ]


def problems(uplinks: t.Sequence[Uplink], segments: t.Iterable[t.Any]) -> t.Iterator[str]:
    """Yield how the waypoints of a materialization contradict what its VFs need.

    :param segments: all segments of the materialization
    """
    described = {
        waypoint.host
        for segment in segments
        for waypoint in segment.waypoints
        if _port(waypoint) is not None
    }
    # All NICs of one segment lack the same at a port, so it is worked out once.
    ports: dict[int, dict[tuple[str, str], list[_Carried]]] = {}
    lacking: dict[tuple[int, str, str, int], list[str]] = {}
    for uplink in uplinks:
        if uplink.port is None or uplink.leaf not in described:
            continue
        segment = id(uplink.segment)
        if segment not in ports:
            ports[segment] = _by_port(uplink.segment)
        key = segment, uplink.leaf, uplink.port, uplink.vlan
        if key not in lacking:
            waypoints = ports[segment].get((uplink.leaf, uplink.port), [])
            wrong = _not_access(uplink, waypoints) if uplink.access else _lacking(uplink, waypoints)
            lacking[key] = list(itertools.islice(wrong, _TOLD))
        yield from (f"{uplink.what} {what}" for what in lacking[key])
    yield from _shared_vlans(uplinks)


class _Carried(t.NamedTuple):
    """The VLANs that a waypoint carries.

    ``untagged`` is None if it carries all without a tag. ``tagged`` has a set for each list. Lists
    may be long and full of repetitions, so this goes through them once. ``access`` is the VLAN of a
    port in access mode.
    """

    untagged: set[int] | None
    tagged: list[set[int]]
    access: int | None


def _by_port(segment: t.Any) -> dict[tuple[str, str], list[_Carried]]:
    """Return what the waypoints of a segment carry by leaf and port, as far as they tell."""
    found: dict[tuple[str, str], list[_Carried]] = collections.defaultdict(list)
    for waypoint in segment.waypoints:
        port = _port(waypoint)
        if port is not None and len(found[waypoint.host, port]) < _TOLD:
            found[waypoint.host, port].append(_carried(waypoint))
    return found


def _carried(waypoint: t.Any) -> _Carried:
    bridge = waypoint.bridge
    access = waypoint.WhichOneof("interface") == "access"
    return _Carried(
        None if access else {*_VLANS.intersection(bridge.untagged), bridge.pvid},
        [
            set(_VLANS.intersection(vlans))
            for vlans in (waypoint.trunk.vids, bridge.tagged)
            if vlans
        ],
        waypoint.access.vid if access else None,
    )


def _port(waypoint: t.Any) -> str | None:
    """Return the name of the port that a waypoint is about; None if it is about something else."""
    kind = waypoint.WhichOneof("interface")
    return getattr(waypoint, kind).port.name if kind in ("access", "trunk") else None


def _lacking(uplink: Uplink, waypoints: t.Sequence[_Carried]) -> t.Iterator[str]:
    where = f"port {uplink.port} of leaf {uplink.leaf}"
    if not waypoints:
        yield (
            f"PF {uplink.pf} of {uplink.host} is cabled to {where}, where link"
            f" {_names.quoted(uplink.link)} has no waypoint to carry VLAN {uplink.vlan}"
        )
    for waypoint in waypoints:
        if waypoint.untagged is None or uplink.vlan in waypoint.untagged:
            yield (
                f"VLAN {uplink.vlan} must be tagged, but the waypoint at {where} has it untagged"
            )
            continue
        if not waypoint.tagged or any(uplink.vlan not in vlans for vlans in waypoint.tagged):
            told = sorted(set().union(*waypoint.tagged) - {uplink.vlan})
            yield (
                f"VLAN {uplink.vlan}, but the waypoint at {where} has"
                f" {listed([str(vlan) for vlan in told]) or 'no VLAN'}"
            )


def _not_access(uplink: Uplink, waypoints: t.Sequence[_Carried]) -> t.Iterator[str]:
    where = f"port {uplink.port} of leaf {uplink.leaf}"
    if not waypoints:
        yield (
            f"NIC {uplink.pf} of {uplink.host} is cabled to {where}, where link"
            f" {_names.quoted(uplink.link)} has no waypoint of access mode with VLAN {uplink.vlan}"
        )
    for waypoint in waypoints:
        if waypoint.access is None:
            yield f"the NIC is whole, but the waypoint at {where} is not in access mode"
        elif waypoint.access != uplink.vlan:
            yield f"VLAN {uplink.vlan}, but the waypoint at {where} has VLAN {waypoint.access}"


def _shared_vlans(uplinks: t.Iterable[Uplink]) -> t.Iterator[str]:
    """Yield the VLANs of a leaf that would join several networks to one."""
    networks: dict[tuple[str, int], dict[t.Any, str]] = collections.defaultdict(dict)
    for uplink in uplinks:
        vni = uplink.segment.vni
        told = f"{_names.quoted(uplink.link)}{f' (VNI {vni})' if vni else ''}"
        networks[uplink.leaf, uplink.vlan].setdefault(vni or uplink.link, told)
    for (leaf, vlan), links in networks.items():
        if len(links) > 1:
            yield (
                f"{len(links)} links share VLAN {vlan} of leaf {leaf}: {listed([*links.values()])}"
            )
