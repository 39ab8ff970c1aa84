# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts, NICs and ports of a facility model, each with what the machine tells of it. PRIVATE.

The facts are what the module sriov_info tells of each host. A port of the model is the port of the
host that has its permanent MAC address. If none has it, it is the port with its name, unless the
model gives that port's MAC address to another.
"""

from __future__ import annotations

import collections
import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit._correction import Fix
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names, _schema, _xir
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

ERROR = "error"
"""Preparing the host, or materializing what the model promises, would fail or do harm."""

WARNING = "warning"
"""VFs work, but there are fewer than the model promises, or they work less well."""

INFO = "info"
"""The model says less than it could, or the audit could not check something."""

SEVERITIES = (ERROR, WARNING, INFO)

Facts = t.Mapping[str, t.Any]
"""What a host tells about itself, or about one of its ports."""


class Finding(t.NamedTuple):
    """A difference between the model and a host.

    ``element`` is that of the model. If the model lacks it, it is what the host calls it. ``field``
    is the field of XIR that says ``declared``; the host says ``actual``, and ``right`` is what the
    model should say. ``fix`` is there if the model can be corrected.
    """

    severity: str
    check: str
    host: str
    element: str
    message: str
    remedy: str
    field: str | None = None
    declared: t.Any = None
    actual: t.Any = None
    right: t.Any = None
    fix: Fix | None = None

    def as_dict(self) -> dict[str, t.Any]:
        """Return the finding as the document has it."""
        return self._asdict() | {"fix": self.fix is not None}


class PairedPort(t.NamedTuple):
    """A port of the model.

    ``found`` is what the facts tell of the same port of the host, and ``pf`` what they tell of it
    as a PF; each is None if it is not there. ``for_vfs`` tells whether the port has a link role of
    the PFs that the inventory offers. ``leaf`` is the port of a switch at the other end of its
    cable. A port ``is_bmc`` if it belongs to the management controller, so that the operating
    system does not see it.
    """

    host: str
    element: str
    path: tuple[str | int, ...]
    port: t.Any
    mac: str | None
    found: Facts | None
    pf: Facts | None
    for_vfs: bool
    leaf: _xir.End | None
    is_bmc: bool

    @property
    def max_vfs(self) -> int:
        """The VFs that the model declares."""
        declared: int = self.port.sriov.Pf.MaxVFs
        return declared

    @property
    def offered(self) -> bool:
        """Whether the inventory offers it for VFs."""
        return self.for_vfs and self.max_vfs > 0

    @property
    def grave(self) -> str:
        """The severity of what prevents VFs.

        It is an error only for a PF that is offered.
        """
        return ERROR if self.offered else WARNING

    @property
    def is_vf(self) -> bool:
        """Whether the model has it as a VF, which is no port of its own on the host."""
        return bool(self.port.sriov.WhichOneof("Data") == "Vf")

    def finding(
        self, severity: str, check: str, message: str, remedy: str, **values: t.Any
    ) -> Finding:
        """Return a finding about this port."""
        return Finding(severity, check, self.host, self.element, message, remedy, **values)

    def fix(self, *field: str, value: int | str) -> Fix:
        """Return the correction of the field that ``field`` leads to from the port."""
        return Fix((*self.path, *field), value)


class PairedNic(t.NamedTuple):
    """A NIC of the model and its ports."""

    host: str
    element: str
    path: tuple[str | int, ...]
    nic: t.Any
    ports: list[PairedPort]


class PairedHost(t.NamedTuple):
    """A host: its resource in the model, and what it told.

    ``unknown`` are the ports of the host that the resource lacks.
    """

    resource: t.Any
    facts: Facts
    nics: list[PairedNic]
    unknown: list[Facts]

    @property
    def name(self) -> str:
        """Its name in the inventory."""
        name: str = self.resource.id
        return name

    @property
    def ports(self) -> t.Iterator[PairedPort]:
        """The ports of all its NICs."""
        return (port for nic in self.nics for port in nic.ports)

    def finding(
        self, severity: str, check: str, message: str, remedy: str, **values: t.Any
    ) -> Finding:
        """Return a finding about the host as such."""
        return Finding(severity, check, self.name, self.name, message, remedy, **values)


class PairedFacility:
    """The model as a whole, and where each MAC address is, in the model and on the hosts."""

    def __init__(
        self,
        facility: t.Any,
        facts: t.Mapping[str, Facts],
        link_roles: t.Collection[str],
    ) -> None:
        # Without it, every MAC address would seem wrong.
        _names.require_netaddr()
        self.resources = {r.id: (index, r) for index, r in enumerate(facility.resources)}
        self._facts = facts
        self._link_roles = frozenset(link_roles)
        self._cabling = _xir.Cabling(facility, self._link_roles)

    def host(self, name: str) -> PairedHost:
        """Return a host whose facts were read."""
        index, resource = self.resources[name]
        facts = _with_whole(self._facts[name])
        found = self._counterparts(resource, facts)
        pfs = {pf["address"]: pf for pf in facts["pfs"]}
        nics = []
        for ni, nic in enumerate(resource.NICs):
            ports = [
                self._port(resource, ni, pi, found.get((ni, pi)), pfs)
                for pi in range(len(nic.ports))
            ]
            path = ("resources", index, "NICs", ni)
            nics.append(PairedNic(name, f"{name} NIC {ni}", path, nic, ports))
        taken = {port["address"] + (port["mac"] or "") for port in found.values()}
        unknown = [p for p in facts["ports"] if p["address"] + (p["mac"] or "") not in taken]
        return PairedHost(resource, facts, nics, unknown)

    def _counterparts(self, resource: t.Any, facts: Facts) -> dict[tuple[int, int], Facts]:
        """Return the ports of the host by the indices of NIC and port in the model."""
        by_mac = {port["mac"]: port for port in facts["ports"] if port["mac"]}
        by_name = {
            port["interface"]: port
            for port in facts["ports"]
            if port["interface"] and port["mac"] and port["mac"] not in self.model_macs
        }
        names = collections.Counter(port.name for nic in resource.NICs for port in nic.ports)
        found = {}
        for ni, nic in enumerate(resource.NICs):
            for pi, port in enumerate(nic.ports):
                same = by_mac.get(_mac(port.mac))
                if same is None and names[port.name] == 1:
                    same = by_name.get(port.name)
                if same:
                    found[ni, pi] = same
        return found

    def _port(
        self, resource: t.Any, ni: int, pi: int, found: Facts | None, pfs: t.Mapping[str, Facts]
    ) -> PairedPort:
        """Return a port of the model by the indices of NIC and port, with what was found of it."""
        index, _resource = self.resources[resource.id]
        nic = resource.NICs[ni]
        port = nic.ports[pi]
        element = f"{resource.id} {label(port.name) or f'NIC {ni} port {pi}'}"
        roles = _xir.port_roles(port)
        return PairedPort(
            host=resource.id,
            element=element,
            path=("resources", index, "NICs", ni, "ports", pi),
            port=port,
            mac=_mac(port.mac),
            found=found,
            pf=pfs.get(found["address"]) if found else None,
            for_vfs=not self._link_roles.isdisjoint(roles),
            leaf=self._cabling.far_end(_xir.End(resource, port), element),
            is_bmc="IPMILink" in roles or _schema.ENUMS["NICKind"].get(nic.kind) == "IPMI",
        )

    @functools.cached_property
    def model_macs(self) -> dict[str, str]:
        """The resource of the model that has each MAC address at one of its ports."""
        return {
            mac: resource.id
            for _index, resource in self.resources.values()
            for nic in resource.NICs
            for port in nic.ports
            for mac in [_mac(port.mac)]
            if mac
        }

    @functools.cached_property
    def host_macs(self) -> dict[str, str]:
        """What has each MAC address: a port or a VF of a host."""
        found = {}
        for host, facts in self._facts.items():
            for pf in facts.get("pfs", ()):
                for vf in pf["vfs"]:
                    if vf.get("mac"):
                        found[vf["mac"]] = f"VF {vf['index']} of {host} {called(pf)}"
            for port in facts.get("ports", ()):
                if port["mac"]:
                    found[port["mac"]] = f"{host} {called(port)}"
        return found

    def resource_named(self, system: str) -> t.Any:
        """Return the resource with the id or the name ``system``; None if there is none."""
        return self._by_name.get(system.lower()) or self._by_name.get(
            system.lower().partition(".")[0]
        )

    @functools.cached_property
    def _by_name(self) -> dict[str, t.Any]:
        resources = [resource for _index, resource in self.resources.values()]
        return {r.fqdn.lower(): r for r in resources if r.fqdn} | {
            r.id.lower(): r for r in resources
        }


def _with_whole(facts: Facts) -> Facts:
    """Return facts in which the whole NICs of guests have the MACs that only the ledger knows."""
    macs = {
        entry["address"]: entry["pf_mac"]
        for entries in facts.get("materializations", {}).values()
        for entry in entries
        if "kind" in entry and entry["pf_mac"]
    }
    return {**facts} | {
        key: [{**each, "mac": each["mac"] or macs.get(each["address"])} for each in facts[key]]
        for key in ("ports", "pfs")
    }


def _mac(text: str) -> str | None:
    """Return a MAC address in the form of the facts; None for a text that is none."""
    try:
        return _names.mac(text, "MAC") if text else None
    except InputError:
        return None


def label(text: str) -> str:
    """Return a text of the model or of a host for people: as it is, unless it could do harm."""
    return text if text.isprintable() and len(text) <= 60 else _names.quoted(text)


def called(port: Facts) -> str:
    """Return what the host calls a port."""
    name: str = port["interface"] or port["address"]
    return name
