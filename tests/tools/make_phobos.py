# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the example facility and experiment in inventories/phobos with the MergeTB bindings.

Run ``python tests/tools/make_phobos.py`` (PyPI: mergetbapi) after a change here; a unit test holds
the committed files equal to what this makes.
"""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

from mergetbapi.portal import v1 as portal
from mergetbapi.xir import (
    AddressList,
    AllocMode,
    Cable,
    CableKind,
    Connector,
    ConnectorKind,
    End,
    Facility,
    LinkRole,
    Nic,
    NicAllocation,
    NicKind,
    NiCsAllocation,
    Port,
    PortAllocation,
    ProductInfo,
    Ref,
    Resource,
    ResourceAllocation,
    Role,
    Sriov,
    SriovPf,
    Subref,
)
from mergetbapi.xir import Link as XirLink

DIRECTORY = Path(__file__).resolve().parents[2] / "inventories" / "phobos"

FACILITY = "phobos"
GIGABIT = 1_000_000_000
MAX_VFS = 7
"""VFs of one 82576 port (Intel 82576 datasheet: 8 pools, one of them the PF's)."""

# How the MAC addresses of a network begin, as in MergeTB's guide to its facility phobos.
MGMT, INFRA, XP = "04:70", "04:71", "04:72"


class Builder:
    """Collects resources and cables; a cable names the ports at its two ends."""

    def __init__(self) -> None:
        self.resources: list[Resource] = []
        self.cables: list[Cable] = []

    def resource(self, name: str, roles: list[Role], alloc: list[AllocMode]) -> Resource:
        """Add a resource without NICs."""
        resource = Resource(
            id=name,
            facility=FACILITY,
            roles=[*roles],
            alloc=[*alloc],
            fqdn=f"{name}.{FACILITY}.example.net",
        )
        self.resources.append(resource)
        return resource

    def switch(self, name: str, roles: list[Role], ports: int) -> Resource:
        """Add a switch."""
        switch = self.resource(name, roles, [AllocMode.Net])
        switch.ni_cs.append(
            Nic(
                kind=NicKind.SWP,
                starting_index=1,
                ports=[
                    Port(parent=name, index=i, name=f"swp{i + 1}", capacity=GIGABIT)
                    for i in range(ports)
                ],
            )
        )
        return switch

    def connect(self, port: Port, switch: Resource, role: LinkRole) -> None:
        """Cable ``port`` to the first free port of ``switch``."""
        far = next(p for p in switch.ni_cs[0].ports if not p.connector.element)
        cable = f"{port.parent}.{port.name}~{switch.id}.{far.name}"
        for index, end in enumerate((port, far)):
            end.connector = Ref(element=cable, index=index, subref=Subref())
            end.roles = [role]
        self.cables.append(
            Cable(
                id=cable,
                facility=FACILITY,
                kind=CableKind.Cat6,
                ends=[
                    End([Connector(parent=cable, kind=ConnectorKind.RJ45, port=ref)])
                    for ref in (
                        Ref(element=port.parent, subref=Subref()),
                        Ref(element=switch.id, subref=Subref(index=far.index)),
                    )
                ],
            )
        )


def facility() -> Facility:
    """The example facility: hypervisors x0 and x1, and what stands around them."""
    build = Builder()
    mgmt = build.switch("mgmt", [Role.MgmtSwitch, Role.Leaf], 8)
    infra = build.switch("infra", [Role.InfraSwitch, Role.Leaf], 8)
    xleafs = [build.switch(f"xleaf{i}", [Role.XpSwitch, Role.Leaf], 4) for i in range(2)]

    node = [Role.TbNode]
    hypervisor = [Role.TbNode, Role.Hypervisor]
    bare_metal = [AllocMode.Physical]
    shared = [AllocMode.Physical, AllocMode.Virtual]
    servers: list[tuple[int, str, list[Role], list[AllocMode]]] = [
        (0x01, "ops", [Role.OpsServer], [AllocMode.NoAlloc]),
        (0x02, "ifr0", [Role.InfraServer, Role.InfrapodServer, Role.Gateway], [AllocMode.Infrapod]),
        (0x03, "stor0", [Role.StorageServer], [AllocMode.Filesystem]),
        (0x10, "x0", hypervisor, shared),
        (0x11, "x1", hypervisor, shared),
        (0x20, "m0", node, bare_metal),
    ]
    for number, name, roles, alloc in servers:
        server = build.resource(name, roles, alloc)
        onboard = [
            _port(name, number, 0, "eno1", MGMT),
            _port(name, number, 1, "eno2", INFRA),
        ]
        server.ni_cs.append(Nic(kind=NicKind.ENO, starting_index=1, ports=onboard))
        build.connect(onboard[0], mgmt, LinkRole.MgmtLink)
        build.connect(onboard[1], infra, LinkRole.InfraLink)
        if Role.TbNode not in roles:
            continue
        server.infranet_addr = {f"harbor.{FACILITY}": AddressList([f"172.29.0.{number}"])}
        functions = [_port(name, number, index, f"ens1f{index}", XP) for index in range(2)]
        for function, leaf in zip(functions, xleafs, strict=True):
            function.sriov = Sriov(pf=SriovPf(max_v_fs=MAX_VFS), pf_ni=1, pf_pi=function.index)
            build.connect(function, leaf, LinkRole.XpLink)
        server.ni_cs.append(
            Nic(
                kind=NicKind.ENS,
                starting_index=1,
                product_info=ProductInfo(manufacturer="Intel", model="82576"),
                ports=functions,
            )
        )
    return Facility(
        id=FACILITY,
        fqdn=f"{FACILITY}.example.net",
        resources=build.resources,
        cables=build.cables,
    )


def _port(server: str, number: int, index: int, name: str, network: str) -> Port:
    return Port(
        parent=server,
        index=index,
        name=name,
        mac=f"{network}:00:00:{number:02x}:{index:02x}",
        capacity=GIGABIT,
    )


class Lan(t.NamedTuple):
    """A LAN of the experiment: both nodes take the same VF of the same PF, each on its host."""

    name: str
    vlan: int
    pf: int
    vf_index: int


LANS = [Lan("lan0", 100, 0, 0), Lan("lan1", 200, 0, 1), Lan("lan2", 300, 1, 0)]
NODES = [("alpha", "x0"), ("beta", "x1")]


def experiment(model: Facility) -> portal.Materialization:
    """The example experiment: nodes alpha on x0 and beta on x1, joined by three LANs of VFs."""
    hosts = {resource.id: resource for resource in model.resources}
    return portal.Materialization(
        rid="one",
        eid="hello",
        pid="demo",
        vms=[_virtual_machine(i) for i in range(len(NODES))],
        links=[_link(hosts, index, lan) for index, lan in enumerate(LANS)],
    )


Hosts = dict[str, Resource]


def _link(hosts: Hosts, index: int, lan: Lan) -> portal.Link:
    segment = portal.LinkSegment(
        endpoints=[_endpoint(hosts, index, lan, i) for i in range(len(NODES))],
        waypoints=[_waypoint(hosts, lan, host) for _node, host in NODES],
        vid=lan.vlan,
        vni=1000 + lan.vlan,
    )
    return portal.Link(
        portal.LinkRealization(link=XirLink(id=lan.name), segments={1: segment}),
    )


def _endpoint(hosts: Hosts, lan_index: int, lan: Lan, node_index: int) -> portal.Endpoint:
    node, host = NODES[node_index]
    function = hosts[host].ni_cs[1].ports[lan.pf]
    address = _mac(lan_index, node_index)
    return portal.Endpoint(
        facility=FACILITY,
        host=host,
        node=node,
        mac=address,
        mtu=1500,
        virtual=True,
        vf=portal.VfInterface(
            virtif=portal.PhysicalInterface(name=f"eth{lan_index + 1}", mac=address),
            parent=portal.VirtualFunction(
                name=f"{function.name}v{lan.vf_index}",
                pf=portal.PhysicalInterface(
                    name=function.name, mac=function.mac, port_index=function.index
                ),
                vf_index=lan.vf_index,
                mac=address,
            ),
            vid=lan.vlan,
            addrs=[f"10.0.{lan_index + 1}.{node_index + 1}/24"],
        ),
    )


def _waypoint(hosts: Hosts, lan: Lan, host: str) -> portal.Waypoint:
    cable = hosts[host].ni_cs[1].ports[lan.pf].connector.element
    leaf = f"xleaf{lan.pf}"
    far = next(p for p in hosts[leaf].ni_cs[0].ports if p.connector.element == cable)
    return portal.Waypoint(
        facility=FACILITY,
        host=leaf,
        bridge=portal.BridgeMember(bridge="bridge", tagged=[lan.vlan]),
        trunk=portal.VlanTrunkPort(port=portal.PhysicalInterface(name=far.name), vids=[lan.vlan]),
    )


def _virtual_machine(node_index: int) -> portal.VirtualMachine:
    node, host = NODES[node_index]
    allocation = {
        lan_index: PortAllocation(
            name=f"eth{lan_index + 1}",
            mac=_mac(lan_index, node_index),
            capacity=GIGABIT // MAX_VFS,
            vf_name=f"ens1f{lan.pf}v{lan.vf_index}",
            vf_alloc=True,
        )
        for lan_index, lan in enumerate(LANS)
    }
    return portal.VirtualMachine(
        vm_alloc=ResourceAllocation(
            resource=host,
            facility=FACILITY,
            mzid="one.hello.demo",
            node=node,
            ni_cs=NiCsAllocation(alloc={1: NicAllocation(alloc=allocation)}),
            virtual=True,
        )
    )


def _mac(lan_index: int, node_index: int) -> str:
    return f"02:72:00:00:{lan_index:02x}:{node_index + 1:02x}"


def files() -> dict[str, str]:
    """Return the committed files by name."""
    model = facility()
    return {
        name: base64.encodebytes(bytes(message)).decode("ascii")
        for name, message in (("phobos.xir", model), ("one.hello.demo.pb64", experiment(model)))
    }


if __name__ == "__main__":
    for name, text in files().items():
        (DIRECTORY / name).write_text(text, encoding="ascii")
