# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    Link,
    NoVfAttributesError,
    Refusal,
    Rtnetlink,
    VfRequest,
    VfState,
    parse_vf_states,
    vf_message,
)
from hypothesis import given
from hypothesis import strategies as st

ALL_VALUES: dict[str, t.Any] = {
    "mac": "02:00:00:00:01:01",
    "vlan": 100,
    "qos": 3,
    "vlan_proto": "802.1Q",
    "min_tx_rate": 10,
    "max_tx_rate": 1000,
    "spoofchk": True,
    "link_state": "enable",
    "query_rss": False,
    "trust": True,
}
STATE = VfState(**ALL_VALUES)
NOT_ROOT = "needs CAP_NET_ADMIN"

# Numbers of include/uapi/linux/{netlink,rtnetlink,if_link}.h.
NESTED = 0x8000
ERROR, DONE, NEWLINK, GETLINK, SETLINK = 2, 3, 16, 18, 19
REQUEST, ACK, DUMP, CAPPED, ACK_TLVS = 0x1, 0x4, 0x300, 0x100, 0x200
IFNAME, NUM_VF, VFINFO_LIST, EXT_MASK = 3, 21, 22, 29


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value) & 0xFFFF, kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & ~NESTED] = data[4:length]
        data = data[length + 3 & ~3 :]
    return found


def message(kind: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def link_body(index: int, name: str, *parts: bytes) -> bytes:
    return (
        struct.pack("=BxHiII", 0, 1, index, 0, 0)
        + attribute(IFNAME, name.encode() + b"\0")
        + b"".join(parts)
    )


def vf_info(vf: int, state: VfState) -> bytes:
    """The attributes of one VF as rtnl_fill_vfinfo() of the kernel lays them out."""

    def switch(value: bool | None) -> int:
        return 0xFFFFFFFF if value is None else int(value)

    mac = bytes.fromhex(state.mac.replace(":", ""))
    protocol = {"802.1Q": 0x8100, "802.1ad": 0x88A8}.get(state.vlan_proto, 0)
    vlan = struct.pack("=III", vf, state.vlan, state.qos)
    state_number = ["auto", "enable", "disable"].index(state.link_state)
    parts = [
        attribute(1, struct.pack("=I32s", vf, mac)),
        attribute(13, bytes(32)),
        attribute(2, vlan),
        attribute(6, struct.pack("=III", vf, state.min_tx_rate, state.max_tx_rate)),
        attribute(3, struct.pack("=II", vf, state.max_tx_rate)),
        attribute(4, struct.pack("=II", vf, switch(state.spoofchk))),
        attribute(5, struct.pack("=II", vf, state_number)),
        attribute(7, struct.pack("=II", vf, switch(state.query_rss))),
        attribute(9, struct.pack("=II", vf, switch(state.trust))),
        attribute(12, attribute(1, vlan + struct.pack(">HH", protocol, 0))),
    ]
    return attribute(1, b"".join(parts))


def vf_list(states: dict[int, VfState]) -> bytes:
    return attribute(VFINFO_LIST, b"".join(vf_info(vf, state) for vf, state in states.items()))


def pf_body(count: int, *parts: bytes, index: int = 7) -> bytes:
    return link_body(index, "pf", attribute(NUM_VF, struct.pack("=I", count)), *parts)


class Kernel:
    """A netlink socket whose other end is *answer*: from a request to the datagrams for it."""

    def __init__(self, answer: t.Callable[[bytes], list[bytes]], flags: int = 0) -> None:
        self.sent: list[bytes] = []
        self._answer = answer
        self._flags = flags
        self._waiting: list[bytes] = []

    def __call__(self) -> t.Any:
        return self

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        self._waiting += self._answer(data)

    def recvmsg(self, size: int) -> tuple[bytes, list[t.Any], int, None]:
        return self._waiting.pop(0), [], self._flags, None


def sequence_of(data: bytes) -> int:
    return struct.unpack_from("=I", data, 8)[0]


def requests_in(data: bytes) -> list[bytes]:
    found = []
    while data:
        (length,) = struct.unpack_from("=I", data)
        found.append(data[:length])
        data = data[length + 3 & ~3 :]
    return found


def error(request: bytes, number: int, tail: bytes = b"", flags: int = CAPPED) -> bytes:
    """What the kernel answers to *request*: its header or, not capped, all of it comes back."""
    back = request[:16] if flags & CAPPED else request + bytes(-len(request) % 4)
    return message(ERROR, sequence_of(request), struct.pack("=i", -number) + back + tail, flags)


def test_links_are_those_that_sysfs_shows() -> None:
    found = {link.name: link for link in Rtnetlink().links()}

    base = Path("/sys/class/net")
    assert set(found) == {path.name for path in base.iterdir() if (path / "ifindex").exists()}
    for name, link in found.items():
        assert link.ifindex == int((base / name / "ifindex").read_text())
        assert link.mac == (base / name / "address").read_text().strip()
        assert link.mtu == int((base / name / "mtu").read_text())
        assert link.up == bool(int((base / name / "flags").read_text(), 16) & 1)
    assert found["lo"].permanent_mac is None


def test_addresses_are_those_that_ip_shows() -> None:
    done = subprocess.run(["ip", "-j", "address"], capture_output=True, text=True, check=True)
    shown = {
        link["ifindex"]: [f"{item['local']}/{item['prefixlen']}" for item in link["addr_info"]]
        for link in json.loads(done.stdout)
    }

    assert Rtnetlink().addresses() == {index: ips for index, ips in shown.items() if ips}


def test_an_interface_without_vfs_has_no_vf_states() -> None:
    assert Rtnetlink().vf_states(socket.if_nametoindex("lo")) == {}


def test_an_interface_that_is_missing_is_an_error() -> None:
    netlink = Rtnetlink()

    with pytest.raises(OSError, match="No such device") as caught:
        netlink.vf_states(2**30)
    assert caught.value.errno == errno.ENODEV
    assert netlink.links(), "the socket is of use afterwards"


@pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
def test_set_up() -> None:
    netlink = Rtnetlink()
    netlink.set_up(socket.if_nametoindex("lo"))

    assert {link.name: link.up for link in netlink.links()}["lo"]
    with pytest.raises(OSError, match="No such device"):
        netlink.set_up(2**30)


@pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
@pytest.mark.parametrize(
    "values",
    [
        {"mac": "02:00:00:00:01:01"},
        {"vlan": 1, "qos": 0, "vlan_proto": "802.1Q"},
        {"vlan": 1, "qos": 0, "vlan_proto": "802.1ad"},
        {"min_tx_rate": 0, "max_tx_rate": 1},
        {"spoofchk": True},
        {"link_state": "auto"},
        {"query_rss": True},
        {"trust": True},
    ],
    ids=lambda values: "-".join(map(str, values)),
)
def test_the_kernel_takes_each_attribute_for_well_formed(values: dict[str, t.Any]) -> None:
    """One of a wrong size would be refused as such, before the driver of lo refuses to have VFs."""
    [refusal] = Rtnetlink().set_vfs([VfRequest(socket.if_nametoindex("lo"), 0, values)])

    assert refusal is not None
    assert refusal.errno == errno.EOPNOTSUPP
    assert str(refusal).startswith("Operation not supported")


@pytest.mark.skipif(os.geteuid() != 0, reason=NOT_ROOT)
def test_every_request_of_many_batches_has_its_own_answer() -> None:
    lo = socket.if_nametoindex("lo")
    requests = [VfRequest(2**30 if vf % 50 == 7 else lo, vf, ALL_VALUES) for vf in range(150)]

    refusals = Rtnetlink().set_vfs(requests)

    assert [refusal and refusal.errno for refusal in refusals] == [
        errno.ENODEV if vf % 50 == 7 else errno.EOPNOTSUPP for vf in range(150)
    ]


def test_requests_are_sent_in_few_batches_and_each_answer_finds_its_request() -> None:
    def answer(data: bytes) -> list[bytes]:
        # Two per datagram, the last first.
        answers = [
            error(request, errno.EINVAL if sequence_of(request) % 3 == 0 else 0)
            for request in reversed(requests_in(data))
        ]
        return [b"".join(answers[start : start + 2]) for start in range(0, len(answers), 2)]

    kernel = Kernel(answer)
    requests = [
        VfRequest(7, vf, {"vlan": vf, "qos": 0, "vlan_proto": "802.1Q"}) for vf in range(130)
    ]

    refusals = Rtnetlink(kernel).set_vfs(requests)

    assert [refusal is not None for refusal in refusals] == [(vf + 1) % 3 == 0 for vf in range(130)]
    assert [len(requests_in(data)) for data in kernel.sent] == [64, 64, 2]
    sent = [request for data in kernel.sent for request in requests_in(data)]
    assert [request[16:] for request in sent] == [vf_message(request) for request in requests]
    assert {struct.unpack_from("=HH", request, 4) for request in sent} == {(SETLINK, REQUEST | ACK)}
    assert len({sequence_of(request) for request in sent}) == 130


def test_no_requests_are_no_message() -> None:
    kernel = Kernel(lambda data: [])

    assert Rtnetlink(kernel).set_vfs([]) == []
    assert kernel.sent == []


@pytest.mark.parametrize("flags", [ACK_TLVS, ACK_TLVS | CAPPED], ids=["whole", "capped"])
def test_a_refusal_has_the_sentence_of_the_driver(flags: int) -> None:
    tail = attribute(2, bytes(4)) + attribute(1, b"VF 0 is in reset\0")
    kernel = Kernel(lambda data: [error(data, errno.EBUSY, tail, flags)])

    [refusal] = Rtnetlink(kernel).set_vfs([VfRequest(7, 0, {"mac": "02:00:00:00:01:01"})])

    assert refusal == Refusal(errno.EBUSY, "VF 0 is in reset")
    assert str(refusal) == "Device or resource busy (VF 0 is in reset)"


def test_a_refusal_without_sentence() -> None:
    kernel = Kernel(lambda data: [error(data, errno.EPERM, flags=CAPPED | ACK_TLVS)])

    [refusal] = Rtnetlink(kernel).set_vfs([VfRequest(7, 0, {"trust": True})])

    assert refusal == Refusal(errno.EPERM, "")
    assert str(refusal) == "Operation not permitted"


def test_answers_to_somebody_else_are_passed_over() -> None:
    def answer(data: bytes) -> list[bytes]:
        sequence = sequence_of(data)
        stale = [message(ERROR, sequence - 1, struct.pack("=i", -5) + bytes(16))]
        notice = [message(NEWLINK, 0, link_body(9, "other"))]
        return notice + stale + [error(data, 0)]

    netlink = Rtnetlink(Kernel(answer))
    assert netlink.set_vfs([VfRequest(7, 0, {"trust": True})]) == [None]

    def links(data: bytes) -> list[bytes]:
        sequence = sequence_of(data)
        return [
            message(NEWLINK, 0, link_body(9, "other")),
            message(NEWLINK, sequence, pf_body(1, vf_list({0: STATE}))),
            message(DONE, sequence, bytes(4)),
        ]

    assert [link.name for link in Rtnetlink(Kernel(links)).links()] == ["pf"]
    assert Rtnetlink(Kernel(links)).vf_states(7) == {0: STATE}


def test_a_list_of_links_ends_at_its_end_or_at_an_error() -> None:
    def answer(data: bytes) -> list[bytes]:
        kind, flags = struct.unpack_from("=HH", data, 4)
        assert (kind, flags) == (GETLINK, REQUEST | DUMP)
        sequence = sequence_of(data)
        parts = [message(NEWLINK, sequence, link_body(n, f"eth{n}")) for n in (1, 2, 3)]
        return [parts[0] + parts[1], parts[2] + message(DONE, sequence, bytes(4))]

    assert [link.ifindex for link in Rtnetlink(Kernel(answer)).links()] == [1, 2, 3]
    with pytest.raises(PermissionError):
        Rtnetlink(Kernel(lambda data: [error(data, errno.EPERM)])).links()


def test_a_link_without_ethernet_address() -> None:
    infiniband = attribute(1, bytes(20)) + attribute(54, bytes(20))
    master = attribute(10, struct.pack("=I", 4)) + attribute(5, struct.pack("=I", 2))

    def answer(data: bytes) -> list[bytes]:
        body = link_body(3, "ib0", infiniband, master)
        return [message(NEWLINK, sequence_of(data), body) + message(DONE, sequence_of(data), b"")]

    [link] = Rtnetlink(Kernel(answer)).links()
    assert link == Link(3, "ib0", None, None, False, 0, master=4, lower=2)


@pytest.mark.parametrize(("elsewhere", "lower"), [(b"", 2), (attribute(37, bytes(4)), None)])
def test_the_other_end_of_a_veth_in_another_network_namespace(
    elsewhere: bytes, lower: int | None
) -> None:
    """Its index counts there: here it may be that of another interface."""
    kind = attribute(18, attribute(1, b"veth\0"))
    peer = attribute(5, struct.pack("=I", 2))

    def answer(data: bytes) -> list[bytes]:
        body = link_body(3, "v0", kind, peer, elsewhere)
        return [message(NEWLINK, sequence_of(data), body) + message(DONE, sequence_of(data), b"")]

    [link] = Rtnetlink(Kernel(answer)).links()
    assert (link.lower, link.kind) == (lower, "veth")


def test_an_answer_larger_than_the_buffer_is_an_error() -> None:
    with pytest.raises(SriovError, match="larger than 1048576 bytes"):
        Rtnetlink(Kernel(lambda data: [b""], flags=socket.MSG_TRUNC)).links()


def test_vf_states_are_asked_for_without_statistics() -> None:
    kernel = Kernel(lambda data: [message(NEWLINK, sequence_of(data), pf_body(0, vf_list({})))])
    Rtnetlink(kernel).vf_states(7)

    [request] = kernel.sent
    assert struct.unpack_from("=HH", request, 4) == (GETLINK, REQUEST)
    assert struct.unpack_from("=i", request, 20) == (7,)
    assert attributes(request[32:]) == {EXT_MASK: struct.pack("=I", 1 | 8)}


def test_a_kernel_that_reckons_the_answer_too_small_is_asked_for_a_dump() -> None:
    def answer(data: bytes) -> list[bytes]:
        sequence = sequence_of(data)
        if struct.unpack_from("=H", data, 6)[0] & DUMP != DUMP:
            return [error(data, errno.EMSGSIZE)]
        assert attributes(data[32:]) == {EXT_MASK: struct.pack("=I", 1 | 8)}
        other = pf_body(1, vf_list({0: STATE._replace(vlan=5)}), index=6)
        own = pf_body(2, vf_list({0: STATE, 1: STATE}))
        return [
            message(NEWLINK, sequence, other),
            message(NEWLINK, sequence, own) + message(DONE, sequence, bytes(4)),
        ]

    kernel = Kernel(answer)

    assert Rtnetlink(kernel).vf_states(7) == {0: STATE, 1: STATE}
    assert len(kernel.sent) == 2


def test_all_vfs_up_to_the_limit_are_read() -> None:
    states = {vf: STATE._replace(vlan=vf + 1) for vf in range(127)}

    assert parse_vf_states(pf_body(127, vf_list(states))) == states


@pytest.mark.parametrize("count", [400, 1000])
def test_a_list_over_64_kib_is_an_error_that_counts(count: int) -> None:
    listed = vf_list(dict.fromkeys(range(count), STATE))
    assert len(listed) > 1 << 16
    there = ((len(listed) & 0xFFFF) - 4) // len(vf_info(0, STATE))

    with pytest.raises(SriovError) as caught:
        parse_vf_states(pf_body(count, listed, attribute(40, bytes(8))))

    assert f"the attributes of {there} of {count} VFs" in str(caught.value)
    assert f"the first missing is VF {there})" in str(caught.value)
    assert "create fewer VFs" in str(caught.value)


def test_a_list_whose_length_wraps_to_nothing_is_an_error() -> None:
    listed = struct.pack("=HH", 2, VFINFO_LIST) + bytes(1 << 16)

    with pytest.raises(SriovError, match="0 of 260 VFs"):
        parse_vf_states(pf_body(260, listed))


def test_a_driver_that_does_not_answer_for_its_vfs_is_an_error() -> None:
    with pytest.raises(SriovError, match="0 of 4 VFs .*the first missing is VF 0.*does not answer"):
        parse_vf_states(pf_body(4, vf_list({})))
    with pytest.raises(SriovError, match="2 of 3 VFs .*the first missing is VF 1"):
        parse_vf_states(pf_body(3, vf_list({0: STATE, 2: STATE})))


def test_a_driver_that_keeps_nothing_for_its_vfs_is_told_apart() -> None:
    """By the list that only the driver adds: without VFs, and where the kernel counts none yet."""
    for count in (4, 0):
        for body in (pf_body(count), pf_body(count, attribute(40, bytes(8)))):
            with pytest.raises(NoVfAttributesError, match="no attributes for VFs.*no VST"):
                parse_vf_states(body)
    assert parse_vf_states(pf_body(0, vf_list({}))) == {}


def test_a_driver_of_this_machine_that_keeps_nothing_for_vfs() -> None:
    """virtio_net has no ndo_get_vf_config, and no VFs here."""
    names = [
        path.name
        for path in Path("/sys/class/net").iterdir()
        if os.path.basename(os.path.realpath(path / "device/driver")) == "virtio_net"
    ]
    if not names:
        pytest.skip("needs an interface of virtio_net")
    with pytest.raises(NoVfAttributesError):
        Rtnetlink().vf_states(socket.if_nametoindex(names[0]))


def test_what_a_driver_does_not_keep_is_unknown() -> None:
    state = STATE._replace(spoofchk=None, trust=None, query_rss=None)

    assert parse_vf_states(pf_body(1, vf_list({0: state}))) == {0: state}


def test_what_an_old_kernel_does_not_report_is_unknown() -> None:
    info = attributes(vf_info(0, STATE))[1]
    short = b"".join(attribute(k, v) for k, v in attributes(info).items() if k not in (4, 7, 9))
    body = pf_body(1, attribute(VFINFO_LIST, attribute(1, short)))

    assert parse_vf_states(body) == {0: STATE._replace(spoofchk=None, trust=None, query_rss=None)}


def test_without_a_vlan_there_is_no_other_protocol() -> None:
    """netdevsim reports protocol 0 for a VF that never had a VLAN."""
    state = STATE._replace(vlan=0, qos=0, vlan_proto="none")

    [parsed] = parse_vf_states(pf_body(1, vf_list({0: state}))).values()
    assert parsed.vlan_proto == "802.1Q"


def test_a_protocol_without_name_is_shown_as_number() -> None:
    [parsed] = parse_vf_states(pf_body(1, vf_list({0: STATE._replace(vlan_proto="?")}))).values()

    assert parsed.vlan_proto == "0x0000"


def test_802_1q_is_asked_for_in_the_way_that_every_driver_knows() -> None:
    def parts(protocol: str) -> dict[int, bytes]:
        values = {"vlan": 100, "qos": 3, "vlan_proto": protocol}
        body = vf_message(VfRequest(7, 5, values))
        assert body[:16] == struct.pack("=BxHiII", 0, 0, 7, 0, 0)
        return attributes(attributes(attributes(body[16:])[VFINFO_LIST])[1])

    assert parts("802.1Q") == {2: struct.pack("=III", 5, 100, 3)}
    [(kind, entry)] = parts("802.1ad").items()
    assert kind == 12
    assert attributes(entry) == {1: struct.pack("=III", 5, 100, 3) + b"\x88\xa8\0\0"}


states = st.builds(
    VfState,
    mac=st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":")),
    vlan=st.integers(1, 4095),
    qos=st.integers(0, 7),
    vlan_proto=st.sampled_from(["802.1Q", "802.1ad"]),
    spoofchk=st.none() | st.booleans(),
    trust=st.none() | st.booleans(),
    link_state=st.sampled_from(["auto", "enable", "disable"]),
    min_tx_rate=st.integers(0, 2**32 - 1),
    max_tx_rate=st.integers(0, 2**32 - 1),
    query_rss=st.none() | st.booleans(),
)


@given(st.lists(states, max_size=20))
def test_what_the_kernel_reports_is_read_as_it_is(listed: list[VfState]) -> None:
    known = dict(enumerate(listed))

    assert parse_vf_states(pf_body(len(listed), vf_list(known))) == known


@given(st.integers(0, 2**32 - 1), states)
def test_what_is_asked_for_is_what_the_kernel_then_reports(vf: int, state: VfState) -> None:
    """A request has the layout of a report, so one can be read as the other."""
    asked = {name: value for name, value in state._asdict().items() if value is not None}
    body = vf_message(VfRequest(7, vf, asked))

    parts = attributes(attributes(attributes(body[16:])[VFINFO_LIST])[1])
    if state.vlan_proto == "802.1Q":
        assert 12 not in parts
    else:
        parts[2] = attributes(parts[12])[1][:12]
    for kind in (4, 7, 9):
        parts.setdefault(kind, struct.pack("=II", vf, 0xFFFFFFFF))
    info = b"".join(attribute(kind, value) for kind, value in parts.items())
    reported = link_body(7, "pf", attribute(VFINFO_LIST, attribute(1, info)))
    assert parse_vf_states(reported) == {vf: state}
