# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _management
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils._host import Completed
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine

PF = "0000:01:00.0"
OTHER = "0000:02:00.0"
DEFAULT_4 = "ip -json -4 route show table all default"
DEFAULT_6 = "ip -json -6 route show table all default"


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


def lay(host: BootMachine, upper: str, *lowers: str) -> None:
    """Make *upper* a virtual interface on *lowers*."""
    host.add_interface(upper, mac="02:00:00:00:00:01")
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
    lay(host, "bond0", "ens1f0", "ens2f0")
    lay(host, "bond0.7", "bond0")
    lay(host, "br0", "bond0.7")
    route_through(host, DEFAULT_4, "br0")
    assert _management.devices(host) == {
        PF: "ens1f0 carries a default route of br0",
        OTHER: "ens2f0 carries a default route of br0",
    }


def test_a_vf_counts_for_its_pf(host: BootMachine) -> None:
    host.bind("0000:01:10.0", "igbvf")
    (vf_interface,) = host.names("/sys/bus/pci/devices/0000:01:10.0/net")
    route_through(host, DEFAULT_4, vf_interface)
    assert set(_management.devices(host)) == {PF}


def test_a_function_behind_a_virtio_bus(host: BootMachine) -> None:
    host.add_function("0000:03:00.0")
    base = "/sys/devices/pci0000:00/0000:03:00.0/virtio1/net/eth0"
    host.put(f"{base}/dev_port", "0")
    Path(host.path("/sys/class/net/eth0")).symlink_to(f"../../devices{base[12:]}")
    route_through(host, DEFAULT_4, "eth0")
    assert set(_management.devices(host)) == {"0000:03:00.0"}


def test_the_route_back_to_the_ssh_client(host: BootMachine) -> None:
    started_by(host, "10.9.0.1")
    route_through(host, "ip -json route get 10.9.0.1", "ens2f0")
    route_through(host, DEFAULT_4, "ens1f0", "ens2f0")
    assert _management.devices(host) == {
        OTHER: "ens2f0 carries the route to the SSH client 10.9.0.1",
        PF: "ens1f0 carries a default route",
    }


def test_a_link_local_client_names_the_interface(host: BootMachine) -> None:
    started_by(host, "fe80::1%ens2f0")
    assert _management.devices(host) == {
        OTHER: "ens2f0 carries the route to the SSH client fe80::1"
    }


@pytest.mark.parametrize("client", ["UNKNOWN", "--help", ""])
def test_a_client_without_an_ip_address_has_no_route(host: BootMachine, client: str) -> None:
    started_by(host, client)
    assert _management.devices(host) == {}
    assert not any("get" in call for call in host.calls)


def test_a_client_that_has_gone_has_no_route(host: BootMachine) -> None:
    started_by(host, "10.9.0.1")
    host.answers["ip -json route get 10.9.0.1"] = Completed(2, "", "Network is unreachable\n")
    assert _management.devices(host) == {}


def test_routes_that_cannot_be_read_are_an_error(host: BootMachine) -> None:
    host.answers[DEFAULT_6] = Completed(1, "", "Operation not permitted\n")
    with pytest.raises(SriovError, match="default routes cannot be read: Operation not permitted"):
        _management.devices(host)
