# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fabricated hypervisor that has all that `prepare` works on, and that can be restarted."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import (
    _command_line,
    _loaders,
    _modules,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _service
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import DEBIAN_GRUB, DebianMachine
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, config_space
from ansible_collections.mergetb.sriov.tests.unit.firmware import Firmware

CONFIG = config_space((0x01, b""), (0x10, b"\0" * 60))
CARD = "0000:3b:00.0"

# What an IOMMU that works shows; groups beside these are there from the start.
_IOMMU = ("/sys/class/iommu/dmar0", "/sys/kernel/iommu_groups/0")


class Hypervisor(DebianMachine):
    """A Debian with VT-d that is off (`intel_iommu=off` in GRUB), and without NICs.

    `firmware` is that of the card that `add_card` puts in, and `tools` are those that can set it.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory,
            {
                _loaders.DEFAULT_GRUB: DEBIAN_GRUB.replace('"quiet"', '"intel_iommu=off"'),
                "/sys/firmware/acpi/tables/DMAR": "",
                "/proc/sys/kernel/osrelease": "6.12.1\n",
            },
        )
        self.firmware = Firmware()
        self.tools = {"mstconfig"}
        self.boots = 0
        self.run(["/usr/sbin/update-grub"])
        self.restart()

    def add_card(self) -> None:
        """A ConnectX whose firmware has SR-IOV switched off."""
        self.add_pf(CARD, "p0", "04:70:00:00:00:3b", driver="mlx5_core", config=CONFIG)
        self.put(f"{DEVICES}/{CARD}/vendor", "0x15b3")
        self._show_vfs_of_card()

    def has_command(self, name: str) -> bool:
        return name in self.tools

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        if argv[0] in ("mstconfig", "mlxconfig", "mstfwreset"):
            done = self.firmware.run(argv)
            if argv[0] == "mstfwreset" and not done.rc:
                # It takes the card out of PCI and looks for it again.
                self.put(f"{DEVICES}/{CARD}/sriov_drivers_autoprobe", "1")
                self._show_vfs_of_card()
            return done
        if argv[0] == "modprobe" and "--dry-run" not in argv:
            self._load(argv[-1])
        if argv[:2] == ["systemctl", "enable"]:
            wants = self.path(_service._WANTS)
            os.makedirs(os.path.dirname(wants), exist_ok=True)
            os.symlink(_service.UNIT, wants)
        return super().run(argv)

    def restart(self) -> None:
        """Boot with what the boot loader, the firmware and the udev rules say."""
        (entry,) = _loaders.Grub(self).entries() or []
        self._start(entry)
        self.firmware.start()
        for name in self.names(_modules.DIRECTORY):
            for line in (self.read(f"{_modules.DIRECTORY}/{name}") or "").splitlines():
                if not line.startswith("#"):
                    self._load(line)
        counts = _numvfs.counts_at_boot(self)
        for address in self.names(DEVICES):
            base = f"{DEVICES}/{address}"
            if self.exists(f"{base}/sriov_numvfs"):
                self.write(f"{base}/sriov_numvfs", "0")
                pf = (address, _pci.read_pf(self, address).mac)
                self.put(f"{base}/sriov_drivers_autoprobe", "0" if pf in counts else "1")
                if address == CARD:
                    self._show_vfs_of_card()
                self.write(f"{base}/sriov_numvfs", str(counts.get(pf, 0)))

    def start_without_iommu(self) -> None:
        """Boot once with other arguments than the boot loader's, which somebody has typed."""
        self._start("root=UUID=9d ro intel_iommu=off")

    def _start(self, arguments: str) -> None:
        self.boots += 1
        self.put("/proc/sys/kernel/random/boot_id", f"boot {self.boots}")
        self.put("/proc/cmdline", arguments)
        for path in _IOMMU:
            shutil.rmtree(self.path(path), ignore_errors=True)
            if "intel_iommu=on" in _command_line.arguments(arguments):
                self.put(f"{path}/x", "")

    def unload(self, module: str) -> None:
        """Unload a kernel module, as modprobe --remove does."""
        shutil.rmtree(self.path(f"/sys/module/{module.replace('-', '_')}"))

    def _load(self, module: str) -> None:
        self.put(f"/sys/module/{module.replace('-', '_')}/refcnt", "0")

    def _show_vfs_of_card(self) -> None:
        enabled, count = (self.firmware.columns[name][1] for name in ("SRIOV_EN", "NUM_OF_VFS"))
        self.put(f"{DEVICES}/{CARD}/sriov_totalvfs", count if enabled == "True(1)" else "0")
