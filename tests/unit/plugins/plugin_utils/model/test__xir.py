# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _xir
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.tests.unit import models
from mergetbapi import xir

OLD_PHOBOS = models.before_2025(models.PHOBOS)


def inventory(
    facility: xir.Facility | bytes, **options: t.Any
) -> tuple[dict[str, _xir.InventoryHost], list[str]]:
    """Return the hosts of a facility by name, and the warnings."""
    data = facility if isinstance(facility, bytes) else bytes(facility)
    message = _document.decode(data, _document.FACILITY)
    defaults: dict[str, t.Any] = {"hypervisors_only": True, "link_roles": ["XpLink"]}
    hosts, warnings = _xir.inventory(message, **(defaults | options))
    return {host["name"]: host for host in hosts}, warnings


def hosts(facility: xir.Facility | bytes, **options: t.Any) -> dict[str, _xir.InventoryHost]:
    """Return the hosts of a facility that gives no warning."""
    found, warnings = inventory(facility, **options)
    assert warnings == []
    return found


def refusal(facility: xir.Facility, **options: t.Any) -> str:
    """Return the error that a facility gives."""
    with pytest.raises(InputError) as caught:
        inventory(facility, **options)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def pfs(facility: xir.Facility, host: str = "x0", **options: t.Any) -> list[dict[str, t.Any]]:
    """Return the ``sriov_pfs`` of a host."""
    return hosts(facility, **options)[host]["variables"]["sriov_pfs"]


def test_example_facility() -> None:
    found = hosts(models.PHOBOS)
    assert list(found) == ["x0", "x1"]
    assert found["x1"] == {
        "name": "x1",
        "variables": {
            "ansible_host": "172.29.0.17",
            "xir_id": "x1",
            "xir_facility": "phobos",
            "xir_roles": ["TbNode", "Hypervisor"],
            "xir_alloc": ["Physical", "Virtual"],
            "sriov_pfs": [
                {
                    "name": f"ens1f{index}",
                    "mac": f"04:72:00:00:11:0{index}",
                    "max_vfs": 7,
                    "nic_model": None,
                    "product": "Intel 82576",
                    "capacity": 1_000_000_000,
                    "link_roles": ["XpLink"],
                    "leaf": {
                        "host": f"xleaf{index}",
                        "port": "swp2",
                        "domain": f"xleaf{index}",
                    },
                }
                for index in range(2)
            ],
            "sriov_max_vfs": 14,
        },
        "groups": ["role_tbnode", "role_hypervisor", "leaf_xleaf0", "leaf_xleaf1", "hypervisors"],
    }


@pytest.mark.parametrize(("name", "write"), models.facility_writers(models.PHOBOS).items())
def test_every_encoding_gives_the_same_hosts(name: str, write: t.Callable[[], bytes]) -> None:
    assert hosts(write()) == hosts(models.PHOBOS)


@pytest.mark.parametrize(
    ("name", "data"),
    (models.facility_encodings(OLD_PHOBOS) | models.go_encodings(OLD_PHOBOS)).items(),
)
def test_every_encoding_of_an_older_model_gives_the_same_hosts(name: str, data: bytes) -> None:
    assert hosts(data, hypervisors_only=False) == hosts(OLD_PHOBOS, hypervisors_only=False)
    assert hosts(data) == hosts(models.PHOBOS)


def test_all_resources() -> None:
    found = hosts(models.PHOBOS, hypervisors_only=False)
    assert set(found) == {r.id for r in models.PHOBOS.resources}
    assert [name for name in found if "hypervisors" in found[name]["groups"]] == ["x0", "x1"]
    assert len(found["m0"]["variables"]["sriov_pfs"]) == 2
    assert found["xleaf0"]["variables"]["sriov_max_vfs"] == 0


@pytest.mark.parametrize("lacking", ["roles", "alloc"])
def test_hypervisor_has_role_and_alloc_mode(lacking: str) -> None:
    facility = models.phobos()
    getattr(models.resource(facility, "x0"), lacking).pop()
    assert list(hosts(facility)) == ["x1"]


def test_no_hypervisor() -> None:
    facility = models.phobos()
    for resource in facility.resources:
        resource.alloc = []
    found, warnings = inventory(facility)
    assert found == {}
    assert warnings == ["no resource has the role Hypervisor and the alloc mode Virtual"]


def test_hypervisor_without_pf() -> None:
    facility = models.phobos()
    models.resource(facility, "x0").ni_cs.pop()
    variables = hosts(facility)["x0"]["variables"]
    assert (variables["sriov_pfs"], variables["sriov_max_vfs"]) == ([], 0)


def test_only_ports_with_vfs_are_pfs() -> None:
    facility = models.phobos()
    models.pf(facility, "x0", 0).sriov.pf.max_v_fs = 0
    models.resource(facility, "x0").ni_cs[1].ports.append(
        xir.Port(name="ens1f1v0", roles=[xir.LinkRole.XpLink], sriov=xir.Sriov(vf=xir.SriovVf(0)))
    )
    assert [pf["name"] for pf in pfs(facility)] == ["ens1f1"]


def test_link_roles() -> None:
    facility = models.phobos()
    infra = models.resource(facility, "x0").ni_cs[0].ports[1]
    infra.sriov = xir.Sriov(pf=xir.SriovPf(max_v_fs=4))
    assert len(pfs(facility)) == 2
    assert [pf["name"] for pf in pfs(facility, link_roles=["InfraLink"])] == ["eno2"]
    assert len(pfs(facility, link_roles=["InfraLink", "XpLink"])) == 3
    assert "link_roles: 'xplink' is none of Unspecified, InfraLink" in refusal(
        facility, link_roles=["xplink"]
    )


def test_role_and_roles_both_count() -> None:
    facility = models.phobos()
    port = models.pf(facility, "x0")
    port.role = xir.LinkRole.XpLink
    port.roles = [xir.LinkRole.Tor, xir.LinkRole.Unspecified]
    assert pfs(facility)[0]["link_roles"] == ["Tor", "XpLink"]


def test_unknown_enum_values_stay_numbers() -> None:
    facility = models.phobos()
    x0 = models.resource(facility, "x0")
    x0.roles.append(99)
    x0.alloc.append(98)
    x0.ni_cs[1].model = 104
    models.pf(facility, "x0").roles.append(97)
    host = hosts(facility)["x0"]
    assert host["variables"]["xir_roles"] == ["TbNode", "Hypervisor", 99]
    assert host["variables"]["xir_alloc"] == ["Physical", "Virtual", 98]
    assert "role_99" in host["groups"]
    assert pfs(facility)[0]["nic_model"] == 104
    assert pfs(facility)[0]["link_roles"] == ["XpLink", 97]


def test_nic_model_and_product() -> None:
    facility = models.phobos()
    nic = models.resource(facility, "x0").ni_cs[1]
    nic.model = xir.NicModel.ConnectX6
    nic.product_info = xir.ProductInfo(sku="MCX6")
    assert {(pf["nic_model"], pf["product"]) for pf in pfs(facility)} == {("ConnectX6", "MCX6")}
    nic.model = xir.NicModel.Intel200
    nic.product_info = xir.ProductInfo()
    assert {(pf["nic_model"], pf["product"]) for pf in pfs(facility)} == {(None, None)}


@pytest.mark.parametrize(
    "nic",
    [
        xir.Nic(model=xir.NicModel.ConnectX4),
        xir.Nic(product_info=xir.ProductInfo(manufacturer="MELLANOX")),
        xir.Nic(product_info=xir.ProductInfo(model="ConnectX-7")),
        xir.Nic(product_info=xir.ProductInfo(manufacturer="Nvidia", model="BlueField-3")),
    ],
)
def test_mellanox(nic: xir.Nic) -> None:
    facility = models.phobos()
    for port in models.resource(facility, "x0").ni_cs[1].ports:
        nic.ports.append(port)
    models.resource(facility, "x0").ni_cs[1] = nic
    assert [name for name, host in hosts(facility).items() if "mellanox" in host["groups"]] == [
        "x0"
    ]


def test_mellanox_nic_that_offers_no_pf_does_not_count() -> None:
    facility = models.phobos()
    models.resource(facility, "x0").ni_cs[0].model = xir.NicModel.ConnectX5
    assert "mellanox" not in hosts(facility)["x0"]["groups"]


def test_address() -> None:
    facility = models.phobos()
    x0 = models.resource(facility, "x0")

    def address() -> str:
        return hosts(facility)["x0"]["variables"]["ansible_host"]

    x0.infranet_addr = {
        "b": xir.AddressList(["10.0.0.2"]),
        "a": xir.AddressList(["10.0.0.1/24", "10.0.0.3"]),
        "0": xir.AddressList(),
        **{f"c{number}": xir.AddressList([f"10.1.0.{number}"]) for number in range(20)},
    }
    assert address() == "10.0.0.1"
    x0.infranet_addr = {}
    assert address() == "x0.phobos.example.net"
    x0.fqdn = ""
    assert address() == "x0"
    x0.fqdn = "-oProxyCommand=id"
    assert refusal(facility).startswith("resource x0: fqdn '-oProxyCommand=id' must")
    x0.infranet_addr = {"a": xir.AddressList(["$(id)"])}
    assert refusal(facility) == "resource x0: infranet address '$(id)' is not an IP address"


def test_facility_of_the_model_stands_in_for_that_of_a_resource() -> None:
    facility = models.phobos()
    models.resource(facility, "x0").facility = ""
    assert hosts(facility)["x0"]["variables"]["xir_facility"] == "phobos"


@pytest.mark.parametrize("name", ["", "x 0", "../x0", "x0\n", "{{ x }}", "$(id)", "x" * 1_000_000])
def test_hostile_host_name(name: str) -> None:
    facility = models.phobos()
    models.resource(facility, "x0").id = name
    assert refusal(facility).startswith("the id of a resource '")


@pytest.mark.parametrize("text", ["{{ lookup('pipe', 'id') }}", "$(id)", "../..", "größe"])
def test_hostile_text_comes_out_literally(text: str) -> None:
    facility = models.phobos()
    port = models.pf(facility, "x0")
    port.name = text
    models.resource(facility, "x0").ni_cs[1].product_info = xir.ProductInfo(model=text)
    models.resource(facility, "x0").facility = text
    leaf = models.resource(facility, "xleaf0")
    leaf.id = leaf.ni_cs[0].ports[0].name = text
    host = hosts(facility)["x0"]
    pf = host["variables"]["sriov_pfs"][0]
    assert host["variables"]["xir_facility"] == pf["name"] == pf["product"] == text
    assert pf["leaf"] == {"host": text, "port": text, "domain": text}
    assert f"leaf_{text}" in host["groups"]


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "x" * 1_000_000])
@pytest.mark.parametrize(
    ("what", "put"),
    [
        ("name", lambda facility, text: setattr(models.pf(facility, "x0"), "name", text)),
        (
            "product",
            lambda facility, text: setattr(
                models.resource(facility, "x0").ni_cs[1].product_info, "model", text
            ),
        ),
        (
            "facility",
            lambda facility, text: setattr(models.resource(facility, "x0"), "facility", text),
        ),
        ("leaf", lambda facility, text: setattr(models.resource(facility, "xleaf0"), "id", text)),
        (
            "port of the leaf",
            lambda facility, text: setattr(
                models.resource(facility, "xleaf0").ni_cs[0].ports[0], "name", text
            ),
        ),
    ],
)
def test_text_that_cannot_be_shown_is_refused(what: str, put: t.Any, text: str) -> None:
    facility = models.phobos()
    put(facility, text)
    assert f"{what} '" in refusal(facility)
    assert "x0" in refusal(facility)


def test_two_resources_of_one_name() -> None:
    facility = models.phobos()
    models.resource(facility, "x1").id = "x0"
    assert refusal(facility) == "2 resources have the id 'x0'; rename them"


def test_two_pfs_of_one_name() -> None:
    facility = models.phobos()
    models.pf(facility, "x0", 1).name = "ens1f0"
    assert refusal(facility) == "resource x0: 2 PFs have the name 'ens1f0'; rename them"


@pytest.mark.parametrize(
    ("host", "nic", "port"), [("x0", 1, 1), ("x1", 1, 0), ("x1", 0, 0), ("x0", 0, 1)]
)
@pytest.mark.parametrize("mac", ["04:72:00:00:10:00", "04-72-00-00-10-00", "04:72:00:00:10:00"])
def test_mac_of_a_pf_twice(host: str, nic: int, port: int, mac: str) -> None:
    facility = models.phobos()
    other = models.resource(facility, host).ni_cs[nic].ports[port]
    other.mac = mac
    assert refusal(facility) == (
        f"ports x0 'ens1f0', {host} '{other.name}' have the same MAC address 04:72:00:00:10:00"
    )


def test_mac_twice_where_no_pf_is_meant() -> None:
    facility = models.phobos()
    models.resource(facility, "ops").ni_cs[0].ports[0].mac = "04:72:00:00:10:00"
    models.resource(facility, "x0").ni_cs[0].ports[0].mac = "04:70:00:00:11:00"
    models.resource(facility, "x0").ni_cs[0].ports.append(
        xir.Port(mac="04:72:00:00:10:00", sriov=xir.Sriov(vf=xir.SriovVf(vf_index=1)))
    )
    assert len(hosts(facility)) == 2


def test_mac_of_a_pf() -> None:
    facility = models.phobos()
    port = models.pf(facility, "x0")
    port.mac = "04-72-00-00-10-AA"
    assert pfs(facility)[0]["mac"] == "04:72:00:00:10:aa"
    port.mac = ""
    assert pfs(facility)[0]["mac"] is None
    port.name = ""
    assert refusal(facility) == "port x0 NIC 1 port 0: a PF needs a MAC address or a name"
    port.mac = "04:72:00:00:10:aa"
    assert pfs(facility)[0]["name"] is None
    port.mac = "04:72"
    assert refusal(facility) == "port x0 NIC 1 port 0: MAC '04:72' is not a MAC address"


def join(facility: xir.Facility, *ends: tuple[str, int, list[xir.LinkRole]]) -> None:
    """Put a cable between ports of switches, each of which has these link roles then."""
    cable = "~".join(f"{switch}.{index}" for switch, index, _roles in ends)
    facility.cables.append(xir.Cable(id=cable))
    for switch, index, roles in ends:
        port = models.resource(facility, switch).ni_cs[0].ports[index]
        port.connector = xir.Ref(element=cable)
        port.roles = roles


def domains(facility: xir.Facility, **options: t.Any) -> list[str]:
    """Return the leaf domains of the PFs of x0."""
    return [pf["leaf"]["domain"] for pf in pfs(facility, **options)]


XP, MGMT, INFRA = xir.LinkRole.XpLink, xir.LinkRole.MgmtLink, xir.LinkRole.InfraLink


@pytest.mark.parametrize(
    ("roles", "joined"),
    [
        (([XP], [XP]), True),
        (([], []), True),
        (([XP], []), True),
        (([XP, MGMT], [XP]), True),
        (([MGMT], [MGMT]), False),
        (([XP], [MGMT]), False),
        (([INFRA], [INFRA]), False),
    ],
)
def test_cable_joins_leafs_to_a_domain(
    roles: tuple[list[xir.LinkRole], list[xir.LinkRole]], joined: bool
) -> None:
    facility = models.phobos()
    join(facility, ("xleaf0", 3, roles[0]), ("xleaf1", 3, roles[1]))
    assert domains(facility) == (["xleaf0", "xleaf0"] if joined else ["xleaf0", "xleaf1"])


def test_domain_of_other_link_roles() -> None:
    facility = models.phobos()
    join(facility, ("xleaf0", 3, [INFRA]), ("xleaf1", 3, [INFRA]))
    assert domains(facility, link_roles=["XpLink", "InfraLink"]) == ["xleaf0"] * 2


@pytest.mark.parametrize("role", ["Spine", "Fabric", "XpSwitch"])
def test_domain_through_other_switches(role: str) -> None:
    facility = models.phobos()
    infra = models.resource(facility, "infra")
    infra.id, infra.roles = "spine", [xir.Role[role]]
    join(facility, ("spine", 6, [XP]), ("xleaf1", 3, [XP]))
    assert domains(facility) == ["xleaf0", "spine"]
    join(facility, ("xleaf0", 3, [XP]), ("spine", 7, [XP]))
    assert domains(facility) == ["spine", "spine"]


def test_domains_that_are_joined() -> None:
    facility = models.phobos()
    join(facility, ("xleaf0", 3, [XP]), ("mgmt", 6, [XP]))
    assert domains(facility) == ["mgmt", "xleaf1"]
    join(facility, ("mgmt", 7, [XP]), ("infra", 7, [XP]))
    assert domains(facility) == ["infra", "xleaf1"]


def test_host_joins_no_leafs() -> None:
    facility = models.phobos()
    join(facility, ("xleaf0", 3, [XP]), ("m0", 0, [XP]), ("xleaf1", 3, [XP]))
    assert domains(facility) == ["xleaf0", "xleaf1"]


def test_port_without_cable_has_no_leaf() -> None:
    facility = models.phobos()
    models.pf(facility, "x0").connector = xir.Ref()
    host = hosts(facility)["x0"]
    assert host["variables"]["sriov_pfs"][0]["leaf"] is None
    assert "leaf_xleaf0" not in host["groups"]


def test_cable_to_another_host_has_no_leaf() -> None:
    facility = models.phobos()
    cable = models.pf(facility, "x0").connector.element
    for resource in facility.resources:
        for port in resource.ni_cs[0].ports:
            if port.connector.element == cable:
                port.connector = xir.Ref()
    models.pf(facility, "m0").connector.element = cable
    assert pfs(facility)[0]["leaf"] is None


def test_cable_of_another_facility_has_no_leaf() -> None:
    facility = models.phobos()
    models.pf(facility, "x0").connector = xir.Ref(element="far", facility="deimos")
    assert pfs(facility)[0]["leaf"] is None


def test_cables_that_the_model_lacks() -> None:
    facility = models.phobos()
    cables = len(facility.cables)
    facility.cables = facility.cables[:-2]
    found, warnings = inventory(facility)
    assert found == hosts(models.PHOBOS)
    [warning] = warnings
    assert warning.startswith("the model lacks 2 of the cables that its ports name, for example 'm")
    facility.cables = []
    assert f"the model lacks {cables} of the cables" in inventory(facility)[1][0]


def third_end(facility: xir.Facility) -> xir.Port:
    """Put a port of m0 on the cable of x0's first PF; return it."""
    port = models.pf(facility, "m0")
    port.connector.element = models.pf(facility, "x0").connector.element
    return port


def test_cable_with_three_ends() -> None:
    facility = models.phobos()
    third_end(facility)
    found, warnings = inventory(facility)
    assert found["x0"]["variables"]["sriov_pfs"][0]["leaf"] is None
    assert warnings == [
        "more than two ports share a cable and no breakout index tells them apart: no leaf is known"
        " for x0 'ens1f0'"
    ]


def breakout() -> xir.Facility:
    """Return a facility with x0 and x1 on one breakout cable, lane 0 and 1, to xleaf0 port 1."""
    facility = models.phobos()
    cable = facility.cables[0]
    cable.id = "breakout"
    cable.ends = [
        xir.End([xir.Connector(port=xir.Ref(element="xleaf0"))]),
        xir.End(
            [
                xir.Connector(index=index, port=xir.Ref(element=host))
                for index, host in enumerate(("x0", "x1"))
            ]
        ),
    ]
    leaf = models.resource(facility, "xleaf0").ni_cs[0]
    ports = [models.pf(facility, "x0"), models.pf(facility, "x1"), leaf.ports[0]]
    for port in ports:
        port.connector.element = "breakout"
    leaf.ports[1].connector = xir.Ref()
    for resource in facility.resources:
        for port in resource.ni_cs[0].ports:
            if port.connector.element == "ops.eno1~mgmt.swp1":
                port.connector = xir.Ref()
    return facility


def leafs(facility: xir.Facility) -> list[str | None]:
    """Return the port of the leaf of the first PF of x0 and of x1."""
    found = hosts(facility)
    firsts = [found[name]["variables"]["sriov_pfs"][0] for name in ("x0", "x1")]
    return [pf["leaf"] and pf["leaf"]["port"] for pf in firsts]


def test_breakout_to_one_port_of_the_leaf() -> None:
    assert leafs(breakout()) == ["swp1", "swp1"]


def test_breakout_with_an_index_on_the_ports_of_the_leaf() -> None:
    facility = breakout()
    ports = models.resource(facility, "xleaf0").ni_cs[0].ports
    for index in range(2):
        # The lanes are crossed, to tell them from the order of the ports.
        ports[index].connector = xir.Ref(element="breakout")
        ports[index].breakout = xir.Breakout(index=1 - index, radix=2)
    assert leafs(facility) == ["swp2", "swp1"]
    for index, host in enumerate(("x0", "x1")):
        models.pf(facility, host).breakout = xir.Breakout(index=index, radix=2)
    facility.cables[0].ends = []
    assert leafs(facility) == ["swp2", "swp1"]
    connectors = [xir.Connector(breakout=xir.Breakout(1 - i, 2)) for i in range(2)]
    for connector, host in zip(connectors, ("x0", "x1"), strict=True):
        connector.port = xir.Ref(element=host)
        models.pf(facility, host).breakout = xir.Breakout()
    facility.cables[0].ends = [xir.End(connectors)]
    assert leafs(facility) == ["swp1", "swp2"]


@pytest.mark.parametrize("mac", ["0472.0000.1000", "047200001000", "04-72-00-00-10-00"])
def test_shared_mac_however_it_is_spelled(mac: str) -> None:
    facility = models.phobos()
    models.resource(facility, "x1").ni_cs[0].ports[0].mac = mac
    assert "have the same MAC address 04:72:00:00:10:00" in refusal(facility)
