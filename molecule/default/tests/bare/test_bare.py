# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host before the first run, and after `--check`, which must have written nothing."""

from __future__ import annotations

import typing as t

MARK = "/run/mergetb-sriov-before"


def test_the_iommu_is_off(machine: t.Any) -> None:
    assert "intel_iommu=off" in machine.file("/proc/cmdline").content_string.split()
    assert machine.file("/sys/class/iommu").listdir() == []


def test_there_is_no_vf(machine: t.Any) -> None:
    assert machine.run("cat /sys/bus/pci/devices/*/sriov_numvfs").stdout.split() == ["0", "0"]


def test_nothing_of_ours_is_there(machine: t.Any) -> None:
    found = machine.check_output(
        "find /etc /var/lib /run -iname '*mergetb*sriov*' ! -path %s", MARK
    )
    assert found == ""


def test_nothing_was_written_since_the_last_look(machine: t.Any) -> None:
    if machine.file(MARK).exists:
        written = machine.check_output(
            "find /boot /etc /lib/modules /usr /var/lib/mergetb-sriov -xdev -newer %s 2> /dev/null"
            " || true",
            MARK,
        )
        assert written == ""
    machine.check_output("touch %s", MARK)
