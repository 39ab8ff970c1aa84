# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From an experiment model, as mergexp writes it, to the guest NICs that need a VF. PRIVATE."""

from __future__ import annotations

import collections
import dataclasses
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names, _schema
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import (
    InputError,
    Problems,
)

_EMULATED = frozenset({"Virtio", "E1000", "E1000E"})


@dataclasses.dataclass(frozen=True)
class Nic:
    """A guest NIC that needs a VF, and what the experiment asks of it.

    ``host`` and ``model`` are None, and ``capacity`` (in bit/s) is 0, if the experiment asks
    nothing.
    """

    node: str
    socket: int
    link: str
    host: str | None = None
    model: str | None = None
    capacity: int = 0
    addresses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the guest. eth0 is in the infranet, so socket 0 is eth1."""
        return f"eth{self.socket + 1}"

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.node} {self.name}"


def nics(network: t.Any) -> list[Nic]:
    """Return the NICs of an experiment that need a VF (``port.vf==True``), link by link.

    Leaves out a socket that is in no link, and a link without a VF.

    :param network: the message ``Network``
    :raises InputError: lists everything that is wrong, or that VFs cannot give
    """
    reader = _ExperimentReader(network)
    found = reader.read()
    if reader.problems:
        raise reader.problems.refusal(f"experiment {_names.quoted(network.id)}")
    return found


class _ExperimentReader:
    """Reads to the end, whatever is wrong, and lists it in ``problems``."""

    def __init__(self, network: t.Any) -> None:
        self.problems = Problems()
        self._network = network
        self._nodes: dict[str, t.Any] = {}
        self._sockets: dict[tuple[str, int], t.Any] = {}

    def read(self) -> list[Nic]:
        """Return the result of ``nics``, without what is wrong."""
        self._index()
        links = self._network.links
        for name, count in collections.Counter(link.id for link in links).items():
            if count > 1:
                self.problems.append(f"{count} links have the id {_names.quoted(name)}")
        found = [nic for link in links for nic in self._link(link)]
        for label, count in collections.Counter(nic.label for nic in found).items():
            if count > 1:
                self.problems.append(f"{label} is in {count} links")
        return found

    def _index(self) -> None:
        for node in self._network.nodes:
            try:
                _names.NODE.check(node.id, "the id of a node")
            except InputError as error:
                self.problems.append(str(error))
            if node.id in self._nodes:
                self.problems.append(f"2 nodes have the id {_names.quoted(node.id)}")
            self._nodes[node.id] = node
            for socket in node.sockets:
                key = node.id, socket.index
                if key in self._sockets or not 0 <= socket.index < 2**31 - 1:
                    self.problems.append(
                        f"node {_names.quoted(node.id)}: socket {socket.index} is there twice, or"
                        " is no index"
                    )
                self._sockets[key] = socket

    def _link(self, link: t.Any) -> t.Iterator[Nic]:
        what = f"link {_names.quoted(link.id)}"
        members = []
        for endpoint in link.endpoints:
            key = endpoint.socket.element, endpoint.socket.index
            if key in self._sockets:
                members.append(key)
            else:
                self.problems.append(f"{what}: node {_names.quoted(key[0])} has no socket {key[1]}")
        vfs = {key: None for key in members if self._asks_vf(key)}
        if not vfs:
            return
        try:
            _names.link(link.id, "link")
        except InputError as error:
            self.problems.append(str(error))
        self.problems.extend(
            f"{what}: {node} socket {index} is no VF, but others of the link are; set port.vf==True"
            " on all of them or on none"
            for node, index in members
            if (node, index) not in vfs
        )
        self.problems.extend(
            f"{what}: {name} is for an emulator, which no frame of a VF passes; leave it out"
            for name in ("latency", "loss")
            if getattr(link, name).op
        )
        capacity = self._capacity(link.capacity, f"{what}: capacity")
        for key in vfs:
            yield self._nic(key, link.id, capacity)

    def _asks_vf(self, key: tuple[str, int]) -> bool:
        constraint = self._sockets[key].port.SriovVF
        if _operator(constraint) == "NE":
            return not constraint.value
        return bool(self._wanted(constraint, f"{key[0]} socket {key[1]}: port.vf"))

    def _nic(self, key: tuple[str, int], link: str, capacity: int) -> Nic:
        name, index = key
        node, socket = self._nodes[name], self._sockets[key]
        what = f"{name} socket {index}:"
        if self._wanted(node.metal, f"node {name}: metal"):
            self.problems.append(f"{what} a VF is for a VM, but the node is metal")
        model = self._model(socket.port.model, f"{what} port.model")
        if model in _EMULATED:
            self.problems.append(f"{what} port.model is {model}, which no VF is; leave it out")
        addresses = []
        for address in socket.addrs:
            try:
                addresses.append(_names.interface_address(address, f"{what} address"))
            except InputError as error:
                self.problems.append(str(error))
        return Nic(
            node=name,
            socket=index,
            link=link,
            host=self._wanted(node.host, f"node {name}: host"),
            model=model,
            capacity=max(capacity, self._capacity(socket.port.capacity, f"{what} port.capacity")),
            addresses=tuple(addresses),
        )

    def _model(self, constraint: t.Any, what: str) -> str | None:
        number = self._wanted(constraint, what)
        if number is None:
            return None
        models = _schema.ENUMS["NICModel"]
        if number not in models:
            self.problems.append(f"{what} {number} is none of {', '.join(models.values())}")
        return models.get(number)

    def _capacity(self, constraint: t.Any, what: str) -> int:
        """Return the least that is asked for; for a share of a NIC, ``>=`` and ``==`` are one."""
        if _operator(constraint) == "GE":
            least: int = constraint.value
            return least
        return self._wanted(constraint, what) or 0

    def _wanted(self, constraint: t.Any, what: str) -> t.Any:
        """Return the value that a constraint asks for; None if there is no constraint."""
        operator = _operator(constraint)
        if operator == "Op_Undefined":
            return None
        if operator != "EQ":
            self.problems.append(f"{what}: only == can be satisfied, not {operator}")
            return None
        return constraint.value


def _operator(constraint: t.Any) -> str:
    return _schema.ENUMS["Operator"].get(constraint.op, str(constraint.op))
