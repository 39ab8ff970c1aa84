# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the scenario, and the kernel arguments that their operator gave them."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
import testinfra

HOSTS = ("sdboot", "bond", "ovs")
COMMON = (
    "ro",
    "console=ttyS0",
    "nohz=off",
    "highres=off",
    "cryptdevice=UUID=2f0d4c1e-9a53-4d0f-8a25-6f1de1b3c5a7:root",
    "usbcore.quirks=0781:5580:bk",
)
OWN = {"sdboot": (), "bond": ("loglevel=6",), "ovs": ()}
AGAINST_AN_IOMMU = {
    "sdboot": ("intel_iommu=off",),
    "bond": ("intel_iommu=off",),
    "ovs": ("intel_iommu=off", "iommu=off"),
}


class Machine:
    """A host, and what it was given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = testinfra.get_host(f"ansible://{name}")
        self.kept = (*COMMON, *OWN[name])
        self.against_an_iommu = AGAINST_AN_IOMMU[name]

    def running(self) -> list[str]:
        """The arguments of the running kernel, without those of the boot loader itself."""
        return _own(self.host.check_output("cat /proc/cmdline"))

    def next_boot(self) -> list[str]:
        """The arguments that the boot loader has for the next boot."""
        if self.name == "sdboot":
            (entry,) = (
                entry
                for entry in json.loads(self.host.check_output("bootctl list --json=short"))
                if entry.get("isDefault")
            )
            return _own(entry["options"])
        menu = self.host.check_output("cat /boot/grub/grub.cfg")
        return _own(re.findall(r"^\s*linux\s+\S+(.*)$", menu, re.MULTILINE)[0])

    def module(self, name: str, **arguments: t.Any) -> dict[str, t.Any]:
        return self.host.ansible(
            f"mergetb.sriov.{name}", json.dumps(arguments), check=True, diff=False
        )


def _own(line: str) -> list[str]:
    names = ("BOOT_IMAGE=", "initrd=", "root=")
    return [argument for argument in line.split() if not argument.startswith(names)]


@pytest.fixture(scope="session")
def machines() -> dict[str, Machine]:
    return {name: Machine(name) for name in HOSTS}


@pytest.fixture(params=HOSTS)
def machine(request: pytest.FixtureRequest, machines: dict[str, Machine]) -> Machine:
    """Each host in turn."""
    return machines[request.param]
