# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Route netlink: interfaces, their addresses, and the attributes that PFs keep for VFs.

Sources: include/uapi/linux/{netlink,rtnetlink,if_link}.h and net/core/rtnetlink.c of Linux. All
numbers are in the byte order of the host, except an Ethernet protocol, which is big-endian.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_RTM_GETLINK = 18
_RTM_SETLINK = 19
_RTM_GETADDR = 22
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP = 0x300
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NLMSGERR_ATTR_MSG = 1
_NLA_TYPE_MASK = 0x3FFF
_NLA_F_NESTED = 0x8000

_RTEXT_FILTER_VF = 1 << 0
_RTEXT_FILTER_SKIP_STATS = 1 << 3

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_LINK = 5
_IFLA_LINKINFO = 18
_IFLA_NUM_VF = 21
_IFLA_VFINFO_LIST = 22
_IFLA_EXT_MASK = 29
_IFLA_LINK_NETNSID = 37
_IFLA_PERM_ADDRESS = 54

_IFLA_INFO_KIND = 1

_IFLA_VF_INFO = 1
_IFLA_VF_MAC = 1
_IFLA_VF_VLAN = 2
_IFLA_VF_SPOOFCHK = 4
_IFLA_VF_LINK_STATE = 5
_IFLA_VF_RATE = 6
_IFLA_VF_RSS_QUERY_EN = 7
_IFLA_VF_TRUST = 9
_IFLA_VF_VLAN_LIST = 12
_IFLA_VF_VLAN_INFO = 1

_IFA_ADDRESS = 1
_IFA_LOCAL = 2

_IFF_UP = 0x1

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BB2xI")
_ATTRIBUTE = struct.Struct("=HH")
_TWO_WORDS = struct.Struct("=II")
_THREE_WORDS = struct.Struct("=III")
_PROTOCOL = struct.Struct(">H")
_NOT_KEPT = 0xFFFFFFFF

_VLAN_PROTOCOLS = {0x8100: "802.1Q", 0x88A8: "802.1ad"}
_LINK_STATES = {0: "auto", 1: "enable", 2: "disable"}
_VLAN_PROTOCOL_NUMBERS = {name: number for number, name in _VLAN_PROTOCOLS.items()}
_LINK_STATE_NUMBERS = {name: number for number, name in _LINK_STATES.items()}

# One datagram answers for one link; the kernel never makes one larger than this.
_RECEIVE_BYTES = 1 << 20
# The acknowledgements of a batch must fit the default receive buffer of 208 KiB.
_BATCH = 64


class Link(t.NamedTuple):
    """A network interface. *mac* and *permanent_mac* are lower-case text; *mtu* is in bytes.

    *lower* is what it lies on, or the other end of a veth. It is `None` if that is in another
    network namespace. *kind* is what `ip link add type` calls a virtual device.
    """

    ifindex: int
    name: str
    mac: str | None
    permanent_mac: str | None
    up: bool
    mtu: int
    master: int | None
    lower: int | None
    kind: str | None = None


class VfState(t.NamedTuple):
    """The attributes of a VF that its PF's driver reports; `None` for what it does not keep.

    Rates are in Mbit/s; 0 means no limit. *vlan* 0 means none.
    """

    mac: str
    vlan: int
    qos: int
    vlan_proto: str
    spoofchk: bool | None
    trust: bool | None
    link_state: str
    min_tx_rate: int
    max_tx_rate: int
    query_rss: bool | None


# Without these a VF can reach the guests of others.
ISOLATING = ("mac", "vlan", "qos", "vlan_proto", "spoofchk")


class VfRequest(t.NamedTuple):
    """A change of one VF: the names and values of `VfState` fields to send to the driver."""

    ifindex: int
    vf: int
    values: t.Mapping[str, t.Any]


class Refusal(t.NamedTuple):
    """Why the kernel refused a request: an `errno` number and, from some drivers, a sentence."""

    errno: int
    text: str

    def __str__(self) -> str:
        reason = os.strerror(self.errno)
        return f"{reason} ({self.text})" if self.text else reason


class NoVfAttributesError(SriovError):
    """The driver of the PF keeps no attributes for its VFs, so no VLAN either (no VST)."""


class NetlinkSocket:
    """What all protocols of netlink have in common.

    *open_socket* stands in for the kernel in tests of its errors.
    """

    def __init__(
        self, protocol: int, open_socket: t.Callable[[], socket.socket] | None = None
    ) -> None:
        self.socket = open_socket() if open_socket else _open_socket(protocol)
        self.sequence = 0

    def message(self, kind: int, flags: int, body: bytes) -> bytes:
        """A request with the next number."""
        self.sequence += 1
        return (
            _HEADER.pack(_HEADER.size + len(body), kind, flags | _NLM_F_REQUEST, self.sequence, 0)
            + body
        )

    def answers(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of all messages that answer to *body*; raises `OSError`."""
        self.socket.send(self.message(kind, _NLM_F_DUMP, body))
        answers: list[bytes] = []
        while True:
            for answer_kind, sequence, _flags, answer in self.receive():
                if sequence != self.sequence:
                    continue
                if answer_kind == _NLMSG_ERROR:
                    _raise(answer)
                if answer_kind == _NLMSG_DONE:
                    return answers
                answers.append(answer)

    def acknowledged(self, messages: t.Sequence[tuple[int, bytes]]) -> list[Refusal | None]:
        """Send *messages*, pairs of type and body, and tell how each was refused, if it was."""
        first = self.sequence + 1
        self.socket.send(
            b"".join(_padded(self.message(kind, _NLM_F_ACK, body)) for kind, body in messages)
        )
        answers: dict[int, Refusal | None] = {}
        while len(answers) < len(messages):
            for kind, sequence, flags, answer in self.receive():
                if kind == _NLMSG_ERROR and sequence >= first:
                    answers[sequence - first] = _refusal(flags, answer)
        return [answers[number] for number in range(len(messages))]

    def receive(self) -> t.Iterator[tuple[int, int, int, bytes]]:
        """Type, number, flags and body of each message of the next datagram."""
        data, _ancillary, flags, _address = self.socket.recvmsg(_RECEIVE_BYTES)
        if flags & socket.MSG_TRUNC:
            raise SriovError(f"the kernel's netlink answer is larger than {_RECEIVE_BYTES} bytes")
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, message_flags, sequence, _port = _HEADER.unpack_from(data, offset)
            yield kind, sequence, message_flags, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3


class Rtnetlink(NetlinkSocket):
    """A route netlink socket; *open_socket* stands in for the kernel in tests of its errors."""

    def __init__(self, open_socket: t.Callable[[], socket.socket] | None = None) -> None:
        super().__init__(socket.NETLINK_ROUTE, open_socket)

    def links(self) -> list[Link]:
        """All interfaces of this network namespace."""
        return [_link(body) for body in self._dump_links(_RTEXT_FILTER_SKIP_STATS)]

    def addresses(self) -> dict[int, list[str]]:
        """The IP addresses of this network namespace, `10.0.0.1/24`, by interface index."""
        found: dict[int, list[str]] = {}
        for body in self.answers(_RTM_GETADDR, _IFADDR.pack(socket.AF_UNSPEC, 0, 0)):
            family, prefix, index = _IFADDR.unpack_from(body)
            parts = dict(attributes(body[_IFADDR.size :]))
            # At the end of a tunnel, IFA_ADDRESS is the peer's.
            address = parts.get(_IFA_LOCAL, parts.get(_IFA_ADDRESS))
            if address is not None:
                text = f"{socket.inet_ntop(family, address)}/{prefix}"
                found.setdefault(index, []).append(text)
        return found

    def vf_states(self, ifindex: int) -> dict[int, VfState]:
        """The attributes of all VFs of the PF with interface index *ifindex*, by VF index.

        Raises `SriovError` if the kernel leaves out VFs. Their list is one attribute of at most 64
        KiB, so some hundred VFs are the limit, and a missing VF must not count as absent. Raises
        `NoVfAttributesError` if the driver has no such attributes, whether or not there are VFs.
        While somebody makes or destroys VFs, the kernel counts them last, so it tells of no VF, or
        of some that are gone.
        """
        try:
            body = self._get(ifindex)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            # Some kernels compute the size of a single answer too small, but never that of a dump.
            answers = self._dump_links(_RTEXT_FILTER_VF | _RTEXT_FILTER_SKIP_STATS)
            body = {_link(answer).ifindex: answer for answer in answers}[ifindex]
        return parse_vf_states(body)

    def set_up(self, ifindex: int) -> None:
        """Set the interface up; raises `OSError`."""
        message = _IFINFO.pack(socket.AF_UNSPEC, 0, ifindex, _IFF_UP, _IFF_UP)
        refusal = self.acknowledged([(_RTM_SETLINK, message)])[0]
        if refusal:
            raise OSError(refusal.errno, str(refusal))

    def set_vfs(self, requests: t.Sequence[VfRequest]) -> list[Refusal | None]:
        """Carry out *requests* in their order; return the refusal of each, or `None` for done.

        The kernel applies the attributes of one request in an order of its own. If it refuses one,
        it keeps those before it.
        """
        answers: list[Refusal | None] = []
        for start in range(0, len(requests), _BATCH):
            batch = requests[start : start + _BATCH]
            answers += self.acknowledged([(_RTM_SETLINK, vf_message(item)) for item in batch])
        return answers

    def _get(self, ifindex: int) -> bytes:
        body = _IFINFO.pack(socket.AF_UNSPEC, 0, ifindex, 0, 0) + attribute(
            _IFLA_EXT_MASK, struct.pack("=I", _RTEXT_FILTER_VF | _RTEXT_FILTER_SKIP_STATS)
        )
        self.socket.send(self.message(_RTM_GETLINK, 0, body))
        while True:
            for kind, sequence, _flags, answer in self.receive():
                if sequence != self.sequence:
                    continue
                if kind == _NLMSG_ERROR:
                    _raise(answer)
                return answer

    def _dump_links(self, mask: int) -> list[bytes]:
        body = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        return self.answers(_RTM_GETLINK, body + attribute(_IFLA_EXT_MASK, struct.pack("=I", mask)))


def vf_message(request: VfRequest) -> bytes:
    """The body of the RTM_SETLINK message that asks for *request*."""
    vf, values = request.vf, request.values
    parts = []
    if "mac" in values:
        mac = bytes.fromhex(values["mac"].replace(":", ""))
        parts.append(attribute(_IFLA_VF_MAC, struct.pack("=I32s", vf, mac)))
    if "vlan" in values:
        words = _THREE_WORDS.pack(vf, values["vlan"], values["qos"])
        protocol = values["vlan_proto"]
        if protocol == "802.1Q":
            parts.append(attribute(_IFLA_VF_VLAN, words))
        else:
            entry = words + _PROTOCOL.pack(_VLAN_PROTOCOL_NUMBERS[protocol]) + b"\0\0"
            parts.append(
                attribute(_IFLA_VF_VLAN_LIST | _NLA_F_NESTED, attribute(_IFLA_VF_VLAN_INFO, entry))
            )
    if "min_tx_rate" in values:
        rates = _THREE_WORDS.pack(vf, values["min_tx_rate"], values["max_tx_rate"])
        parts.append(attribute(_IFLA_VF_RATE, rates))
    for name, kind in (
        ("spoofchk", _IFLA_VF_SPOOFCHK),
        ("trust", _IFLA_VF_TRUST),
        ("query_rss", _IFLA_VF_RSS_QUERY_EN),
    ):
        if name in values:
            parts.append(attribute(kind, _TWO_WORDS.pack(vf, int(values[name]))))
    if "link_state" in values:
        state = _LINK_STATE_NUMBERS[values["link_state"]]
        parts.append(attribute(_IFLA_VF_LINK_STATE, _TWO_WORDS.pack(vf, state)))
    info = attribute(_IFLA_VF_INFO | _NLA_F_NESTED, b"".join(parts))
    return _IFINFO.pack(socket.AF_UNSPEC, 0, request.ifindex, 0, 0) + attribute(
        _IFLA_VFINFO_LIST | _NLA_F_NESTED, info
    )


def parse_vf_states(body: bytes) -> dict[int, VfState]:
    """The VFs in the body of an RTM_NEWLINK message.

    Raises `SriovError` if it has fewer VFs than it says, and `NoVfAttributesError` if the driver
    cannot tell of any. rtnl_fill_vf() counts the VFs of every interface on a bus, and adds a list
    for every driver that can, even an empty one. The length of a list over 64 KiB wraps round, so
    nothing behind the list can be read.
    """
    expected = None
    listed = False
    unread = len(body) - _IFINFO.size
    states: dict[int, VfState] = {}
    for kind, value in attributes(body[_IFINFO.size :]):
        unread -= len(attribute(kind, value))
        if kind == _IFLA_NUM_VF:
            (expected,) = struct.unpack("=I", value)
        elif kind == _IFLA_VFINFO_LIST:
            listed = True
            for _kind, info in attributes(value):
                vf, state = _vf_state(dict(attributes(info)))
                states[vf] = state
            break
    if expected is not None and not listed and not unread:
        raise NoVfAttributesError(
            "its driver keeps no attributes for VFs: the NIC tags no VLANs for them (no VST)"
        )
    missing = [vf for vf in range(expected or 0) if vf not in states]
    if missing:
        raise SriovError(
            f"the kernel reports the attributes of {len(states)} of {expected} VFs "
            f"(the first missing is VF {missing[0]}): its list of VFs is one netlink attribute of "
            "at most 64 KiB, or the driver does not answer for them; create fewer VFs"
        )
    return states


def _vf_state(parts: dict[int, bytes]) -> tuple[int, VfState]:
    vf, mac = struct.unpack_from("=I6s", parts[_IFLA_VF_MAC])
    _vf, vlan, qos = _THREE_WORDS.unpack(parts[_IFLA_VF_VLAN])
    protocol = 0x8100
    # Some drivers (netdevsim) report protocol 0 for a VF without VLAN.
    if vlan:
        for _kind, entry in attributes(parts.get(_IFLA_VF_VLAN_LIST, b"")):
            (protocol,) = _PROTOCOL.unpack_from(entry, _THREE_WORDS.size)
    _vf, min_rate, max_rate = _THREE_WORDS.unpack(parts[_IFLA_VF_RATE])
    _vf, link_state = _TWO_WORDS.unpack(parts[_IFLA_VF_LINK_STATE])
    return vf, VfState(
        mac=_mac(mac),
        vlan=vlan,
        qos=qos,
        vlan_proto=_VLAN_PROTOCOLS.get(protocol, f"{protocol:#06x}"),
        spoofchk=_switch(parts.get(_IFLA_VF_SPOOFCHK)),
        trust=_switch(parts.get(_IFLA_VF_TRUST)),
        link_state=_LINK_STATES.get(link_state, str(link_state)),
        min_tx_rate=min_rate,
        max_tx_rate=max_rate,
        query_rss=_switch(parts.get(_IFLA_VF_RSS_QUERY_EN)),
    )


def _switch(value: bytes | None) -> bool | None:
    if value is None:
        return None
    _vf, setting = _TWO_WORDS.unpack(value)
    return None if setting == _NOT_KEPT else bool(setting)


def _link(body: bytes) -> Link:
    _family, _type, index, flags, _change = _IFINFO.unpack_from(body)
    parts = dict(attributes(body[_IFINFO.size :]))

    def number(kind: int) -> int | None:
        return struct.unpack("=I", parts[kind])[0] if kind in parts else None

    def mac(kind: int) -> str | None:
        # InfiniBand has longer hardware addresses; a facility model names Ethernet ports.
        return _mac(parts[kind]) if len(parts.get(kind, b"")) == 6 else None

    def text(value: bytes) -> str:
        return value.rstrip(b"\0").decode(errors="replace")

    kind = dict(attributes(parts.get(_IFLA_LINKINFO, b""))).get(_IFLA_INFO_KIND)
    return Link(
        ifindex=index,
        name=text(parts[_IFLA_IFNAME]),
        mac=mac(_IFLA_ADDRESS),
        permanent_mac=mac(_IFLA_PERM_ADDRESS),
        up=bool(flags & _IFF_UP),
        mtu=number(_IFLA_MTU) or 0,
        master=number(_IFLA_MASTER),
        # An index counts in one network namespace.
        lower=None if _IFLA_LINK_NETNSID in parts else number(_IFLA_LINK),
        kind=None if kind is None else text(kind),
    )


def _mac(data: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    return _padded(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value)


def attributes(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    """The attributes in *data*, up to the first whose length cannot be right."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            return
        yield kind & _NLA_TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _refusal(flags: int, answer: bytes) -> Refusal | None:
    (code,) = struct.unpack_from("=i", answer)
    if code == 0:
        return None
    text = ""
    if flags & _NLM_F_ACK_TLVS:
        (length,) = struct.unpack_from("=I", answer, 4)
        # The answer has the refused message, or only its header if the socket asked for that.
        sent = _HEADER.size if flags & _NLM_F_CAPPED else (length + 3) & ~3
        parts = dict(attributes(answer[4 + sent :]))
        text = parts.get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    return Refusal(-code, text)


def _raise(answer: bytes) -> t.NoReturn:
    (code,) = struct.unpack_from("=i", answer)
    raise OSError(-code, os.strerror(-code))


def _open_socket(protocol: int) -> socket.socket:
    connection = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    connection.bind((0, 0))
    connection.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    connection.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
    return connection
