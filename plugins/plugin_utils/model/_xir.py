# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a facility model to inventory hosts. PRIVATE to the collection."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names, _schema
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError, listed

_SWITCH_ROLES = frozenset(
    {
        *("XpSwitch", "InfraSwitch", "MgmtSwitch", "EmuSwitch", "PoESwitch"),
        *("Leaf", "Stem", "Fabric", "Spine"),
    }
)
MAX_VFS = 65535
"""The largest number of VFs that the SR-IOV capability of a PCI function can hold."""

_MELLANOX = re.compile("mellanox|nvidia|connectx|bluefield", re.IGNORECASE)


class End(t.NamedTuple):
    """A port at one end of a cable, and the resource that has the port."""

    resource: t.Any
    port: t.Any


class InventoryHost(t.TypedDict):
    """A host of the inventory. Its groups are not sanitized."""

    name: str
    variables: dict[str, t.Any]
    groups: list[str]


def inventory(
    facility: t.Any, *, hypervisors_only: bool, link_roles: t.Collection[str]
) -> tuple[list[InventoryHost], list[str]]:
    """Return the hosts of a facility, and warnings about its model.

    :param facility: the message ``Facility``
    :param hypervisors_only: leave out everything but hypervisors (role Hypervisor, alloc mode
        Virtual)
    :param link_roles: a PF is offered for VFs if it has one of these link roles
    :raises InputError: names the element of the model that cannot be used
    """
    known = _schema.ENUMS["LinkRole"].values()
    for role in link_roles:
        if role not in known:
            raise InputError(f"link_roles: {role!r} is none of {', '.join(known)}")
    for name, count in collections.Counter(r.id for r in facility.resources).items():
        if count > 1:
            raise InputError(f"{count} resources have the id {_names.quoted(name)}; rename them")

    offered = frozenset(link_roles)
    cabling = Cabling(facility, offered)
    resources = [r for r in facility.resources if not hypervisors_only or is_hypervisor(r)]
    hosts = [_host(resource, facility, cabling, offered) for resource in resources]
    _refuse_shared_macs(hosts, resources, offered)
    warnings = cabling.warnings()
    if not hosts:
        warnings.append("no resource has the role Hypervisor and the alloc mode Virtual")
    return hosts, warnings


def is_hypervisor(resource: t.Any) -> bool:
    """Return whether a resource has the role Hypervisor and the alloc mode Virtual."""
    return "Hypervisor" in _values("Role", resource.roles) and "Virtual" in _values(
        "AllocMode", resource.alloc
    )


def _values(enum: str, numbers: t.Iterable[int]) -> list[str | int]:
    """Return the names of an enum's values.

    A value without a name stays a number. Zero is unset.
    """
    return list(_named(enum, tuple(numbers)))


# Most ports of a facility have the same few roles.
@functools.lru_cache(maxsize=1024)
def _named(enum: str, numbers: tuple[int, ...]) -> tuple[str | int, ...]:
    names = _schema.ENUMS[enum]
    return tuple(names.get(number, number) for number in dict.fromkeys(numbers) if number)


def _host(
    resource: t.Any, facility: t.Any, cabling: Cabling, offered: frozenset[str]
) -> InventoryHost:
    name = _names.HOST.check(resource.id, "the id of a resource")
    pfs = [
        _pf(resource, nic, port, element, cabling)
        for nic, port, element in _ports(resource)
        if _is_offered(port, offered)
    ]
    for pf, count in collections.Counter(pf["name"] for pf in pfs if pf["name"]).items():
        if count > 1:
            raise InputError(f"resource {name}: {count} PFs have the name {pf!r}; rename them")
    nics = [
        _pf(resource, nic, port, element, cabling)
        for nic, port, element in _ports(resource)
        if _is_whole(port, offered)
    ]
    roles = _values("Role", resource.roles)
    groups = [f"role_{role}".lower() for role in roles]
    groups += sorted({f"leaf_{pf['leaf']['host']}" for pf in pfs if pf["leaf"]})
    if is_hypervisor(resource):
        groups.append("hypervisors")
    if any(_MELLANOX.search(f"{pf['nic_model']} {pf['product']}") for pf in pfs):
        groups.append("mellanox")
    return InventoryHost(
        name=name,
        variables={
            "ansible_host": _address(resource),
            "xir_id": name,
            "xir_facility": _names.text(
                resource.facility or facility.id, f"resource {name}: facility"
            ),
            "xir_roles": roles,
            "xir_alloc": _values("AllocMode", resource.alloc),
            "sriov_pfs": pfs,
            "sriov_max_vfs": sum(pf["max_vfs"] for pf in pfs),
        }
        | ({"sriov_nics": nics} if nics else {}),
        groups=groups,
    )


def _address(resource: t.Any) -> str:
    """Return where to reach a resource: its first infranet address, its fqdn or its id."""
    for harbor in sorted(resource.infranet_addr):
        for address in resource.infranet_addr[harbor].list:
            return _names.address(address, f"resource {resource.id}: infranet address")
    return _names.HOST.check(resource.fqdn or resource.id, f"resource {resource.id}: fqdn")


def _ports(resource: t.Any) -> t.Iterator[tuple[t.Any, t.Any, str]]:
    """Yield each NIC and port, with the name of the port in a message."""
    for ni, nic in enumerate(resource.NICs):
        for pi, port in enumerate(nic.ports):
            label = _names.quoted(port.name) if port.name else f"NIC {ni} port {pi}"
            yield nic, port, f"{resource.id} {label}"


def port_roles(port: t.Any) -> list[str | int]:
    """Return the link roles of a port, by name if they have one."""
    return _values("LinkRole", [*port.roles, port.role])


def _is_offered(port: t.Any, link_roles: frozenset[str]) -> bool:
    return port.sriov.Pf.MaxVFs > 0 and not link_roles.isdisjoint(port_roles(port))


def _is_whole(port: t.Any, link_roles: frozenset[str]) -> bool:
    """Return whether a guest can get the port only as a whole: it gives no VFs, and is none."""
    return (
        port.sriov.WhichOneof("Data") is None
        and bool(port.mac)
        and not link_roles.isdisjoint(port_roles(port))
    )


def _pf(
    resource: t.Any, nic: t.Any, port: t.Any, element: str, cabling: Cabling
) -> dict[str, t.Any]:
    what = f"port {element}:"
    if not port.mac and not port.name:
        raise InputError(f"{what} a PF needs a MAC address or a name")
    if port.sriov.Pf.MaxVFs > MAX_VFS:
        raise InputError(f"{what} MaxVFs {port.sriov.Pf.MaxVFs} is more than PCI knows: {MAX_VFS}")
    product = " ".join(
        filter(None, (nic.product_info.Manufacturer, nic.product_info.Model, nic.product_info.SKU))
    )
    return {
        "name": _names.text(port.name, f"{what} name") or None,
        "mac": _names.mac(port.mac, f"{what} MAC") if port.mac else None,
        "max_vfs": port.sriov.Pf.MaxVFs,
        # Intel200 is the zero value, which nobody can tell from unset.
        "nic_model": next(iter(_values("NICModel", [nic.model])), None),
        "product": _names.text(product, f"{what} product") or None,
        "capacity": port.capacity or None,
        "link_roles": port_roles(port),
        "leaf": cabling.leaf(End(resource, port), element),
    }


def _refuse_shared_macs(
    hosts: list[InventoryHost], resources: list[t.Any], offered: frozenset[str]
) -> None:
    """Refuse a PF whose MAC another port of the hosts has: on a host it could be either."""
    owners = collections.defaultdict(list)
    for host in hosts:
        for pf in host["variables"]["sriov_pfs"]:
            if pf["mac"]:
                owners[pf["mac"]].append(f"{host['name']} {pf['name']!r}")
    for resource in resources:
        for _nic, port, element in _ports(resource):
            is_vf = port.sriov.WhichOneof("Data") == "Vf"
            if not port.mac or is_vf or _is_offered(port, offered):
                continue
            with contextlib.suppress(InputError):  # A port without VFs does not matter.
                mac = _names.mac(port.mac, "MAC")
                if mac in owners:
                    owners[mac].append(element)
    for mac, elements in owners.items():
        if len(elements) > 1:
            raise InputError(f"ports {listed(elements)} have the same MAC address {mac}")


class Cabling:
    """What is at the other end of a port's cable.

    A port names its cable, and so does the port at the other end. The documentation does not say
    what the indexes of these references count, so they are not used.
    """

    def __init__(self, facility: t.Any, link_roles: frozenset[str]) -> None:
        self._facility = facility
        self._link_roles = link_roles
        self._switches = {r.id for r in facility.resources if _is_switch(r)}
        self._ends: dict[str, list[End]] = {}
        for resource in facility.resources:
            for nic in resource.NICs:
                for port in nic.ports:
                    if cable := port.connector.element:
                        self._ends.setdefault(cable, []).append(End(resource, port))
        # The ends of each cable, by lane and switch; each is worked out once, at the first need.
        self._lanes: dict[str, dict[int | None, dict[str, list[End]]]] = {}
        self._undivided: dict[str, dict[str, list[int]]] = {}
        self._unpaired: list[str] = []

    def leaf(self, near: End, element: str) -> dict[str, str | None] | None:
        """Return the switch at the other end; None if none is known.

        It has ``host`` and ``port``, and ``domain``, which is the same for all switches that cables
        join.

        :param element: name of the near end in a message
        """
        far = self.far_end(near, element)
        if far is None:
            return None
        return {
            "host": _names.text(far.resource.id, f"port {element}: leaf"),
            "port": _names.text(far.port.name, f"port {element}: port of the leaf") or None,
            "domain": _names.text(
                self._domains[far.resource.id], f"port {element}: domain of the leaf"
            ),
        }

    def far_end(self, near: End, element: str) -> End | None:
        """Return the port of a switch at the other end; None if none is known.

        :param element: name of the near end in a message
        """
        ends = self._ends.get(near.port.connector.element, [])
        if len(ends) > 2:
            far = self._same_lane(near)
            if len(far) != 1:
                self._unpaired.append(element)
        else:
            far = [
                end
                for end in ends
                if end.resource.id != near.resource.id and end.resource.id in self._switches
            ]
        return far[0] if len(far) == 1 else None

    def _same_lane(self, near: End) -> list[End]:
        """Return the far ends on the same lane of a breakout cable, or those of its undivided end.

        Returns two if there are more.
        """
        lane = self._lane(near)
        if lane is None:
            return []
        cable = near.port.connector.element
        if cable not in self._lanes:
            lanes: dict[int | None, dict[str, list[End]]] = {}
            for end in self._ends[cable]:
                if end.resource.id in self._switches:
                    of_lane = lanes.setdefault(self._lane(end), {})
                    of_lane.setdefault(end.resource.id, []).append(end)
            self._lanes[cable] = lanes
        for wanted in (lane, None):
            # Of three switches, at least two are not the near end itself.
            switches = itertools.islice(self._lanes[cable].get(wanted, {}).items(), 3)
            far = [end for name, ends in switches if name != near.resource.id for end in ends[:2]]
            if far:
                return far
        return []

    def _lane(self, end: End) -> int | None:
        """Return the index of an end on its breakout cable; None if it takes the whole cable."""
        if _is_divided(end.port):
            index: int = end.port.breakout.index
            return index
        name = end.port.connector.element
        if name not in self._undivided:
            self._undivided[name] = _lanes_of_cable(self._cables.get(name))
        lanes = self._undivided[name].get(end.resource.id, [])
        return lanes[0] if len(lanes) == 1 else None

    @functools.cached_property
    def _cables(self) -> dict[str, t.Any]:
        return {cable.id: cable for cable in self._facility.cables}

    @functools.cached_property
    def _domains(self) -> dict[str, str]:
        """The domain of each switch: the first name among all switches that cables join with it.

        A cable joins switches if each of its ports has one of the link roles, or none at all: the
        switches of an experiment network often have a port in the management network, too.
        """
        joined: dict[str, set[str]] = {name: {name} for name in self._switches}
        for ends in self._ends.values():
            if all(end.resource.id in joined and self._joins(end.port) for end in ends):
                first, *others = {end.resource.id for end in ends}
                for other in others:
                    smaller, larger = sorted((joined[first], joined[other]), key=len)
                    if smaller is not larger:
                        larger |= smaller
                        joined |= dict.fromkeys(smaller, larger)
        domains = {id(domain): domain for domain in joined.values()}
        return {
            name: first for domain in domains.values() for first in [min(domain)] for name in domain
        }

    def _joins(self, port: t.Any) -> bool:
        roles = port_roles(port)
        return not roles or not self._link_roles.isdisjoint(roles)

    def warnings(self) -> list[str]:
        """Return what is odd about the cables of the ports that were asked about so far."""
        warnings = []
        local = {"", self._facility.id}
        missing = [
            cable
            for cable, ends in self._ends.items()
            if cable not in self._cables
            and any(end.port.connector.facility in local for end in ends)
        ]
        if missing:
            warnings.append(
                f"the model lacks {len(missing)} of the cables that its ports name, for example"
                f" {_names.quoted(missing[0])}: is the file complete?"
            )
        if self._unpaired:
            warnings.append(
                f"more than two ports share a cable and no breakout index tells them apart: no"
                f" leaf is known for {', '.join(self._unpaired[:5])}"
                f"{' and others' if len(self._unpaired) > 5 else ''}"
            )
        return warnings


def _lanes_of_cable(cable: t.Any) -> dict[str, list[int]]:
    """Return the lanes that a breakout cable gives its ends, by the resource of the end."""
    lanes = collections.defaultdict(list)
    for side in cable.ends if cable else ():
        for connector in side.connectors if len(side.connectors) > 1 else ():
            lanes[connector.Port.element].append(
                connector.breakout.index if _is_divided(connector) else connector.index
            )
    return lanes


def _is_divided(end: t.Any) -> bool:
    # Some writers of JSON write every message, so an empty one says nothing.
    return bool(end.breakout.radix > 0 or end.breakout.index > 0)


def _is_switch(resource: t.Any) -> bool:
    return not _SWITCH_ROLES.isdisjoint(_values("Role", resource.roles))
