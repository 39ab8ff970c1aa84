# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks give whole functions to guests, and take them back, on a fabricated host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES
from ansible_collections.mergetb.sriov.tests.unit.fabricated_facility import Facility
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import Hypervisor
from mergetbapi.portal import v1 as portal

NIC, GPU = "0000:03:00.0", "0000:41:00.0"
MAC = "04:70:00:00:00:30"


def machine(directory: Path) -> Hypervisor:
    """A hypervisor with a NIC and a GPU."""
    host = Hypervisor(directory)
    host.add_pf(NIC, "ens3f0", MAC, up=False)
    host.add_function(GPU, driver="nvidia", vendor="0x10de", device="0x2204")
    host.put(f"{DEVICES}/{GPU}/class", "0x030000")
    host.add_driver("vfio-pci")
    host.native = {NIC: "igb", GPU: "nvidia"}
    return host


def experiment() -> portal.Materialization:
    """A node with a whole NIC of the host."""
    endpoint = portal.Endpoint(
        host="x0",
        node="alpha",
        virtual=True,
        phy=portal.PhysicalInterface(name="ens3f0", mac=MAC),
    )
    waypoint = portal.Waypoint(
        host="xleaf0",
        access=portal.VlanAccessPort(port=portal.PhysicalInterface(name="swp1"), vid=100),
    )
    segment = portal.LinkSegment(endpoints=[endpoint], waypoints=[waypoint], vid=100)
    link = portal.Link()
    link.realization.link.id = "lan0"
    link.realization.segments = {1: segment}
    vm = portal.VirtualMachine()
    vm.vm_alloc.node, vm.vm_alloc.resource = "alpha", "x0"
    return portal.Materialization(rid="one", eid="hello", pid="demo", vms=[vm], links=[link])


@pytest.fixture
def facility(tmp_path: Path) -> Facility:
    facility = Facility(tmp_path)
    leaf = {"host": "xleaf0", "port": "swp1", "domain": "xleaf0"}
    facility.add(
        "x0",
        machine,
        sriov_pfs=[],
        sriov_nics=[{"name": "ens3f0", "mac": MAC, "max_vfs": 0, "leaf": leaf}],
        sriov_functions={
            "one.hello.demo": [{"node": "alpha", "nic": "gpu0", "function": "10de:2204"}]
        },
    )
    (tmp_path / "mz.json").write_text(experiment().to_json(), encoding="utf-8")
    return facility


def test_a_nic_and_a_gpu_from_model_to_guest_and_back(facility: Facility, tmp_path: Path) -> None:
    arguments = ("-e", "sriov_materialization=mz.json")
    played = facility.play("mergetb.sriov.materialize", *arguments)
    assert played.code == 0, played.output
    document = json.loads((tmp_path / "device_map.json").read_text(encoding="utf-8"))
    assert [
        (device["kind"], device["nic"], device["pci_address"], device["vlan_mode"], device["vlan"])
        for device in document["devices"]
    ] == [("function", "ens3f0", NIC, "access", 100), ("function", "gpu0", GPU, None, None)]
    with facility.host("x0") as host:
        assert [host.driver(address) for address in (NIC, GPU)] == ["vfio-pci"] * 2

    played = facility.play("mergetb.sriov.release")
    assert "alpha.gpu0    10de:2204  whole  0000:41:00.0  ready" in played.output, played.output

    played = facility.play("mergetb.sriov.dematerialize", *arguments)
    assert played.code == 0, played.output
    with facility.host("x0") as host:
        assert [host.driver(address) for address in (NIC, GPU)] == ["igb", "nvidia"]
    document = json.loads((tmp_path / "device_map.json").read_text(encoding="utf-8"))
    assert document["devices"] == []
