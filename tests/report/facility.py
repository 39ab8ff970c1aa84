# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Made-up facilities of any size: what their hosts, their model and their audit tell."""

from __future__ import annotations

import random
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report

NO_MAC = "00:00:00:00:00:00"
MADE = "2026-11-20 12:00 UTC"


def vf(index: int, address: str, **changes: t.Any) -> dict[str, t.Any]:
    """Return what sriov_info tells of a VF that is nobody's and has no driver."""
    return {
        "index": index,
        "address": address,
        "driver": None,
        "iommu_group": "42",
        "numa_node": 0,
        "mac": NO_MAC,
        "vlan": 0,
        "qos": 0,
        "vlan_proto": "802.1Q",
        "spoofchk": True,
        "trust": False,
        "link_state": "auto",
        "min_tx_rate": 0,
        "max_tx_rate": 0,
        "query_rss": None,
        "users": [],
        "group_mates": [],
        **changes,
    }


def pf(index: int, mac: str, vfs: int, **changes: t.Any) -> dict[str, t.Any]:
    """Return what sriov_info tells of a PF with VFs that nobody uses."""
    bus = f"0000:{0x3B + index:02x}"
    return {
        "address": f"{bus}:00.0",
        "interface": f"ens{index + 1}f0",
        "mac": mac,
        "problem": None,
        "numvfs": vfs,
        "vfs": [vf(n, f"{bus}:{(n + 2) >> 3:02x}.{(n + 2) & 7}") for n in range(vfs)],
        **changes,
    }


def hold(
    facts: dict[str, t.Any], mzid: str, pf: int, vf: int, nic: str, mac: str, vlan: int
) -> dict[str, t.Any]:
    """Give a VF to a materialization, and return its entry in the ledger."""
    its_pf = facts["pfs"][pf]
    has = its_pf["vfs"][vf]
    node, name = nic.split(".")
    entry = {
        "node": node,
        "nic": name,
        "pf_name": its_pf["interface"],
        "pf_mac": its_pf["mac"],
        "pf_address": its_pf["address"],
        "vf": vf,
        "address": has["address"],
        "vlan": vlan,
        "vlan_mode": "vst",
        "values": {"mac": mac, "vlan": vlan, "qos": 0, "spoofchk": True, "trust": False},
        "refused": [],
        "driver": "vfio-pci",
        "state": "ready",
        "baseline": {},
        "baseline_driver": None,
    }
    has.update(mac=mac, vlan=vlan, driver="vfio-pci")
    facts["materializations"].setdefault(mzid, []).append(entry)
    return entry


class Facility:
    """Hosts with two PFs each, at two leafs for every twenty hosts."""

    def __init__(self, hosts: int, *, pfs: int = 2, vfs: int = 16) -> None:
        self.facts: dict[str, dict[str, t.Any]] = {}
        self.pfs: dict[str, list[dict[str, t.Any]]] = {}
        self.findings: list[dict[str, t.Any]] = []
        for number in range(hosts):
            name = f"x{number}"
            macs = [f"0c:42:a1:{number >> 8:02x}:{number & 255:02x}:{n:02x}" for n in range(pfs)]
            self.facts[name] = {
                "changed": False,
                "iommu_groups": 24,
                "materializations": {},
                "pfs": [pf(n, mac, vfs) for n, mac in enumerate(macs)],
            }
            self.pfs[name] = [
                {
                    "name": f"ens{n + 1}f0",
                    "mac": mac,
                    "max_vfs": vfs,
                    "leaf": {
                        "host": f"leaf{number // 20 * 2 + n % 2}",
                        "port": f"swp{number % 20 + 1}",
                        "domain": "leaf0",
                    },
                }
                for n, mac in enumerate(macs)
            ]

    def use(self, seed: int = 1) -> Facility:
        """Use about half of it, and let some things be wrong."""
        chance = random.Random(seed)
        number = 0
        for name, facts in self.facts.items():
            for n, its in enumerate(facts["pfs"]):
                held = chance.randrange(len(its["vfs"]) + 1)
                for index in range(held):
                    number += 1
                    mac = f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
                    entry = hold(
                        facts,
                        f"real.exp{number // 60}.project{number // 600}",
                        *(n, index, f"node{number % 60}.eth{n + 1}", mac, 100 + number // 60),
                    )
                    its["vfs"][index]["users"] = [
                        f"process {4000 + index} (qemu-system-x86, guest {entry['node']}) has"
                        " /dev/vfio/42 open"
                    ]
                    if chance.random() < 0.002:
                        its["vfs"][index]["vlan"] = 0
                for free in its["vfs"][held:]:
                    if chance.random() < 0.01:
                        free.update(
                            driver="vfio-pci",
                            users=["process 4711 (qemu-system-x86) has /dev/vfio/42 open"],
                        )
                if chance.random() < 0.05:
                    for free in its["vfs"][held:]:
                        free["driver"] = free["driver"] or "mlx5_core"
            if chance.random() < 0.01:
                self.facts[name] = {
                    "unreachable": True,
                    "msg": f"Failed to connect to the host via ssh: connect to host {name} port"
                    " 22: No route to host",
                }
            if chance.random() < 0.02:
                self.finding(
                    *("error", "max_vfs", name, "ens1f0", "sriov.Pf.MaxVFs", 16, 7),
                    "the model declares 16 VFs, the NIC offers 7",
                    "Set MaxVFs to 7, or raise NUM_OF_VFS in the firmware.",
                )
            if chance.random() < 0.1:
                self.finding(
                    *("warning", "pcie_width", name, "ens2f0", None, None, None),
                    "the link has 8 lanes, the card can use 16",
                    "Move the card to a wider slot.",
                )
        return self

    def finding(self, *values: t.Any) -> None:
        """Let the audit find something."""
        keys = ("severity", "check", "host", "element", "field", "declared", "actual", "message")
        finding = dict(zip((*keys, "remedy"), values, strict=True))
        finding["element"] = f"{finding['host']} {finding['element']}"
        self.findings.append({**finding, "fix": False})

    def report(self, name: str = "phobos") -> _report.Report:
        """Return the report of it."""
        return _report.report(
            self.facts,
            self.pfs,
            self.findings,
            facility=name,
            model="/srv/phobos.xir",
            made=MADE,
        )
