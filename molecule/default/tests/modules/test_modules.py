# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules on a real kernel: VFs of netdevsim keep every attribute, those of igb not all."""

from __future__ import annotations

import json
import typing as t

import pytest

DEVICE = "/sys/bus/netdevsim/devices/netdevsim7"


@pytest.fixture(scope="module")
def x0(machines: dict[str, t.Any]) -> t.Any:
    return machines["x0"]


@pytest.fixture(scope="module")
def simulated(x0: t.Any) -> t.Iterator[t.Callable[[int], str]]:
    """Give the simulated PF a number of VFs; returns the name of its interface."""
    x0.check_output("modprobe netdevsim")
    x0.check_output("echo 7 1 > /sys/bus/netdevsim/new_device")

    def with_vfs(count: int) -> str:
        x0.check_output(f"echo 0 > {DEVICE}/sriov_numvfs")
        x0.check_output(f"echo {count} > /sys/kernel/debug/netdevsim/netdevsim7/max_vfs")
        x0.check_output(f"echo {count} > {DEVICE}/sriov_numvfs")
        return x0.file(f"{DEVICE}/net").listdir()[0]

    yield with_vfs
    x0.check_output("echo 7 > /sys/bus/netdevsim/del_device")


def module(
    machine: t.Any, name: str, *, check: bool = False, **arguments: t.Any
) -> dict[str, t.Any]:
    return machine.ansible(f"mergetb.sriov.{name}", json.dumps(arguments), check=check, diff=False)


def refusal(machine: t.Any, name: str, **arguments: t.Any) -> str:
    """Why the module *name* fails."""
    answer = module(machine, name, **arguments)
    assert "changed" not in answer or not answer["changed"]
    return answer["msg"]


def reported(machine: t.Any, interface: str) -> dict[int, dict[str, t.Any]]:
    """What `ip` says of the VFs of *interface*."""
    (link,) = json.loads(machine.check_output(f"ip -d -j link show dev {interface}"))
    return {vf["vf"]: vf for vf in link["vfinfo_list"]}


def test_all_attributes_of_many_vfs(x0: t.Any, simulated: t.Callable[[int], str]) -> None:
    pf = simulated(127)
    wanted: list[dict[str, t.Any]] = [
        {
            "pf": pf,
            "vf": vf,
            "mac": f"02:00:00:00:01:{vf:02x}",
            "vlan": 100 + vf,
            "qos": vf % 8,
            "vlan_proto": "802.1ad" if vf % 2 else "802.1Q",
            "spoofchk": vf % 3 != 0,
            "trust": vf % 5 == 0,
            "link_state": ("auto", "enable", "disable")[vf % 3],
            "min_tx_rate": 10,
            "max_tx_rate": 100 + vf,
            "query_rss": vf % 2 == 0,
        }
        for vf in range(127)
    ]
    planned = module(x0, "vf", check=True, vfs=wanted)
    assert planned["changed"]
    assert reported(x0, pf)[5]["address"] == "00:00:00:00:00:00"
    done = module(x0, "vf", vfs=wanted)
    assert done["changed"]
    assert done["vfs"] == planned["vfs"] == wanted
    for vf, seen in reported(x0, pf).items():
        assert seen["address"] == wanted[vf]["mac"]
        (vlan,) = seen["vlan_list"]
        assert vlan["vlan"] == wanted[vf]["vlan"]
        assert vlan.get("qos", 0) == wanted[vf]["qos"]
        assert vlan.get("protocol", "802.1q").lower() == wanted[vf]["vlan_proto"].lower()
        assert seen["spoofchk"] == wanted[vf]["spoofchk"]
        assert seen["trust"] == wanted[vf]["trust"]
        assert seen["link_state"] == wanted[vf]["link_state"]
        assert seen["rate"] == {"max_tx": 100 + vf, "min_tx": 10}
        assert seen["query_rss_en"] == wanted[vf]["query_rss"]
    assert not module(x0, "vf", vfs=wanted)["changed"]


def test_vfs_that_the_kernel_does_not_report_are_an_error(
    x0: t.Any, simulated: t.Callable[[int], str]
) -> None:
    pf = simulated(1000)
    reason = refusal(x0, "vf", vfs=[{"pf": pf, "vf": 999, "vlan": 100}])
    assert "of 1000 VFs" in reason
    assert "64 KiB" in reason


@pytest.fixture
def igb(x0: t.Any, pfs: dict[str, list[dict[str, t.Any]]]) -> str:
    return pfs["x0"][0]["mac"]


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("link_state", "enable", "Operation not supported"),
        ("vlan_proto", "802.1ad", "Protocol not supported"),
        ("min_tx_rate", 10, "Invalid argument"),
    ],
)
def test_a_refused_attribute_leaves_the_vf_as_it_was(
    x0: t.Any, igb: str, attribute: str, value: t.Any, reason: str
) -> None:
    before = module(x0, "vf", vfs=[{"pf": igb, "vf": 6}])["vfs"]
    wanted = {"pf": igb, "vf": 6, "mac": "02:00:00:00:00:66", "vlan": 66, attribute: value}
    assert reason in refusal(x0, "vf", vfs=[wanted])
    assert module(x0, "vf", vfs=[{"pf": igb, "vf": 6}])["vfs"] == before


def test_an_attribute_that_the_driver_does_not_keep_is_refused(x0: t.Any, igb: str) -> None:
    reason = refusal(x0, "vf", vfs=[{"pf": igb, "vf": 6, "query_rss": True}])
    assert "does not keep query_rss" in reason


def test_auto_is_the_vfio_driver_that_the_kernel_has_for_the_vf(x0: t.Any, igb: str) -> None:
    auto = {"pf": igb, "vf": 6, "driver": "auto"}
    (device,) = module(x0, "pci_driver", check=True, devices=[auto])["devices"]
    assert device["driver"] == "vfio-pci"
    alias = x0.file(f"/sys/bus/pci/devices/{device['address']}/modalias").content_string.strip()
    generic = x0.check_output(f"modprobe --resolve-alias vfio_pci:{alias.partition(':')[2]}")
    assert generic == "vfio_pci"


def test_a_vf_that_the_host_uses_keeps_its_driver(x0: t.Any, igb: str) -> None:
    bind: dict[str, t.Any] = {"devices": [{"pf": igb, "vf": 6, "driver": "igbvf"}]}
    release: dict[str, t.Any] = {"devices": [{"pf": igb, "vf": 6}]}
    x0.check_output("modprobe igbvf")
    try:
        (device,) = module(x0, "pci_driver", **bind)["devices"]
        base = f"/sys/bus/pci/devices/{device['address']}"
        (interface,) = x0.file(f"{base}/net").listdir()
        x0.check_output(f"ip link set dev {interface} up")
        in_use = f"interface {interface} is up"
        assert in_use in refusal(x0, "pci_driver", **release)
        assert x0.file(f"{base}/driver").exists
        recount = {"pfs": [{"pf": igb, "numvfs": 3}], "at_boot": False}
        assert in_use in refusal(x0, "numvfs", **recount)
    finally:
        module(x0, "pci_driver", force=True, **release)
        x0.check_output("modprobe -r igbvf")
    assert not x0.file(f"{base}/driver").exists


def test_two_vfs_of_one_vlan_reach_each_other_and_no_other(
    machines: dict[str, t.Any], pfs: dict[str, list[dict[str, t.Any]]]
) -> None:
    """On different hosts and in one subnet, so that only the VLAN separates them."""
    stations = {"x0": [(4, 100, 1)], "x1": [(4, 100, 2), (5, 200, 3)]}
    try:
        for name, vfs in stations.items():
            machine, pf = machines[name], pfs[name][0]["mac"]
            machine.check_output("modprobe igbvf")
            for vf, vlan, number in vfs:
                mac = f"02:00:00:00:02:{number:02x}"
                done = module(
                    machine,
                    "vf",
                    vfs=[{"pf": pf, "vf": vf, "mac": mac, "vlan": vlan, "spoofchk": True}],
                )
                assert done["changed"]
                (device,) = module(
                    machine, "pci_driver", devices=[{"pf": pf, "vf": vf, "driver": "igbvf"}]
                )["devices"]
                (interface,) = machine.file(
                    f"/sys/bus/pci/devices/{device['address']}/net"
                ).listdir()
                machine.check_output(
                    f"ip netns add s{number} && ip link set dev {interface} netns s{number} &&"
                    f" ip -n s{number} address add 10.9.0.{number}/24 dev {interface} &&"
                    f" ip -n s{number} link set dev {interface} up"
                )
        x0 = machines["x0"]
        assert x0.run("ip netns exec s1 ping -c 3 -w 30 10.9.0.2").rc == 0
        assert x0.run("ip netns exec s1 ping -c 3 -w 5 10.9.0.3").rc != 0
        release = [{"pf": pfs["x1"][0]["mac"], "vf": 5}]
        held = refusal(machines["x1"], "pci_driver", devices=release)
        assert "another network namespace" in held
    finally:
        for name, vfs in stations.items():
            machine, pf = machines[name], pfs[name][0]["mac"]
            machine.run("; ".join(f"ip netns delete s{number}" for _vf, _vlan, number in vfs))
            numbers = [vf for vf, _vlan, _number in vfs]
            devices = [{"pf": pf, "vf": vf} for vf in numbers]
            module(machine, "pci_driver", devices=devices, force=True)
            module(
                machine,
                "vf",
                vfs=[{"pf": pf, "vf": vf, "mac": "00:00:00:00:00:00", "vlan": 0} for vf in numbers],
            )
            machine.run("modprobe -r igbvf")
