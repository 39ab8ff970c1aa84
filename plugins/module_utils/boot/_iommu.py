# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The platform's IOMMU: which one there is, what it needs, and whether it works.

The firmware's ACPI table decides which kernel argument is right, not the vendor of the CPU. What
the kernel made of the IOMMU decides whether it works, not the command line.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _command_line

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host


class Platform(t.NamedTuple):
    """A kind of IOMMU.

    *table* is the ACPI table that announces it, *setting* its name in firmware setups, and
    *arguments* are the kernel arguments without which it stays off.
    """

    name: str
    table: str
    setting: str
    arguments: tuple[str, ...]


# Only Intel's driver may be built to wait for its argument (CONFIG_INTEL_IOMMU_DEFAULT_ON).
# AMD's and Arm's work unless told otherwise; amd_iommu=on is no argument that the kernel knows.
_PLATFORMS = (
    Platform("Intel VT-d", "DMAR", "Intel VT-d", ("intel_iommu=on",)),
    Platform("AMD-Vi", "IVRS", "IOMMU (AMD-Vi)", ()),
    Platform("Arm SMMU", "IORT", "SMMU", ()),
)
_UNWANTED = ("iommu=off", "intel_iommu=off", "amd_iommu=off", "amd_iommu=on")


def platform(host: Host) -> Platform | None:
    """The IOMMU that the firmware announces; `None` if it announces none."""
    for candidate in _PLATFORMS:
        if host.exists(f"/sys/firmware/acpi/tables/{candidate.table}"):
            return candidate
    return None


def effective(host: Host) -> bool:
    """Whether the running kernel drives an IOMMU and has put devices behind it."""
    return bool(host.names("/sys/class/iommu") and host.names("/sys/kernel/iommu_groups"))


def arguments(platform: Platform | None) -> _command_line.WantedArguments:
    """The kernel arguments that let the IOMMU of *platform* work."""
    return _command_line.WantedArguments(platform.arguments if platform else (), _UNWANTED)


def hindrance(platform: Platform | None, effective: bool, running: str) -> tuple[str, str] | None:
    """Why no kernel argument and no reboot can make the IOMMU effective, and the remedy.

    *running* is the command line of the running kernel. `None` if the IOMMU is effective, or can be
    after a boot with the right arguments.
    """
    if effective:
        return None
    if platform is None:
        names = " or ".join(f"{each.table} for {each.name}" for each in _PLATFORMS)
        settings = ", ".join(each.setting for each in _PLATFORMS)
        return (
            f"the firmware announces no IOMMU (no ACPI table {names})",
            f"enable the IOMMU in the firmware setup ({settings}); give a virtual machine one",
        )
    if _command_line.satisfies(running, arguments(platform)):
        started = f" although it was started with {' '.join(platform.arguments)}"
        return (
            f"the kernel has not made {platform.name} effective"
            + (started if platform.arguments else ""),
            f"enable {platform.setting} in the firmware setup, and look for {platform.table} in "
            "the kernel's log",
        )
    return None
