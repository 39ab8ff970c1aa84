# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A materialization for a facility that has no portal to make it. PRIVATE to the collection.

docs/allocation.md tells the rules.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate import _placement
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import (
    _known,
    _names,
    _schema,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import (
    InputError,
    Problems,
    listed,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._materialization import VLANS

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate._experiment import Nic

_REMEDY = (
    "\nDematerialize another experiment, give the PFs more VFs with mergetb.sriov.prepare, or ask"
    " for less."
)


@dataclasses.dataclass(frozen=True)
class Supply:
    """What the VFs are chosen from; each mapping is by the name of a host.

    ``pfs`` are the inventory's ``sriov_pfs``, and ``found`` the results of ``sriov_info``: of now,
    of an earlier run, or failed if nobody ever saw the host. ``excluded`` has the names and MAC
    addresses of PFs that must give no VF.
    """

    pfs: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]]
    found: t.Mapping[str, t.Mapping[str, t.Any]]
    excluded: t.Mapping[str, t.Collection[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Function:
    """A PF as its host has it.

    ``name`` and ``mac`` may be empty. ``taken`` are the indexes of the VFs that are not free, and
    ``rates`` is the most that each of these may send, in Mbit/s.
    """

    host: str
    name: str
    mac: str
    count: int
    model: str | None
    capacity: int | None
    leaf: t.Mapping[str, t.Any]
    numa_node: int | None
    unusable: str | None
    taken: set[int] = dataclasses.field(default_factory=set)
    rates: dict[int, int] = dataclasses.field(default_factory=dict)

    @property
    def domain(self) -> str | None:
        """The leaf domain; None if no leaf is known."""
        return self.leaf.get("domain") or self.leaf.get("host")

    @property
    def bandwidth(self) -> int | None:
        """What is left of its capacity, in bit/s; None if the model does not tell."""
        if self.capacity is None:
            return None
        return max(0, self.capacity - sum(self.rates.values()) * 1_000_000)

    @property
    def free(self) -> list[int]:
        """The indexes of the VFs that are free."""
        return [index for index in range(self.count) if index not in self.taken]


class Choice(t.NamedTuple):
    """The VF of a guest NIC. ``kept`` tells whether the materialization has it already."""

    nic: Nic
    function: Function
    vf_index: int
    vlan: int
    mac: str
    kept: bool

    def __str__(self) -> str:
        pf = f"{self.function.host} {self.function.name or self.function.mac}"
        vf = f"{pf} VF {self.vf_index}, VLAN {self.vlan}, MAC {self.mac}"
        return f"{self.nic.label}: {vf}{' (kept)' if self.kept else ''}"


class _KnownHolding(t.NamedTuple):
    """What a ledger gives to a guest NIC: a VF of a PF, and its attributes."""

    host: str
    pf_mac: str
    vf: int
    values: t.Mapping[str, t.Any]


def vlan_ids(text: str) -> list[int]:
    """Return the VLAN ids of ranges such as ``100-199,300``, sorted.

    :raises InputError: ``text`` is not a list of ranges of 1 to 4094
    """
    ids: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not (first in VLANS and last in VLANS and first <= last):
            raise InputError(
                f"VLANs {_names.quoted(text)} must be ranges of {VLANS[0]} to {VLANS[-1]}, such as"
                " 100-199,300"
            )
        ids.update(range(first, last + 1))
    return sorted(ids)


def allocate(
    nics: t.Sequence[Nic],
    facility: Supply,
    *,
    mzid: str,
    policy: str,
    vlans: t.Sequence[int],
) -> list[Choice]:
    """Return the VF of each guest NIC. What the materialization has already stays as it is.

    :param mzid: id of the materialization, rid.eid.pid
    :param policy: one of ``_placement.POLICIES``
    :param vlans: the ids to choose from, the preferred first
    :raises InputError: tells for each NIC which constraint fails
    """
    _names.mzid_parts(mzid)
    if not nics:
        raise InputError("the experiment asks for no VF: set port.vf==True on its sockets")
    for host, state in facility.found.items():
        if not _known.failed(state) and (missing := {"pfs", "materializations"} - set(state)):
            raise InputError(f"found: the result of {host} lacks {', '.join(sorted(missing))}")
    unasked = [host for host in facility.pfs if host not in facility.found]
    if unasked:
        raise InputError(
            f"nobody knows what is in use on {listed(unasked)}: ask all hypervisors, without"
            " --limit"
        )
    for host, excluded in facility.excluded.items():
        offered = [name for pf in facility.pfs[host] for name in (pf["name"], pf["mac"]) if name]
        if unknown := sorted(set(excluded) - set(offered)):
            raise InputError(
                f"excluded: {host} offers no PF {_names.quoted(unknown[0])}; it offers"
                f" {', '.join(offered) or 'none'}"
            )
    return _Allocation(nics, facility, mzid).choices(policy, vlans)


class _Allocation:
    """Works out one allocation. The hosts' ledgers and VFs tell it what is in use."""

    def __init__(self, nics: t.Sequence[Nic], facility: Supply, mzid: str) -> None:
        self._nics = nics
        self._mzid = mzid
        self._functions = [
            _function(host, pf, facility) for host, pfs in facility.pfs.items() for pf in pfs
        ]
        _shun_unknown_vlans(self._functions, facility)
        self._by_mac = {(f.host, f.mac): f for f in self._functions}
        self._macs = {function.mac for function in self._functions}
        # VLAN ids in use, each with its leaf domain. A PF of unknown domain has None.
        self._vlans: set[tuple[str | None, int]] = set()
        # Those of whole NICs of the same materialization, whose links keep them.
        self._own_vlans: set[tuple[str | None, int]] = set()
        own: dict[tuple[str, str], _KnownHolding] = {}
        for host, state in facility.found.items():
            if not _known.failed(state):
                own |= self._read(host, state)
        self._held = self._keep(own)

    def _read(
        self, host: str, state: t.Mapping[str, t.Any]
    ) -> dict[tuple[str, str], _KnownHolding]:
        """Note what a host has in use; return what this materialization has there."""
        own = {}
        for mzid, entries in state["materializations"].items():
            for entry in entries:
                if "kind" in entry:
                    # Nobody gets a VF of a PF that a guest has as a whole.
                    self._lock(host, entry, own=mzid == self._mzid)
                    continue
                # If the guest tags its frames itself, the entry has the VLAN and the VF has none.
                values = {**entry["values"], "vlan": entry["vlan"]}
                holding = _KnownHolding(host, entry["pf_mac"], entry["vf"], values)
                if mzid == self._mzid:
                    own[entry["node"], entry["nic"]] = holding
                else:
                    self._use(*holding)
        ours = {holding[:3] for holding in own.values()}
        for pf in state["pfs"]:
            self._macs.add(pf["mac"])
            for vf in pf["vfs"]:
                if (host, pf["mac"], vf["index"]) not in ours:
                    # A VF without driver is nobody's, but its frames would still be on that VLAN.
                    self._use(host, pf["mac"], vf["index"] if vf["driver"] else None, vf)
        return own

    def _lock(self, host: str, entry: t.Mapping[str, t.Any], *, own: bool) -> None:
        """Note a whole function: none of its VFs is free."""
        function = self._by_mac.get((host, entry["pf_mac"]))
        if function:
            function.taken.update(range(function.count))
        if entry["vlan"]:
            vlans = self._own_vlans if own else self._vlans
            vlans.add((function.domain if function else None, entry["vlan"]))

    def _use(
        self, host: str, pf_mac: str, index: int | None, values: t.Mapping[str, t.Any]
    ) -> None:
        """Note the attributes of a VF; if ``index`` is given, note also that the VF is not free."""
        function = self._by_mac.get((host, pf_mac))
        if function and index is not None:
            function.taken.add(index)
            function.rates[index] = values.get("max_tx_rate") or function.rates.get(index, 0)
        if vlan := values.get("vlan"):
            self._vlans.add((function.domain if function else None, vlan))
        if mac := values.get("mac"):
            self._macs.add(mac)

    def _keep(self, own: t.Mapping[tuple[str, str], _KnownHolding]) -> dict[Nic, _KnownHolding]:
        """Return the VFs that NICs keep."""
        held: dict[Nic, _KnownHolding] = {}
        kept = set()
        problems = []
        for nic in self._nics:
            holding = own.get((nic.node, nic.name))
            if holding is None:
                continue
            function = self._by_mac.get(holding[:2])
            if function and holding.vf in function.free and holding[:3] not in kept:
                held[nic] = holding
                kept.add(holding[:3])
            else:
                problems.append(
                    f"{nic.label}: it has VF {holding.vf} of the PF {holding.pf_mac} on"
                    f" {holding.host}, which"
                    f" {'is not free' if function else 'the inventory does not offer'};"
                    f" dematerialize {self._mzid} first"
                )
        if problems:
            raise Problems(problems).refusal(f"the allocation for {self._mzid}")
        return held

    def choices(self, policy: str, vlans: t.Sequence[int]) -> list[Choice]:
        """Return the result of ``allocate``."""
        functions = dict(zip(self._nics, self._placed(policy), strict=True))
        indexes = self._indexes(functions)
        link_vlans = self._link_vlans(functions, vlans)
        macs = self._nic_macs()
        return [
            Choice(
                nic,
                functions[nic],
                indexes[nic],
                link_vlans[nic.link],
                macs[nic],
                nic in self._held,
            )
            for nic in self._nics
        ]

    def _placed(self, policy: str) -> list[Function]:
        positions = {(f.host, f.mac): position for position, f in enumerate(self._functions)}
        pfs = [_placeable(function) for function in self._functions]
        requests = [
            _placement.Request(
                label=nic.label,
                node=nic.node,
                link=nic.link,
                host=nic.host,
                model=nic.model,
                capacity=nic.capacity,
                held=positions[self._held[nic][:2]] if nic in self._held else None,
            )
            for nic in self._nics
        ]
        try:
            return [self._functions[pf] for pf in _placement.place(pfs, requests, policy)]
        except _placement.Infeasible as error:
            problems = Problems(error.problems).refusal(f"the allocation for {self._mzid}")
            raise InputError(f"{problems}{_REMEDY}") from None

    def _indexes(self, functions: t.Mapping[Nic, Function]) -> dict[Nic, int]:
        """Return the VF of each NIC: the one it has, or the first that is free."""
        kept = {holding[:3] for holding in self._held.values()}
        free = {
            (f.host, f.mac): iter([i for i in f.free if (f.host, f.mac, i) not in kept])
            for f in self._functions
        }
        return {
            nic: self._held[nic].vf if nic in self._held else next(free[f.host, f.mac])
            for nic, f in functions.items()
        }

    def _link_vlans(
        self, functions: t.Mapping[Nic, Function], vlans: t.Sequence[int]
    ) -> dict[str, int]:
        """Return the VLAN of each link: the one it has, or the first that is free in its domain."""
        had: dict[str, list[int]] = collections.defaultdict(list)
        for nic, holding in self._held.items():
            had[nic.link].append(holding.values["vlan"])
        domains = {nic.link: function.domain for nic, function in functions.items()}
        chosen: dict[str, int] = {}
        problems = []
        for link in sorted(domains, key=lambda link: link not in had):
            domain = domains[link]
            used = {v for d, v in self._vlans if d == domain or None in (d, domain)}
            ours = {v for d, v in self._own_vlans if d == domain or None in (d, domain)}
            others = (v for v in vlans if v not in ours)
            wanted = itertools.chain(had.get(link, ()), others)
            vlan = next((v for v in wanted if v in VLANS and v not in used), None)
            if vlan is None:
                problems.append(
                    f"link {_names.quoted(link)}: no VLAN is free in"
                    f" {f'leaf domain {domain}' if domain else 'its unknown leaf domain'}:"
                    f" 0 of {len(vlans)}, 1 needed; name more VLANs"
                )
            else:
                chosen[link] = vlan
                self._vlans.add((domain, vlan))
        if problems:
            raise Problems(problems).refusal(f"the allocation for {self._mzid}")
        return chosen

    def _nic_macs(self) -> dict[Nic, str]:
        """Return the MAC address of each NIC: the one it has, or one that is made from its name."""
        macs = {}
        for nic in sorted(self._nics, key=lambda nic: nic not in self._held):
            holding = self._held.get(nic)
            had = [holding.values["mac"]] if holding and holding.values.get("mac") else []
            made = (_mac(self._mzid, nic, attempt) for attempt in itertools.count())
            macs[nic] = next(mac for mac in itertools.chain(had, made) if mac not in self._macs)
            self._macs.add(macs[nic])
        return macs


def _function(host: str, pf: t.Mapping[str, t.Any], facility: Supply) -> Function:
    name, mac = pf["name"] or "", pf["mac"] or ""
    key, value = ("mac", mac) if mac else ("interface", name)
    state = facility.found[host]
    found: t.Mapping[str, t.Any] = next(
        (other for other in state.get("pfs", ()) if other[key] == value), {}
    )
    unusable = None
    if _known.failed(state) or state.get("cached", {}).get("reason"):
        unusable = "its host does not answer"
    elif not found:
        unusable = "its host has no such PF"
    elif not found["numvfs"]:
        unusable = "it has no VFs, run mergetb.sriov.prepare"
    elif found["problem"]:
        unusable = found["problem"]
    if {name, mac} & set(facility.excluded.get(host, ())):
        unusable = "it is excluded"
    elif "MgmtLink" in pf.get("link_roles", ()):
        unusable = "it is in the management network"
    return Function(
        host=host,
        name=name,
        mac=mac or found.get("mac") or "",
        count=min(pf["max_vfs"], found.get("numvfs", pf["max_vfs"])),
        model=pf.get("nic_model"),
        capacity=pf.get("capacity"),
        leaf=pf.get("leaf") or {},
        numa_node=found.get("numa_node"),
        unusable=unusable,
    )


def _shun_unknown_vlans(functions: t.Iterable[Function], facility: Supply) -> None:
    """Let no PF be used where VLANs are in use that nobody knows of."""
    unseen: dict[str | None, str] = {}
    for function in functions:
        if _known.failed(facility.found[function.host]):
            unseen.setdefault(function.domain, function.host)
    for function in functions:
        # A PF of unknown leaf domain may be in any.
        for domain, host in unseen.items():
            if function.unusable is None and (
                function.domain == domain or None in (function.domain, domain)
            ):
                function.unusable = (
                    f"nobody knows which VLANs are in use in its leaf domain, since {host} was"
                    " never seen"
                )


def _placeable(function: Function) -> _placement.PlacementPf:
    name = function.name or function.mac
    return _placement.PlacementPf(
        host=function.host,
        name=name,
        domain=function.domain or f"of {function.host} {name} alone",
        free=len(function.free),
        count=function.count,
        capacity=function.bandwidth,
        model=function.model,
        numa_node=function.numa_node,
        unusable=function.unusable,
    )


def _mac(mzid: str, nic: Nic, attempt: int) -> str:
    """Return a MAC address that is locally administered and unicast (IEEE 802, 8.4)."""
    digest = hashlib.sha256(f"{mzid} {nic.node} {nic.name} {attempt}".encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02, *digest[1:6]]).hex(":")


def materialization(choices: t.Sequence[Choice], *, mzid: str, facility: str) -> dict[str, t.Any]:
    """Return choices as protojson of ``portal.v1.Materialization``."""
    rid, eid, pid = _names.mzid_parts(mzid)
    nodes = collections.defaultdict(list)
    links = collections.defaultdict(list)
    for choice in choices:
        nodes[choice.nic.node].append(choice)
        links[choice.nic.link].append(choice)
    message = _schema.build(
        "Materialization",
        {
            "rid": rid,
            "eid": eid,
            "pid": pid,
            "vms": [
                {"vm_alloc": _vm(node, members, mzid, facility)} for node, members in nodes.items()
            ],
            "links": [
                {
                    "realization": {
                        "link": {"id": link},
                        "segments": {1: _segment(members, facility)},
                    }
                }
                for link, members in links.items()
            ],
        },
    )
    return _schema.dump(message)


def _vm(node: str, choices: t.Sequence[Choice], mzid: str, facility: str) -> dict[str, t.Any]:
    return {
        "resource": choices[0].function.host,
        "facility": facility,
        "mzid": mzid,
        "node": node,
        "virtual": True,
        # NIC 0 is in the infranet.
        "NICs": {
            "alloc": {
                1: {
                    "alloc": {
                        choice.nic.socket: {
                            "name": choice.nic.name,
                            "mac": choice.mac,
                            "capacity": choice.nic.capacity,
                            "VfName": _vf_name(choice),
                            "VfAlloc": True,
                        }
                        for choice in choices
                    }
                }
            }
        },
    }


def _segment(choices: t.Sequence[Choice], facility: str) -> dict[str, t.Any]:
    vlan = choices[0].vlan
    leafs = {
        (leaf["host"], leaf["port"]): None
        for choice in choices
        if (leaf := choice.function.leaf) and leaf["port"]
    }
    return {
        "endpoints": [_endpoint(choice, facility) for choice in choices],
        "waypoints": [
            {
                "facility": facility,
                "host": host,
                "trunk": {"port": {"name": port}, "vids": [vlan]},
            }
            for host, port in leafs
        ],
        "vid": vlan,
    }


def _endpoint(choice: Choice, facility: str) -> dict[str, t.Any]:
    function = choice.function
    return {
        "facility": facility,
        "host": function.host,
        "node": choice.nic.node,
        "mac": choice.mac,
        "virtual": True,
        "vf": {
            "virtif": {"name": choice.nic.name, "mac": choice.mac},
            "parent": {
                "name": _vf_name(choice),
                "pf": {"name": function.name, "mac": function.mac},
                "vf_index": choice.vf_index,
                "mac": choice.mac,
            },
            "vid": choice.vlan,
            "addrs": list(choice.nic.addresses),
        },
    }


def _vf_name(choice: Choice) -> str:
    name = choice.function.name
    return f"{name}v{choice.vf_index}" if name else ""
