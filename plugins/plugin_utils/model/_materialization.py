# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a materialization to the devices that it takes on each host. PRIVATE to the collection."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _leafs, _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import (
    InputError,
    Problems,
    listed,
)

_T = t.TypeVar("_T")

Pf = t.Mapping[str, t.Any]
"""An entry of the inventory's ``sriov_pfs``."""

VLANS = range(1, 4095)
MTUS = range(68, 65536)
"""From the smallest of IPv4 (RFC 791) to the largest that Linux takes."""


Offered = t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]]
"""What each host offers."""


def vfs(
    materialization: t.Any,
    pfs: t.Mapping[str, t.Sequence[Pf]],
    nics: Offered | None = None,
    functions: Offered | None = None,
) -> dict[str, t.Any]:
    """Return the devices that a materialization takes, after checking it against the inventory.

    :param materialization: the message ``Materialization``
    :param pfs: the ``sriov_pfs`` of every host that may be touched
    :param nics: the ``sriov_nics`` of these hosts, which give no VFs
    :param functions: what ``sriov_functions`` of these hosts has for this materialization
    :returns: ``mzid``; ``hosts``: for each host with a VF the list of its VFs, sorted by PF and
        index; ``functions``: for each host with a whole function the list of these, sorted by node
        and NIC; and ``leafs``: see ``_leafs.ports``. A VF has ``node``, ``nic``, ``link``, ``pf``
        (``name`` and ``mac``), ``vf_index``, ``mac``, ``vlan``, ``mtu`` in bytes or None, and
        ``addresses``. A function has ``node``, ``nic`` and ``function``. A NIC of the model also
        has ``link``, ``pf`` (its name), ``vlan``, ``mtu`` and ``addresses``
    :raises InputError: lists everything that is wrong
    """
    for host, offered in pfs.items():
        for pf in offered:
            if missing := {"name", "mac", "max_vfs"} - set(pf):
                raise InputError(f"pfs: a PF of host {host} lacks {', '.join(sorted(missing))}")
    for host, offered in (nics or {}).items():
        if not isinstance(offered, list) or not all(
            isinstance(nic, dict) and {"name", "mac"} <= set(nic) for nic in offered
        ):
            raise InputError(f"sriov_nics of host {host} must be a list of NICs with name and mac")
    reader = _MaterializationReader(materialization, pfs, nics or {}, functions or {})
    result = reader.read()
    if reader.problems:
        raise reader.problems.refusal(f"materialization {result['mzid']}")
    return result


def hosts(materialization: t.Any) -> set[str]:
    """Return the hosts that a materialization takes VFs or NICs of; nothing is checked."""
    return {
        endpoint.host
        for link in materialization.links
        for segment in link.realization.segments.values()
        for endpoint in segment.endpoints
        if endpoint.WhichOneof("interface") == "vf" or _is_whole(endpoint)
    }


def vm_hosts(materialization: t.Any) -> set[str]:
    """Return the hosts that its VMs are allocated on; nothing of it is checked."""
    return {vm.vm_alloc.resource for vm in materialization.vms} - {""}


def _is_whole(endpoint: t.Any) -> bool:
    """Return whether an endpoint is a whole NIC of a host, for a VM."""
    return endpoint.WhichOneof("interface") == "phy" and endpoint.virtual and bool(endpoint.host)


def mzid(materialization: t.Any) -> str:
    """Return the id of a materialization, ``rid.eid.pid``; nothing of it is checked."""
    return ".".join((materialization.rid, materialization.eid, materialization.pid))


class _MaterializationReader:
    """Reads to the end, whatever is wrong, and lists it in ``problems``."""

    def __init__(
        self,
        materialization: t.Any,
        pfs: t.Mapping[str, t.Sequence[Pf]],
        nics: Offered,
        functions: Offered,
    ) -> None:
        self.problems = Problems()
        self._materialization = materialization
        self._pfs = pfs
        self._nics = nics
        self._functions = functions
        self._uplinks: list[_leafs.Uplink] = []
        # The hosts of each node, and the MAC addresses of each NIC. Two of a kind contradict each
        # other.
        self._hosts: dict[str, dict[str, None]] = collections.defaultdict(dict)
        self._macs: dict[tuple[str, str], dict[str, None]] = collections.defaultdict(dict)
        for vm in materialization.vms:
            self._note(vm.vm_alloc)

    def _note(self, allocation: t.Any) -> None:
        if allocation.resource and len(self._hosts[allocation.node]) < 2:
            self._hosts[allocation.node][allocation.resource] = None
        for nic in allocation.NICs.alloc.values():
            for port in nic.alloc.values():
                macs = self._macs[allocation.node, port.name]
                if len(macs) < 2:
                    macs[port.mac] = None

    def read(self) -> dict[str, t.Any]:
        """Return the result of ``vfs``, with None for a value that is wrong."""
        ids = [
            self._checked(_names.MZID_PART.check, getattr(self._materialization, part), part)
            for part in ("rid", "eid", "pid")
        ]
        found = [
            (endpoint.host, self._vf(link, segment, endpoint))
            for link, segment in self._segments()
            for endpoint in segment.endpoints
            if endpoint.WhichOneof("interface") == "vf"
        ]
        whole = [
            (endpoint.host, self._nic(link, segment, endpoint))
            for link, segment in self._segments()
            for endpoint in segment.endpoints
            if _is_whole(endpoint)
        ]
        others = [
            (host, self._function(host, item))
            for host, items in self._functions.items()
            for item in items
        ]
        self._refuse_repeated(found)
        self._refuse_repeated_functions([*whole, *others], found)
        self._refuse_virtio([*found, *whole])
        self.problems.extend(
            _leafs.problems(self._uplinks, [segment for _link, segment in self._segments()])
        )
        hosts = collections.defaultdict(list)
        for host, vf in sorted(found, key=_order):
            hosts[host].append(vf)
        return {
            "mzid": ".".join(part or "?" for part in ids),
            "hosts": dict(hosts),
            "functions": _by_host([*whole, *others]),
            "leafs": _leafs.ports(self._uplinks),
        }

    def _checked(self, check: t.Callable[..., _T], *arguments: t.Any) -> _T | None:
        try:
            return check(*arguments)
        except InputError as error:
            self.problems.append(str(error))
            return None

    def _segments(self) -> t.Iterator[tuple[str, t.Any]]:
        for link in self._materialization.links:
            segments = link.realization.segments
            for number in sorted(segments):
                yield link.realization.link.id, segments[number]

    def _vf(self, link: str, segment: t.Any, endpoint: t.Any) -> dict[str, t.Any]:
        vf = endpoint.vf
        what = f"{_names.quoted(endpoint.node)} {_names.quoted(vf.virtif.name)}:"
        pf = self._checked(self._pf, endpoint.host, vf.parent.pf, what)
        if pf and vf.parent.vf_index >= pf["max_vfs"]:
            self.problems.append(
                f"{what} VF {vf.parent.vf_index}, but {_label(endpoint.host, pf)} has only VFs 0"
                f" to {pf['max_vfs'] - 1}"
            )
        self._note_uplink(pf, link, segment, endpoint, what, vf.vid)
        self._check_endpoint(link, segment, endpoint, what, vf.vid)
        return {
            "node": self._checked(_names.NODE.check, endpoint.node, f"{what} node"),
            "nic": self._checked(_names.NIC.check, vf.virtif.name, f"{what} NIC"),
            "link": self._checked(_names.link, link, f"{what} link"),
            "pf": {"name": pf["name"], "mac": pf["mac"]} if pf else None,
            "vf_index": vf.parent.vf_index,
            "mac": self._mac(endpoint, what),
            "vlan": vf.vid,
            "mtu": endpoint.mtu or None,
            "addresses": [
                self._checked(_names.interface_address, address, f"{what} address")
                for address in vf.addrs
            ],
        }

    def _nic(self, link: str, segment: t.Any, endpoint: t.Any) -> dict[str, t.Any]:
        """Return a whole NIC. Its guest sends without tag, on the VLAN of the segment."""
        name = self._nic_name(endpoint)
        what = f"{_names.quoted(endpoint.node)} {_names.quoted(name)}:"
        pf = self._checked(self._whole_pf, endpoint.host, endpoint.phy, what)
        vlan = segment.vid
        self._note_uplink(pf, link, segment, endpoint, what, vlan, access=True)
        self._check_endpoint(link, segment, endpoint, what, vlan)
        return {
            "node": self._checked(_names.NODE.check, endpoint.node, f"{what} node"),
            "nic": self._checked(_names.NIC.check, name, f"{what} NIC"),
            "link": self._checked(_names.link, link, f"{what} link"),
            "function": pf["mac"] if pf else None,
            "pf": pf["name"] if pf else None,
            "vlan": vlan,
            "mtu": endpoint.mtu or None,
            "addresses": [],
        }

    def _note_uplink(
        self,
        pf: Pf | None,
        link: str,
        segment: t.Any,
        endpoint: t.Any,
        what: str,
        vlan: int,
        *,
        access: bool = False,
    ) -> None:
        """Note the leaf's port that the PF is cabled to, if the model tells it."""
        if pf and (leaf := pf.get("leaf")):
            self._uplinks.append(
                _leafs.Uplink(
                    what=what,
                    host=endpoint.host,
                    pf=pf["name"],
                    leaf=leaf["host"],
                    port=leaf["port"],
                    link=link,
                    segment=segment,
                    vlan=vlan,
                    access=access,
                )
            )

    def _nic_name(self, endpoint: t.Any) -> str:
        """Return the guest's name of a whole NIC: the port of its VM that has the NIC's MAC.

        If no port has it, the guest calls the NIC what the host calls it.
        """
        for (node, name), macs in self._macs.items():
            if node == endpoint.node and any(
                mac and _names.same_mac(mac, endpoint.phy.mac) for mac in macs
            ):
                return name
        return str(endpoint.phy.name)

    def _function(self, host: str, item: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Return an item of ``sriov_functions``."""
        node, nic = item.get("node"), item.get("nic")
        what = f"sriov_functions of {host}: {_names.quoted(str(node))} {_names.quoted(str(nic))}:"
        if unknown := set(item) - _FUNCTION_KEYS:
            self.problems.append(f"{what} unknown key {_names.quoted(str(min(unknown, key=str)))}")
        function = item.get("function")
        if not isinstance(function, str) or len(function) > _LONGEST_SELECTOR:
            self.problems.append(
                f"{what} function must be a text: a PCI address, vendor:device or a class"
            )
            function = None
        if not isinstance(item.get("driver"), (str, type(None))):
            self.problems.append(f"{what} driver must be a text")
        if not isinstance(item.get("console", False), bool):
            self.problems.append(f"{what} console must be true or false")
        allocated = self._hosts.get(str(node), {})
        if host not in allocated:
            where = ", ".join(allocated) or "no host"
            self.problems.append(f"{what} its VM is allocated on {where}")
        return {
            **{key: value for key, value in item.items() if key in _FUNCTION_KEYS},
            "function": function,
            "node": self._checked(_names.NODE.check, str(node), f"{what} node"),
            "nic": self._checked(_names.NIC.check, str(nic), f"{what} nic"),
        }

    def _refuse_repeated_functions(
        self, whole: list[tuple[str, dict[str, t.Any]]], vfs: list[tuple[str, dict[str, t.Any]]]
    ) -> None:
        nics = collections.Counter((vf["node"], vf["nic"]) for _host, vf in [*vfs, *whole])
        for node, nic in {(item["node"], item["nic"]) for _host, item in whole}:
            if node and nic and nics[node, nic] > 1:
                self.problems.append(f"NIC {node} {nic} is taken {nics[node, nic]} times")
        taken = collections.Counter((host, item["function"]) for host, item in whole)
        for (host, function), count in taken.items():
            if function and count > 1:
                self.problems.append(f"{function} of {host} is taken {count} times as a whole")
        with_vfs = {(host, vf["pf"]["mac"]) for host, vf in vfs if vf["pf"]}
        for host, item in whole:
            if (host, item["function"]) in with_vfs:
                self.problems.append(
                    f"PF {item.get('pf')} of {host} is taken as a whole, and VFs of it"
                )

    def _check_endpoint(
        self, link: str, segment: t.Any, endpoint: t.Any, what: str, vlan: int
    ) -> None:
        """See that it agrees with its VM, its segment, and what a NIC can have."""
        for host in self._hosts.get(endpoint.node, ()):
            if host != endpoint.host:
                self.problems.append(
                    f"{what} host {_names.quoted(endpoint.host)}, but its VM is allocated on"
                    f" {_names.quoted(host)}"
                )
        if vlan not in VLANS:
            self.problems.append(f"{what} VLAN {vlan} is outside 1 to 4094")
        if vlan != segment.vid:
            self.problems.append(
                f"{what} VLAN {vlan}, but its segment of link {_names.quoted(link)} has"
                f" {segment.vid}"
            )
        if endpoint.mtu and endpoint.mtu not in MTUS:
            self.problems.append(f"{what} MTU {endpoint.mtu} is outside 68 to 65535")

    def _whole_pf(self, host: str, interface: t.Any, what: str) -> Pf:
        """Return the NIC that is meant, as `_pf` does, also if it gives no VFs."""
        return self._pf(host, interface, what, whole=True)

    def _pf(self, host: str, interface: t.Any, what: str, *, whole: bool = False) -> Pf:
        """Return the PF that is meant, with the MAC address by which its host finds it.

        If the facility model gives the PF no name, its MAC address is its name.
        """
        if host not in self._pfs:
            raise InputError(f"{what} host {_names.quoted(host)} is not in this play")
        mac = _names.mac(interface.mac, f"{what} MAC of the PF") if interface.mac else None
        pfs = [*self._pfs[host], *(self._nics.get(host, ()) if whole else ())]
        for pf in pfs:
            if _is_meant(pf, mac, interface.name):
                if not (pf["mac"] or mac):
                    raise InputError(
                        f"{what} PF {_names.quoted(interface.name)} of {host} has no MAC address"
                        " in the facility model: add it there"
                    )
                known = pf["mac"] or mac
                return {**pf, "name": pf["name"] or known, "mac": known}
        offered = listed([f"{pf['name']} ({pf['mac']})" for pf in pfs])
        raise InputError(
            f"{what} PF {_names.quoted(interface.name)} ({mac}) is none that {host} offers:"
            f" {offered or 'it offers no PF'}"
        )

    def _mac(self, endpoint: t.Any, what: str) -> str | None:
        """Return the MAC address of a VF's endpoint.

        All places that give it must agree.
        """
        vf = endpoint.vf
        given = [
            ("endpoint", endpoint.mac),
            ("frontend", vf.virtif.mac),
            ("VF", vf.parent.mac),
            *(("allocation", mac) for mac in self._macs.get((endpoint.node, vf.virtif.name), ())),
        ]
        places = collections.defaultdict(list)
        for place, value in given:
            if value and (mac := self._checked(_names.mac, value, f"{what} MAC of the {place}")):
                places[mac].append(place)
        if not any(value for _place, value in given):
            self.problems.append(f"{what} it has no MAC address")
        if len(places) > 1:
            told = ", ".join(f"{mac} ({' and '.join(names)})" for mac, names in places.items())
            self.problems.append(f"{what} its MAC addresses disagree: {told}")
        return next(iter(places)) if len(places) == 1 else None

    def _refuse_repeated(self, found: list[tuple[str, dict[str, t.Any]]]) -> None:
        users = collections.defaultdict(list)
        for host, vf in found:
            nic = f"{vf['node']} {vf['nic']}"
            if vf["node"] and vf["nic"]:
                users[f"NIC {nic}"].append(f"link {vf['link']}")
            if vf["pf"]:
                users[f"VF {vf['vf_index']} of {_label(host, vf['pf'])}"].append(nic)
            if vf["mac"]:
                users[f"MAC address {vf['mac']}"].append(nic)
        for host, pfs in self._pfs.items():
            for pf in pfs:
                if f"MAC address {pf['mac']}" in users:
                    users[f"MAC address {pf['mac']}"].append(_label(host, pf))
        for what, names in users.items():
            if len(names) > 1:
                self.problems.append(f"{what} is taken {len(names)} times: {listed(names)}")

    def _refuse_virtio(self, found: list[tuple[str, dict[str, t.Any]]]) -> None:
        """Refuse VFs on a PF that carries virtio links: frames of one get lost on the other.

        Source: MergeTB, mars merge request 113.
        """
        taken: dict[str, dict[str, Pf]] = collections.defaultdict(dict)
        for host, item in found:
            pf = item["pf"]
            if pf:
                # A whole NIC has its name and MAC beside each other.
                pf = pf if isinstance(pf, dict) else {"name": pf, "mac": item["function"]}
                taken[host][_label(host, pf)] = pf
        for link, segment in self._segments():
            for host, interface in _virtio(segment):
                for label, pf in taken.get(host, {}).items():
                    if not interface or not (interface.name or interface.mac):
                        self.problems.append(
                            f"link {_names.quoted(link)} comes to {host} by virtio without naming"
                            f" its PF, but the materialization takes a VF of {label}"
                        )
                    elif interface.name == pf["name"] or _names.same_mac(interface.mac, pf["mac"]):
                        self.problems.append(
                            f"link {_names.quoted(link)} comes to {host} by virtio on {label},"
                            " and the materialization takes a VF of it; one PF cannot serve both"
                        )


_LONGEST_SELECTOR = 32
_FUNCTION_KEYS = {"node", "nic", "function", "driver", "console"}


def _by_host(
    found: t.Iterable[tuple[str, dict[str, t.Any]]],
) -> dict[str, list[dict[str, t.Any]]]:
    hosts: dict[str, list[dict[str, t.Any]]] = collections.defaultdict(list)
    for host, item in sorted(found, key=lambda each: (each[0], str(each[1]["node"]))):
        hosts[host].append(item)
    return {
        host: sorted(items, key=lambda item: (str(item["node"]), str(item["nic"])))
        for host, items in hosts.items()
    }


def _virtio(segment: t.Any) -> t.Iterator[tuple[str, t.Any]]:
    """Yield host and physical interface of each link of a segment that uses no VF.

    The interface is None if it has no name.
    """
    named = set()
    for point in (*segment.endpoints, *segment.waypoints):
        match point.WhichOneof("interface"):
            case "vlan":
                interface = point.vlan.parent
            case "trunk":
                interface = point.trunk.port
            case "access":
                interface = point.access.port
            case _:
                continue
        named.add(point.host)
        yield point.host, interface
    for waypoint in segment.waypoints:
        # A tap names no interface; the other endpoints of its host do.
        if waypoint.WhichOneof("interface") == "tap" and waypoint.host not in named:
            yield waypoint.host, None


def _is_meant(pf: Pf, mac: str | None, name: str) -> bool:
    """Return whether a PF has this MAC address, or this name if one side has no MAC address."""
    if pf["mac"] and mac:
        return bool(pf["mac"] == mac)
    return name != "" and pf["name"] == name


def _label(host: str, pf: Pf) -> str:
    return f"PF {pf['name'] or pf['mac']} on {host}"


def _order(found: tuple[str, dict[str, t.Any]]) -> tuple[str, str, str, int]:
    host, vf = found
    pf = vf["pf"] or {}
    return host, pf.get("name") or "", pf.get("mac") or "", vf["vf_index"]
