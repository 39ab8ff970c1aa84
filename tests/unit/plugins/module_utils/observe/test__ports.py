# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ports
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ports import (
    NetworkPort,
    PcieLink,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, Machine

PF = "0000:3b:00.0"
MAC = "0c:42:a1:00:00:10"
NET = "/sys/class/net/ens1f0"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", MAC, driver="mlx5_core")
    return machine


def read(machine: Machine) -> list[NetworkPort]:
    return _ports.read(machine, machine.netlink.links())


def link(machine: Machine, *texts: str, address: str = PF) -> None:
    """What sysfs says of the PCI Express link of *address*."""
    for name, text in zip(
        ("current_link_speed", "current_link_width", "max_link_speed", "max_link_width"),
        texts,
        strict=True,
    ):
        machine.put(f"{DEVICES}/{address}/{name}", f"{text}\n")


def test_a_port(machine: Machine) -> None:
    machine.put(f"{DEVICES}/{PF}/numa_node", "1")
    machine.put(f"{NET}/speed", "100000\n")
    machine.put(f"{NET}/carrier", "1\n")
    link(machine, "8.0 GT/s PCIe", "8", "16.0 GT/s PCIe", "16")

    assert read(machine) == [
        NetworkPort(
            address=PF,
            vendor="0x8086",
            device="0x10c9",
            driver="mlx5_core",
            numa_node=1,
            pcie=PcieLink(8.0, 8, 16.0, 16),
            interface="ens1f0",
            mac=MAC,
            up=True,
            carrier=True,
            speed=100_000_000_000,
            mtu=1500,
        )
    ]


@pytest.mark.parametrize("text", ["-1", "0", "4294967295"])
def test_a_port_without_link(machine: Machine, text: str) -> None:
    machine.put(f"{NET}/speed", text)
    machine.put(f"{NET}/carrier", "0")

    [port] = read(machine)
    assert (port.carrier, port.speed) == (False, None)


def test_a_port_that_is_down(machine: Machine) -> None:
    for name in ("speed", "carrier"):
        machine.put(f"{NET}/{name}", "")
        machine.faults["read", f"{NET}/{name}"] = errno.EINVAL
    machine.alter_link("ens1f0", up=False)

    [port] = read(machine)
    assert (port.up, port.carrier, port.speed) == (False, None, None)


@pytest.mark.parametrize(
    "texts",
    [
        ("Unknown", "0", "Unknown", "255"),
        ("Unknown", "0", "16.0 GT/s PCIe", "16"),
        ("2.5 GT/s PCIe", "0", "16.0 GT/s PCIe", "16"),
    ],
)
def test_a_link_that_the_function_does_not_tell(
    machine: Machine, texts: tuple[str, str, str, str]
) -> None:
    link(machine, *texts)
    assert read(machine)[0].pcie is None


@pytest.mark.parametrize("speed", ["8 GT/s", "8.0 GT/s PCIe", "8.0 GT/s"])
def test_the_text_of_a_speed_differs_between_kernels(machine: Machine, speed: str) -> None:
    link(machine, speed, "1", speed, "1")
    assert read(machine)[0].pcie == PcieLink(8.0, 1, 8.0, 1)


def test_what_is_no_port_of_a_nic(machine: Machine) -> None:
    """A VF with an interface, a representor, a disk, a USB NIC, and what is on no bus at all."""
    machine.add_pf("0000:3b:00.1", "ens1f1", "0c:42:a1:00:00:11", numvfs=1)
    machine.bind("0000:3b:10.1", "igbvf")
    machine.add_interface("ens1f0_0", PF, mac="02:00:00:00:00:01", port_name="pf0vf0")
    machine.add_function("0000:05:00.0", driver="nvme", device_class="0x010802")
    machine.add_function("0000:00:14.0", driver="xhci_hcd", device_class="0x0c0330")
    machine.add_interface("usb0", "0000:00:14.0", mac="02:00:00:00:00:02")
    machine.add_interface("lo", mac="00:00:00:00:00:00")

    assert [port.interface for port in read(machine)] == ["ens1f0", "ens1f1"]


def test_several_ports_of_one_function(machine: Machine) -> None:
    machine.add_function("0000:05:00.0", driver="mlx4_core")
    for name, number in (("ens2", 1), ("ens2d1", 0)):
        machine.add_interface(name, "0000:05:00.0", mac="02:00:00:00:00:01", dev_port=number)

    assert [port.interface for port in read(machine)] == ["ens2d1", "ens2", "ens1f0"]


def test_a_nic_without_driver(machine: Machine) -> None:
    machine.add_function("0000:05:00.0")

    port = read(machine)[0]
    assert port == NetworkPort("0000:05:00.0", "0x8086", "0x10c9", None, None, None)
    assert (port.up, port.interface) == (False, None)


def test_an_interface_behind_a_bus_of_its_own(machine: Machine) -> None:
    machine.add_function("0000:00:03.0", vendor="0x1af4", driver="virtio-pci")
    machine.put(f"{DEVICES}/0000:00:03.0/virtio0/net/eth0/dev_port", "0")
    machine.add_interface("eth0", "0000:00:03.0/virtio0", mac="02:00:00:00:00:01")

    assert [port.interface for port in read(machine)] == ["eth0", "ens1f0"]
