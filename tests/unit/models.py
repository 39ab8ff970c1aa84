# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facility models and materializations in every encoding, written by MergeTB's own bindings."""

from __future__ import annotations

import base64
import functools
import json
import typing as t
import warnings

import betterproto
import mergexp
from ansible_collections.mergetb.sriov.tests.tools import make_phobos
from google.protobuf import json_format
from mergetbapi import xir
from mergetbapi.portal import v1 as portal
from mergexp.pb import core_pb2

PHOBOS = make_phobos.facility()
EXPERIMENT = make_phobos.experiment(PHOBOS)


def phobos() -> xir.Facility:
    """Return a facility to change: the example's."""
    return make_phobos.facility()


def experiment() -> portal.Materialization:
    """Return a materialization to change: the example's."""
    return make_phobos.experiment(PHOBOS)


def resource(facility: xir.Facility, name: str) -> xir.Resource:
    """Return the resource ``name``."""
    return next(resource for resource in facility.resources if resource.id == name)


def pf(facility: xir.Facility, host: str, index: int = 0) -> xir.Port:
    """Return a PF's port of a host of the example facility."""
    return resource(facility, host).ni_cs[1].ports[index]


def endpoint(
    materialization: portal.Materialization, link: int = 0, node: int = 0
) -> portal.Endpoint:
    """Return an endpoint of the example experiment."""
    return materialization.links[link].realization.segments[1].endpoints[node]


def segment(materialization: portal.Materialization, link: int = 0) -> portal.LinkSegment:
    """Return the segment of a link of the example experiment."""
    return materialization.links[link].realization.segments[1]


# An experimenter compares with True; linters take that for a slip.
WANTED = True


def hello() -> mergexp.Network:
    """Return an experiment of VFs as an experimenter writes it: a LAN of three and a link."""
    network = mergexp.Network("hello")
    alpha, beta, gamma = (network.node(name) for name in ("alpha", "beta", "gamma"))

    def socket(node: mergexp.Node, *constraints: t.Any) -> mergexp.Socket:
        return node.socket(mergexp.port.vf == WANTED, *constraints)

    network.connect_sockets([socket(node) for node in (alpha, beta, gamma)])
    fast = mergexp.port.capacity == mergexp.mbps(600)
    link = network.connect_sockets([socket(alpha, fast), socket(beta, fast)])
    link[alpha].socket.addrs = mergexp.ip4("10.0.1.1/24")
    link[beta].socket.addrs = mergexp.ip4("10.0.1.2/24")
    return network


def network_encodings(network: mergexp.Network) -> dict[str, bytes]:
    """Return an experiment as mergexp saves it, and as the bindings and Go write it."""
    message = network.xir()
    wire = message.SerializeToString()
    binding = xir.Network().parse(wire)
    texts = {
        "mergexp's save_xir": base64.b64encode(wire).decode(),
        "mergexp's save_json": json_format.MessageToJson(message),
        "protojson with enum numbers": json_format.MessageToJson(
            message, use_integers_for_enums=True
        ),
        "protojson with default values": json_format.MessageToJson(
            message, always_print_fields_with_no_presence=True
        ),
        "JSON of the bindings": binding.to_json(),
        "JSON of the bindings, snake case": json.dumps(
            binding.to_dict(casing=betterproto.Casing.SNAKE)
        ),
        "JSON of the portal's model": portal.XpNetModel(model=binding).to_json(),
    }
    binaries = {"wire": wire, "wire of the portal's model": bytes(portal.XpNetModel(model=binding))}
    return binaries | {name: text.encode() for name, text in texts.items()}


def before_2025(facility: xir.Facility) -> xir.Facility:
    """Return a facility with only what MergeTB's descriptor of 2024 has (mergexp)."""
    facility = xir.Facility().parse(bytes(facility))
    for resource in facility.resources:
        resource.fqdn = ""
        for nic in resource.ni_cs:
            for port in nic.ports:
                if port.roles:
                    [port.role] = port.roles
                    port.roles = []
    return facility


Writers = dict[str, t.Callable[[], bytes]]
"""What writes a message, by the name of the encoding. The bindings take their time for each."""


def writers(
    message: xir.Facility | portal.Materialization, response: betterproto.Message
) -> Writers:
    """Return how the Python bindings write; ``response`` is the portal's around the message."""

    @functools.cache
    def wire() -> bytes:
        return bytes(message)

    @functools.cache
    def json_text() -> str:
        return message.to_json()

    @functools.cache
    def snake() -> dict[str, t.Any]:
        return message.to_dict(casing=betterproto.Casing.SNAKE)

    def verbose() -> bytes:
        with warnings.catch_warnings():
            # Of deprecated fields, all of which are written here.
            warnings.simplefilter("ignore", DeprecationWarning)
            return type(message)().parse(wire()).to_json(include_default_values=True).encode()

    return {
        "wire": wire,
        "wire of a response": lambda: bytes(response),
        "base64": lambda: base64.b64encode(wire()),
        "base64 in lines": lambda: base64.encodebytes(wire()),
        "base64 in lines of Windows": lambda: base64.encodebytes(wire()).replace(b"\n", b"\r\n"),
        "base64 of a response": lambda: base64.b64encode(bytes(response)),
        "JSON": lambda: json_text().encode(),
        "JSON, indented": lambda: message.to_json(indent=4).encode(),
        "JSON, snake case": lambda: json.dumps(snake()).encode(),
        "JSON, keys sorted": lambda: json.dumps(snake(), sort_keys=True).encode(),
        "JSON with default values": verbose,
        "JSON of a response": lambda: response.to_json().encode(),
        "JSON with a byte order mark": lambda: "\ufeff".encode() + json_text().encode(),
    }


def encodings(writers: Writers) -> dict[str, bytes]:
    """Return what each writes."""
    return {name: write() for name, write in writers.items()}


def facility_writers(facility: xir.Facility) -> Writers:
    """Return how the Python bindings write a facility."""
    return writers(
        facility,
        portal.GetFacilityResponse(facility=portal.Facility(name=facility.id), model=facility),
    )


def facility_encodings(facility: xir.Facility) -> dict[str, bytes]:
    """Return a facility as the Python bindings write it."""
    return encodings(facility_writers(facility))


def go_encodings(facility: xir.Facility) -> dict[str, bytes]:
    """Return a facility, before 2025, as Go writes it.

    protojson is written by protobuf's own writer from MergeTB's descriptor, encoding/json by hand
    from what that says of structs: names of the proto file, numbers for enums and integers, and
    oneofs inside an object of their name.
    """
    message = core_pb2.Facility.FromString(bytes(facility))

    def write(**options: t.Any) -> str:
        return json_format.MessageToJson(message, **options)

    structs = json.loads(
        write(preserving_proto_field_name=True, use_integers_for_enums=True), object_hook=_struct
    )
    texts = {
        "protojson": write(),
        "protojson with proto names": write(preserving_proto_field_name=True),
        "protojson with enum numbers": write(use_integers_for_enums=True),
        "protojson with default values": write(always_print_fields_with_no_presence=True),
        "protojson of a response": json.dumps({"facility": {}, "model": json.loads(write())}),
        "encoding/json": json.dumps(structs),
    }
    return {name: text.encode() for name, text in texts.items()}


def _struct(value: dict[str, t.Any]) -> dict[str, t.Any]:
    if "capacity" in value:
        value["capacity"] = int(value["capacity"])
    arms = {arm: value.pop(arm) for arm in ("Pf", "Vf") if arm in value}
    return value | {"Data": arms} if arms else value


def materialization_encodings(materialization: portal.Materialization) -> dict[str, bytes]:
    """Return a materialization as the Python bindings write it, and as Go's encoding/json does."""
    structs = json.loads(materialization.to_json(), object_hook=_interface)
    response = portal.GetMaterializationResponse(materialization=materialization)
    written = encodings(writers(materialization, response))
    return written | {"encoding/json": json.dumps(structs).encode()}


def _interface(value: dict[str, t.Any]) -> dict[str, t.Any]:
    arms = {arm: value.pop(arm) for arm in ("vf", "vlan", "tap", "access") if arm in value}
    interface = {arm.title(): item for arm, item in arms.items()}
    return value | {"interface": interface} if arms else value
