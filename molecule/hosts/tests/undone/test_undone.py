# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts after the arguments were taken away again, and a restart."""

from __future__ import annotations

import typing as t

import pytest


def test_the_kernel_has_the_arguments_that_it_had_before(machine: t.Any) -> None:
    before = sorted((*machine.kept, *machine.against_an_iommu))
    assert sorted(machine.next_boot()) == before
    assert sorted(machine.running()) == before


@pytest.mark.parametrize("name", ["bond", "ovs"])
def test_the_files_of_grub_are_as_the_operator_wrote_them(
    machines: dict[str, t.Any], name: str
) -> None:
    written = f"/usr/share/hosts/{name}/default"
    for path in machines[name].host.check_output(f"cd {written} && find . -type f").split():
        machines[name].host.check_output(f"cmp {written}/{path} /etc/default/{path}")
