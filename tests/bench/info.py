# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure how the time that `sriov_info` takes grows with the number of VFs of a host.

The host is a fabricated tree with 4 PFs; all VFs are held by one materialization, and are either
with guests of 8 VFs each or have network interfaces. Shown are the median seconds of some rounds,
the time for each VF more than the line above, and the size of the answer.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

CHECKOUT = Path(__file__).resolve().parents[2]
PFS = 4
VFS = (16, 64, 254)
VFS_PER_GUEST = 8
ROUNDS = 5


class Row(t.NamedTuple):
    """A host with so many VFs, the median seconds of a run on it, and the bytes of its answer."""

    driver: str
    vfs: int
    seconds: float
    size: int


def machine(directory: Path, vfs: int, driver: str) -> t.Any:
    """A host with *vfs* VFs for each PF, all with *driver*."""
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
    from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine, ledger_entry

    host = Machine(directory)
    addresses = []
    entries = []
    for pf in range(PFS):
        functions = [f"0000:{0x80 + pf:02x}:{vf >> 3:02x}.{vf & 7}" for vf in range(vfs)]
        mac = f"0c:42:a1:00:{pf:02x}:10"
        host.add_pf(
            f"0000:{0x3B + pf:02x}:00.0",
            f"ens{pf}np0",
            mac,
            driver="mlx5_core",
            numvfs=vfs,
            totalvfs=vfs,
            vf_addresses=functions,
        )
        addresses += functions
        entries += [ledger_entry(pf_mac=mac, vf=vf) for vf in range(vfs)]
    for address in addresses:
        host.bind(address, driver)
    _ledger.write(host, {"bench.hello.demo": entries})
    groups = [host.link(f"/sys/bus/pci/devices/{address}/iommu_group") for address in addresses]
    for pid, first in enumerate(range(0, len(groups), VFS_PER_GUEST), 1000):
        held = [f"/dev/vfio/{group}" for group in groups[first : first + VFS_PER_GUEST]]
        host.add_process(pid, "qemu-system-x86", "/dev/vfio/vfio", *held)
    return host


def measure(vfs: int, driver: str) -> Row:
    """Make a host, and run the module's work on it."""
    from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _info

    with tempfile.TemporaryDirectory() as directory:
        host = machine(Path(directory), vfs, driver)
        seconds = []
        for _round in range(ROUNDS):
            start = time.perf_counter()
            found = _info.gather(host, None)
            seconds.append(time.perf_counter() - start)
        # Not an empty tree: VFIO's users are known, and interfaces that are down serve nobody.
        used = sum(bool(vf["users"]) for pf in found["pfs"] for vf in pf["vfs"])
        if used != (PFS * vfs if driver == "vfio-pci" else 0):
            sys.exit(f"{used} VFs with {driver} are in use")
    return Row(driver, PFS * vfs, statistics.median(seconds), len(json.dumps(found)))


def main() -> None:
    print(f"{'driver':10} {'VFs':>5} {'seconds':>8} {'ms per VF more':>15} {'answer':>8}")
    for driver in ("vfio-pci", "mlx5_core"):
        rows = [measure(vfs, driver) for vfs in VFS]
        for number, row in enumerate(rows):
            more = ""
            if number:
                before = rows[number - 1]
                more = f"{(row.seconds - before.seconds) / (row.vfs - before.vfs) * 1000:.3f}"
            print(
                f"{driver:10} {row.vfs:5} {row.seconds:8.3f} {more:>15} {row.size / 1024:5.0f} KiB"
            )


if __name__ == "__main__":
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])
    main()
