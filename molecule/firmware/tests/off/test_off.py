# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose card came from the factory, and whose kernel has no IOMMU."""

from __future__ import annotations

import typing as t

CARD = "/sys/bus/pci/devices/0000:01:00.0"


def test_the_card_is_one_of_mellanox(y0: t.Any) -> None:
    assert y0.file(f"{CARD}/vendor").content_string == "0x15b3\n"


def test_it_offers_no_vfs(y0: t.Any) -> None:
    assert not y0.file(f"{CARD}/sriov_numvfs").exists
    assert "SR-IOV" not in y0.check_output("lspci -vv -s 0000:01:00.0")


def test_there_is_no_iommu(y0: t.Any) -> None:
    assert y0.file("/sys/kernel/iommu_groups").listdir() == []
