# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three fabricated hypervisors of an OpenStack deployment, with two physical networks.

`compute0` has an igb-like card of two ports, one port in each network. Both ports of the ConnectX
of `compute1` are in one network. `compute2` has a port of each kind, and a PF that goes to guests
as a whole. A materialization has VFs of the first two.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _info
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, ledger_entry
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CONFIG, Hypervisor

MZID = "one.hello.demo"
IGB = ("0000:07:00.0", "0000:07:00.1")
CONNECTX = ("0000:3b:00.0", "0000:3b:00.1")
WHOLE = "0000:5e:00.0"
MACS = {
    address: f"0c:42:a1:00:00:{number:02x}"
    for number, address in enumerate((*CONNECTX, *IGB, WHOLE), start=16)
}
IGB_VFS = {
    pf: tuple(f"0000:07:{0x10 + vf // 4:02x}.{2 * vf % 8 + port}" for vf in range(7))
    for port, pf in enumerate(IGB)
}
CONNECTX_VFS = {
    CONNECTX[0]: tuple(f"0000:3b:00.{function}" for function in range(2, 6)),
    CONNECTX[1]: ("0000:3b:00.6", "0000:3b:00.7", "0000:3b:01.0", "0000:3b:01.1"),
}
HELD = {
    "compute0": [IGB_VFS[IGB[0]][0], IGB_VFS[IGB[0]][3], IGB_VFS[IGB[1]][6]],
    "compute1": [CONNECTX_VFS[CONNECTX[1]][1]],
    "compute2": [],
}
NETWORKS: dict[str, t.Any] = {
    "compute0": {"physnet2": "p4p1", "physnet3": {"pfs": [MACS[IGB[1]]], "trusted": True}},
    "compute1": {"physnet2": {"pfs": {"vendor": "15b3", "device": "1017"}, "managed": False}},
    "compute2": {
        "physnet2": IGB[0],
        "physnet3": {"pfs": {"nic_model": "ConnectX5"}, "live_migratable": True},
        "physnet4": {"pfs": WHOLE, "whole": True},
    },
}
OFFERED = {"compute2": [{"name": "p5p1", "mac": MACS[CONNECTX[0]], "nic_model": "ConnectX5"}]}
MEANT: dict[str, dict[str, str]] = {
    "compute0": {
        **dict.fromkeys(IGB_VFS[IGB[0]], "physnet2"),
        **dict.fromkeys(IGB_VFS[IGB[1]], "physnet3"),
    },
    "compute1": dict.fromkeys(CONNECTX_VFS[CONNECTX[0]] + CONNECTX_VFS[CONNECTX[1]], "physnet2"),
    "compute2": {
        **dict.fromkeys(IGB_VFS[IGB[0]], "physnet2"),
        **dict.fromkeys(CONNECTX_VFS[CONNECTX[0]], "physnet3"),
        WHOLE: "physnet4",
    },
}
"""What guests may get by host, and its physical network, with what a materialization holds."""


def _add_igb(host: Hypervisor, *pfs: str) -> None:
    for pf in pfs:
        name = f"p4p{IGB.index(pf) + 1}"
        host.add_pf(pf, name, MACS[pf], numvfs=7, vf_addresses=IGB_VFS[pf], config=CONFIG)
        host.put(f"{DEVICES}/{pf}/sriov_vf_device", "10ca\n")


def _add_connectx(host: Hypervisor, *pfs: str) -> None:
    for pf in pfs:
        host.add_pf(
            *(pf, f"p5p{CONNECTX.index(pf) + 1}", MACS[pf]),
            driver="mlx5_core",
            numvfs=4,
            totalvfs=8,
            vf_addresses=CONNECTX_VFS[pf],
            config=CONFIG,
        )
        for function, device in ((pf, "0x1017"), *((vf, "0x1018") for vf in CONNECTX_VFS[pf])):
            host.put(f"{DEVICES}/{function}/vendor", "0x15b3")
            host.put(f"{DEVICES}/{function}/device", device)
        host.put(f"{DEVICES}/{pf}/sriov_vf_device", "1018\n")


def _hold(host: Hypervisor, held: list[str]) -> None:
    entries = [
        ledger_entry(node="alpha", nic=f"eth{number}", address=address, vf=number)
        for number, address in enumerate(held)
    ]
    if entries:
        _ledger.write(host, {MZID: entries})


def compute0(directory: Path) -> Hypervisor:
    host = Hypervisor(directory)
    _add_igb(host, *IGB)
    _hold(host, HELD["compute0"])
    return host


def compute1(directory: Path) -> Hypervisor:
    host = Hypervisor(directory)
    _add_connectx(host, *CONNECTX)
    _hold(host, HELD["compute1"])
    return host


def compute2(directory: Path) -> Hypervisor:
    host = Hypervisor(directory)
    _add_igb(host, IGB[0])
    _add_connectx(host, CONNECTX[0])
    host.add_pf(WHOLE, "p6p1", MACS[WHOLE], config=CONFIG)
    host.put(f"{DEVICES}/{WHOLE}/sriov_vf_device", "10ca\n")
    return host


HOSTS: dict[str, t.Callable[[Path], Hypervisor]] = {
    make.__name__: make for make in (compute0, compute1, compute2)
}


def answers(directory: Path) -> dict[str, dict[str, t.Any]]:
    """What `sriov_info` tells of each host, which are made in *directory*."""
    made = {}
    for name, make in HOSTS.items():
        (directory / name).mkdir()
        made[name] = _info.gather(make(directory / name), None)
    return made
