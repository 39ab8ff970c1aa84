# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which devices the operator reaches the host through.

They carry a default route, the route back to an SSH client, or the address that an SSH client is
connected to: directly, or below a bond, a bridge, a VLAN, an Open vSwitch and their like. If this
module cannot tell the way, it names too many devices rather than too few.
"""

from __future__ import annotations

import collections
import functools
import ipaddress
import itertools
import json
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._text import PCI_ADDRESS
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci, _ssh

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Link

_RELATIONS = {
    "bond": "is a member of",
    "bridge": "is a port of",
    "openvswitch": "is a port of the datapath",
    "team": "is a member of",
    "vrf": "is in the VRF",
}
# Their frames leave in packets that the host itself, or a program, routes.
_TUNNELS = {
    *("vxlan", "geneve", "gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan"),
    *("ipip", "sit", "ip6tnl", "vti", "vti6", "xfrm", "wireguard", "ppp", "bareudp"),
}
_OVS_SECONDS = 10


def devices(host: Host, links: t.Sequence[Link] | None = None) -> dict[str, str]:
    """The PCI addresses of these devices, each with what it carries. A VF counts as its PF.

    *links* are the interfaces of the host, if the caller has read them already.
    """
    network = _Network(host, host.netlink.links() if links is None else links)
    connections = _ssh.connections(host)
    found: dict[str, str] = {}
    doubts: list[str] = []
    for interface, carries in _carriers(network, connections).items():
        chains = network.below(interface, carries)
        found = {**network.functions(chains), **found}
        doubts += network.doubts(interface, chains)
    for doubt in doubts:
        for interface in network.addressed():
            chains = network.below(interface, f"has an address and may carry {doubt}")
            found = {**network.functions(chains), **found}
    doubts += [
        f"the connection of the SSH client {connection.client}, whose server is in another one"
        for connection in connections
        if connection.elsewhere
    ]
    for doubt in doubts[:1]:
        for address in network.unseen():
            where = "has no interface in this network namespace"
            found.setdefault(address, f"{address} {where} and may carry {doubt}")
    return found


def _carriers(network: _Network, connections: t.Iterable[_ssh.Connection]) -> dict[str, str]:
    """What each interface carries that a route or a connection names."""
    found: dict[str, str] = {}
    here = [connection for connection in connections if not connection.elsewhere]
    for connection in here:
        route = f"the route to the SSH client {connection.client}"
        interfaces = network.routes_back(connection)
        for interface in interfaces or ():
            found.setdefault(interface, f"carries {route}")
        if interfaces is None:
            for interface in network.routes("match", str(connection.client)):
                found.setdefault(interface, f"may carry {route}")
    for interface in network.routes("default"):
        found.setdefault(interface, "carries a default route")
    for connection in here:
        for owner in network.owners(connection.server):
            found.setdefault(
                owner.name,
                f"has the address {connection.server}, which the SSH client {connection.client} "
                "is connected to",
            )
    return {name: carries for name, carries in found.items() if name in network.links}


def _is_scoped(address: _ssh.Address) -> bool:
    """Whether *address* counts on one link only, so no route leads to it."""
    return address.version == 6 and address.is_link_local


class _Network:
    """The interfaces and routes of this network namespace."""

    def __init__(self, host: Host, links: t.Sequence[Link]) -> None:
        self._host = host
        self.links = {link.name: link for link in links}
        self._by_index = {link.ifindex: link for link in links}
        self._addresses = {
            index: [ipaddress.ip_interface(text).ip for text in texts]
            for index, texts in host.netlink.addresses().items()
        }

    def owners(self, address: _ssh.Address) -> list[Link]:
        """The interfaces that have *address*. A link-local one can have several."""
        scope = getattr(address, "scope_id", None)
        bare = ipaddress.ip_address(str(address).partition("%")[0])
        return [
            self._by_index[index]
            for index, addresses in self._addresses.items()
            if bare in addresses
            and index in self._by_index
            and scope in (None, self._by_index[index].name)
        ]

    def addressed(self) -> list[str]:
        """The interfaces that have an address which counts on more than one link."""
        return [
            self._by_index[index].name
            for index, addresses in self._addresses.items()
            if index in self._by_index
            and not all(_is_scoped(address) or address.is_loopback for address in addresses)
        ]

    def routes_back(self, connection: _ssh.Connection) -> list[str] | None:
        """The interfaces by which the kernel answers *connection*; `None` if it does not tell.

        A routing rule may look at all that is known of the connection. It may also look at a mark
        and a type of service, which are not known. A route may depend on the latter, too.
        """
        owners = self.owners(connection.server)
        if _is_scoped(connection.client):
            scope = getattr(connection.client, "scope_id", None)
            return [scope] if scope in self.links else [owner.name for owner in owners]
        family = f"-{connection.client.version}"
        client = str(connection.client)
        rules = self._ip(family, "rule", "show")
        routes = self._ip(family, "route", "show", "table", "all", "match", client)
        marks = dict.fromkeys([None, *(rule.get("fwmark") for rule in rules)])
        services = dict.fromkeys([None, *(each.get("tos") for each in (*rules, *routes))])
        found: list[str] = []
        answered = False
        for vrf in dict.fromkeys(self._vrf(owner) for owner in owners):
            for mark, service in itertools.product(marks, services):
                done = self._host.run(
                    [
                        *("ip", "-json", family, "route", "get", "fibmatch"),
                        *(client, "from", str(connection.server)),
                        *("ipproto", "tcp", "sport", str(connection.server_port)),
                        *("dport", str(connection.client_port)),
                        *(("oif", vrf) if vrf else ()),
                        *(("mark", mark) if mark else ()),
                        *(("tos", service) if service else ()),
                    ]
                )
                if done.rc == 0:
                    answered = True
                    found += self._interfaces(json.loads(done.out or "[]"))
        return found if answered else None

    def routes(self, *selector: str) -> list[str]:
        """The interfaces of the routes in all tables that *selector* selects."""
        families: tuple[str, ...] = ("-4", "-6")
        if selector[0] == "match":
            families = (f"-{ipaddress.ip_address(selector[1]).version}",)
        return [
            interface
            for family in families
            for interface in self._interfaces(
                self._ip(family, "route", "show", "table", "all", *selector)
            )
        ]

    def below(self, interface: str, carries: str) -> dict[str, str]:
        """*interface* and all that lies below it, each with the way up to what it carries."""
        if not self._is_shown(self.links[interface]):
            raise SriovError(
                f"/sys is that of another network namespace: it does not show the {interface} of "
                "this process, so nobody can tell the device behind it; run in the network "
                "namespace that /sys was mounted in"
            )
        chains = {interface: carries}
        uppers = collections.deque([interface])
        while uppers:
            upper = uppers.popleft()
            for lower, relation in self._lowers(upper):
                if lower not in chains:
                    chains[lower] = f"{relation}, which {chains[upper]}"
                    uppers.append(lower)
        return chains

    def functions(self, chains: t.Mapping[str, str]) -> dict[str, str]:
        """The PCI functions among *chains*, as `devices` has them."""
        found: dict[str, str] = {}
        for name, chain in chains.items():
            function = self._function(name)
            if function:
                address = self._host.link(f"{_pci.DEVICES}/{function}/physfn") or function
                found.setdefault(address, f"{name} {chain}")
        return found

    def doubts(self, interface: str, chains: t.Mapping[str, str]) -> list[str]:
        """The ends of *chains* whose frames leave on an unknown way."""
        if self.links[interface].kind == "dummy" or interface == "lo":
            return []
        tunnels = [
            name
            for name in chains
            if name in self.links
            and self.links[name].kind in _TUNNELS
            and not any(self._lowers(name))
        ]
        leads_out = any(self._is_hardware(name) for name in chains)
        ends = tunnels or ([] if leads_out else [interface])
        return [f"{name}, which {chains[name]}" for name in ends]

    def unseen(self) -> list[str]:
        """The network functions with a driver, but no interface here, except VFs."""
        return [
            address
            for address in _pci.devices(self._host)
            if _pci.read_identity(self._host, address).device_class.startswith(_pci.NETWORK_CLASS)
            and _pci.read_device(self._host, address).driver
            and not _pci.is_vf(self._host, address)
            and not _pci.interfaces(self._host, address)
        ]

    def _is_shown(self, link: Link) -> bool:
        """Whether /sys shows *link* itself, and not another one of its name."""
        base = f"/sys/class/net/{link.name}"
        index, mac = (self._host.read(f"{base}/{name}") for name in ("ifindex", "address"))
        return (
            self._host.exists(base)
            and index in (None, str(link.ifindex))
            and (link.mac is None or mac in (None, link.mac))
        )

    def _vrf(self, link: Link) -> str | None:
        for each in (link, self._by_index.get(link.master or 0)):
            if each and each.kind == "vrf":
                return each.name
        return None

    def _lowers(self, upper: str) -> list[tuple[str, str]]:
        """What carries the frames of *upper*, each with how it is connected to *upper*."""
        link = self.links.get(upper)
        if link is None:
            return []
        if link.kind == "veth":
            peer = self._by_index.get(link.lower or 0)
            master = self._by_index.get(peer.master or 0) if peer else None
            return [(master.name, f"has the other end of {upper}")] if master else []
        relation = _RELATIONS.get(link.kind or "", "is the lower device of")
        lowers = [
            name[len("lower_") :]
            for name in self._host.names(f"/sys/class/net/{upper}")
            if name.startswith("lower_")
        ]
        lower = self._by_index.get(link.lower or 0)
        if lower and lower.name != upper and lower.name not in lowers:
            lowers.append(lower.name)
        found = [(name, f"{relation} {upper}") for name in lowers]
        if link.kind == "openvswitch" and not lowers:
            # The kernel tells the ports of a datapath, but not which bridge has them.
            found += [
                (port.name, f"is a port of the same Open vSwitch datapath as {upper}")
                for port in self.links.values()
                for master in [self._by_index.get(port.master or 0)]
                if master and master.kind == "openvswitch" and port.kind not in _TUNNELS
            ]
        if link.kind == "tun" and upper in self._switch_ports:
            found += [
                (name, f"is a port of the same Open vSwitch as {upper}")
                for name in self._switch_ports
                if name != upper
            ]
        return found

    @functools.cached_property
    def _switch_ports(self) -> list[str]:
        """What Open vSwitch has as ports: interfaces, and PCI functions that DPDK drives.

        Its datapath in user space moves frames by itself. The kernel knows nothing of that.
        """
        if not self._host.has_command("ovs-vsctl"):
            return []
        command = ["ovs-vsctl", f"--timeout={_OVS_SECONDS}", "--format=json"]
        done = self._host.run([*command, "--columns=name,options", "list", "Interface"])
        rows = json.loads(done.out)["data"] if done.rc == 0 else []
        return [name for row in rows for name in (row[0], *PCI_ADDRESS.findall(json.dumps(row[1])))]

    def _function(self, name: str) -> str | None:
        if _pci.is_address(name):
            return name
        return _pci.function_of_interface(self._host, name)

    def _is_hardware(self, name: str) -> bool:
        return self._function(name) is not None or self._host.exists(
            f"/sys/class/net/{name}/device"
        )

    def _interfaces(self, routes: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
        """The interfaces of *routes* as `ip -json` prints them, through all their next hops.

        Local routes do not count, because their packets do not leave the host.
        """
        found: list[str] = []
        for route in routes:
            if route.get("type") == "local":
                continue
            hops = route.get("nexthops") or [route]
            if "nhid" in route and not any("dev" in hop for hop in hops):
                hops = self._next_hops(route["nhid"])
            found += [hop["dev"] for hop in hops if "dev" in hop]
        return found

    def _next_hops(self, number: int) -> list[t.Mapping[str, t.Any]]:
        """The next hops of a next hop object. A setting can keep them out of the routes."""
        hops = {hop["id"]: hop for hop in self._ip("nexthop", "show")}
        hop = hops.get(number, {})
        return [hops.get(member["id"], {}) for member in hop.get("group", [{"id": number}])]

    def _ip(self, *arguments: str) -> list[t.Mapping[str, t.Any]]:
        done = self._host.run(["ip", "-json", *arguments])
        if done.rc:
            raise SriovError(
                f"the way back to the operator cannot be told: 'ip {' '.join(arguments)}' failed: "
                f"{done.err.strip()}"
            )
        answer: list[t.Mapping[str, t.Any]] = json.loads(done.out or "[]")
        return answer
