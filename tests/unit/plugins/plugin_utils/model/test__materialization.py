# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _materialization
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.tests.unit import models
from ansible_collections.mergetb.sriov.tests.unit.models import endpoint, segment
from mergetbapi.portal import v1 as portal

PFS = {
    f"x{host}": [
        {"name": f"ens1f{index}", "mac": f"04:72:00:00:1{host}:0{index}", "max_vfs": 7}
        for index in range(2)
    ]
    for host in range(2)
}


def vfs(
    materialization: portal.Materialization | bytes, pfs: dict[str, t.Any] = PFS
) -> dict[str, t.Any]:
    """Return the VFs of a materialization."""
    data = materialization if isinstance(materialization, bytes) else bytes(materialization)
    return _materialization.vfs(_document.decode(data, _document.MATERIALIZATION), pfs)


def problems(materialization: portal.Materialization, pfs: dict[str, t.Any] = PFS) -> list[str]:
    """Return the problems of a materialization."""
    with pytest.raises(InputError) as caught:
        vfs(materialization, pfs)
    headline, *found = str(caught.value).split("\n- ")
    plural = "s" if len(found) > 1 else ""
    assert headline.endswith(f"is refused, {len(found)} problem{plural}:")
    return found


def alpha_eth1(**changes: t.Any) -> dict[str, t.Any]:
    """Return the first VF of x0 of the example experiment."""
    return {
        "node": "alpha",
        "nic": "eth1",
        "link": "lan0",
        "pf": {"name": "ens1f0", "mac": "04:72:00:00:10:00"},
        "vf_index": 0,
        "mac": "02:72:00:00:00:01",
        "vlan": 100,
        "mtu": 1500,
        "addresses": ["10.0.1.1/24"],
    } | changes


def test_example_experiment() -> None:
    found = vfs(models.EXPERIMENT)
    assert found["mzid"] == "one.hello.demo"
    assert found["hosts"]["x0"] == [
        alpha_eth1(),
        alpha_eth1(
            nic="eth2",
            link="lan1",
            vf_index=1,
            mac="02:72:00:00:01:01",
            vlan=200,
            addresses=["10.0.2.1/24"],
        ),
        alpha_eth1(
            nic="eth3",
            link="lan2",
            pf={"name": "ens1f1", "mac": "04:72:00:00:10:01"},
            mac="02:72:00:00:02:01",
            vlan=300,
            addresses=["10.0.3.1/24"],
        ),
    ]
    assert [vf["node"] for vf in found["hosts"]["x1"]] == ["beta"] * 3


@pytest.mark.parametrize(
    ("name", "data"), models.materialization_encodings(models.EXPERIMENT).items()
)
def test_every_encoding_gives_the_same_vfs(name: str, data: bytes) -> None:
    assert vfs(data) == vfs(models.EXPERIMENT)


def test_vfs_are_sorted_by_pf_and_index() -> None:
    materialization = models.experiment()
    materialization.links.reverse()
    assert vfs(materialization) == vfs(models.EXPERIMENT)


def test_materialization_without_vf() -> None:
    materialization = portal.Materialization(rid="one", eid="hello", pid="demo")
    assert vfs(materialization, {}) == {
        "mzid": "one.hello.demo",
        "hosts": {},
        "functions": {},
        "leafs": [],
    }


def test_link_of_many_nodes() -> None:
    materialization = models.experiment()
    name = "~".join(f"node{number}.0" for number in range(1000))
    materialization.links[0].realization.link.id = name
    assert vfs(materialization)["hosts"]["x0"][0]["link"] == name


def test_unset_mtu_and_addresses() -> None:
    materialization = models.experiment()
    endpoint(materialization).mtu = 0
    endpoint(materialization).vf.addrs = []
    assert vfs(materialization)["hosts"]["x0"][0] == alpha_eth1(mtu=None, addresses=[])


def test_pf_by_name_where_no_mac_is_known() -> None:
    materialization = models.experiment()
    endpoint(materialization).vf.parent.pf.mac = ""
    assert vfs(materialization) == vfs(models.EXPERIMENT)
    nameless = {host: [pf | {"mac": None} for pf in pfs] for host, pfs in PFS.items()}
    assert vfs(models.EXPERIMENT, nameless) == vfs(models.EXPERIMENT)
    with pytest.raises(
        InputError, match="PF 'ens1f0' of x0 has no MAC address in the facility model"
    ):
        vfs(materialization, nameless)


def test_mac_of_the_pf_goes_before_its_name() -> None:
    materialization = models.experiment()
    endpoint(materialization).vf.parent.pf.name = "enp1s0f0"
    assert vfs(materialization) == vfs(models.EXPERIMENT)


@pytest.mark.parametrize(
    ("name", "mac", "told"),
    [
        ("ens1f0", "04:72:00:00:99:00", "PF 'ens1f0' (04:72:00:00:99:00)"),
        ("ens9", "", "PF 'ens9' (None)"),
        ("", "", "PF '' (None)"),
    ],
)
def test_unknown_pf(name: str, mac: str, told: str) -> None:
    materialization = models.experiment()
    pf = endpoint(materialization).vf.parent.pf
    pf.name, pf.mac = name, mac
    assert problems(materialization) == [
        f"'alpha' 'eth1': {told} is none that x0 offers: ens1f0 (04:72:00:00:10:00), ens1f1"
        " (04:72:00:00:10:01)"
    ]


def test_unknown_host() -> None:
    told = [f"'beta' 'eth{n}': host 'x1' is not in this play" for n in (1, 2, 3)]
    assert problems(models.EXPERIMENT, {"x0": PFS["x0"]}) == told
    assert len(problems(models.EXPERIMENT, {})) == 6


def test_pf_that_lacks_a_value() -> None:
    with pytest.raises(InputError, match="^pfs: a PF of host x0 lacks mac, max_vfs$"):
        vfs(models.EXPERIMENT, PFS | {"x0": [{"name": "ens1f0"}]})


def test_vf_index_beyond_the_count() -> None:
    materialization = models.experiment()
    endpoint(materialization).vf.parent.vf_index = 7
    assert problems(materialization) == [
        "'alpha' 'eth1': VF 7, but PF ens1f0 on x0 has only VFs 0 to 6"
    ]
    endpoint(materialization).vf.parent.vf_index = 6
    assert vfs(materialization)["hosts"]["x0"][1]["vf_index"] == 6


@pytest.mark.parametrize("vlan", [0, 4095, 4096, 2**32 - 1])
def test_vlan_out_of_range(vlan: int) -> None:
    materialization = models.experiment()
    segment(materialization).vid = vlan
    for node in range(2):
        endpoint(materialization, 0, node).vf.vid = vlan
    assert problems(materialization) == [
        f"'{node}' 'eth1': VLAN {vlan} is outside 1 to 4094" for node in ("alpha", "beta")
    ]


@pytest.mark.parametrize("vlan", [1, 4094])
def test_vlan_at_the_ends_of_the_range(vlan: int) -> None:
    materialization = models.experiment()
    segment(materialization).vid = vlan
    for node in range(2):
        endpoint(materialization, 0, node).vf.vid = vlan
    assert vfs(materialization)["hosts"]["x1"][0]["vlan"] == vlan


def test_vlan_of_another_segment() -> None:
    materialization = models.experiment()
    endpoint(materialization).vf.vid = 200
    assert problems(materialization) == [
        "'alpha' 'eth1': VLAN 200, but its segment of link 'lan0' has 100"
    ]


def test_one_vf_twice() -> None:
    materialization = models.experiment()
    endpoint(materialization, 1).vf.parent.vf_index = 0
    assert problems(materialization) == [
        "VF 0 of PF ens1f0 on x0 is taken 2 times: alpha eth1, alpha eth2"
    ]


def test_one_nic_twice() -> None:
    materialization = models.experiment()
    endpoint(materialization, 1).vf.virtif.name = "eth1"
    for vm in materialization.vms:
        vm.vm_alloc.ni_cs = None
    assert problems(materialization) == ["NIC alpha eth1 is taken 2 times: link lan0, link lan1"]


def set_mac(materialization: portal.Materialization, link: int, node: int, mac: str) -> None:
    """Give an endpoint another MAC address, in all four places."""
    it = endpoint(materialization, link, node)
    it.mac = it.vf.virtif.mac = it.vf.parent.mac = mac
    materialization.vms[node].vm_alloc.ni_cs.alloc[1].alloc[link].mac = mac


def test_one_mac_twice() -> None:
    materialization = models.experiment()
    set_mac(materialization, 2, 1, "02-72-00-00-00-01")
    assert problems(materialization) == [
        "MAC address 02:72:00:00:00:01 is taken 2 times: alpha eth1, beta eth3"
    ]


def test_mac_of_a_pf() -> None:
    materialization = models.experiment()
    set_mac(materialization, 0, 0, "04:72:00:00:11:01")
    assert problems(materialization) == [
        "MAC address 04:72:00:00:11:01 is taken 2 times: alpha eth1, PF ens1f1 on x1"
    ]


@pytest.mark.parametrize("mac", ["00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff"])
def test_mac_that_no_interface_has(mac: str) -> None:
    materialization = models.experiment()
    set_mac(materialization, 0, 0, mac)
    assert problems(materialization) == [
        f"'alpha' 'eth1': MAC of the {place} {mac} is zero or multicast: no interface has it"
        for place in ("endpoint", "frontend", "VF", "allocation")
    ]


@pytest.mark.parametrize("kept", ["endpoint", "frontend", "VF", "allocation", None])
def test_mac_in_one_place_is_enough(kept: str | None) -> None:
    materialization = models.experiment()
    it = endpoint(materialization)
    allocation = materialization.vms[0].vm_alloc.ni_cs.alloc[1].alloc[0]
    places = {
        "endpoint": it,
        "frontend": it.vf.virtif,
        "VF": it.vf.parent,
        "allocation": allocation,
    }
    for place, holder in places.items():
        if place != kept:
            holder.mac = ""
    if kept:
        assert vfs(materialization) == vfs(models.EXPERIMENT)
    else:
        assert problems(materialization) == ["'alpha' 'eth1': it has no MAC address"]


@pytest.mark.parametrize("place", ["endpoint", "frontend", "VF", "allocation"])
def test_mac_addresses_disagree(place: str) -> None:
    materialization = models.experiment()
    it = endpoint(materialization)
    allocation = materialization.vms[0].vm_alloc.ni_cs.alloc[1].alloc[0]
    holders = {
        "endpoint": it,
        "frontend": it.vf.virtif,
        "VF": it.vf.parent,
        "allocation": allocation,
    }
    holders.pop(place).mac = "02:72:00:00:99:99"
    [problem] = problems(materialization)
    assert problem.startswith("'alpha' 'eth1': its MAC addresses disagree: ")
    assert f"02:72:00:00:99:99 ({place})" in problem
    assert f"02:72:00:00:00:01 ({' and '.join(holders)})" in problem


def test_vm_on_another_host() -> None:
    materialization = models.experiment()
    materialization.vms[0].vm_alloc.resource = "x1"
    assert problems(materialization) == [
        f"'alpha' 'eth{n}': host 'x0', but its VM is allocated on 'x1'" for n in (1, 2, 3)
    ]


def virtio_endpoint(**interface: t.Any) -> portal.Endpoint:
    """Return an endpoint of a virtio NIC on x0."""
    return portal.Endpoint(host="x0", node="gamma", **interface)


ENS1F0 = portal.PhysicalInterface(name="ens1f0")
ENS1F0_MAC = portal.PhysicalInterface(mac="04-72-00-00-10-00")
VLAN = portal.VlanInterface(name="ens1f0.400", vid=400, parent=ENS1F0)
TAP = portal.VlanTapPort(node="gamma", vid=400)


@pytest.mark.parametrize(
    "points",
    [
        [virtio_endpoint(vlan=VLAN)],
        [virtio_endpoint(vlan=portal.VlanInterface(parent=ENS1F0_MAC))],
        [virtio_endpoint(trunk=portal.VlanTrunkPort(port=ENS1F0))],
        [portal.Waypoint(host="x0", trunk=portal.VlanTrunkPort(port=ENS1F0))],
        [portal.Waypoint(host="x0", access=portal.VlanAccessPort(port=ENS1F0))],
        [virtio_endpoint(vlan=VLAN), portal.Waypoint(host="x0", tap=TAP)],
    ],
)
def test_pf_that_also_carries_virtio(points: list[portal.Endpoint | portal.Waypoint]) -> None:
    materialization = models.experiment()
    link = portal.LinkRealization(segments={7: portal.LinkSegment(vid=400)})
    link.link.id = "lan9"
    link.segments[7].endpoints = [p for p in points if isinstance(p, portal.Endpoint)]
    link.segments[7].waypoints = [p for p in points if isinstance(p, portal.Waypoint)]
    materialization.links.append(portal.Link(link))
    assert problems(materialization) == [
        "link 'lan9' comes to x0 by virtio on PF ens1f0 on x0, and the materialization takes a"
        " VF of it; one PF cannot serve both"
    ]


def test_virtio_that_names_no_pf() -> None:
    materialization = models.experiment()
    segment(materialization).waypoints.append(portal.Waypoint(host="x0", tap=TAP))
    assert problems(materialization) == [
        f"link 'lan0' comes to x0 by virtio without naming its PF, but the materialization takes a"
        f" VF of PF {pf} on x0"
        for pf in ("ens1f0", "ens1f1")
    ]


def test_virtio_elsewhere() -> None:
    materialization = models.experiment()
    materialization.links.pop()
    other_pf = portal.PhysicalInterface(name="ens1f1")
    other_nic = portal.PhysicalInterface(name="eno2")
    segment(materialization).endpoints += [
        virtio_endpoint(vlan=portal.VlanInterface(parent=other_pf)),
        virtio_endpoint(trunk=portal.VlanTrunkPort(port=other_nic)),
        portal.Endpoint(host="x2", node="delta", vlan=VLAN),
        portal.Endpoint(host="x0", node="metal", phy=ENS1F0),
    ]
    segment(materialization).waypoints += [
        portal.Waypoint(host="x0", tap=TAP),
        portal.Waypoint(host="x2", tap=TAP),
    ]
    assert len(vfs(materialization)["hosts"]["x0"]) == 2


@pytest.mark.parametrize("mtu", [67, 65536])
def test_mtu_out_of_range(mtu: int) -> None:
    materialization = models.experiment()
    endpoint(materialization).mtu = mtu
    assert problems(materialization) == [f"'alpha' 'eth1': MTU {mtu} is outside 68 to 65535"]


def test_address_that_is_none() -> None:
    materialization = models.experiment()
    endpoint(materialization).vf.addrs = ["10.0.1.1/24", "$(id)"]
    assert problems(materialization) == ["'alpha' 'eth1': address '$(id)' is not an IP address"]


@pytest.mark.parametrize("name", ["", "a b", "../a", "a,b=c", "{{ x }}", "a\n", "x" * 1_000_000])
def test_hostile_names(name: str) -> None:
    materialization = models.experiment()
    endpoint(materialization).node = name
    endpoint(materialization, 1).vf.virtif.name = name
    materialization.links[2].realization.link.id = "lan\n2"
    node, nic, *links = problems(materialization)
    assert " node '" in node
    assert " NIC '" in nic
    assert len(links) == 2
    assert links[0].startswith("'alpha' 'eth3': link 'lan\\n2' must be printable")
    assert all("\n" not in problem and len(problem) < 400 for problem in (node, nic, *links))


@pytest.mark.parametrize("part", ["rid", "eid", "pid"])
@pytest.mark.parametrize("value", ["", "a.b", "a/b", "..", "{{ x }}", "x" * 64])
def test_materialization_id(part: str, value: str) -> None:
    materialization = models.experiment()
    setattr(materialization, part, value)
    [problem] = problems(materialization)
    assert problem.startswith(f"{part} '")


TAGGED = {"mode": "trunk", "access_vlan": None}


def test_leafs() -> None:
    cabled = {
        host: [
            pf | {"leaf": {"host": f"xleaf{index}", "port": f"swp{host[1]}"}}
            for index, pf in enumerate(pfs)
        ]
        for host, pfs in PFS.items()
    }
    materialization = models.experiment()
    for link in materialization.links:
        link.realization.segments[1].waypoints = []
    assert vfs(materialization, cabled)["leafs"] == [
        {"leaf": "xleaf0", "port": "swp0", "host": "x0", "pf": "ens1f0", "vlans": [100, 200]}
        | TAGGED,
        {"leaf": "xleaf0", "port": "swp1", "host": "x1", "pf": "ens1f0", "vlans": [100, 200]}
        | TAGGED,
        {"leaf": "xleaf1", "port": "swp0", "host": "x0", "pf": "ens1f1", "vlans": [300]} | TAGGED,
        {"leaf": "xleaf1", "port": "swp1", "host": "x1", "pf": "ens1f1", "vlans": [300]} | TAGGED,
    ]
    assert vfs(models.EXPERIMENT)["leafs"] == []
    uncabled = {host: [pf | {"leaf": None} for pf in pfs] for host, pfs in PFS.items()}
    assert vfs(models.EXPERIMENT, uncabled)["leafs"] == []


def test_pf_without_name_has_its_mac_as_name() -> None:
    leaf = {"host": "xleaf0", "port": "swp1"}
    pfs = {host: [pf | {"name": None, "leaf": leaf} for pf in PFS[host]] for host in PFS}
    materialization = models.experiment()
    for link in materialization.links:
        link.realization.segments[1].waypoints = []
        for each in link.realization.segments[1].endpoints:
            pf = each.vf.parent.pf
            pf.mac = next(pf_["mac"] for pf_ in PFS[each.host] if pf_["name"] == pf.name)
    found = vfs(materialization, pfs)
    assert {vf["pf"]["name"] for vf in found["hosts"]["x0"]} == {
        "04:72:00:00:10:00",
        "04:72:00:00:10:01",
    }
    assert {leaf["pf"] for leaf in found["leafs"]} == {
        pf["mac"] for host in PFS.values() for pf in host
    }


def test_problems_of_leafs_are_in_the_list() -> None:
    cabled = PFS | {"x0": [PFS["x0"][0] | {"leaf": {"host": "xleaf0", "port": "swp9"}}]}
    materialization = models.experiment()
    endpoint(materialization, 2).vf.parent.pf = endpoint(materialization, 0).vf.parent.pf
    endpoint(materialization, 2).vf.parent.vf_index = 7
    told = problems(materialization, cabled)
    assert told[0] == "'alpha' 'eth3': VF 7, but PF ens1f0 on x0 has only VFs 0 to 6"
    assert told[1:] == [
        f"'alpha' 'eth{n}': PF ens1f0 of x0 is cabled to port swp9 of leaf xleaf0, where link"
        f" 'lan{n - 1}' has no waypoint to carry VLAN {n}00"
        for n in (1, 2, 3)
    ]


def test_all_problems_in_one_list() -> None:
    materialization = models.experiment()
    materialization.eid = "a/b"
    segment(materialization, 0).vid = 101
    endpoint(materialization, 0, 1).vf.vid = 0
    set_mac(materialization, 0, 1, "")
    endpoint(materialization, 1, 0).host = "x9"
    endpoint(materialization, 1, 1).vf.parent.vf_index = 9
    endpoint(materialization, 2, 0).vf.virtif.name = "eth 3"
    endpoint(materialization, 2, 1).vf.parent.pf.mac = "04:72:00:00:99:99"
    segment(materialization, 2).endpoints.append(virtio_endpoint(vlan=VLAN))
    told = problems(materialization)
    for start in (
        "eid 'a/b' must",
        "'alpha' 'eth1': VLAN 100, but its segment",
        "'beta' 'eth1': VLAN 0 is outside",
        "'beta' 'eth1': VLAN 0, but its segment",
        "'beta' 'eth1': it has no MAC address",
        "'alpha' 'eth2': host 'x9' is not in this play",
        "'alpha' 'eth2': host 'x9', but its VM is allocated on 'x0'",
        "'beta' 'eth2': VF 9, but",
        "'alpha' 'eth 3': NIC 'eth 3' must",
        "'beta' 'eth3': PF 'ens1f1' (04:72:00:00:99:99) is none",
        "link 'lan2' comes to x0 by virtio on PF ens1f0",
    ):
        assert [problem for problem in told if problem.startswith(start)], start
    assert len(told) == 11


def test_addresses_are_kept_as_canonical_text() -> None:
    materialization = models.experiment()
    endpoint(materialization).vf.addrs = ["10.0.1.1/24", "2001:DB8:0::1/64"]
    assert vfs(materialization)["hosts"]["x0"][0]["addresses"] == ["10.0.1.1/24", "2001:db8::1/64"]
    endpoint(materialization).vf.addrs = ["10.0.0.1/24\n", "10.0.0.1/2_4", "10.0.0.1/\u0662\u0664"]
    assert [problem.split(" is not")[0] for problem in problems(materialization)] == [
        "'alpha' 'eth1': address '10.0.0.1/24\\n'",
        "'alpha' 'eth1': address '10.0.0.1/2_4'",
        "'alpha' 'eth1': address '10.0.0.1/\u0662\u0664'",
    ]


@pytest.mark.parametrize("mac", ["0472.0000.1000", "047200001000", "04-72-00-00-10-00"])
def test_virtio_on_the_pf_of_a_vf_however_its_mac_is_spelled(mac: str) -> None:
    materialization = models.experiment()
    link = segment(materialization, 1)
    link.waypoints.append(
        portal.Waypoint(
            host="x0", trunk=portal.VlanTrunkPort(port=portal.PhysicalInterface(mac=mac))
        )
    )
    assert any("by virtio on PF ens1f0 on x0" in each for each in problems(materialization))


NICS = {"x0": [{"name": "ens2f0", "mac": "04:72:00:00:10:20", "max_vfs": 0, "leaf": None}]}
WHOLE = portal.PhysicalInterface(name="ens2f0", mac="04:72:00:00:10:20")


def whole_nic(access: int = 100, **changes: t.Any) -> portal.Materialization:
    """Return an experiment whose node alpha also has a whole NIC of x0."""
    materialization = models.experiment()
    segment(materialization).endpoints.append(
        portal.Endpoint(**{"host": "x0", "node": "alpha", "phy": WHOLE, "virtual": True, **changes})
    )
    segment(materialization).waypoints.append(
        portal.Waypoint(
            host="xleaf0",
            access=portal.VlanAccessPort(port=portal.PhysicalInterface(name="swp9"), vid=access),
        )
    )
    return materialization


def taken(materialization: portal.Materialization, **offered: t.Any) -> dict[str, t.Any]:
    """Return what a materialization takes of hosts that also offer NICs and functions."""
    message = _document.decode(bytes(materialization), _document.MATERIALIZATION)
    return _materialization.vfs(message, PFS, **offered)


def nics(port: str = "swp9") -> dict[str, t.Any]:
    """Return the NICs of x0, cabled to a port of the leaf."""
    return {"x0": [NICS["x0"][0] | {"leaf": {"host": "xleaf0", "port": port}}]}


def test_whole_nic() -> None:
    found = taken(whole_nic(mtu=9000), nics=nics())
    assert found["functions"] == {
        "x0": [
            {
                "node": "alpha",
                "nic": "ens2f0",
                "link": "lan0",
                "function": "04:72:00:00:10:20",
                "pf": "ens2f0",
                "vlan": 100,
                "mtu": 9000,
                "addresses": [],
            }
        ]
    }
    assert found["leafs"] == [
        {
            "leaf": "xleaf0",
            "port": "swp9",
            "host": "x0",
            "pf": "ens2f0",
            "mode": "access",
            "vlans": [],
            "access_vlan": 100,
        }
    ]
    decoded = _document.decode(bytes(whole_nic()), _document.MATERIALIZATION)
    assert _materialization.hosts(decoded) == {"x0", "x1"}


def test_whole_nic_has_the_name_that_the_vm_gives_it() -> None:
    materialization = whole_nic()
    port = materialization.vms[0].vm_alloc.ni_cs.alloc[1].alloc[0]
    port.name, port.mac = "eth9", WHOLE.mac
    assert taken(materialization, nics=NICS)["functions"]["x0"][0]["nic"] == "eth9"


@pytest.mark.parametrize(
    ("materialization", "port", "problem"),
    [
        (whole_nic(access=200), "swp9", "VLAN 100, but the waypoint at port swp9 of leaf xleaf0"),
        (whole_nic(), "swp8", "has no waypoint of access mode with VLAN 100"),
        (whole_nic(host="x7"), "swp9", "host 'x7' is not in this play"),
        (whole_nic(node="gamma"), "swp9", None),
        (whole_nic(phy=portal.PhysicalInterface(name="ens9")), "swp9", "is none that x0 offers"),
        (
            whole_nic(phy=portal.PhysicalInterface(name="ens1f0", mac="04:72:00:00:10:00")),
            "swp9",
            "PF ens1f0 of x0 is taken as a whole, and VFs of it",
        ),
    ],
)
def test_whole_nic_that_contradicts(
    materialization: portal.Materialization, port: str, problem: str | None
) -> None:
    if problem is None:
        taken(materialization, nics=nics(port))
        return
    with pytest.raises(InputError) as caught:
        taken(materialization, nics=nics(port))
    assert problem in str(caught.value)


def test_nic_of_a_bare_metal_node_is_not_ours() -> None:
    assert taken(whole_nic(virtual=False), nics=NICS)["functions"] == {}


GPU = {"node": "alpha", "nic": "gpu0", "function": "0000:41:00.0"}


def test_functions_of_a_variable() -> None:
    found = taken(models.experiment(), functions={"x0": [GPU], "x1": []})
    assert found["functions"] == {"x0": [GPU]}


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (GPU | {"node": "beta"}, "its VM is allocated on x1"),
        (GPU | {"node": "nobody"}, "its VM is allocated on no host"),
        (GPU | {"nic": "eth1"}, "NIC alpha eth1 is taken 2 times"),
        (GPU | {"function": 7}, "function must be a text"),
        (GPU | {"vlan": 100}, "unknown key 'vlan'"),
    ],
)
def test_functions_that_are_refused(item: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        taken(models.experiment(), functions={"x0": [item]})


@pytest.mark.parametrize(
    "item",
    [
        {"node": "alpha", "nic": "gpu0"},
        GPU | {"function": ["10de:2204"]},
        GPU | {"function": {"a": 1}},
        GPU | {"function": "x" * 10**6},
        GPU | {"node": "alpha\n", "nic": "g\n"},
        GPU | {"node": None},
        GPU | {"console": "maybe"},
        GPU | {"driver": ["x"]},
        GPU | {1: 2, "x": 3},
    ],
)
def test_a_function_that_is_none_is_refused(item: t.Any) -> None:
    with pytest.raises(InputError):
        taken(models.experiment(), functions={"x0": [item]})


@pytest.mark.parametrize("nics", [[{"name": "ens3f0"}], [{}], [7], {"a": 1}, "x"])
def test_nics_that_are_none_are_refused(nics: t.Any) -> None:
    with pytest.raises(InputError, match="sriov_nics of host x0 must be a list"):
        taken(whole_nic(), nics={"x0": nics})
