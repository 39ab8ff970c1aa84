# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    Machine,
    config_space,
)
from hypothesis import given
from hypothesis import strategies as st

PF = "0000:01:00.0"
MAC = "04:70:00:00:00:10"
AER, ACS, ARI, SRIOV = 0x01, 0x0D, 0x0E, 0x10
# Behind the header: capabilities, control and status, InitialVFs, TotalVFs.
SRIOV_BODY = struct.pack("<IIHH", 0, 0, 7, 64)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", MAC, numvfs=2)
    return machine


def test_devices(machine: Machine) -> None:
    assert _pci.devices(machine) == [PF, "0000:01:10.0", "0000:01:10.2"]


def test_a_device(machine: Machine) -> None:
    machine.add_function("0000:3b:00.0", driver="nvme", group="17", numa_node=1, vendor="0x1b36")
    machine.write(f"{DEVICES}/0000:3b:00.0/driver_override", "vfio-pci\n")

    assert _pci.read_device(machine, "0000:3b:00.0") == _pci.Device(
        address="0000:3b:00.0",
        driver="nvme",
        driver_override="vfio-pci",
        iommu_group="17",
        numa_node=1,
    )
    assert _pci.read_identity(machine, "0000:3b:00.0") == _pci.Identity(
        vendor="0x1b36", device="0x10c9", device_class="0x020000"
    )


def test_what_a_device_does_not_have_is_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.iommu = False
    machine.add_function("0000:3b:00.0")

    device = _pci.read_device(machine, "0000:3b:00.0")
    assert device.driver is None
    assert device.driver_override is None
    assert device.iommu_group is None
    assert device.numa_node is None


@pytest.mark.parametrize("text", ["", "(null)"])
def test_no_driver_override(machine: Machine, text: str) -> None:
    Path(machine.path(f"{DEVICES}/{PF}/driver_override")).write_text(text)

    assert _pci.read_device(machine, PF).driver_override is None


@pytest.mark.parametrize("address", ["0000:01:1f.7", "", "..", "../../../devices/pci0000:00/x"])
def test_a_device_that_is_not_there(machine: Machine, address: str) -> None:
    machine.add_function("x")

    with pytest.raises(SriovError, match=f"there is no PCI device {address} on this host"):
        _pci.read_device(machine, address)


def test_a_vf_is_told_from_a_pf(machine: Machine) -> None:
    assert _pci.is_vf(machine, "0000:01:10.2")
    assert not _pci.is_vf(machine, PF)


def test_capabilities(machine: Machine) -> None:
    space = config_space((AER, bytes(44)), (ARI, bytes(4)), (ACS, bytes(4)), (SRIOV, SRIOV_BODY))

    assert _pci.capabilities(space) == _pci.Capabilities(
        extended=True, sriov=True, total_vfs=64, acs=True, aer=True, ari=True
    )
    Path(machine.path(f"{DEVICES}/{PF}/config")).write_bytes(space)
    assert _pci.read_capabilities(machine, PF) == _pci.capabilities(space)


@pytest.mark.parametrize("kind", [AER, ACS, ARI])
def test_each_capability_is_told_from_the_others(kind: int) -> None:
    found = _pci.capabilities(config_space((0x0B, bytes(8)), (kind, bytes(4)), (0x0B, bytes(8))))

    assert found == _pci.Capabilities(
        extended=True,
        sriov=False,
        total_vfs=None,
        acs=kind == ACS,
        aer=kind == AER,
        ari=kind == ARI,
    )


def test_capabilities_of_what_an_unprivileged_reader_gets(machine: Machine) -> None:
    nothing = _pci.Capabilities(False, False, None, False, False, False)

    assert _pci.capabilities(config_space((SRIOV, SRIOV_BODY))[:64]) == nothing
    assert _pci.capabilities(b"") == nothing
    assert _pci.read_capabilities(machine, "0000:05:00.0") == nothing


@pytest.mark.parametrize("fill", [b"\0", b"\xff"], ids=["none", "device gone"])
def test_a_configuration_space_without_extended_capabilities(fill: bytes) -> None:
    assert _pci.capabilities(fill * 4096) == _pci.Capabilities(
        True, False, None, False, False, False
    )


def test_a_capability_that_is_cut_off() -> None:
    space = config_space((AER, bytes(44)), (SRIOV, SRIOV_BODY))
    cut = space[: space.index(SRIOV_BODY) + 4]

    assert _pci.capabilities(cut).sriov
    assert _pci.capabilities(cut).total_vfs is None


@pytest.mark.parametrize(
    "links",
    [
        {0x100: (AER, 0x100)},
        {0x100: (AER, 0x140), 0x140: (ACS, 0x100)},
        # The same capability twice, as vendors' own are, and then round in a circle.
        {0x100: (0x0B, 0x140), 0x140: (0x0B, 0x140)},
    ],
)
def test_a_list_of_capabilities_that_never_ends(links: dict[int, tuple[int, int]]) -> None:
    space = bytearray(4096)
    for offset, (kind, behind) in links.items():
        struct.pack_into("<I", space, offset, kind | 1 << 16 | behind << 20)

    assert not _pci.capabilities(bytes(space)).sriov


@given(st.binary(max_size=64), st.integers(0, 4096))
def test_any_configuration_space_is_read_to_an_end(pattern: bytes, size: int) -> None:
    space = (pattern * 4096)[:size]

    assert _pci.capabilities(space).extended == (len(space) > 256)


def test_upstream(machine: Machine) -> None:
    machine.add_function("0000:02:00.0", bridge="0000:00:01.0")

    assert _pci.upstream(machine, "0000:02:00.0") == "0000:00:01.0"
    assert _pci.upstream(machine, PF) is None
    assert _pci.upstream(machine, "0000:09:00.0") is None


def test_group_members(machine: Machine) -> None:
    machine.add_function("0000:02:00.1", group="30")
    machine.add_function("0000:02:00.0", group="30")

    assert _pci.group_members(machine, "30") == ["0000:02:00.0", "0000:02:00.1"]


def test_representors_are_not_interfaces_of_the_pf(machine: Machine) -> None:
    machine.add_function("0000:02:00.0")
    for name, port_name in {
        "a_representor": "pf0vf0",
        "b_subfunction": "pf0sf8",
        "c_other_controller": "c1pf0vf1",
        "d_pf_representor": "pf0",
        "uplink": "p0",
    }.items():
        machine.add_interface(name, "0000:02:00.0", mac=MAC, port_name=port_name)

    assert _pci.interfaces(machine, "0000:02:00.0") == ["uplink"]


def test_two_interfaces_of_one_function_are_in_the_order_of_their_ports(machine: Machine) -> None:
    """ConnectX-3 has both of its ports in one PCI function."""
    machine.add_function("0000:02:00.0")
    machine.add_interface("a", "0000:02:00.0", mac="04:70:00:00:00:21", dev_port=1, port_name="")
    machine.add_interface("b", "0000:02:00.0", mac="04:70:00:00:00:20", dev_port=0)

    assert _pci.interfaces(machine, "0000:02:00.0") == ["b", "a"]
    assert _pci.read_pf(machine, "0000:02:00.0").mac == "04:70:00:00:00:20"
    assert _pci.find_pf(machine, "04:70:00:00:00:21").address == "0000:02:00.0"


def test_a_virtio_function_has_the_interface_of_its_virtio_device(machine: Machine) -> None:
    machine.add_function("0000:02:00.0")
    machine.add_interface("eth0", "0000:02:00.0/virtio2", mac=MAC)

    assert _pci.interfaces(machine, "0000:02:00.0") == ["eth0"]
    assert _pci.read_pf(machine, "0000:02:00.0").mac == MAC


def test_vf_addresses_come_from_the_links_and_in_the_order_of_their_numbers(
    machine: Machine,
) -> None:
    """Beyond ten VFs names do not sort as numbers, and addresses need not ascend at all."""
    addresses = [f"0000:{bus:02x}:0{device}.0" for bus in (5, 4) for device in range(6)]
    machine.add_pf(
        "0000:03:00.0",
        "ens2",
        "04:70:00:00:00:20",
        totalvfs=12,
        numvfs=12,
        vf_addresses=addresses,
    )

    assert _pci.vf_addresses(machine, "0000:03:00.0") == tuple(addresses)


def test_vfs_that_are_just_being_destroyed_do_not_take_the_place_of_others(
    machine: Machine,
) -> None:
    """The kernel removes VF 0 first: what it leaves for a moment begins with VF 1."""
    machine.add_pf("0000:03:00.0", "ens2", "04:70:00:00:00:20", numvfs=3)
    before = _pci.vf_addresses(machine, "0000:03:00.0")
    seen = []
    machine.between = lambda: seen.append(_pci.vf_addresses(machine, "0000:03:00.0"))

    machine.write(f"{DEVICES}/0000:03:00.0/sriov_numvfs", "0")

    assert len(before) == len(seen) == 3
    assert all(vfs == before[: len(vfs)] for vfs in seen)


def test_a_pf(machine: Machine) -> None:
    assert _pci.read_pf(machine, PF) == _pci.PF(
        address=PF,
        interface="ens1f0",
        mac=MAC,
        driver="igb",
        numvfs=2,
        totalvfs=7,
        autoprobe=False,
        vfs=("0000:01:10.0", "0000:01:10.2"),
    )


def test_a_function_that_has_no_sriov(machine: Machine) -> None:
    machine.add_function("0000:02:00.0")

    pf = _pci.read_pf(machine, "0000:02:00.0")
    assert pf == _pci.PF("0000:02:00.0", None, None, None, None, None, None, ())
    assert _pci.all_pfs(machine) == [_pci.read_pf(machine, PF)]


@pytest.mark.parametrize(
    "selector", [PF, MAC, MAC.upper(), "ens1f0", f" {PF} ", f"{MAC} ", "ens1f0\n"]
)
def test_a_pf_is_found(machine: Machine, selector: str) -> None:
    assert _pci.find_pf(machine, selector).address == PF


def test_a_vlan_on_top_that_shows_the_same_mac_does_not_disturb(machine: Machine) -> None:
    machine.add_interface("ens1f0.5", mac=MAC)

    assert _pci.find_pf(machine, MAC).address == PF


def test_a_pf_that_shows_another_mac_is_found_by_its_own(machine: Machine) -> None:
    """A bond gives one MAC to all of its members."""
    machine.alter_link("ens1f0", mac="04:70:00:00:00:77")

    assert _pci.find_pf(machine, MAC).address == PF
    with pytest.raises(SriovError, match="'04:70:00:00:00:77'"):
        _pci.find_pf(machine, "04:70:00:00:00:77")


@pytest.mark.parametrize("selector", ["0000:01:10.2", "eth1", "02:ff:00:00:01:00"])
def test_a_vf_is_not_a_pf(machine: Machine, selector: str) -> None:
    machine.bind("0000:01:10.2", "igbvf")
    assert "eth1" in machine.netlink.interfaces

    with pytest.raises(SriovError, match=r"is a VF \(0000:01:10\.2\), not a PF"):
        _pci.find_pf(machine, selector)


@pytest.mark.parametrize(
    "selector", ["ens9", "04:70:00:00:00:99", "lo", "", "../ens1f0", "00:00:00:00:00:00"]
)
def test_a_pf_that_is_not_there(machine: Machine, selector: str) -> None:
    machine.add_interface("lo", mac="00:00:00:00:00:00")

    with pytest.raises(SriovError) as caught:
        _pci.find_pf(machine, selector)

    assert f"no network interface of this host is {selector!r}" in str(caught.value)
    assert f"it has: ens1f0 {MAC}" in str(caught.value)


def test_a_host_without_any_permanent_mac(tmp_path: Path) -> None:
    with pytest.raises(SriovError, match="it has: none with a permanent MAC"):
        _pci.find_pf(Machine(tmp_path), "ens1f0")


def test_an_address_that_is_not_there(machine: Machine) -> None:
    with pytest.raises(SriovError, match="there is no PCI device 0000:09:00.0"):
        _pci.find_pf(machine, "0000:09:00.0")


def test_an_interface_that_is_not_on_pci(machine: Machine) -> None:
    machine.add_interface("eni1", mac="04:70:00:00:00:99")
    device = Path(machine.path("/sys/class/net/eni1")) / "device"
    device.symlink_to("../../../netdevsim1")

    with pytest.raises(SriovError, match="no network interface of this host is 'eni1'"):
        _pci.find_pf(machine, "eni1")


def test_a_mac_of_two_devices(machine: Machine) -> None:
    machine.add_pf("0000:01:00.1", "ens1f1", MAC)

    with pytest.raises(
        SriovError, match=f"{MAC} is the MAC of several devices: {PF}, 0000:01:00.1"
    ):
        _pci.find_pf(machine, MAC)


def test_an_interface_that_cannot_be_read_is_an_error(machine: Machine) -> None:
    machine.faults["read", f"{DEVICES}/{PF}/net/ens1f0/dev_port"] = errno.EACCES

    with pytest.raises(PermissionError, match=os.strerror(errno.EACCES)):
        _pci.find_pf(machine, "ens1f0")
