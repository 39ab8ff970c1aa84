# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts of fabricated files with the boot tools that a distribution has."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _loaders
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._loaders import DEFAULT_GRUB
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine


class BootMachine(Machine):
    """A host with *files*; `calls` are the commands that were run, `answers` what they print.

    Its shell is the real one.
    """

    def __init__(self, directory: Path, files: t.Mapping[str, str]) -> None:
        super().__init__(directory)
        self.calls: list[list[str]] = []
        self.answers: dict[str, Completed] = {}
        for path, text in files.items():
            self.put(path, text)
        self.log.clear()

    def put(self, path: str, content: str | bytes) -> None:
        if isinstance(content, str):
            content = content.encode("utf-8", "surrogateescape")
        super().put(path, content)

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        if "/bin/sh" in argv:
            return super().run(argv, seconds=seconds)
        command = [argv[0].rpartition("/")[2], *argv[1:]]
        self.calls.append(command)
        return self.answers.get(" ".join(command), Completed(0, "", ""))


class DebianMachine(BootMachine):
    """Its update-grub reads the fragments as grub-mkconfig does: with a shell."""

    def __init__(self, directory: Path, files: t.Mapping[str, str]) -> None:
        super().__init__(directory, {"/usr/sbin/update-grub": "", **files})

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        if argv[0].endswith("update-grub"):
            done = sourced(self.root)
            if done.returncode:
                self.calls.append(["update-grub"])
                return Completed(done.returncode, "", done.stderr.decode("utf-8", "replace"))
            linux, default, _end = done.stdout.decode("utf-8", "surrogateescape").split("\0")
            self.put(
                _loaders.GRUB_CFG,
                "### BEGIN /etc/grub.d/05_own ###\n\tlinux /memtest\n"
                "### END /etc/grub.d/05_own ###\n"
                "### BEGIN /etc/grub.d/10_linux ###\n"
                f"\tlinux\t/boot/vmlinuz-6.1 root=UUID=9d ro  {linux} {default}\n"
                f"\t\tlinux\t/boot/vmlinuz-6.1 root=UUID=9d ro single {linux}\n"
                "### END /etc/grub.d/10_linux ###\n",
            )
        return super().run(argv, seconds=seconds)


def sourced(root: str) -> subprocess.CompletedProcess[bytes]:
    """How a shell reads the fragments below *root* for grub-mkconfig of Debian.

    It prints GRUB_CMDLINE_LINUX and GRUB_CMDLINE_LINUX_DEFAULT, each ended by a null byte.
    """
    script = f"""
set -e
if test -f {root}{DEFAULT_GRUB}; then . {root}{DEFAULT_GRUB}; fi
for x in {root}{DEFAULT_GRUB}.d/*.cfg; do if [ -e "$x" ]; then . "$x"; fi; done
printf '%s\\0' "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"
"""
    return subprocess.run(
        ["/bin/sh", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={"HOME": "/root", "LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        check=False,
    )


def arguments_of(root: str) -> tuple[list[str], list[str]]:
    """The words of the two variables that `sourced` finds."""
    done = sourced(root)
    assert done.returncode == 0, done.stderr
    linux, default, _end = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    return linux.split(), default.split()


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
