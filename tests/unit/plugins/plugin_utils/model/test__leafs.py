# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _leafs, _schema
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._leafs import Uplink

TRUNK = {"host": "xleaf0", "trunk": {"port": {"name": "swp1"}, "vids": [100]}}
ACCESS = {"host": "xleaf0", "access": {"port": {"name": "swp1"}}}


def segment(*waypoints: dict[str, t.Any], vni: int = 0) -> t.Any:
    """Return a segment."""
    return _schema.build("LinkSegment", {"vid": 100, "vni": vni, "waypoints": waypoints})


def uplink(of: t.Any, **changes: t.Any) -> Uplink:
    """Return a VF's way into the network."""
    it = Uplink("'alpha' 'eth1':", "x0", "ens1f0", "xleaf0", "swp1", "lan0", of, 100)
    return it._replace(**changes)


def test_ports_are_sorted_and_have_each_vlan_once() -> None:
    it = segment()
    found = _leafs.ports(
        [
            uplink(it, leaf="xleaf1"),
            uplink(it, vlan=300),
            uplink(it),
            uplink(it),
            uplink(it, host="x1", port="swp2"),
            uplink(it, host="x1", port=None),
        ]
    )
    assert [(port["leaf"], port["port"], port["host"], port["vlans"]) for port in found] == [
        ("xleaf0", None, "x1", [100]),
        ("xleaf0", "swp1", "x0", [100, 300]),
        ("xleaf0", "swp2", "x1", [100]),
        ("xleaf1", "swp1", "x0", [100]),
    ]


@pytest.mark.parametrize(
    "waypoint",
    [
        TRUNK,
        TRUNK | {"bridge": {"tagged": [100], "untagged": [1], "pvid": 1}},
        TRUNK | {"trunk": {"port": {"name": "swp1"}, "vids": [99, 100]}},
        TRUNK | {"trunk": {"port": {"name": "swp1"}}, "bridge": {"tagged": [100]}},
    ],
)
def test_waypoint_that_agrees(waypoint: dict[str, t.Any]) -> None:
    it = segment(waypoint)
    assert list(_leafs.problems([uplink(it)], [it])) == []


@pytest.mark.parametrize(
    ("waypoint", "problem"),
    [
        (ACCESS, "VLAN 100 must be tagged, but"),
        (TRUNK | {"bridge": {"untagged": [100]}}, "VLAN 100 must be tagged, but"),
        (TRUNK | {"bridge": {"tagged": [100], "pvid": 100}}, "VLAN 100 must be tagged, but"),
        (TRUNK | {"trunk": {"port": {"name": "swp1"}, "vids": [200]}}, "of leaf xleaf0 has 200"),
        (TRUNK | {"trunk": {"port": {"name": "swp1"}}}, "of leaf xleaf0 has no VLAN"),
        (TRUNK | {"bridge": {"tagged": [300, 200]}}, "of leaf xleaf0 has 200, 300"),
        (TRUNK | {"trunk": {"port": {"name": "swp2"}, "vids": [100]}}, "'lan0' has no waypoint"),
    ],
)
def test_waypoint_that_contradicts(waypoint: dict[str, t.Any], problem: str) -> None:
    it = segment(waypoint)
    [told] = _leafs.problems([uplink(it)], [it])
    assert told.startswith("'alpha' 'eth1': ")
    assert problem in told
    assert "port swp1 of leaf xleaf0" in told


def test_waypoint_of_another_link() -> None:
    it, other = segment(), segment(TRUNK)
    [told] = _leafs.problems([uplink(it)], [it, other])
    assert "has no waypoint to carry VLAN 100" in told


@pytest.mark.parametrize(
    "waypoints",
    [
        [],
        [TRUNK | {"host": "xleaf1"}],
        [{"host": "xleaf0", "tap": {"node": "gamma"}}],
        [{"host": "xleaf0", "bridge": {"tagged": [7]}}],
    ],
)
def test_leaf_without_waypoint_is_allowed(waypoints: list[dict[str, t.Any]]) -> None:
    it = segment(*waypoints)
    assert list(_leafs.problems([uplink(it)], [it])) == []


def test_port_without_name_is_allowed() -> None:
    it = segment(TRUNK)
    assert list(_leafs.problems([uplink(it, port=None)], [it])) == []


def test_one_vlan_of_two_links() -> None:
    first, second, third = segment(vni=7), segment(vni=8), segment()
    uplinks = [
        uplink(first),
        uplink(second, link="lan1", port="swp2"),
        uplink(third, link="lan2", port="swp3"),
    ]
    assert list(_leafs.problems(uplinks, [])) == [
        "3 links share VLAN 100 of leaf xleaf0: 'lan0' (VNI 7), 'lan1' (VNI 8), 'lan2'"
    ]


def test_one_vlan_of_one_network() -> None:
    seven, unset = segment(vni=7), segment()
    for it in (seven, unset):
        assert list(_leafs.problems([uplink(it), uplink(it, port="swp2")], [])) == []
    assert list(_leafs.problems([uplink(seven), uplink(seven, link="lan1")], [])) == []
    assert list(_leafs.problems([uplink(seven), uplink(unset, leaf="xleaf1")], [])) == []
