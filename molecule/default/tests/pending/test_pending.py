# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host after `prepare` without permission to restart: ready for it, and untouched otherwise."""

from __future__ import annotations

import typing as t


def test_the_boot_loader_has_the_arguments(machine: t.Any) -> None:
    menu = machine.file("/boot/grub/grub.cfg").content_string
    assert "intel_iommu=on" in menu
    assert "intel_iommu=off" not in menu


def test_the_host_still_runs_as_before(machine: t.Any) -> None:
    assert "intel_iommu=off" in machine.file("/proc/cmdline").content_string.split()


def test_it_went_no_further(machine: t.Any) -> None:
    assert machine.run("cat /sys/bus/pci/devices/*/sriov_numvfs").stdout.split() == ["0", "0"]
    assert not machine.file("/etc/udev/rules.d/70-mergetb-sriov.rules").exists
