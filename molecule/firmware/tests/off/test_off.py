# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose cards came from the factory, and whose kernel has no IOMMU."""

from __future__ import annotations

import typing as t

import pytest

CARDS = ("0000:01:00.0", "0000:02:00.0")


@pytest.mark.parametrize("address", CARDS)
def test_the_card_is_one_of_mellanox(y0: t.Any, address: str) -> None:
    assert y0.file(f"/sys/bus/pci/devices/{address}/vendor").content_string == "0x15b3\n"


@pytest.mark.parametrize("address", CARDS)
def test_it_offers_no_vfs(y0: t.Any, address: str) -> None:
    assert not y0.file(f"/sys/bus/pci/devices/{address}/sriov_numvfs").exists
    assert "SR-IOV" not in y0.check_output(f"lspci -vv -s {address}")


def test_the_tool_says_so(y0: t.Any) -> None:
    told = y0.check_output(f"mstconfig -d {CARDS[0]} -e query SRIOV_EN")
    assert "False(0)" in told
    assert "True(1)" not in told


def test_there_is_no_iommu(y0: t.Any) -> None:
    assert y0.file("/sys/kernel/iommu_groups").listdir() == []
