# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _storage
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine

PF = "0000:3b:00.0"
SERVER = "10.0.0.9"
COLLECTIONS = Path(__file__).parents[5] / ".ansible" / "collections"


@pytest.fixture
def host(tmp_path: Path) -> BootMachine:
    """A host whose routes all lead through the PF `p0`, with other interfaces beside it."""
    host = BootMachine(tmp_path, {})
    host.add_pf(PF, "p0", "04:70:00:00:00:10", driver="mlx5_core")
    host.add_interface("lo", mac="00:00:00:00:00:00")
    host.add_interface("wg0", mac="00:00:00:00:00:00")
    host.add_interface("bond0", mac="04:70:00:00:00:20")
    host.put("/sys/class/net/bond0/lower_p1", "")
    route(host, "p0")
    return host


def route(host: BootMachine, *ways: str, server: str = SERVER) -> None:
    hops = [{"dev": way} for way in ways]
    answer = [{"dst": server, **hops[0]} if len(hops) == 1 else {"dst": server, "nexthops": hops}]
    host.answers[f"ip -json route get {server}"] = Completed(0, json.dumps(answer), "")


def mounted(host: Machine, kind: str, source: str, options: str, where: str = "/mnt") -> None:
    host.put(
        "/proc/self/mountinfo",
        "22 1 8:1 / /boot rw,relatime - ext4 /dev/sda1 rw\n"
        f"36 25 0:40 / {where} rw,relatime shared:1 - {kind} {source} {options}\n",
    )


def nvme(host: Machine, address: str, transport: str = "tcp") -> None:
    host.put("/sys/class/nvme/nvme0/transport", f"{transport}\n")
    host.put("/sys/class/nvme/nvme0/address", f"{address}\n")


def iscsi(host: Machine, **files: str) -> None:
    for name, text in files.items():
        host.put(f"/sys/class/iscsi_connection/connection1:0/{name}", f"{text}\n")


NFS = "rw,vers=4.2,rsize=1048576,hard,proto=tcp,sec=sys,clientaddr=10.0.0.1"


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda host: iscsi(host, address=SERVER, port="3260"), f"the iSCSI .*1:0 to {SERVER}"),
        (lambda host: iscsi(host, persistent_address=SERVER), f"the iSCSI .*1:0 to {SERVER}"),
        (
            lambda host: nvme(host, f"traddr={SERVER},trsvcid=4420,src_addr=10.0.0.1"),
            rf"the NVMe controller nvme0 \(tcp\) of {SERVER}",
        ),
        (lambda host: nvme(host, f"traddr={SERVER},trsvcid=4420", "rdma"), r"nvme0 \(rdma\)"),
        (
            lambda host: mounted(host, "nfs4", "nas:/x", f"{NFS},addr={SERVER}", "/"),
            r"the root file system \(nfs4, nas:/x\)",
        ),
        (
            lambda host: mounted(host, "nfs", "nas:/x", f"{NFS},mountaddr={SERVER}", "/a\\040b"),
            r"the file system /a b \(nfs, nas:/x\)",
        ),
        (lambda host: mounted(host, "cifs", "//nas/x", f"rw,addr={SERVER}"), r"\(cifs, //nas/x\)"),
        (lambda host: mounted(host, "ceph", f"{SERVER}:6789:/", "rw"), r"\(ceph"),
        (lambda host: mounted(host, "ceph", "u@f.fs=/", f"rw,mon_addr={SERVER}:3300"), r"\(ceph"),
        (lambda host: mounted(host, "9p", SERVER, "rw,trans=tcp,port=564"), r"\(9p"),
        (lambda host: mounted(host, "fuse.sshfs", f"a@{SERVER}:/x", "rw"), r"\(fuse.sshfs"),
        (lambda host: host.put("/sys/block/etherd!e0.0/netif", "p0,p9\n"), "the disk etherd!e0.0"),
    ],
)
def test_what_comes_through_the_card(
    host: BootMachine, make: t.Callable[[Machine], None], what: str
) -> None:
    make(host)
    found, _unknown = _storage.devices(host)
    assert list(found) == [PF]
    assert re.search(f"{what}.* comes through p0$", found[PF])


@pytest.mark.parametrize(
    "make",
    [
        lambda host: None,
        lambda host: mounted(host, "ext4", "/dev/nvme0n1p1", "rw", "/"),
        lambda host: mounted(host, "9p", "share", "rw,trans=virtio"),
        lambda host: mounted(host, "fuse.lxcfs", "lxcfs", "rw"),
        lambda host: nvme(host, "0000:5e:00.0", "pcie"),
        lambda host: host.put("/sys/block/nbd0/size", "0\n"),
        lambda host: host.put("/sys/block/sda/size", "8\n"),
    ],
)
def test_what_is_on_this_host(host: BootMachine, make: t.Callable[[Machine], None]) -> None:
    make(host)
    assert _storage.devices(host) == ({}, [])


def test_a_server_behind_other_interfaces(host: BootMachine) -> None:
    """What lies over others is seen at these: they are part of it."""
    host.add_function("0000:01:00.0")
    host.add_interface("eth9", "0000:01:00.0", mac="04:70:00:00:00:30")
    iscsi(host, address=SERVER)
    for way, found in (("eth9", ["0000:01:00.0"]), ("bond0", []), ("lo", [])):
        route(host, way)
        assert list(_storage.devices(host)[0]) == found
        assert _storage.devices(host)[1] == []


def test_all_ways_count(host: BootMachine) -> None:
    host.add_function("0000:01:00.0")
    eth9 = host.add_interface("eth9", "0000:01:00.0", mac="04:70:00:00:00:30")
    route(host, "p0", "eth9")
    iscsi(host, address=SERVER)
    assert set(_storage.devices(host)[0]) == {PF, "0000:01:00.0"}
    # The session has an address of one interface, and the route leads through another.
    route(host, "p0")
    host.netlink.ips[eth9.ifindex] = ["10.0.0.1/24"]
    iscsi(host, local_ipaddr="10.0.0.1")
    assert set(_storage.devices(host)[0]) == {PF, "0000:01:00.0"}
    nvme(host, "traddr=fe80::9%eth9,trsvcid=4420,host_iface=p0")
    iscsi(host, address="10.0.0.8", local_ipaddr="")
    assert set(_storage.devices(host)[0]) == {PF, "0000:01:00.0"}


def test_a_connection_that_is_lost_for_now(host: BootMachine) -> None:
    """The kernel answers ENOTCONN for its addresses, and goes on trying to come back."""
    iscsi(host, address="", local_ipaddr="", persistent_address=SERVER)
    for name in ("address", "local_ipaddr"):
        path = f"/sys/class/iscsi_connection/connection1:0/{name}"
        host.faults["read", path] = errno.ENOTCONN
    assert list(_storage.devices(host)[0]) == [PF]


def test_a_vf_belongs_to_its_pf(host: BootMachine) -> None:
    host.write(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "1")
    host.add_interface("v0", "0000:3b:10.0", mac="02:00:00:00:00:01")
    route(host, "v0")
    iscsi(host, address=SERVER)
    assert list(_storage.devices(host)[0]) == [PF]


def iscsi_by_tunnel(host: BootMachine) -> None:
    iscsi(host, address=SERVER)
    route(host, "wg0")


@pytest.mark.parametrize(
    ("make", "through"),
    [
        (iscsi_by_tunnel, "wg0"),
        (lambda host: iscsi(host, address="10.0.0.8"), "the network"),
        (lambda host: mounted(host, "fuse.glusterfs", "gluster:/x", "rw"), "the network"),
        (lambda host: host.put("/sys/block/nbd0/pid", "77\n"), "the network"),
        (lambda host: host.put("/sys/block/rbd0/size", "8\n"), "the network"),
        (lambda host: host.put("/sys/block/drbd1/size", "8\n"), "the network"),
    ],
)
def test_a_way_that_cannot_be_told(
    host: BootMachine, make: t.Callable[[BootMachine], None], through: str
) -> None:
    make(host)
    found, (unknown,) = _storage.devices(host)
    assert found == {}
    assert unknown.endswith(f" comes through {through}, and nobody can tell by which NIC")


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root")
def test_the_kernels_own_routes(tmp_path: Path) -> None:
    """With `ip` in a network namespace: the more specific route goes before the default one."""
    host = Machine(tmp_path)
    host.add_pf(PF, "p0", "04:70:00:00:00:10")
    host.add_pf("0000:01:00.0", "p1", "04:70:00:00:00:20")
    iscsi(host, address=SERVER)
    program = (
        "from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _host\n"
        "from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _storage\n"
        f"print(list(_storage.devices(_host.Host({str(tmp_path)!r}))[0]))"
    )
    commands = [
        "ip link add p0 type veth peer name q0",
        "ip link add p1 type veth peer name q1",
        "ip address add 10.0.0.1/24 dev p0",
        "ip address add 10.1.0.1/24 dev p1",
        *(f"ip link set {name} up" for name in ("p0", "p1", "q0", "q1")),
        "ip route add default via 10.0.0.254",
        '"$@"',
        f"ip route add {SERVER}/32 via 10.1.0.254",
        '"$@"',
        f"ip route add table 9 {SERVER}/32 via 10.0.0.254",
        f"ip rule add to {SERVER} lookup 9",
        '"$@"',
    ]
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", "\n".join(commands), "sh", sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"['{PF}']", "['0000:01:00.0']", f"['{PF}']"]
