# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _management
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine
from ansible_collections.mergetb.sriov.tests.unit.namespace import Namespace

PF = "0000:01:00.0"
OTHER = "0000:02:00.0"
DEFAULT_4 = "ip -json -4 route show table all default"
DEFAULT_6 = "ip -json -6 route show table all default"
GET = "ip -json -4 route get fibmatch 10.9.0.1 from 10.0.0.2 ipproto tcp sport 22 dport 5"


@pytest.fixture
def host(tmp_path: Path) -> BootMachine:
    host = BootMachine(tmp_path, {})
    host.add_pf(PF, "ens1f0", "04:70:00:00:00:10", numvfs=1)
    host.add_pf(OTHER, "ens2f0", "04:70:00:00:00:20")
    host.add_interface("lo", mac="00:00:00:00:00:00")
    return host


def route_through(host: BootMachine, command: str, *interfaces: str) -> None:
    routes = [{"dst": "default", "gateway": "10.0.0.1", "dev": name} for name in interfaces]
    host.answers[command] = Completed(0, json.dumps(routes), "")


def lay(host: BootMachine, upper: str, kind: str, *lowers: str) -> None:
    """Make *upper* a virtual interface on *lowers*."""
    host.add_interface(upper, mac="02:00:00:00:00:01")
    host.alter_link(upper, kind=kind)
    for lower in lowers:
        host.put(f"/sys/class/net/{upper}/lower_{lower}/dev_port", "0")


def started_by(host: BootMachine, client: str) -> None:
    """Make this process a child of sudo, which a session of sshd started."""
    host.put("/proc/self/environ", "SUDO_USER=operator\0")
    host.put("/proc/self/status", "Name:\tpython3\nPPid:\t42\nUid:\t0\n")
    host.put("/proc/42/environ", f"A=1\0SSH_CONNECTION={client} 5 10.0.0.2 22\0B=2\0")
    host.put("/proc/42/status", "Name:\tsudo\nPPid:\t1\n")
    host.put("/proc/1/status", "Name:\tinit\nPPid:\t0\n")


def test_no_route_no_device(host: BootMachine) -> None:
    assert _management.devices(host) == {}


@pytest.mark.parametrize("command", [DEFAULT_4, DEFAULT_6])
def test_a_default_route(host: BootMachine, command: str) -> None:
    route_through(host, command, "ens1f0", "lo")
    assert _management.devices(host) == {PF: "ens1f0 carries a default route"}


def test_a_route_over_several_interfaces(host: BootMachine) -> None:
    hops = [{"dev": "ens1f0"}, {"dev": "ens2f0"}]
    host.answers[DEFAULT_4] = Completed(0, json.dumps([{"dst": "default", "nexthops": hops}]), "")
    assert set(_management.devices(host)) == {PF, OTHER}


def test_through_bridge_vlan_and_bond(host: BootMachine) -> None:
    lay(host, "bond0", "bond", "ens1f0", "ens2f0")
    lay(host, "bond0.7", "vlan", "bond0")
    lay(host, "br0", "bridge", "bond0.7")
    route_through(host, DEFAULT_4, "br0")
    way = "bond0, which is the lower device of bond0.7, which is a port of br0, which carries"
    assert _management.devices(host) == {
        PF: f"ens1f0 is a member of {way} a default route",
        OTHER: f"ens2f0 is a member of {way} a default route",
    }


def test_a_vf_counts_for_its_pf(host: BootMachine) -> None:
    host.bind("0000:01:10.0", "igbvf")
    (vf_interface,) = host.names("/sys/bus/pci/devices/0000:01:10.0/net")
    route_through(host, DEFAULT_4, vf_interface)
    assert set(_management.devices(host)) == {PF}


def test_a_function_behind_a_virtio_bus(host: BootMachine) -> None:
    host.add_function("0000:03:00.0")
    host.add_interface("eth0", mac="02:00:00:00:00:01")
    os.unlink(host.path("/sys/class/net/eth0"))
    base = "/sys/devices/pci0000:00/0000:03:00.0/virtio1/net/eth0"
    host.put(f"{base}/dev_port", "0")
    Path(host.path("/sys/class/net/eth0")).symlink_to(f"../../devices{base[12:]}")
    route_through(host, DEFAULT_4, "eth0")
    assert set(_management.devices(host)) == {"0000:03:00.0"}


def test_the_route_back_to_the_ssh_client(host: BootMachine) -> None:
    started_by(host, "10.9.0.1")
    host.netlink.ips[host.netlink.interfaces["ens2f0"].ifindex] = ["10.0.0.2/24"]
    route_through(host, GET, "ens2f0")
    route_through(host, DEFAULT_4, "ens1f0", "ens2f0")
    assert _management.devices(host) == {
        OTHER: "ens2f0 carries the route to the SSH client 10.9.0.1",
        PF: "ens1f0 carries a default route",
    }


def test_a_link_local_client_names_the_interface(host: BootMachine) -> None:
    started_by(host, "fe80::1%ens2f0")
    assert _management.devices(host) == {
        OTHER: "ens2f0 carries the route to the SSH client fe80::1%ens2f0"
    }


@pytest.mark.parametrize("client", ["UNKNOWN", "--help", ""])
def test_a_client_without_an_ip_address_has_no_route(host: BootMachine, client: str) -> None:
    started_by(host, client)
    assert _management.devices(host) == {}
    assert not any("get" in call for call in host.calls)


def test_a_client_that_has_gone_has_no_route(host: BootMachine) -> None:
    started_by(host, "10.9.0.1")
    host.answers[GET] = Completed(2, "", "Network is unreachable\n")
    assert _management.devices(host) == {}


def test_routes_that_cannot_be_read_are_an_error(host: BootMachine) -> None:
    host.answers[DEFAULT_6] = Completed(1, "", "Operation not permitted\n")
    with pytest.raises(SriovError, match="route show table all default' failed: Operation not"):
        _management.devices(host)


def test_the_route_back_is_asked_for_in_the_vrf_of_the_server(host: BootMachine) -> None:
    started_by(host, "10.9.0.1")
    host.add_interface("mgmt", mac="02:00:00:00:00:01")
    host.alter_link("mgmt", kind="vrf")
    ens2f0 = host.netlink.interfaces["ens2f0"].ifindex
    host.alter_link("ens2f0", master=host.netlink.interfaces["mgmt"].ifindex)
    host.netlink.ips[ens2f0] = ["10.0.0.2/24"]
    route_through(host, GET, "ens1f0")
    route_through(host, f"{GET} oif mgmt", "ens2f0")
    assert _management.devices(host) == {
        OTHER: "ens2f0 carries the route to the SSH client 10.9.0.1"
    }


def test_the_ports_of_an_open_vswitch_datapath(host: BootMachine) -> None:
    for name in ("ovs-system", "br-ex", "br-int"):
        host.add_interface(name, mac="02:00:00:00:00:01")
        host.alter_link(name, kind="openvswitch")
    host.add_interface("vxlan_sys_4789", mac="02:00:00:00:00:02")
    host.alter_link("vxlan_sys_4789", kind="vxlan")
    datapath = host.netlink.interfaces["ovs-system"].ifindex
    for port in ("ens2f0", "vxlan_sys_4789"):
        host.alter_link(port, master=datapath)
        host.put(f"/sys/class/net/ovs-system/lower_{port}/dev_port", "0")
    route_through(host, DEFAULT_4, "br-ex")
    assert _management.devices(host) == {
        OTHER: "ens2f0 is a port of the same Open vSwitch datapath as br-ex, which carries a "
        "default route"
    }


@pytest.fixture
def net() -> t.Iterator[Namespace]:
    namespace = Namespace()
    yield namespace
    namespace.close()


def connect(net: Namespace, client: str, server: str) -> None:
    """Make what runs in *net* a child of the SSH session of *client*."""
    net.environment["SSH_CONNECTION"] = f"{client} 5555 {server} 22"


TO_CLIENT = "carries the route to the SSH client 10.9.0.1"


def two_nics(net: Namespace) -> tuple[str, str]:
    """The management NIC, and one by which the main table sends to the client."""
    nics = net.add_nic("ens1f0", "10.0.0.2/24"), net.add_nic("ens2f0", "10.1.0.2/24")
    net.ip("route add 10.9.0.0/24 via 10.1.0.1")
    connect(net, "10.9.0.1", "10.0.0.2")
    return nics


@pytest.mark.parametrize(
    "rule",
    [
        "from 10.0.0.2",
        "ipproto tcp sport 22",
        "fwmark 7/0xff",
        # Both of SSH, for what is typed and for what is copied.
        "dsfield 0x10",
        "fwmark 7 dsfield 0x08",
    ],
)
def test_a_rule_sends_the_answers_of_the_server_elsewhere(net: Namespace, rule: str) -> None:
    management, _other = two_nics(net)
    net.ip("route add 10.9.0.0/24 via 10.0.0.1 table 100", f"rule add {rule} lookup 100")
    assert net.devices()[management] == f"ens1f0 {TO_CLIENT}"


def test_a_route_of_a_type_of_service_alone(net: Namespace) -> None:
    management, other = two_nics(net)
    net.ip("route add 10.9.0.0/24 tos 0x10 via 10.0.0.1")
    devices = net.devices()
    assert devices[management] == f"ens1f0 {TO_CLIENT}"
    assert devices[other] == f"ens2f0 {TO_CLIENT}"


def test_only_what_the_rules_choose_is_management(net: Namespace) -> None:
    management, _other = two_nics(net)
    net.ip("route add 10.9.0.0/24 via 10.0.0.1 table 100", "rule add from 10.0.0.2 lookup 100")
    assert net.devices() == {management: f"ens1f0 {TO_CLIENT}"}


def test_the_nic_that_the_client_comes_in_by_and_the_one_that_answers(net: Namespace) -> None:
    management, other = two_nics(net)
    assert net.devices() == {
        other: f"ens2f0 {TO_CLIENT}",
        management: "ens1f0 has the address 10.0.0.2, which the SSH client 10.9.0.1 is connected "
        "to",
    }


def test_an_address_that_the_host_has_lost(net: Namespace) -> None:
    """A terminal multiplexer keeps the SSH_CONNECTION that it was started with."""
    management, other = two_nics(net)
    net.ip("route add 10.9.0.0/24 via 10.0.0.1 table 100")
    connect(net, "10.9.0.1", "10.77.0.2")
    may = "may carry the route to the SSH client 10.9.0.1"
    assert net.devices() == {management: f"ens1f0 {may}", other: f"ens2f0 {may}"}


@pytest.mark.parametrize(
    ("client", "server", "route"),
    [
        ("10.9.0.1", "10.0.0.2", "10.9.0.0/24 via 10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.9.0.0/24 via 10.0.0.1"),
        ("2001:db8:9::1", "2001:db8::2", "2001:db8:9::/64 via 2001:db8::1"),
    ],
)
def test_a_management_vrf_without_default_route(
    net: Namespace, client: str, server: str, route: str
) -> None:
    management = net.add_nic("ens1f0")
    other = net.add_nic("ens2f0", "10.1.0.2/24", "2001:db8:1::2/64")
    net.ip(
        "link add mgmt type vrf table 10",
        "link set mgmt up",
        "link set ens1f0 master mgmt",
        "address add 10.0.0.2/24 dev ens1f0",
        "address add 2001:db8::2/64 dev ens1f0 nodad",
        f"route add {route} vrf mgmt",
        "route add default via 10.1.0.1",
    )
    connect(net, client, server)
    assert net.devices() == {
        management: f"ens1f0 carries the route to the SSH client {client}",
        other: "ens2f0 carries a default route",
    }


def test_an_address_of_the_vrf_itself(net: Namespace) -> None:
    management = net.add_nic("ens1f0")
    net.add_nic("ens2f0", "10.1.0.2/24")
    net.ip(
        "link add mgmt type vrf table 10",
        "link set mgmt up",
        "link set ens1f0 master mgmt",
        "address add 10.0.0.2/32 dev mgmt",
        "route add 10.9.0.0/24 dev ens1f0 vrf mgmt",
    )
    connect(net, "10.9.0.1", "10.0.0.2")
    assert net.devices() == {management: f"ens1f0 {TO_CLIENT}"}
    net.ip("route del 10.9.0.0/24 vrf mgmt")
    assert net.devices() == {
        management: "ens1f0 is in the VRF mgmt, which has the address 10.0.0.2, which the SSH "
        "client 10.9.0.1 is connected to"
    }


@pytest.mark.parametrize("repeated", [True, False])
def test_the_next_hops_of_an_object(net: Namespace, repeated: bool) -> None:
    first = net.add_nic("ens1f0", "10.0.0.2/24")
    second = net.add_nic("ens2f0", "10.1.0.2/24")
    third = net.add_nic("ens3f0", "10.2.0.2/24")
    net.ip(
        "nexthop add id 1 via 10.0.0.1 dev ens1f0",
        "nexthop add id 2 via 10.1.0.1 dev ens2f0",
        "nexthop add id 3 via 10.2.0.1 dev ens3f0",
        "nexthop add id 10 group 1/2",
        "route add default nhid 10",
        "route add default nhid 3 table 7",
    )
    net.run("sh", "-c", f"echo {int(repeated)} > /proc/sys/net/ipv4/nexthop_compat_mode")
    assert set(net.devices()) == {first, second, third}


@pytest.mark.parametrize(
    ("client", "server", "route", "gateways"),
    [
        ("10.9.0.1", "10.0.0.2", "10.9.0.0/24", ("10.0.0.1", "10.1.0.1")),
        ("2001:db8:9::1", "2001:db8::2", "2001:db8:9::/64", ("2001:db8::1", "2001:db8:1::1")),
    ],
)
def test_all_next_hops_of_the_route_back(
    net: Namespace, client: str, server: str, route: str, gateways: tuple[str, str]
) -> None:
    """The kernel's answer for one packet names one of them."""
    nics = (
        net.add_nic("ens1f0", "10.0.0.2/24", "2001:db8::2/64"),
        net.add_nic("ens2f0", "10.1.0.2/24", "2001:db8:1::2/64"),
    )
    net.ip(
        f"route add {route} nexthop via {gateways[0]} dev ens1f0 "
        f"nexthop via {gateways[1]} dev ens2f0"
    )
    connect(net, client, server)
    assert net.devices() == {
        nic: f"{name} carries the route to the SSH client {client}"
        for name, nic in (("ens1f0", nics[0]), ("ens2f0", nics[1]))
    }


def test_a_run_without_ssh(net: Namespace) -> None:
    """All default routes count, of whichever table."""
    first = net.add_nic("ens1f0", "10.0.0.2/24")
    second = net.add_nic("ens2f0", "2001:db8::2/64")
    net.add_nic("ens3f0", "10.2.0.2/24")
    net.ip("route add default via 10.0.0.1 table 100", "route add default via 2001:db8::1")
    assert net.devices() == {
        first: "ens1f0 carries a default route",
        second: "ens2f0 carries a default route",
    }


def test_a_link_local_connection(net: Namespace) -> None:
    management = net.add_nic("ens1f0", "fe80::2/64")
    net.add_nic("ens2f0", "fe80::3/64")
    for client in ("fe80::1%ens1f0", "fe80::1"):
        connect(net, client, "fe80::2")
        assert net.devices() == {management: f"ens1f0 carries the route to the SSH client {client}"}


@pytest.mark.parametrize(
    ("upper", "join", "relation"),
    [
        ("link add mgmt0 type bridge", True, "is a port of mgmt0"),
        ("link add mgmt0 type bond", True, "is a member of mgmt0"),
        ("link add mgmt0 type team", True, "is a member of mgmt0"),
        ("link add link ens1f0 name mgmt0 type vlan id 7", False, "is the lower device of mgmt0"),
        ("link add link ens1f0 name mgmt0 type macvlan", False, "is the lower device of mgmt0"),
        ("link add link ens1f0 name mgmt0 type ipvlan", False, "is the lower device of mgmt0"),
        ("link add link ens1f0 name mgmt0 type macsec", False, "is the lower device of mgmt0"),
        (
            "link add mgmt0 type gre remote 10.5.0.1 local 10.5.0.2 dev ens1f0",
            False,
            "is the lower device of mgmt0",
        ),
        (
            "link add mgmt0 type vxlan id 7 remote 10.5.0.1 dstport 4789 dev ens1f0",
            False,
            "is the lower device of mgmt0",
        ),
    ],
)
def test_what_lies_below(net: Namespace, upper: str, join: bool, relation: str) -> None:
    management = net.add_nic("ens1f0")
    net.add_nic("ens2f0", "10.1.0.2/24")
    net.ip(upper)
    if join:
        net.ip("link set ens1f0 down", "link set ens1f0 master mgmt0", "link set ens1f0 up")
    net.ip("link set mgmt0 up", "address add 10.0.0.2/24 dev mgmt0")
    connect(net, "10.0.0.1", "10.0.0.2")
    assert net.devices() == {
        management: f"ens1f0 {relation}, which carries the route to the SSH client 10.0.0.1"
    }


def test_a_bridge_on_a_vlan_on_a_bond(net: Namespace) -> None:
    management = net.add_nic("ens1f0")
    net.ip(
        "link add bond0 type bond",
        "link set ens1f0 down",
        "link set ens1f0 master bond0",
        "link add link bond0 name bond0.7 type vlan id 7",
        "link add br0 type bridge",
        "link set bond0.7 master br0",
        *(f"link set {name} up" for name in ("bond0", "bond0.7", "br0")),
        "address add 10.0.0.2/24 dev br0",
    )
    connect(net, "10.0.0.1", "10.0.0.2")
    assert net.devices() == {
        management: "ens1f0 is a member of bond0, which is the lower device of bond0.7, which is a "
        "port of br0, which carries the route to the SSH client 10.0.0.1"
    }


def test_a_bridge_behind_a_pair_of_veths(net: Namespace) -> None:
    management = net.add_nic("ens1f0")
    net.add_nic("ens2f0", "10.1.0.2/24")
    net.ip(
        "link add br0 type bridge",
        "link add br1 type bridge",
        "link add v0 type veth peer name v1",
        "link set v0 master br0",
        "link set v1 master br1",
        "link set ens1f0 master br1",
        *(f"link set {name} up" for name in ("br0", "br1", "v0", "v1")),
        "address add 10.0.0.2/24 dev br0",
    )
    connect(net, "10.0.0.1", "10.0.0.2")
    assert net.devices() == {
        management: "ens1f0 is a port of br1, which has the other end of v0, which is a port of "
        "br0, which carries the route to the SSH client 10.0.0.1"
    }


@pytest.mark.parametrize(
    "kind",
    [
        "wireguard",
        "vxlan id 7 remote 10.1.0.9 dstport 4789",
        "gre remote 10.1.0.9 local 10.1.0.2",
        "geneve id 7 remote 10.1.0.9",
    ],
)
def test_a_tunnel_may_be_carried_by_whatever_has_an_address(net: Namespace, kind: str) -> None:
    carrier = net.add_nic("ens1f0", "10.1.0.2/24")
    net.add_nic("ens2f0")
    net.ip(f"link add tun0 type {kind}", "link set tun0 up", "address add 10.0.0.2/24 dev tun0")
    connect(net, "10.0.0.1", "10.0.0.2")
    assert net.devices() == {
        carrier: "ens1f0 has an address and may carry tun0, which carries the route to the SSH "
        "client 10.0.0.1"
    }


def test_a_tunnel_beside_a_nic_in_a_bridge(net: Namespace) -> None:
    port = net.add_nic("ens1f0")
    carrier = net.add_nic("ens2f0", "10.1.0.2/24")
    net.ip(
        "link add br0 type bridge",
        "link add vx0 type vxlan id 7 remote 10.1.0.9 dstport 4789",
        "link set vx0 master br0",
        "link set ens1f0 master br0",
        "link set br0 up",
        "address add 10.0.0.2/24 dev br0",
    )
    connect(net, "10.0.0.1", "10.0.0.2")
    assert net.devices() == {
        port: "ens1f0 is a port of br0, which carries the route to the SSH client 10.0.0.1",
        carrier: "ens2f0 has an address and may carry vx0, which is a port of br0, which carries "
        "the route to the SSH client 10.0.0.1",
    }


def test_a_client_in_a_guest_of_this_host(net: Namespace) -> None:
    """A guest may be a router."""
    carrier = net.add_nic("ens1f0", "10.1.0.2/24")
    net.add_nic("ens2f0")
    net.nics["ens3f0"] = "0000:0a:00.0"
    net.ip(
        "link add virbr0 type bridge",
        "tuntap add vnet0 mode tap",
        "link set vnet0 master virbr0",
        "link set virbr0 up",
        "address add 10.0.0.2/24 dev virbr0",
    )
    connect(net, "10.0.0.1", "10.0.0.2")
    way = "may carry virbr0, which carries the route to the SSH client 10.0.0.1"
    assert net.devices() == {
        carrier: f"ens1f0 has an address and {way}",
        "0000:0a:00.0": f"0000:0a:00.0 has no interface in this network namespace and {way}",
    }


def test_the_host_is_its_own_client(net: Namespace) -> None:
    net.add_nic("ens1f0", "10.1.0.2/24")
    connect(net, "127.0.0.1", "127.0.0.1")
    assert net.devices() == {}


@pytest.fixture
def switch(net: Namespace, tmp_path: Path) -> Namespace:
    """An Open vSwitch runs in *net*."""
    if not shutil.which("ovs-vswitchd"):
        pytest.skip("Open vSwitch is not installed (Debian's package openvswitch-switch)")
    subprocess.run(["modprobe", "openvswitch"], capture_output=True, check=False)
    for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"):
        net.environment[name] = str(tmp_path)
    database, schema = f"{tmp_path}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema"
    net.run("ovsdb-tool", "create", database, schema)
    remote = f"--remote=punix:{tmp_path}/db.sock"
    net.run("ovsdb-server", database, remote, "--pidfile", "--detach", "--log-file")
    net.run("ovs-vsctl", "--no-wait", "init")
    net.run("ovs-vswitchd", "--pidfile", "--detach", "--log-file")
    return net


def test_an_open_vswitch_of_the_kernel(switch: Namespace) -> None:
    """Which bridge a port of the datapath belongs to is not the kernel's matter."""
    first, second = switch.add_nic("ens1f0"), switch.add_nic("ens2f0")
    switch.add_nic("ens3f0", "10.1.0.2/24")
    switch.run("ovs-vsctl", "add-br", "br-ex", "--", "add-port", "br-ex", "ens1f0")
    if switch.run("ip", "link", "show", "ovs-system", check=False).returncode:
        pytest.skip("this kernel has no Open vSwitch datapath")
    switch.run("ovs-vsctl", "add-br", "br-int", "--", "add-port", "br-int", "ens2f0")
    vxlan = ["set", "Interface", "vx0", "type=vxlan", "options:remote_ip=10.1.0.9"]
    switch.run("ovs-vsctl", "add-port", "br-int", "vx0", "--", *vxlan)
    switch.run(
        "ovs-vsctl",
        "add-port",
        "br-ex",
        "mgmt0",
        "--",
        "set",
        "Interface",
        "mgmt0",
        "type=internal",
    )
    switch.ip("link set mgmt0 up", "address add 10.0.0.2/24 dev mgmt0")
    connect(switch, "10.0.0.1", "10.0.0.2")
    way = (
        "is a port of the same Open vSwitch datapath as mgmt0, which carries the route to the SSH "
        "client 10.0.0.1"
    )
    assert switch.devices() == {first: f"ens1f0 {way}", second: f"ens2f0 {way}"}


def test_an_open_vswitch_in_user_space(switch: Namespace) -> None:
    management = switch.add_nic("ens1f0")
    switch.add_nic("ens2f0", "10.1.0.2/24")
    netdev = ["--", "set", "Bridge", "br-ex", "datapath_type=netdev"]
    switch.run("ovs-vsctl", "add-br", "br-ex", *netdev, "--", "add-port", "br-ex", "ens1f0")
    dpdk = ["set", "Interface", "dpdk0", "type=dpdk", "options:dpdk-devargs=0000:0a:00.0"]
    switch.run("ovs-vsctl", "--no-wait", "add-port", "br-ex", "dpdk0", "--", *dpdk)
    switch.ip("link set br-ex up", "address add 10.0.0.2/24 dev br-ex")
    connect(switch, "10.0.0.1", "10.0.0.2")
    way = (
        "is a port of the same Open vSwitch as br-ex, which carries the route to the SSH client "
        "10.0.0.1"
    )
    assert switch.devices() == {
        management: f"ens1f0 {way}",
        "0000:0a:00.0": f"0000:0a:00.0 {way}",
    }


def test_the_files_of_another_network_namespace(net: Namespace) -> None:
    net.add_nic("ens1f0", "10.0.0.2/24")
    inside = [
        "ip link add ens1f0 type veth peer name far",
        "ip link set ens1f0 up",
        "ip address add 10.0.0.2/24 dev ens1f0",
        "ip route add default via 10.0.0.1 dev ens1f0",
        'exec "$@"',
    ]
    with pytest.raises(SriovError, match="/sys is that of another network namespace"):
        net.devices("unshare", "--net", "sh", "-ec", "; ".join(inside), "sh")


SERVER = """\
import socket, sys
name, listening, server, client = sys.argv[1:]
with open("/proc/self/comm", "w") as file:
    file.write(name)
both = listening == "::"
family = socket.AF_INET6 if both else socket.AF_INET
listener = socket.create_server((listening, 22), family=family, dualstack_ipv6=both)
connecting = socket.create_connection((server, 22), source_address=(client, 5555))
session, _address = listener.accept()
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def serving(net: Namespace, *arguments: str, wrapper: t.Sequence[str] = ()) -> t.Iterator[None]:
    """A program has an SSH connection, of which no environment tells.

    *arguments* are its name, where it listens, and the addresses of server and client.
    """
    with subprocess.Popen(
        net.argv(*wrapper, sys.executable, "-c", SERVER, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == "ready\n"
        yield


@pytest.mark.parametrize(
    ("listening", "server", "client"),
    [
        ("10.0.0.2", "10.0.0.2", "10.1.0.2"),
        ("::", "10.0.0.2", "10.1.0.2"),
        ("::", "2001:db8::2", "2001:db8:1::2"),
    ],
)
def test_a_connection_that_no_environment_tells(
    net: Namespace, listening: str, server: str, client: str
) -> None:
    management = net.add_nic("ens1f0", "10.0.0.2/24", "2001:db8::2/64")
    net.add_nic("ens2f0", "10.1.0.2/24", "2001:db8:1::2/64")
    with serving(net, "sshd", listening, server, client):
        assert net.devices() == {
            management: f"ens1f0 has the address {server}, which the SSH client {client} is "
            "connected to"
        }


def test_the_connection_of_another_program(net: Namespace) -> None:
    net.add_nic("ens1f0", "10.0.0.2/24")
    net.add_nic("ens2f0", "10.1.0.2/24")
    with serving(net, "nginx", "10.0.0.2", "10.0.0.2", "10.1.0.2"):
        assert net.devices() == {}


def test_an_ssh_server_in_another_network_namespace(net: Namespace) -> None:
    net.add_nic("ens1f0", "10.0.0.2/24")
    net.nics["ens2f0"] = "0000:0a:00.0"
    inside = ["unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh"]
    with serving(net, "sshd", "127.0.0.2", "127.0.0.2", "127.0.0.3", wrapper=inside):
        assert net.devices() == {
            "0000:0a:00.0": "0000:0a:00.0 has no interface in this network namespace and may carry "
            "the connection of the SSH client 127.0.0.3, whose server is in another one"
        }
