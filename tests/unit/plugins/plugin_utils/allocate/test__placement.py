# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import itertools
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate import _placement
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate._placement import (
    PlacementPf,
    Request,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def pf(
    host: str = "x0", name: str = "f0", domain: str = "xleaf0", free: int = 7, **more: t.Any
) -> PlacementPf:
    """Return a PF of 7 VFs."""
    return PlacementPf(host, name, domain, free, 7, **more)


def lan(*nodes: str, **more: t.Any) -> list[Request]:
    """Return requests of nodes for one NIC each, on one link."""
    return [Request(f"{node} eth1", node, "lan", **more) for node in nodes]


def node(count: int, **more: t.Any) -> list[Request]:
    """Return requests of one node for NICs, each on a link of its own."""
    return [Request(f"a eth{n}", "a", f"link{n}", **more) for n in range(1, count + 1)]


def placed(pfs: list[PlacementPf], requests: list[Request], policy: str = "spread") -> list[str]:
    """Return the labels of the PFs of requests."""
    return [pfs[index].label for index in _placement.place(pfs, requests, policy)]


def problems(pfs: list[PlacementPf], requests: list[Request]) -> list[str]:
    """Return why there is no placement."""
    with pytest.raises(_placement.Infeasible) as caught:
        _placement.place(pfs, requests, "spread")
    return caught.value.problems


HOSTS = [
    pf("x0", "f0", "xleaf0"),
    pf("x0", "f1", "xleaf1"),
    pf("x1", "f0", "xleaf0"),
    pf("x1", "f1", "xleaf1"),
]


def test_spread() -> None:
    assert placed(HOSTS, lan("a", "b", "c", "d")) == ["x0 f0", "x1 f0", "x0 f0", "x1 f0"]
    assert placed(HOSTS, node(3)) == ["x0 f0", "x0 f1", "x0 f0"]
    assert placed([pf("x0", free=2), pf("x1", free=6)], lan("a", "b")) == ["x1 f0", "x1 f0"]


def test_pack() -> None:
    assert placed(HOSTS, lan("a", "b", "c", "d"), "pack") == ["x0 f0"] * 4
    assert placed(HOSTS, node(3), "pack") == ["x0 f0"] * 3
    assert placed([pf("x0", free=6), pf("x1", free=2)], lan("a", "b", "c"), "pack") == [
        *("x1 f0", "x1 f0", "x0 f0")
    ]


def test_pack_passes_by_a_host_that_does_not_suffice() -> None:
    assert placed([pf("x0"), pf("x1", free=2)], node(3), "pack") == ["x0 f0"] * 3


@pytest.mark.parametrize("policy", _placement.POLICIES)
def test_one_numa_node_is_preferred(policy: str) -> None:
    pfs = [
        pf("x0", "f0", free=2, numa_node=0),
        pf("x0", "f1", free=4, numa_node=1),
        pf("x0", "f2", free=3, numa_node=1),
    ]
    found = _placement.place(pfs, node(5), policy)
    assert {pfs[index].numa_node for index in found} == {1}
    assert 0 in _placement.place(pfs, node(8), policy)


def test_host_model_and_capacity() -> None:
    pfs = [
        pf("x0", "f0", capacity=100),
        pf("x0", "f1", model="ConnectX5", capacity=50),
        pf("x1", "f0", capacity=100),
    ]
    asked = [
        *(Request("a", "a", "la", host="x1"), Request("b", "b", "lb", model="ConnectX5")),
        *(Request("c", "c", "lc", capacity=60), Request("d", "d", "ld", capacity=60)),
    ]
    found = placed(pfs, asked)
    assert found[:2] == ["x1 f0", "x0 f1"]
    assert sorted(found[2:]) == ["x0 f0", "x1 f0"]
    assert placed(pfs, [Request("a", "a", "l", model="Intel200")], "pack") == ["x1 f0"]


def test_choice_is_taken_back_where_the_rest_has_no_place() -> None:
    # The policy would give a the PF that b alone can use.
    pfs = [pf("x0", "f0", free=2), pf("x1", "f0", "xleaf1", free=1)]
    requests = [Request("a", "a", "la"), Request("b", "b", "lb"), Request("c", "c", "lb")]
    assert placed(pfs, requests) == ["x1 f0", "x0 f0", "x0 f0"]


@pytest.mark.parametrize(
    ("pfs", "requests", "policy"),
    [
        (  # in what the PFs have left
            [pf("x0", capacity=10, free=3), pf("x1", capacity=6, free=4)],
            [Request(n, n, n, capacity=size) for n, size in (("a", 6), ("b", 5), ("c", 5))],
            "pack",
        ),
        (  # in the NUMA node of a node
            [
                pf("x", "f0", free=1, capacity=9),
                pf("y", "f1", free=1, capacity=11, numa_node=0),
                pf("x", "f2", free=2, capacity=6, numa_node=1, model="M"),
            ],
            [
                Request("b eth1", "b", "k", capacity=3),
                Request("b eth2", "b", "l", capacity=6, model="M"),
                Request("a eth1", "a", "m", capacity=5),
            ],
            "spread",
        ),
        (  # in the domain of a link
            [
                pf("x", "f0", "E", free=2, model="M"),
                pf("y", "f1", "D", free=4),
                pf("x", "f2", "D", free=1, model="M"),
                pf("y", "f3", "D", free=1),
            ],
            [
                Request("a", "a", "k", model="M"),
                *(Request(n, n, "l", model="M") for n in ("b", "c")),
            ],
            "spread",
        ),
    ],
)
def test_states_of_the_search_that_differ_only(
    pfs: list[PlacementPf], requests: list[Request], policy: str
) -> None:
    check(pfs, requests, _placement.place(pfs, requests, policy))


def test_states_that_led_nowhere_are_not_entered_again() -> None:
    pfs = [pf(f"x{n}", capacity=10) for n in range(5)]
    sizes = [6, *[3] * 14]
    requests = [Request(f"n{n}", f"n{n}", f"n{n}", capacity=c) for n, c in enumerate(sizes)]
    [problem] = problems(pfs, requests)
    assert problem.startswith("n14: 3 bit/s are asked for; x0 f0: left 1 bit/s, ")


def test_held_vfs_stay() -> None:
    requests = [*lan("a"), *lan("b", held=3)]
    assert placed(HOSTS, requests) == ["x0 f1", "x1 f1"]
    assert placed(HOSTS, [*node(2), Request("a eth9", "a", "l9", held=2)])[:2] == ["x1 f1", "x1 f0"]


def test_no_pf() -> None:
    assert problems([], lan("a")) == ["a eth1: no host offers a PF"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"host": "x9"}, "host 'x9' is asked for; there are PFs on x0, x1"),
        ({"model": "ConnectX5"}, "NIC model ConnectX5 is asked for; x0 f0 is unknown, x1 f0 is E1"),
        ({"capacity": 11}, "11 bit/s are asked for; x0 f0: left 10 bit/s, x1 f0: left unknown"),
        ({"host": "x1", "capacity": 1}, "1 bit/s are asked for; x1 f0: left unknown"),
    ],
)
def test_constraint_of_a_nic(more: dict[str, t.Any], told: str) -> None:
    pfs = [pf("x0", capacity=10), pf("x1", model="E1")]
    assert problems(pfs, lan("a", **more)) == [f"a eth1: {told}"]


def test_no_vf_is_free() -> None:
    pfs = [pf("x0", free=0), pf("x1", unusable="it is excluded")]
    assert problems(pfs, lan("a", "b")) == [
        f"{name} eth1: 1 VF is needed; x0 f0: 0 of 7 VFs free, x1 f0: it is excluded"
        for name in ("a", "b")
    ]


def test_too_few_vfs_for_a_node() -> None:
    assert problems([pf("x0", free=3), pf("x1", free=4)], node(5)) == [
        "node 'a': no host gives VFs to all of a eth1, a eth2, a eth3, a eth4, a eth5: x0: 3 of 7"
        " VFs free, 5 needed, x1: 4 of 7 VFs free, 5 needed"
    ]
    assert problems([pf("x0", free=3), pf("x1")], node(5, host="x0")) == [
        "node 'a': no host gives VFs to all of a eth1, a eth2, a eth3, a eth4, a eth5: x0: 3 of 7"
        " VFs free, 5 needed"
    ]


def test_too_few_vfs_for_a_link() -> None:
    pfs = [pf("x0", "f0", "xleaf0", 1), pf("x1", "f0", "xleaf0", 1), pf("x1", "f1", "xleaf1", 2)]
    assert problems(pfs, lan("a", "b", "c")) == [
        "link 'lan': no leaf domain gives VFs to all of a eth1, b eth1, c eth1: xleaf0: 2 of 14 VFs"
        " free, 3 needed, xleaf1: 2 of 7 VFs free, 3 needed"
    ]


def test_hosts_that_do_not_reach_each_other() -> None:
    pfs = [pf("x0", "f0", "xleaf0"), pf("x1", "f0", "xleaf1")]
    assert problems(pfs, [*lan("a", host="x0"), *lan("b", host="x1")]) == [
        "link 'lan': no leaf domain gives VFs to all of a eth1, b eth1: xleaf0: b eth1: host 'x1'"
        " is asked for; there are PFs on x0, xleaf1: a eth1: host 'x0' is asked for;"
        " there are PFs on x1"
    ]


def test_too_few_vfs_for_all() -> None:
    pfs = [pf("x0", free=1), pf("x1", free=1)]
    assert problems(pfs, [Request(n, n, n) for n in "abc"]) == [
        "all hosts together: 2 of 14 VFs free, 3 needed"
    ]


def test_too_little_bandwidth_for_all() -> None:
    pfs = [pf("x0", capacity=10), pf("x1", capacity=10)]
    assert problems(pfs, [Request(n, n, n, capacity=7) for n in "abc"]) == [
        "all hosts together: 20 bit/s left, 21 needed"
    ]
    assert problems(pfs, [Request(n, n, n, capacity=6) for n in "abc"]) == [
        "all hosts together: room for 2 NICs of 6 bit/s, 3 needed"
    ]


def test_what_only_the_search_finds() -> None:
    pfs = [pf("x0", capacity=10), pf("x1", capacity=10)]
    sizes = {"a": 6, "b": 6, "c": 4, "d": 3, "e": 1}
    requests = [Request(n, n, n, capacity=size) for n, size in sizes.items()]
    assert len(placed(pfs, requests)) == 5
    [problem] = problems(pfs, [*requests[:3], Request("f", "f", "f", capacity=4, model="X9")])
    assert "X9" in problem
    tight = [Request(n, n, n, capacity=s) for n, s in {"a": 6, "b": 5, "c": 5, "d": 4}.items()]
    assert len(placed(pfs, tight)) == 4
    sizes = {"a": 4, "b": 4, "c": 4, "d": 4, "e": 2}
    pfs = [pf("x0", capacity=9), pf("x1", capacity=9)]
    requests = [Request(n, n, n, capacity=size) for n, size in sizes.items()]
    assert problems(pfs, requests) == [
        "e: 2 bit/s are asked for; x0 f0: left 1 bit/s, x1 f0: left 1 bit/s"
    ]


def test_held_vf_that_cannot_stay() -> None:
    [problem] = problems(HOSTS, lan("a", held=0, host="x1"))
    assert problem == (
        "a eth1: cannot keep its VF of x0 f0: host 'x1' is asked for; there are PFs on x0"
    )
    [problem] = problems(HOSTS, [*lan("a", held=0), *lan("b", held=1)])
    assert "some of them already have VFs elsewhere" in problem


def test_limit_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_placement, "STEPS", 10)
    pfs = [pf(f"x{n}", capacity=9) for n in range(4)]
    requests = [Request(f"n{n}", f"n{n}", f"n{n}", capacity=4) for n in range(8)]
    assert len(placed(pfs, requests)) == 8
    requests.append(Request("last", "last", "last", capacity=2))
    assert problems(pfs, requests) == [
        "none was found in 10 steps, at most 8 of 9 NICs had a VF; a placement may still exist:"
        " help by naming hosts in the experiment (host==)"
    ]


def test_a_thousand_nics() -> None:
    pfs = [pf(f"h{n // 2}", f"f{n % 2}", "xp", numa_node=n % 2) for n in range(200)]
    requests = [Request(f"n{n}", f"n{n // 2}", f"l{n // 10}") for n in range(1000)]
    check(pfs, requests, _placement.place(pfs, requests, "pack"))


def check(pfs: list[PlacementPf], requests: list[Request], found: t.Sequence[int]) -> None:
    """Check that a placement keeps every constraint."""
    assert keeps(pfs, requests, found)


def keeps(pfs: list[PlacementPf], requests: list[Request], found: t.Sequence[int]) -> bool:
    """Return whether a placement keeps every constraint: told another way than the search does."""
    pairs = [(request, pfs[index]) for request, index in zip(requests, found, strict=True)]
    # First what takes least, since most of what brute force tries fails here already.
    if not (
        all(r.host in (None, p.host) for r, p in pairs)
        and all(r.model in (None, p.model or "Intel200") for r, p in pairs)
        and all(r.held in (None, i) for r, i in zip(requests, found, strict=True))
    ):
        return False
    counts = collections.Counter(found)
    wanted = collections.Counter[int]()
    for request, index in zip(requests, found, strict=True):
        wanted[index] += request.capacity
    return (
        all(counts[i] <= (0 if p.unusable else p.free) for i, p in enumerate(pfs))
        and all(not w or (pfs[i].capacity or 0) >= w for i, w in wanted.items())
        and len({(r.node, p.host) for r, p in pairs}) == len({r.node for r in requests})
        and len({(r.link, p.domain) for r, p in pairs}) == len({r.link for r in requests})
    )


@st.composite
def instances(draw: st.DrawFn) -> tuple[list[PlacementPf], list[Request]]:
    """Return a facility of at most 4 PFs and at most 6 NICs."""
    pfs = [
        PlacementPf(
            host=draw(st.sampled_from("xy")),
            name=f"f{index}",
            domain=draw(st.sampled_from("DE")),
            free=draw(st.integers(0, 3)),
            count=3,
            capacity=draw(st.sampled_from([None, 5, 9, 10])),
            model=draw(st.sampled_from([None, "M"])),
            numa_node=draw(st.sampled_from([None, 0, 1])),
            unusable=draw(st.sampled_from([None, None, None, None, "it is excluded"])),
        )
        for index in range(draw(st.integers(1, 4)))
    ]
    requests = [
        Request(
            label=f"n{index}",
            node=draw(st.sampled_from("abcd")),
            link=draw(st.sampled_from("klmn")),
            host=draw(st.sampled_from([None, None, None, "x", "z"])),
            model=draw(st.sampled_from([None, None, None, "M", "Intel200"])),
            capacity=draw(st.sampled_from([0, 0, 3, 4, 5])),
            held=draw(st.sampled_from([None, None, None, 0])),
        )
        for index in range(draw(st.integers(1, 6)))
    ]
    return pfs, requests


@settings(max_examples=1000, deadline=None)
@given(instances(), st.sampled_from(_placement.POLICIES))
def test_found_where_brute_force_finds_one(
    instance: tuple[list[PlacementPf], list[Request]], policy: str
) -> None:
    pfs, requests = instance
    tuples = itertools.product(range(len(pfs)), repeat=len(requests))
    feasible = any(keeps(pfs, requests, found) for found in tuples)
    try:
        found = _placement.place(pfs, requests, policy)
    except _placement.Infeasible as error:
        assert not feasible
        assert error.problems
        assert all(problem and "\n" not in problem for problem in error.problems)
    else:
        check(pfs, requests, found)
        assert feasible
        assert _placement.place(pfs, requests, policy) == found
