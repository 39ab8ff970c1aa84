# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which PF gives each guest NIC its VF. PRIVATE to the collection.

The search is depth-first and complete: a NIC takes the PF that the policy prefers, and another one
only if the rest then has no placement. Bandwidth makes this bin packing, so no search is fast on
every input. The search enters no state again that led nowhere, and has a limit of steps.
"""

from __future__ import annotations

import collections
import dataclasses
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import listed

POLICIES = ("spread", "pack")
STEPS = 100_000
"""Longest search, in NICs placed."""


@dataclasses.dataclass(frozen=True)
class PlacementPf:
    """A PF, and what it has left.

    PFs of one ``domain`` reach each other. ``capacity`` is in bit/s, None if unknown. ``unusable``
    tells why the PF gives no VF, whatever ``free`` says; it is None if the PF does.
    """

    host: str
    name: str
    domain: str
    free: int
    count: int
    capacity: int | None = None
    model: str | None = None
    numa_node: int | None = None
    unusable: str | None = None

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.host} {self.name}"

    @property
    def available(self) -> int:
        """The number of VFs that it gives."""
        return 0 if self.unusable else self.free

    def suits(self, request: Request) -> bool:
        """Return whether it is on the host and of the model that the request asks for."""
        return request.host in (None, self.host) and request.model in (None, self.known_model)

    @property
    def known_model(self) -> str:
        """Its model. Nobody can tell Intel200, the zero value, from unset, as in the portal."""
        return self.model or "Intel200"


@dataclasses.dataclass(frozen=True)
class Request:
    """A guest NIC: see ``_experiment.Nic``. ``held`` is the PF of the VF that it has already.

    All NICs of a node get one host, and all NICs of a link get one domain.
    """

    label: str
    node: str
    link: str
    host: str | None = None
    model: str | None = None
    capacity: int = 0
    held: int | None = None


class Infeasible(Exception):
    """There is no placement, or none was found; ``problems`` tells why."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def place(pfs: t.Sequence[PlacementPf], requests: t.Sequence[Request], policy: str) -> list[int]:
    """Return for each request the index of its PF.

    :param policy: ``spread`` prefers the host and the PF with the most VFs left, ``pack`` those
        with the fewest; both prefer first that the NICs of a node share a NUMA node
    :raises Infeasible: no placement exists, or none was found within ``STEPS``
    """
    if shortages := _shortages(pfs, requests):
        raise Infeasible(shortages)
    search = _Search(pfs, requests, policy)
    found = search.run()
    if found is None:
        raise Infeasible(search.problems())
    return found


def _shortages(pfs: t.Sequence[PlacementPf], requests: t.Sequence[Request]) -> list[str]:
    """Return why a NIC, a node or a link finds no place even if nothing else wants one."""
    alone = {request: _problems(pfs, [request]) for request in requests}
    shortages = [problem for problems in alone.values() for problem in problems]
    for kind, whole, key in (("node", "host", "host"), ("link", "leaf domain", "domain")):
        groups = collections.defaultdict(list)
        for request in requests:
            groups[getattr(request, kind)].append(request)
        places = collections.defaultdict(list)
        for pf in pfs:
            places[getattr(pf, key)].append(pf)
        for name, group in groups.items():
            if len(group) > 1 and not any(map(alone.get, group)) and _problems(pfs, group):
                labels = listed([request.label for request in group])
                reasons = [
                    f"{where}: {_shortage(suitable, group)}"
                    for where, there in places.items()
                    if (suitable := [pf for pf in there if any(pf.suits(r) for r in group)])
                ]
                shortages.append(
                    f"{kind} {_names.quoted(name)}: no {whole} gives VFs to all of {labels}:"
                    f" {listed(reasons)}"
                )
    return shortages or [f"all hosts together: {total}" for total in _totals(pfs, requests)]


def _shortage(pfs: t.Sequence[PlacementPf], group: t.Sequence[Request]) -> str:
    """Return why these PFs do not serve a group of requests."""
    requests = [dataclasses.replace(request, held=None) for request in group]
    problems = _totals(pfs, requests) or _problems(pfs, requests)
    return problems[0] if problems else "some of them already have VFs elsewhere"


def _totals(pfs: t.Sequence[PlacementPf], requests: t.Sequence[Request]) -> list[str]:
    """Return what these PFs together have too little of.

    Without this, no search would end in time.
    """
    available = sum(pf.available for pf in pfs)
    if available < len(requests):
        return [f"{available} of {sum(pf.count for pf in pfs)} VFs free, {len(requests)} needed"]
    wanted = [request.capacity for request in requests if request.capacity]
    usable = [(pf.available, pf.capacity) for pf in pfs if pf.available and pf.capacity]
    left = sum(capacity for _available, capacity in usable)
    if left < sum(wanted):
        return [f"{left} bit/s left, {sum(wanted)} needed"]
    if wanted:
        places = sum(min(available, capacity // min(wanted)) for available, capacity in usable)
        if places < len(wanted):
            return [f"room for {places} NICs of {min(wanted)} bit/s, {len(wanted)} needed"]
    return []


def _problems(pfs: t.Sequence[PlacementPf], requests: t.Sequence[Request]) -> list[str]:
    """Return why requests find no place if nothing else wants these PFs; nothing if they do."""
    search = _Search(pfs, requests, POLICIES[0])
    return search.problems() if search.run() is None and not search.gave_up else []


class _Site(t.NamedTuple):
    """PFs of a host that may together serve the NICs of a node.

    The search tries a site of high ``rank`` last.
    """

    host: str
    rank: int
    pfs: tuple[int, ...]


def _sites(pfs: t.Sequence[PlacementPf]) -> list[_Site]:
    """Return each host as a site. If it has several NUMA nodes, each is a site before it."""
    hosts = collections.defaultdict(list)
    for index, pf in enumerate(pfs):
        hosts[pf.host].append(index)
    sites = []
    for host, own in hosts.items():
        numa_nodes = {pfs[index].numa_node for index in own}
        several = len(numa_nodes) > 1
        known = sorted(numa_node for numa_node in numa_nodes if numa_node is not None)
        for numa_node in known if several else ():
            near = tuple(index for index in own if pfs[index].numa_node == numa_node)
            sites.append(_Site(host, 0, near))
        sites.append(_Site(host, int(several), tuple(own)))
    return sites


class _Taken(t.NamedTuple):
    """A step of the search: a PF, and what the request chose with it.

    That can be the site of its node, and the domain of its link.
    """

    pf: int
    chose_site: bool
    chose_domain: bool


class _Search:
    """Places one request after the other.

    Those that have a VF come first, then node by node, the demanding ones first.
    """

    def __init__(
        self, pfs: t.Sequence[PlacementPf], requests: t.Sequence[Request], policy: str
    ) -> None:
        self._pfs = pfs
        self._requests = _ordered(requests)
        positions = {request: position for position, request in enumerate(self._requests)}
        self._positions = [positions[request] for request in requests]
        self._sign = -1 if policy == "spread" else 1
        self._sites = _sites(pfs)
        self._free = [pf.available for pf in pfs]
        self._left = [pf.capacity for pf in pfs]
        self._domain_free = collections.Counter[str]()
        for pf in pfs:
            self._domain_free[pf.domain] += pf.available
        self._domain_promised = collections.Counter[str]()
        self._node_rest = collections.Counter(request.node for request in requests)
        self._link_rest = collections.Counter(request.link for request in requests)
        self._site_of: dict[str, _Site] = {}
        self._domain_of: dict[str, str] = {}
        self._taken: list[_Taken] = []
        self._deepest: list[int] = []
        self._steps = 0

    @property
    def gave_up(self) -> bool:
        """Whether the search has come to its limit."""
        return self._steps >= STEPS

    def run(self) -> list[int] | None:
        """Return the PF of each request; None if none was found."""
        # Hashes, because the states of a large facility would fill the memory.
        dead = set()
        pending = [self._options()]
        while len(self._taken) < len(self._requests):
            option = next(pending[-1], None)
            if option is None:
                dead.add(hash(self._state()))
                pending.pop()
                if not pending or self.gave_up:
                    return None
                self._undo()
                continue
            self._take(*option)
            if dead and hash(self._state()) in dead:
                self._undo()
            else:
                pending.append(self._options())
        return [self._taken[position].pf for position in self._positions]

    def _options(self) -> t.Iterator[tuple[int, _Site]]:
        """Yield the PFs that may serve the next request, the preferred first."""
        if len(self._taken) == len(self._requests):
            return
        request = self._requests[len(self._taken)]
        chosen = self._site_of.get(request.node)
        for site in [chosen] if chosen else sorted(self._sites, key=self._preference):
            if sum(self._free[pf] for pf in site.pfs) < self._node_rest[request.node]:
                continue
            for pf in sorted(site.pfs, key=lambda pf: self._sign * self._free[pf]):
                if self._objection(request, pf) is None:
                    yield pf, site

    def _preference(self, site: _Site) -> tuple[int, int]:
        return site.rank, self._sign * sum(self._free[pf] for pf in site.pfs)

    def _objection(self, request: Request, index: int) -> str | None:
        """Return the first constraint by which a PF cannot serve a request; None if it can."""
        pf = self._pfs[index]
        site = self._site_of.get(request.node)
        domain = self._domain_of.get(request.link)
        if request.held not in (None, index):
            return "held"
        if request.host not in (None, pf.host):
            return "host"
        if site and site.host != pf.host:
            return "node"
        if not pf.suits(request):
            return "model"
        if domain not in (None, pf.domain):
            return "domain"
        if not self._free[index]:
            return "free"
        left = self._left[index]
        if request.capacity and (left is None or left < request.capacity):
            return "capacity"
        unpromised = self._domain_free[pf.domain] - self._domain_promised[pf.domain]
        if domain is None and unpromised < self._link_rest[request.link]:
            return "link"
        return None

    def _take(self, pf: int, site: _Site) -> None:
        request = self._requests[len(self._taken)]
        domain = self._pfs[pf].domain
        taken = _Taken(pf, request.node not in self._site_of, request.link not in self._domain_of)
        self._site_of[request.node] = site
        if taken.chose_domain:
            self._domain_of[request.link] = domain
            self._domain_promised[domain] += self._link_rest[request.link]
        self._count(request, pf, -1)
        self._taken.append(taken)
        self._steps += 1
        if len(self._taken) > len(self._deepest):
            self._deepest = [taken.pf for taken in self._taken]

    def _undo(self) -> None:
        taken = self._taken.pop()
        request = self._requests[len(self._taken)]
        self._count(request, taken.pf, 1)
        if taken.chose_site:
            del self._site_of[request.node]
        if taken.chose_domain:
            domain = self._domain_of.pop(request.link)
            self._domain_promised[domain] -= self._link_rest[request.link]

    def _count(self, request: Request, pf: int, change: int) -> None:
        domain = self._pfs[pf].domain
        self._free[pf] += change
        self._domain_free[domain] += change
        self._domain_promised[domain] += change
        self._node_rest[request.node] += change
        self._link_rest[request.link] += change
        left = self._left[pf]
        if left is not None:
            self._left[pf] = left + change * request.capacity

    def _state(self) -> tuple[t.Any, ...]:
        """Return everything that the places of the rest depend on."""
        return (
            len(self._taken),
            tuple(self._free),
            tuple(self._left),
            tuple(sorted(item for item in self._site_of.items() if self._node_rest[item[0]])),
            tuple(sorted(item for item in self._domain_of.items() if self._link_rest[item[0]])),
        )

    def problems(self) -> list[str]:
        """Return, after a search in vain, why NICs found no place where the search got furthest."""
        if self.gave_up:
            return [
                f"none was found in {STEPS} steps, at most {len(self._deepest)} of"
                f" {len(self._requests)} NICs had a VF; a placement may still exist: help by"
                " naming hosts in the experiment (host==)"
            ]
        while self._taken:
            self._undo()
        whole = {site.host: site for site in self._sites}
        for pf in self._deepest:
            self._take(pf, whole[self._pfs[pf].host])
        rest = self._requests[len(self._taken) :]
        return [f"{r.label}: {reason}" for r in rest if (reason := self._reason(r))] or [
            f"{rest[0].label}: each PF that is left takes away what other NICs of its node or link"
            " need"
        ]

    def _reason(self, request: Request) -> str | None:
        """Return why no PF serves a request, by the PFs that fail the last constraint."""
        failing = collections.defaultdict(list)
        for pf in range(len(self._pfs)) if request.held is None else [request.held]:
            failing[self._objection(request, pf)].append(pf)
        if None in failing:
            return None
        constraint = next((c for c in reversed(_CONSTRAINTS) if c in failing), None)
        reason = self._explained(constraint, request, failing[constraint])
        if request.held is None:
            return reason
        return f"cannot keep its VF of {self._pfs[request.held].label}: {reason}"

    def _explained(self, constraint: str | None, request: Request, failing: list[int]) -> str:
        pfs = {index: self._pfs[index] for index in failing}
        rest = self._link_rest[request.link]
        match constraint:
            case "host":
                hosts = listed(sorted({pf.host for pf in pfs.values()}))
                host = _names.quoted(request.host or "")
                return f"host {host} is asked for; there are PFs on {hosts}"
            case "node":
                return f"the other NICs of its node are on {self._site_of[request.node].host}"
            case "model":
                models = listed([f"{p.label} is {p.model or 'unknown'}" for p in pfs.values()])
                return f"NIC model {request.model} is asked for; {models}"
            case "domain":
                domains = listed([f"{pf.label} is in {pf.domain}" for pf in pfs.values()])
                return f"its link is in the leaf domain {self._domain_of[request.link]}; {domains}"
            case "free":
                numbers = listed(
                    [
                        f"{pf.label}: {pf.unusable or f'{self._free[i]} of {pf.count} VFs free'}"
                        for i, pf in pfs.items()
                    ]
                )
                return f"1 VF is needed; {numbers}"
            case "capacity":
                left = {i: "unknown" if (n := self._left[i]) is None else f"{n} bit/s" for i in pfs}
                numbers = listed([f"{pf.label}: left {left[i]}" for i, pf in pfs.items()])
                return f"{request.capacity} bit/s are asked for; {numbers}"
            case "link":
                numbers = listed(
                    [
                        f"{d}: {self._domain_free[d] - self._domain_promised[d]} free"
                        for d in dict.fromkeys(pf.domain for pf in pfs.values())
                    ]
                )
                return f"its link needs {rest} VFs of one leaf domain; {numbers}"
            case _:
                return "no host offers a PF"


_CONSTRAINTS = ("held", "host", "node", "model", "domain", "free", "capacity", "link")


def _ordered(requests: t.Sequence[Request]) -> list[Request]:
    nodes = collections.defaultdict(list)
    for request in requests:
        nodes[request.node].append(request)
    groups = sorted(nodes.values(), key=lambda group: (not any(map(_is_bound, group)), -len(group)))
    flat = [r for group in groups for r in sorted(group, key=lambda r: -r.capacity)]
    return sorted(flat, key=lambda request: request.held is None)


def _is_bound(request: Request) -> bool:
    return bool(request.host or request.model)
