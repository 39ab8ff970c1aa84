# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device files of PCI functions, and what the host keeps on them.

Sources: proc_pid_mountinfo(5), proc_swaps(5); Documentation/ABI/stable/sysfs-block and
Documentation/fb/fbcon.rst of the Linux kernel.
"""

from __future__ import annotations

import contextlib
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

_SUBSYSTEMS = "/sys/class/nvme-subsystem"
_BTRFS = "/sys/fs/btrfs"
_CONTROLLER = re.compile(r"nvme\d+")
_FRAME_BUFFER = re.compile(r"/dev/fb\d+")
_MINOR = re.compile(r"Device Minor:\s*(\d+)")
# The kernel writes blanks in paths as octal numbers.
_BLANK = r"\040"


class Node(t.NamedTuple):
    """A device file: its path, and its link in /sys/dev, empty if its driver makes none."""

    path: str
    link: str

    @property
    def is_block(self) -> bool:
        return self.link.startswith("/sys/dev/block/")

    @property
    def number(self) -> str:
        """Major and minor number, with a colon."""
        return self.link.rpartition("/")[2]


def of_functions(host: Host, addresses: t.Collection[str]) -> dict[str, list[Node]]:
    """The device files that lead to the functions *addresses*, by address."""
    found: dict[str, list[Node]] = {address: [] for address in addresses}
    if not found:
        return found
    shared = _subsystems(host)
    for kind in ("block", "char"):
        for number in host.names(f"/sys/dev/{kind}"):
            link = f"/sys/dev/{kind}/{number}"
            parts = (host.target(link) or "").split("/")
            # A function can have others behind it: Intel's VMD has the NVMe controllers.
            functions = [part for part in parts if _pci.is_address(part)]
            functions += [each for part in parts for each in shared.get(part, ())]
            for address in found.keys() & set(functions):
                name = _name(host, link)
                if name:
                    found[address].append(Node(f"/dev/{name}", link))
    for address, nodes in found.items():
        # NVIDIA's driver keeps its files out of sysfs.
        told = host.read(f"/proc/driver/nvidia/gpus/{address}/information") or ""
        nodes += [Node(f"/dev/nvidia{minor}", "") for minor in _MINOR.findall(told)]
    return found


def _subsystems(host: Host) -> dict[str, list[str]]:
    """The functions of NVMe subsystems. A disk with several paths hangs under none of them."""
    found = {}
    for name in host.names(_SUBSYSTEMS):
        controllers = [
            each for each in host.names(f"{_SUBSYSTEMS}/{name}") if _CONTROLLER.fullmatch(each)
        ]
        targets = [host.target(f"/sys/class/nvme/{each}") or "" for each in controllers]
        found[name] = [
            [part for part in target.split("/") if _pci.is_address(part)][-1]
            for target in targets
            if any(map(_pci.is_address, target.split("/")))
        ]
    return found


def _name(host: Host, link: str) -> str | None:
    for line in (host.read(f"{link}/uevent") or "").splitlines():
        key, _equals, value = line.partition("=")
        if key == "DEVNAME":
            return value
    return None


def _mounts(host: Host) -> t.Iterator[str]:
    """The lines of mountinfo of all mount namespaces: a container has mounts of its own."""
    seen = set()
    for process in ["self", *(name for name in host.names("/proc") if name.isdigit())]:
        with contextlib.suppress(OSError):  # it ended while we looked
            namespace = host.target(f"/proc/{process}/ns/mnt") or process
            if namespace not in seen:
                seen.add(namespace)
                yield from (host.read(f"/proc/{process}/mountinfo") or "").splitlines()


def storage(host: Host, nodes: t.Iterable[Node]) -> list[str]:
    """What the host keeps on the disks among *nodes*: file systems, swap, LVM, RAID."""
    disks = [node for node in nodes if node.is_block]
    if not disks:
        return []
    by_number = {node.number: node for node in disks}
    by_path = {node.path: node for node in disks}
    texts = []
    for line in _mounts(host):
        fields = line.split()
        if "-" not in fields:
            continue
        source = fields[fields.index("-") + 2]
        # Btrfs has a number of its own.
        node = by_number.get(fields[2]) or by_path.get(source)
        if node:
            texts.append(f"{node.path} is mounted on {fields[4].replace(_BLANK, ' ')}")
    for line in (host.read("/proc/swaps") or "").splitlines()[1:]:
        path = line.split()[0]
        if path in by_path:
            texts.append(f"{path} is swap")
    for node in disks:
        holders = host.names(f"{node.link}/holders")
        if holders:
            texts.append(f"{node.path} is part of {', '.join(holders)}")
        elif host.is_claimed(node.path):
            texts.append(f"the kernel keeps {node.path} to itself (a file system, ZFS, a target)")
    names = {node.path.rpartition("/")[2]: node for node in disks}
    for system in host.names(_BTRFS):
        for name in host.names(f"{_BTRFS}/{system}/devices"):
            if name in names:
                texts.append(f"{names[name].path} is part of the Btrfs {system}")
    for loop in host.names("/sys/block"):
        backing = host.read(f"/sys/block/{loop}/loop/backing_file") if "loop" in loop else None
        if backing in by_path:
            texts.append(f"{backing} is behind /dev/{loop}")
    return list(dict.fromkeys(texts))


def console(host: Host, address: str, nodes: t.Iterable[Node]) -> str | None:
    """Why the function is the GPU of the host's console; `None` if it is not."""
    if host.read(f"{_pci.DEVICES}/{address}/boot_vga") == "1":
        return "the firmware shows the host's console on it"
    shown = next((node.path for node in nodes if _FRAME_BUFFER.fullmatch(node.path)), None)
    return f"it has {shown}, which can show the host's console" if shown else None
