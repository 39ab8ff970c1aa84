# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts of fabricated files with the boot tools that a distribution has."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.module_utils import _boot_loader
from ansible_collections.mergetb.sriov.plugins.module_utils._boot_loader import DEFAULT_GRUB
from ansible_collections.mergetb.sriov.plugins.module_utils._host import Completed
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine


class BootMachine(Machine):
    """A host with *files*; `calls` are the commands that were run, `answers` what they print."""

    def __init__(self, directory: Path, files: t.Mapping[str, str]) -> None:
        super().__init__(directory)
        self.calls: list[list[str]] = []
        self.answers: dict[str, Completed] = {}
        for path, text in files.items():
            self.put(path, text)
        self.log.clear()

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        command = [argv[0].rpartition("/")[2], *argv[1:]]
        self.calls.append(command)
        return self.answers.get(" ".join(command), Completed(0, "", ""))


class DebianMachine(BootMachine):
    """Its update-grub reads the fragments as grub-mkconfig does: with a shell."""

    def __init__(self, directory: Path, files: t.Mapping[str, str]) -> None:
        super().__init__(directory, {"/usr/sbin/update-grub": "", **files})

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        if argv[0].endswith("update-grub"):
            arguments = evaluate(
                {path: self.read(path) or "" for path in _boot_loader.Grub(self).files()}
            )
            self.put(
                _boot_loader.GRUB_CFG,
                "### BEGIN /etc/grub.d/05_own ###\n\tlinux /memtest\n"
                "### END /etc/grub.d/05_own ###\n"
                "### BEGIN /etc/grub.d/10_linux ###\n"
                f"\tlinux\t/boot/vmlinuz-6.1 root=UUID=9d ro  {arguments}\n"
                "\t\tlinux\t/boot/vmlinuz-6.1 root=UUID=9d ro single\n"
                "### END /etc/grub.d/10_linux ###\n",
            )
        return super().run(argv)


def evaluate(files: t.Mapping[str, str]) -> str:
    """The arguments that a shell makes of the fragments *files*."""
    script = "\n".join([*files.values(), 'echo "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"'])
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


DEBIAN_GRUB = """\
# If you change this file, run 'update-grub' afterwards.
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
#GRUB_CMDLINE_LINUX="iommu=off"
"""
CLOUD_IMAGE = f"{DEFAULT_GRUB}.d/50-cloudimg-settings.cfg"
