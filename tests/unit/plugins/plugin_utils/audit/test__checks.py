# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _checks, _paired
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _schema
from ansible_collections.mergetb.sriov.tests.unit import facts, models
from mergetbapi import xir

ONBOARD, PF = 0, 2
"""Ports of a host of the example facility."""


class Scene:
    """A hypervisor of the example facility, and what it tells; both are there to be changed."""

    def __init__(self) -> None:
        self.model = models.phobos()
        self.facts = facts.truth(self.model, "x0", vfs=7)["x0"]
        self.port = self.facts["ports"][PF]
        self.pf = self.facts["pfs"][0]
        self.declared = models.pf(self.model, "x0")
        self.resource = models.resource(self.model, "x0")

    def findings(self, **others: t.Any) -> list[_paired.Finding]:
        facility = _document.decode(bytes(self.model), _document.FACILITY)
        model = _paired.PairedFacility(facility, {"x0": self.facts, **others}, ["XpLink"])
        return list(_checks.of_host(model.host("x0"), model))

    def finding(self, **others: t.Any) -> tuple[str, str, str, t.Any]:
        """Return severity, check, element and right value of the one finding."""
        [found] = self.findings(**others)
        assert (found.right is not None) >= (found.fix is not None)
        return (found.severity, found.check, found.element, found.right)

    def message(self) -> str:
        [found] = self.findings()
        return found.message


@pytest.fixture
def scene() -> Scene:
    """Return a host that is as its model says."""
    return Scene()


def test_nothing(scene: Scene) -> None:
    assert scene.findings() == []


def test_mac_by_name(scene: Scene) -> None:
    scene.declared.mac = "04:72:00:00:99:99"
    assert scene.finding() == ("error", "mac", "x0 ens1f0", "04:72:00:00:10:00")


def test_mac_that_is_none(scene: Scene) -> None:
    scene.declared.mac = "here comes one"
    assert scene.finding() == ("error", "mac", "x0 ens1f0", "04:72:00:00:10:00")
    assert scene.message() == "this is no MAC address"


@pytest.mark.parametrize(
    "mac", ["04-72-00-00-10-00", "0472.0000.1000", "04:72:00:00:10:00".upper()]
)
def test_mac_in_another_form(scene: Scene, mac: str) -> None:
    scene.declared.mac = mac
    assert scene.findings() == []


def test_mac_that_is_missing(scene: Scene) -> None:
    scene.declared.mac = ""
    assert scene.finding() == ("info", "mac", "x0 ens1f0", "04:72:00:00:10:00")
    scene.declared.name = "ens9"
    found = {(each.severity, each.check, each.element) for each in scene.findings()}
    assert found == {("error", "mac", "x0 ens9"), ("warning", "unknown_pf", "x0 ens1f0")}


def test_name_of_an_interface_that_is_another_port(scene: Scene) -> None:
    scene.declared.mac = "04:72:00:00:99:99"
    scene.declared.name = "ens1f1"
    mac, unknown = scene.findings()
    assert (mac.check, mac.fix, unknown.check) == ("mac", None, "unknown_pf")


def test_mac_of_another_host(scene: Scene) -> None:
    scene.declared.mac, scene.declared.name = "04:72:00:00:20:00", "ens9"
    [mac, _unknown] = scene.findings(m0=facts.truth(scene.model, "m0")["m0"])
    assert mac.message == "no port of the host has this MAC address, which m0 ens1f0 has"
    scene.pf["vfs"][3]["mac"] = "04:72:00:00:20:00"
    [mac, _unknown] = scene.findings()
    assert mac.message.endswith("which VF 3 of x0 ens1f0 has")


def test_nic_without_driver(scene: Scene) -> None:
    scene.port |= {"driver": None, "interface": None, "mac": None}
    mac, unknown = scene.findings()
    assert mac.remedy == "load the driver of 0000:02:00.0 [8086:10c9], or correct the model"
    assert unknown.message == "it has no MAC address to compare, because it has no driver"


def test_port_of_the_management_controller(scene: Scene) -> None:
    port = xir.Port(name="ipmi", mac="04:70:00:00:77:77")
    scene.resource.ni_cs.append(xir.Nic(kind=xir.NicKind.IPMI, ports=[port]))
    assert scene.findings() == []
    scene.resource.ni_cs[2].kind = xir.NicKind.ETH
    port.roles = [xir.LinkRole.IPMILink]
    assert scene.findings() == []
    port.roles = []
    assert scene.finding() == ("warning", "mac", "x0 ipmi", None)


def test_vfs_as_ports_of_the_model(scene: Scene) -> None:
    vf = xir.Port(mac="02:00:00:00:00:01", sriov=xir.Sriov(vf=xir.SriovVf(vf_index=1)))
    scene.resource.ni_cs[1].ports.append(vf)
    assert scene.findings() == []
    vf.mac = "04:70:00:00:10:00"
    assert scene.finding() == ("warning", "mac", "x0 NIC 1 port 2", None)


def test_ports_that_the_model_lacks(scene: Scene) -> None:
    del scene.resource.ni_cs[1].ports[1]
    assert scene.finding() == ("warning", "unknown_pf", "x0 ens1f1", None)
    del scene.resource.ni_cs[0].ports[0]
    assert [each.check for each in scene.findings()] == ["unknown_port", "unknown_pf"]
    models.resource(scene.model, "x1").ni_cs[0].ports[0].mac = "04:70:00:00:10:00"
    assert "gives its MAC address to x1" in scene.findings()[0].message


def test_too_many_vfs(scene: Scene) -> None:
    scene.declared.sriov.pf.max_v_fs = 16
    assert scene.finding() == ("error", "max_vfs", "x0 ens1f0", 7)
    assert scene.message() == "the model declares 16 VFs, the NIC offers 7 VFs"
    scene.declared.roles = [xir.LinkRole.InfraLink]
    assert scene.finding()[0] == "warning"


def test_no_sriov(scene: Scene) -> None:
    del scene.facts["pfs"][0]
    assert scene.finding() == ("error", "max_vfs", "x0 ens1f0", None)
    assert scene.message() == "the model declares 7 VFs, the NIC offers no VFs"


def test_fewer_vfs_than_there_could_be(scene: Scene) -> None:
    scene.declared.sriov.pf.max_v_fs = 1
    assert scene.finding() == ("info", "max_vfs", "x0 ens1f0", None)
    scene.declared.sriov = xir.Sriov()
    assert scene.message() == "the model declares no VFs, the NIC offers 7 VFs"
    scene.declared.roles = [xir.LinkRole.InfraLink]
    assert scene.findings() == []


@pytest.mark.parametrize(
    ("firmware", "totalvfs", "finding", "message"),
    [
        (
            None,
            4,
            ("warning", "max_vfs"),
            "7 VFs, the NIC offers 4 VFs (its NUM_OF_VFS is not known)",
        ),
        (
            {"enabled": None, "numvfs": None, "problem": "mstconfig is missing"},
            *(4, ("warning", "max_vfs"), "offers 4 VFs (mstconfig is missing)"),
        ),
        (
            {"enabled": True, "numvfs": 4, "problem": None},
            *(4, ("warning", "firmware"), "as NUM_OF_VFS is 4 in its firmware"),
        ),
        (
            {"enabled": False, "numvfs": 16, "problem": None},
            *(None, ("warning", "firmware"), "offers no VFs, as SRIOV_EN is off in its firmware"),
        ),
        (
            {"enabled": True, "numvfs": 16, "problem": None},
            *(4, ("error", "max_vfs"), "although NUM_OF_VFS is 16 in its firmware"),
        ),
    ],
)
def test_vfs_that_firmware_can_give(
    scene: Scene, firmware: t.Any, totalvfs: int | None, finding: tuple[str, str], message: str
) -> None:
    for place in (scene.port, scene.pf, scene.facts["ports"][3]):
        place |= {"vendor": "0x15b3", "device": "0x1017"}
    scene.resource.ni_cs[1].model = xir.NicModel.ConnectX5
    scene.pf |= {"totalvfs": totalvfs, "firmware": firmware}
    assert scene.finding() == (*finding, "x0 ens1f0", None)
    assert message in scene.message()


@pytest.mark.parametrize(
    ("declared", "ids", "finding"),
    [
        ("ConnectX5", ("0x15b3", "0x1019"), None),
        ("ConnectX5", ("0x15b3", "0x101d"), ("warning", "ConnectX6")),
        ("ConnectX5", ("0x15b3", "0x1021"), ("warning", None)),
        ("ConnectX5", ("0x15b3", "0xffff"), None),
        ("ConnectX5", ("0x8086", "0xffff"), ("warning", None)),
        ("ConnectX5", ("0x8086", "0x1533"), ("warning", "Intel200")),
        ("QCA9000", ("0x8086", "0xffff"), None),
        (None, ("0x15b3", "0x101d"), ("info", "ConnectX6")),
        (None, ("0x8086", "0x1533"), None),
        (None, ("0x8086", "0x10c9"), None),
        (None, ("0x15b3", "0xffff"), None),
    ],
)
def test_nic_model(
    scene: Scene, declared: str | None, ids: tuple[str, str], finding: t.Any
) -> None:
    if declared:
        scene.resource.ni_cs[1].model = xir.NicModel[declared]
    for port in scene.facts["ports"][PF:]:
        port |= dict(zip(("vendor", "device"), ids, strict=True))
    found = [each for each in scene.findings() if each.check == "nic_model"]
    if finding is None:
        assert found == []
        return
    severity, right = finding
    [nic] = found
    assert (nic.severity, nic.right, nic.element) == (severity, right, "x0 NIC 1")
    if right:
        assert nic.fix is not None
        assert _schema.ENUMS["NICModel"][int(nic.fix.value)] == right


def test_nic_of_two_cards(scene: Scene) -> None:
    scene.facts["ports"][PF] |= {"vendor": "0x15b3", "device": "0x1017"}
    scene.facts["ports"][PF + 1] |= {"vendor": "0x15b3", "device": "0x101d"}
    assert scene.findings() == []
    scene.resource.ni_cs[1].model = xir.NicModel.Intel300
    assert scene.finding() == ("warning", "nic_model", "x0 NIC 1", None)
    assert "the NIC is another [15b3:1017] and [15b3:101d]" in scene.message()


def test_capacity(scene: Scene) -> None:
    scene.port["speed"] = 25 * 10**8
    assert scene.finding() == ("warning", "capacity", "x0 ens1f0", 2_500_000_000)
    assert scene.message() == "the model declares 1 Gbit/s, the link has 2.5 Gbit/s"
    scene.declared.capacity = 0
    assert scene.findings() == []


def test_link(scene: Scene) -> None:
    scene.port |= {"carrier": False, "speed": None, "neighbour": None}
    assert scene.finding() == ("warning", "link", "x0 ens1f0", None)
    scene.port |= {"up": False, "carrier": None}
    assert scene.finding() == ("info", "link", "x0 ens1f0", None)
    scene.declared.connector = xir.Ref()
    assert scene.findings() == []


@pytest.mark.parametrize(
    ("neighbour", "finding"),
    [
        (("xleaf0", "swp1", None), None),
        (("xleaf0.phobos.example.net", "swp1", None), None),
        (("XLEAF0.example.org", "Swp1", None), None),
        (("xleaf0", "17", "swp1"), None),
        (("xleaf0", "17", "swp1 to x0"), None),
        (("xleaf0", "swp2", None), ("error", "xleaf0 swp2")),
        (("xleaf0", "17", "swp11"), ("error", "xleaf0 17")),
        (("xleaf1", "swp1", None), ("error", "xleaf1 swp1")),
        (("cumulus", "swp1", None), ("warning", None)),
        ((None, "swp1", None), ("warning", None)),
    ],
)
def test_leaf(scene: Scene, neighbour: tuple[t.Any, ...], finding: t.Any) -> None:
    keys = ("system", "port", "description")
    scene.port["neighbour"] = dict(zip(keys, neighbour, strict=True))
    if finding is None:
        assert scene.findings() == []
    else:
        assert scene.finding() == (finding[0], "leaf", "x0 ens1f0", finding[1])
        scene.declared.roles = [xir.LinkRole.InfraLink]
        assert scene.finding()[0] == "warning"


def test_leaf_that_is_not_known(scene: Scene) -> None:
    scene.declared.connector = xir.Ref()
    assert scene.finding() == ("warning", "leaf", "x0 ens1f0", "xleaf0 swp1")
    for system in ("a firewall", "x0"):
        scene.port["neighbour"]["system"] = system
        assert scene.findings() == []


def test_neighbour_that_is_silent(scene: Scene) -> None:
    scene.port["neighbour"] = None
    assert scene.finding() == ("info", "leaf", "x0 ens1f0", None)
    scene.facts["lldp"] = False
    assert scene.finding() == ("info", "lldp", "x0", None)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"width": 8}, "its PCIe link has 16 GT/s x8, the card can do 16 GT/s x16"),
        ({"speed": 2.5}, "its PCIe link has 2.5 GT/s x16, the card can do 16 GT/s x16"),
    ],
)
def test_pcie(scene: Scene, link: dict[str, t.Any], message: str) -> None:
    best = {"speed": 16.0, "width": 16, "max_speed": 16.0, "max_width": 16}
    scene.port["pcie"] = best | link
    assert scene.finding() == ("warning", "pcie", "x0 ens1f0", None)
    assert scene.message() == message
    scene.port["pcie"] = best
    assert scene.findings() == []
    scene.port["pcie"] = None
    assert scene.findings() == []
    scene.facts["ports"][ONBOARD]["pcie"] = best | link
    assert scene.finding() == ("info", "pcie", "x0 eno1", None)


def test_management_nic(scene: Scene) -> None:
    scene.port["management"] = "it carries the default route"
    assert scene.finding() == ("error", "management", "x0 ens1f0", None)
    scene.declared.roles = [xir.LinkRole.MgmtLink]
    assert scene.findings() == []


def test_numa(scene: Scene) -> None:
    scene.port["numa_node"] = None
    assert scene.finding() == ("warning", "numa", "x0 ens1f0", None)
    for port in scene.facts["ports"]:
        port["numa_node"] = None
    assert scene.findings() == []


def test_acs(scene: Scene) -> None:
    scene.pf["acs"] = None
    assert scene.findings() == []
    scene.pf["acs"] = False
    assert scene.finding() == ("warning", "acs", "x0 ens1f0", None)


def test_iommu_groups(scene: Scene) -> None:
    scene.pf["group_mates"] = [scene.pf["vfs"][0]["address"]]
    assert scene.findings() == []
    scene.pf["group_mates"].append("0000:02:00.1")
    assert scene.finding() == ("warning", "iommu_group", "x0 ens1f0", None)
    for vf in scene.pf["vfs"][:2]:
        vf["group_mates"] = [f"0000:02:00.{index}" for index in range(5)]
    assert scene.finding() == ("error", "iommu_group", "x0 ens1f0", None)
    assert scene.message() == (
        "2 of its 7 VFs share their IOMMU groups with 0000:02:00.0, 0000:02:00.1, 0000:02:00.2"
        " and 2 more"
    )


def test_iommu(scene: Scene) -> None:
    scene.facts["platform"] |= {"iommu_effective": False}
    assert scene.finding() == ("warning", "iommu", "x0", None)
    scene.facts["platform"]["iommu"] = None
    assert scene.finding() == ("error", "iommu", "x0", None)
    scene.resource.alloc = [xir.AllocMode.Physical]
    assert scene.findings() == []


def test_role(scene: Scene) -> None:
    scene.facts["pfs"] = []
    for port in scene.resource.ni_cs[1].ports:
        port.sriov = xir.Sriov()
    assert scene.finding() == ("warning", "role", "x0", None)
    scene.resource.roles = [xir.Role.TbNode]
    assert scene.findings() == []


def test_a_nic_that_a_guest_has_whole_is_no_error() -> None:
    scene = Scene()
    mac = scene.pf["mac"]
    for each in (scene.port, scene.pf):
        each.update(mac=None, interface=None, driver="vfio-pci")
    scene.pf.update(numvfs=0, vfs=[])
    entry = facts.whole_function(
        address=scene.pf["address"], pf_name="ens1f0", pf_mac=mac, vlan=100
    )
    scene.facts["materializations"] = {"one.hello.demo": [entry]}
    assert not [each for each in scene.findings() if each.severity == "error"]
