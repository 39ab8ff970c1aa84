# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of MergeTB's protocol buffers that the collection uses. PRIVATE to the collection.

The tables hold only the fields that are used. The library skips every other field on the wire.
Names, numbers and types come from the descriptor in the PyPI package mergexp (package xir), and
from the bindings in the PyPI package mergetbapi (portal.v1, whose proto file is not published).
"""

from __future__ import annotations

import dataclasses
import functools
import typing as t

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format
    from google.protobuf.message import DecodeError
    from google.protobuf.message_factory import GetMessageClass
except ImportError as error:
    PROTOBUF_IMPORT_ERROR: ImportError | None = error
else:
    PROTOBUF_IMPORT_ERROR = None

_PACKAGE = "mergetb.sriov"

# Field name: "number [repeated | map KEY | oneof NAME] type".
MESSAGES: dict[str, dict[str, str]] = {
    # xir
    "Facility": {
        "id": "1 string",
        "fqdn": "2 string",
        "resources": "3 repeated Resource",
        "cables": "4 repeated Cable",
    },
    "Resource": {
        "id": "1 string",
        "facility": "2 string",
        "NICs": "5 repeated NIC",
        "alloc": "7 repeated AllocMode",
        "roles": "8 repeated Role",
        "infranet_addr": "18 map string AddressList",
        "fqdn": "22 string",
    },
    "AddressList": {"list": "1 repeated string"},
    "NIC": {
        "ports": "1 repeated Port",
        "kind": "3 NICKind",
        "product_info": "4 ProductInfo",
        "model": "6 NICModel",
    },
    "ProductInfo": {"Manufacturer": "1 string", "Model": "2 string", "SKU": "3 string"},
    "Port": {
        "capacity": "4 uint64",
        "mac": "5 string",
        "connector": "7 Ref",
        "role": "8 LinkRole",
        "breakout": "11 Breakout",
        "name": "13 string",
        "sriov": "14 SRIOV",
        "roles": "15 repeated LinkRole",
    },
    "SRIOV": {"Pf": "2 oneof Data SRIOV_PF", "Vf": "3 oneof Data SRIOV_VF"},
    "SRIOV_PF": {"MaxVFs": "1 uint32"},
    "SRIOV_VF": {"VfIndex": "1 uint32"},
    "Breakout": {"index": "1 uint32", "radix": "2 uint32"},
    "Ref": {"element": "1 string", "index": "2 uint32", "facility": "4 string"},
    "Cable": {"id": "1 string", "ends": "4 repeated End"},
    "End": {"connectors": "1 repeated Connector"},
    "Connector": {"index": "2 uint32", "Port": "6 Ref", "breakout": "7 Breakout"},
    "ResourceAllocation": {
        "resource": "1 string",
        "facility": "2 string",
        "mzid": "3 string",
        "node": "4 string",
        "NICs": "7 NICsAllocation",
        "virtual": "11 bool",
    },
    "NICsAllocation": {"alloc": "1 map uint32 NICAllocation"},
    "NICAllocation": {"alloc": "1 map uint32 PortAllocation"},
    "PortAllocation": {
        "name": "1 string",
        "mac": "2 string",
        "capacity": "3 uint64",
        "VfName": "4 string",
        "VfAlloc": "5 bool",
    },
    "Network": {"id": "1 string", "nodes": "2 repeated Node", "links": "3 repeated XirLink"},
    "Node": {
        "id": "1 string",
        "sockets": "2 repeated Socket",
        "metal": "7 BoolConstraint",
        "host": "14 StringConstraint",
    },
    "Socket": {"index": "1 int32", "addrs": "2 repeated string", "port": "4 PortSpec"},
    "PortSpec": {
        "capacity": "2 Uint64Constraint",
        "model": "5 NICModelConstraint",
        "SriovVF": "7 BoolConstraint",
    },
    "XirLink": {
        "id": "1 string",
        "latency": "2 Uint64Constraint",
        "capacity": "3 Uint64Constraint",
        "loss": "4 FloatConstraint",
        "endpoints": "5 repeated XirEndpoint",
    },
    "XirEndpoint": {"socket": "2 Ref"},
    "BoolConstraint": {"op": "1 Operator", "value": "2 bool"},
    "StringConstraint": {"op": "1 Operator", "value": "2 string"},
    "Uint64Constraint": {"op": "1 Operator", "value": "2 uint64"},
    "NICModelConstraint": {"op": "1 Operator", "value": "2 NICModel"},
    "FloatConstraint": {"op": "1 Operator"},
    # portal.v1
    "GetFacilityResponse": {"model": "2 Facility"},
    "GetMaterializationResponse": {"materialization": "1 Materialization"},
    "XpNetModel": {"model": "2 Network"},
    "Materialization": {
        "rid": "1 string",
        "eid": "2 string",
        "pid": "3 string",
        "vms": "6 repeated VirtualMachine",
        "links": "7 repeated Link",
    },
    "VirtualMachine": {"vm_alloc": "1 ResourceAllocation"},
    "Link": {"realization": "1 LinkRealization"},
    "LinkRealization": {"link": "1 XirLink", "segments": "2 map uint64 LinkSegment"},
    "LinkSegment": {
        "endpoints": "1 repeated Endpoint",
        "waypoints": "2 repeated Waypoint",
        "vid": "3 uint32",
        "vni": "4 uint32",
    },
    "Endpoint": {
        "facility": "1 string",
        "host": "2 string",
        "node": "3 string",
        "mac": "5 string",
        "phy": "6 oneof interface PhysicalInterface",
        "vlan": "7 oneof interface VLANInterface",
        "mtu": "10 uint32",
        "virtual": "11 bool",
        "vf": "12 oneof interface VFInterface",
        "trunk": "13 oneof interface VLANTrunkPort",
    },
    "Waypoint": {
        "facility": "1 string",
        "host": "2 string",
        "bridge": "3 BridgeMember",
        "access": "4 oneof interface VLANAccessPort",
        "trunk": "5 oneof interface VLANTrunkPort",
        "tap": "6 oneof interface VLANTapPort",
    },
    "VFInterface": {
        "virtif": "1 PhysicalInterface",
        "parent": "2 VirtualFunction",
        "vid": "3 uint32",
        "addrs": "4 repeated string",
    },
    "VirtualFunction": {
        "name": "1 string",
        "pf": "2 PhysicalInterface",
        "vf_index": "3 uint32",
        "mac": "4 string",
    },
    "PhysicalInterface": {"name": "1 string", "mac": "2 string"},
    "VLANInterface": {"parent": "3 PhysicalInterface"},
    "VLANTrunkPort": {"port": "1 PhysicalInterface", "vids": "2 repeated uint32"},
    "VLANAccessPort": {"port": "1 PhysicalInterface", "vid": "2 uint32"},
    "VLANTapPort": {"node": "1 string"},
    "BridgeMember": {
        "untagged": "2 repeated uint32",
        "tagged": "3 repeated uint32",
        "pvid": "4 uint32",
    },
}

# MergeTB puts the enum's name in front of some values (Role_unknown). It is left out here.
ENUMS: dict[str, dict[int, str]] = {
    "Role": dict(
        enumerate(
            "unknown TbNode InfraServer ConsoleServer PowerController NetworkEmulator XpSwitch"
            " InfraSwitch MgmtSwitch Gateway Leaf Fabric Spine StorageServer InfrapodServer"
            " EtcdHost MinIOHost RexHost DriverHost ManagerHost CommanderHost SledHost RallyHost"
            " PDU EmuSwitch Hypervisor PhysicsSimulator Stem BorderGateway OpsServer PoESwitch"
            " ExtraEtcd ExtraMinio".split()
        )
    ),
    "AllocMode": dict(
        enumerate(
            "Undefined NoAlloc Net NetEmu Filesystem BlockDevice Physical Virtual Infrapod"
            " Physim".split()
        )
    ),
    "Operator": dict(enumerate("Op_Undefined LT LE GT GE EQ NE".split())),
    "LinkRole": dict(
        enumerate(
            "Unspecified InfraLink XpLink Tor EmuLink MgmtLink GatewayLink SimLink HarborEndpoint"
            " InternalLink BorderGatewayLink WireguardLink IPMILink BGPUnderlayLink"
            " ConsoleLink".split()
        )
    ),
    "NICKind": dict(enumerate("ETH ENP ENO ENS WLP SWP IPMI Combo USBPort Serial".split())),
    "NICModel": {
        0: "Intel200",
        1: "Intel300",
        2: "Intel500",
        3: "Intel700",
        4: "Intel800",
        50: "Intel7000",
        51: "Intel8000",
        52: "Intel9000",
        101: "ConnectX4",
        102: "ConnectX5",
        103: "ConnectX6",
        201: "NetXtreme2",
        301: "QCA9000",
        10001: "Virtio",
        10002: "E1000",
        10003: "E1000E",
    },
}

_Shape: t.TypeAlias = "dict[int, _Shape]"

_SCALARS = {
    name: f"TYPE_{name.upper()}" for name in ("bool", "int32", "string", "uint32", "uint64")
}


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a message. ``type`` is the name of a scalar, an enum or a message."""

    name: str
    number: int
    type: str
    repeated: bool = False
    map_key: str | None = None
    oneof: str | None = None


@functools.cache
def fields(message: str) -> tuple[Field, ...]:
    """Return the fields of a message, for example of ``Facility``."""
    return tuple(_field(name, text) for name, text in MESSAGES[message].items())


def _field(name: str, definition: str) -> Field:
    number, *qualifier, type_name = definition.split()
    match qualifier:
        case ["repeated"]:
            return Field(name, int(number), type_name, repeated=True)
        case ["map", key]:
            return Field(name, int(number), type_name, map_key=key)
        case ["oneof", oneof]:
            return Field(name, int(number), type_name, oneof=oneof)
        case _:
            return Field(name, int(number), type_name)


def parse(message: str, data: bytes) -> t.Any:
    """Return the message that ``data`` encodes; None if it encodes none."""
    try:
        return _classes()[message].FromString(data)
    except (DecodeError, ValueError):  # the latter of protobuf in pure Python: text is not UTF-8
        return None


def has_more_messages(message: str, data: bytes, limit: int) -> bool:
    """Return whether ``data``, which encodes a message, has more than ``limit`` messages in it.

    An empty message takes two bytes of a file and a hundred in memory, so they are counted before
    they are decoded. The decoder deals with damaged data.
    """
    # Each message has a tag. In most files, even all bytes that could be one are not too many.
    if len(data) - len(data.translate(None, _tags(message))) <= limit:
        return False
    try:
        return _messages(_shape(message), data, 0, len(data), limit) > limit
    except IndexError:
        return False


def _messages(shape: _Shape, data: bytes, place: int, end: int, limit: int) -> int:
    """Return the number of messages within one; it stops counting when there are too many."""
    count = 0
    while place < end and count <= limit:
        tag, place = _varint(data, place)
        match tag & 7:
            case 0:
                _value, place = _varint(data, place)
            case 1:
                place += 8
            case 5:
                place += 4
            case 2:
                size, place = _varint(data, place)
                if tag >> 3 in shape:
                    inner = min(place + size, end)
                    count += 1 + _messages(shape[tag >> 3], data, place, inner, limit - count)
                place += size
    return count


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = data[place]
    if value < 128:
        return value, place + 1
    value &= 127
    for shift in range(7, 70, 7):
        place += 1
        value |= (data[place] & 127) << shift
        if data[place] < 128:
            break
    return value, place + 1


@functools.cache
def _shape(message: str) -> _Shape:
    """Return the fields of a message that hold messages, by number, with the fields of those."""
    shape: _Shape = {}
    for field in fields(message):
        inner = _shape(field.type) if field.type in MESSAGES else None
        if field.map_key:
            shape[field.number] = {} if inner is None else {2: inner}
        elif inner is not None:
            shape[field.number] = inner
    return shape


@functools.cache
def _tags(message: str) -> bytes:
    """Return the first bytes of the tags that fields with messages have, in a message or below."""
    return bytes(_first_bytes(_shape(message)))


def _first_bytes(shape: _Shape) -> set[int]:
    # Type 2. The highest bit says that the number goes on, as a decoder accepts for any number.
    first = {number << 3 & 127 | 2 | 128 for number in shape}
    first.update(number << 3 | 2 for number in shape if number <= 15)
    return first.union(*map(_first_bytes, shape.values()))


def build(message: str, values: dict[str, t.Any]) -> t.Any:
    """Return a message with the given values of its fields; a dictionary stands for a message."""
    return json_format.ParseDict(values, _classes()[message]())


def dump(message: t.Any) -> dict[str, t.Any]:
    """Return a message in the form of protojson; a dictionary stands for a message."""
    values: dict[str, t.Any] = json_format.MessageToDict(message)
    return values


@functools.cache
def _classes() -> dict[str, t.Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="mergetb/sriov.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, values in ENUMS.items():
        enum_type = file.enum_type.add(name=name)
        for number, value in values.items():
            # The values of all enums of a package share one scope.
            enum_type.value.add(name=f"{name}_{value}", number=number)
    for name in MESSAGES:
        message = file.message_type.add(name=name)
        for field in fields(name):
            _describe(message, field)
    # Not the default pool: the process may have MergeTB's own descriptors in it.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in MESSAGES
    }


def _describe(message: descriptor_pb2.DescriptorProto, field: Field) -> None:
    type_name = field.type
    if field.map_key:
        entry = message.nested_type.add(name=field.name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _describe(entry, Field("key", 1, field.map_key))
        _describe(entry, Field("value", 2, field.type))
        type_name = f"{message.name}.{entry.name}"
    described = message.field.add(
        name=field.name,
        number=field.number,
        label="LABEL_REPEATED" if field.repeated or field.map_key else "LABEL_OPTIONAL",
    )
    kind = _SCALARS.get(type_name) or ("TYPE_ENUM" if type_name in ENUMS else "TYPE_MESSAGE")
    described.type = described.Type.Value(kind)
    if type_name not in _SCALARS:
        described.type_name = f".{_PACKAGE}.{type_name}"
    if field.oneof:
        oneofs = [oneof.name for oneof in message.oneof_decl]
        if field.oneof not in oneofs:
            message.oneof_decl.add(name=field.oneof)
            oneofs.append(field.oneof)
        described.oneof_index = oneofs.index(field.oneof)
