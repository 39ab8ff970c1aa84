# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure how the work of `sriov_info` on a host grows with the number of its VFs.

The host is a fabricated tree with 4 PFs. One materialization holds all VFs, and guests of 8 VFs
each use them.
"""

from __future__ import annotations

import sys
import tempfile
import time
import typing as t
from pathlib import Path

from rows import Row, tell

PFS = 4
VFS = (1, 14, 127)
VFS_PER_GUEST = 8
DRIVER = "vfio-pci"
ROUNDS = 5


def machine(directory: Path, vfs: int) -> t.Any:
    """A host with *vfs* VFs for each PF."""
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
        host.bind(address, DRIVER)
    _ledger.write(host, {"bench.hello.demo": entries})
    groups = [host.link(f"/sys/bus/pci/devices/{address}/iommu_group") for address in addresses]
    for pid, first in enumerate(range(0, len(groups), VFS_PER_GUEST), 1000):
        held = [f"/dev/vfio/{group}" for group in groups[first : first + VFS_PER_GUEST]]
        host.add_process(pid, "qemu-system-x86", "/dev/vfio/vfio", *held)
    return host


def measure(vfs: int) -> list[float]:
    """Make a host, and return the CPU milliseconds of the module's work on it."""
    from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _info

    with tempfile.TemporaryDirectory() as directory:
        host = machine(Path(directory), vfs)
        spent = []
        for _round in range(ROUNDS):
            start = time.process_time()
            found = _info.gather(host, None)
            spent.append(1000 * (time.process_time() - start))
        if not all(vf["users"] for pf in found["pfs"] for vf in pf["vfs"]):
            sys.exit("some VFs are not in use")
    return spent


def rows() -> t.Iterator[Row]:
    tell("sriov_info by the number of VFs")
    fewest = measure(VFS[0])
    yield Row(f"sriov_info's own work, {PFS} PFs with {VFS[0]} VF each", fewest, "ms")
    for vfs in VFS[1:]:
        what = f"sriov_info's own work, {PFS} PFs with {vfs} VFs each"
        # Proportional to the VFs at most.
        goal = vfs / VFS[0]
        yield Row(what, measure(vfs), "ms", fewest, f"with {VFS[0]}", goal)
