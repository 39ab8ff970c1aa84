# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inputs that are made to take long, or much memory, or a long text to refuse."""

from __future__ import annotations

import sys
import types
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate import _experiment
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import (
    _document,
    _errors,
    _materialization,
    _schema,
    _xir,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

PFS = {"x0": [{"name": f"p{i}", "mac": f"04:72:00:00:10:{i:02x}", "max_vfs": 7} for i in range(16)]}


def work(function: t.Callable[[], object]) -> int:
    """Return how many lines of Python a call takes; it may refuse."""
    lines = 0

    def trace(_frame: types.FrameType, event: str, _argument: object) -> t.Any:
        nonlocal lines
        lines += event == "line"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except InputError as error:
        assert len(str(error)) <= _errors.MESSAGE_LIMIT
    finally:
        sys.settrace(former)
    return lines


def read_facility(facility: t.Any) -> None:
    _xir.inventory(facility, hypervisors_only=False, link_roles=["XpLink"])


def read_materialization(materialization: t.Any) -> None:
    _materialization.vfs(materialization, PFS)


def resources(count: int, prefix: str, **values: t.Any) -> list[dict[str, t.Any]]:
    return [{"id": f"{prefix}{i}", **values} for i in range(count)]


def port(cable: str, **values: t.Any) -> dict[str, t.Any]:
    return {"name": "p", "connector": {"element": cable}, "sriov": {"Pf": {"MaxVFs": 1}}} | values


def one_cable(count: int) -> t.Any:
    """Return hosts and switches that are all on one cable."""
    nics = [{"ports": [port("c", roles=["LinkRole_XpLink"])]}]
    sides = [{"connectors": [{"index": i, "Port": {"element": f"h{i}"}} for i in range(count)]}]
    return _schema.build(
        "Facility",
        {
            "resources": resources(count, "h", NICs=nics)
            + resources(count, "s", NICs=nics, roles=["Role_Leaf"]),
            "cables": [{"id": "c", "ends": sides}],
        },
    )


def chain_of_switches(count: int) -> t.Any:
    """Return switches of which each is cabled to the next, and a host."""
    switches = [
        {
            "id": f"s{i}",
            "roles": ["Role_Leaf"],
            "NICs": [{"ports": [port(f"c{i}", sriov={}), port(f"c{i + 1}", sriov={})]}],
        }
        for i in reversed(range(count))
    ]
    host = {"id": "h", "NICs": [{"ports": [port("c0", roles=["LinkRole_XpLink"])]}]}
    return _schema.build("Facility", {"resources": [host, *switches]})


def switch_of_many_roles(count: int) -> t.Any:
    return _schema.build(
        "Facility",
        {
            "resources": [
                {"id": "s", "roles": ["Role_Leaf"] * count}
                | {"NICs": [{"ports": [port(f"c{i}", name=f"p{i}") for i in range(count)]}]}
            ]
        },
    )


def endpoint(number: int, **values: t.Any) -> dict[str, t.Any]:
    pf = {"name": "p0", "mac": "04:72:00:00:10:00"}
    vf = {"virtif": {"name": "eth1"}, "parent": {"pf": pf, "vf_index": number}, "vid": 2}
    return {"host": "x0", "node": "a", "mac": "02:00:00:00:00:01", "vf": vf} | values


def materialization(segment: dict[str, t.Any], **values: t.Any) -> t.Any:
    ids = {"rid": "one", "eid": "hello", "pid": "demo"}
    link = {"realization": {"link": {"id": "l"}, "segments": {"1": {"vid": 2} | segment}}}
    return _schema.build("Materialization", {**ids, "links": [link], **values})


def many_of_one_node(count: int) -> t.Any:
    """Return endpoints of a VM that is allocated as often, on other hosts, with other MACs."""
    allocations = [
        {"vm_alloc": {"node": "a", "resource": f"h{i}"}}
        | {"vm_alloc": {"node": "a", "resource": f"h{i}", "NICs": nics(i)}}
        for i in range(count)
    ]
    return materialization({"endpoints": list(map(endpoint, range(count)))}, vms=allocations)


def nics(number: int) -> dict[str, t.Any]:
    mac = f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}"
    return {"alloc": {"0": {"alloc": {"0": {"name": "eth1", "mac": mac}}}}}


def many_waypoints(count: int) -> t.Any:
    """Return endpoints, and as many waypoints at the one port of their leaf."""
    waypoints = [{"host": "leaf", "trunk": {"port": {"name": "p"}, "vids": [3]}}] * count
    endpoints = list(map(endpoint, range(count)))
    return materialization({"endpoints": endpoints, "waypoints": waypoints})


def many_vlans(count: int) -> t.Any:
    """Return endpoints, each of a VLAN of its own, and a waypoint of 40 times as many VLANs."""
    port = {"name": "p"}
    vlans = list(range(5000, 5000 + count * 40))
    waypoint = {"host": "leaf", "trunk": {"port": port, "vids": vlans}}
    endpoints = [endpoint(i) for i in range(count)]
    for i in range(count):
        endpoints[i]["vf"] = endpoints[i]["vf"] | {"vid": i + 1}
    return materialization({"endpoints": endpoints, "waypoints": [waypoint]})


def unknown_pfs(count: int) -> t.Any:
    def vf(number: int) -> dict[str, t.Any]:
        pf = {"pf": {"name": f"none{number}"}}
        return {"virtif": {"name": "eth1"}, "parent": pf, "vid": 2}

    return materialization({"endpoints": [endpoint(i, vf=vf(i)) for i in range(count)]})


def long_names(count: int) -> t.Any:
    return materialization({"endpoints": [endpoint(i, node="n" * 200) for i in range(count)]})


def link_of_many(count: int) -> t.Any:
    """Return an experiment whose one link has VFs and as many other sockets."""
    vf = {"SriovVF": {"op": 5, "value": True}}
    nodes = [
        {"id": f"n{i}", "sockets": [{"index": 0, "port": vf if i % 2 else {}}]}
        for i in range(count)
    ]
    endpoints = [{"socket": {"element": f"n{i}"}} for i in range(count)]
    return _schema.build(
        "Network", {"id": "n", "nodes": nodes, "links": [{"id": "l", "endpoints": endpoints}]}
    )


CASES: dict[t.Callable[[int], t.Any], t.Callable[[t.Any], object]] = {
    one_cable: read_facility,
    chain_of_switches: read_facility,
    switch_of_many_roles: read_facility,
    many_of_one_node: read_materialization,
    many_waypoints: read_materialization,
    many_vlans: read_materialization,
    unknown_pfs: read_materialization,
    long_names: read_materialization,
    link_of_many: _experiment.nics,
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_twice_the_input_is_twice_the_work(
    make: t.Callable[[int], t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for pf in PFS["x0"]:
        monkeypatch.setitem(pf, "leaf", {"host": "leaf", "port": "p"})
    small, large = (make(count) for count in (100, 200))
    work(lambda: CASES[make](small))  # What is cached is there for both.
    assert work(lambda: CASES[make](large)) < 2.3 * work(lambda: CASES[make](small))


def test_an_error_tells_the_first_problems_and_how_many_more() -> None:
    with pytest.raises(InputError) as caught:
        read_materialization(unknown_pfs(2000))
    headline, *told = str(caught.value).split("\n- ")
    assert headline.startswith("materialization one.hello.demo is refused, ")
    count = int(headline.split()[-2])
    assert len(told) == 21
    assert told[-1] == f"and {count - 20} more"
    assert len(str(caught.value)) < 10_000


def test_no_error_is_long() -> None:
    assert len(str(InputError("x" * 10**6))) == _errors.MESSAGE_LIMIT
    problems = _errors.Problems(["x" * 10**6, "short", "short"])
    assert len(problems) == 2
    assert len(str(problems.refusal("it"))) < 1100


def empty(count: int) -> dict[str, bytes]:
    """Return facilities with so many messages, of which all but one say nothing."""
    head = b'{"id": "f", "resources": [{"id": "x"}'
    ports = b"\x2a" + _varint(2 * count) + b"\x0a\x00" * count
    return {
        "resources": b"\x0a\x01f\x1a\x03\x0a\x01x" + b"\x1a\x00" * count,
        "ports": b"\x0a\x01f\x1a" + _varint(3 + len(ports)) + b"\x0a\x01x" + ports,
        "JSON": head + b",{}" * count + b"]}",
    }


def _varint(number: int) -> bytes:
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + _varint(high) if high else bytes([low])


@pytest.mark.parametrize("name", empty(0))
def test_messages_that_say_nothing_are_refused_before_they_are_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_document, "MESSAGE_LIMIT", 1000)
    assert _document.decode(empty(990)[name], _document.FACILITY).id == "f"
    for decoder in ("parse", "build"):
        monkeypatch.delattr(_schema, decoder)
    with pytest.raises(InputError, match="it has more than 1000 objects, the limit"):
        _document.decode(empty(1001)[name], _document.FACILITY)


def test_all_messages_are_counted() -> None:
    data = one_cable(20).SerializeToString()
    counts = [n for n in range(1000) if _schema.has_more_messages("Facility", data, n)]
    # 40 resources with NIC, port, connector, SR-IOV and its PF; a cable, its end, 20 connectors
    # and their ports.
    assert len(counts) == 40 * 6 + 1 + 1 + 20 * 2
    assert not _schema.has_more_messages("Facility", data[:-3] + b"\xff" * 3, 1000)


def test_messages_are_counted_however_long_their_tags_are() -> None:
    """A decoder accepts a number with more bytes than it needs."""
    facility = type(one_cable(1))
    number = facility.DESCRIPTOR.fields_by_name["resources"].number
    assert number <= 15, "its tag has one byte elsewhere"
    empty_resource = bytes([number << 3 | 2 | 128, 0, 0])
    assert len(facility.FromString(empty_resource * 3).resources) == 3
    assert _schema.has_more_messages("Facility", empty_resource * 1001, 1000)
