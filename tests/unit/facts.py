# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What sriov_info tells of made-up hosts."""

from __future__ import annotations

import typing as t

from mergetbapi import xir

IGB = ("0x8086", "0x10c9")
I210 = ("0x8086", "0x1533")


def truth(facility: xir.Facility, *names: str, vfs: int = 0) -> dict[str, dict[str, t.Any]]:
    """Return the facts of hosts that are as the model says, by name; their PFs have VFs."""
    cabled: dict[str, list[tuple[str, str]]] = {}
    for resource in facility.resources:
        for nic in resource.ni_cs:
            for port in nic.ports:
                cabled.setdefault(port.connector.element, []).append((resource.id, port.name))
    resources = {resource.id: resource for resource in facility.resources}
    return {
        name: host(
            (
                port_of(
                    port,
                    address=f"0000:{ni + 1:02x}:00.{pi}",
                    neighbours=[end for end in cabled[port.connector.element] if end[0] != name],
                )
                for ni, nic in enumerate(resources[name].ni_cs)
                for pi, port in enumerate(nic.ports)
            ),
            vfs=vfs,
        )
        for name in names
    }


def host(ports: t.Iterable[dict[str, t.Any]], *, vfs: int = 0) -> dict[str, t.Any]:
    """Return the facts of a host; ports that have ``totalvfs`` are PFs with ``vfs`` VFs."""
    ports = list(ports)
    pfs = [pf(port, port["totalvfs"], vfs) for port in ports if port["totalvfs"]]
    for port in ports:
        del port["totalvfs"]
    return {
        "platform": {
            "arch": "x86_64",
            "kernel": "6.1.0-27-amd64",
            "iommu": "Intel VT-d",
            "iommu_effective": True,
            "iommufd": False,
            "lockdown": "none",
        },
        "iommu_groups": 24,
        "lldp": True,
        "ports": ports,
        "pfs": pfs,
        "vdpa": None,
        "materializations": {},
    }


def port_of(port: xir.Port, *, address: str, neighbours: list[tuple[str, str]]) -> dict[str, t.Any]:
    """Return a port that is as the model says."""
    is_pf = port.sriov.pf.max_v_fs > 0 if port.sriov._group_current.get("Data") == "pf" else False
    system, name = neighbours[0] if neighbours else (None, None)
    return {
        "totalvfs": port.sriov.pf.max_v_fs if is_pf else None,
        "address": address,
        "interface": port.name,
        "mac": port.mac,
        "vendor": (IGB if is_pf else I210)[0],
        "device": (IGB if is_pf else I210)[1],
        "driver": "igb",
        "up": True,
        "carrier": True,
        "speed": port.capacity,
        "mtu": 1500,
        "pcie": {"speed": 5.0, "width": 4, "max_speed": 5.0, "max_width": 4},
        "numa_node": 0,
        "management": None,
        "neighbour": {"system": system, "port": name, "description": None} if system else None,
    }


def pf(port: dict[str, t.Any], totalvfs: int, numvfs: int) -> dict[str, t.Any]:
    """Return the PF that a port is."""
    bus = int(port["address"][5:7], 16)
    function = int(port["address"][-1])
    return {
        **{key: port[key] for key in ("address", "interface", "mac", "vendor", "device", "driver")},
        "iommu_group": str(10 * bus + function),
        "numa_node": port["numa_node"],
        "numvfs": numvfs,
        "totalvfs": totalvfs,
        "autoprobe": False,
        "capabilities": {
            "sriov": True,
            "total_vfs": totalvfs,
            "acs": False,
            "aer": True,
            "ari": True,
            "extended": True,
        },
        "problem": None,
        "acs": True,
        "group_mates": [],
        "firmware": None,
        "vfs": [
            {
                "index": index,
                "address": f"0000:{bus + 128:02x}:{index:02x}.{function}",
                "driver": None,
                "iommu_group": str(1000 * bus + 100 * function + index),
                "numa_node": port["numa_node"],
                "mac": "00:00:00:00:00:00",
                "vlan": 0,
                "users": [],
                "group_mates": [],
            }
            for index in range(numvfs)
        ],
    }


def whole_function(**more: t.Any) -> dict[str, t.Any]:
    """Return what a ledger says of a whole function, a GPU unless *more* says otherwise."""
    return {
        "kind": "function",
        "node": "alpha",
        "nic": "gpu0",
        "address": "0000:41:00.0",
        "identity": "10de:2204",
        "pf_name": None,
        "pf_mac": None,
        "vlan": None,
        "state": "ready",
        "runs": [],
        **more,
    }
