# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same host after one run of `prepare`."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

CARDS = {"0000:01:00.0": 7, "0000:02:00.0": 5}
TWIN = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / ".twin-molecule"


@pytest.mark.parametrize("address", CARDS)
def test_the_firmware_offers_what_the_model_says(y0: t.Any, address: str) -> None:
    told = y0.check_output(f"mstconfig -d {address} -e query SRIOV_EN NUM_OF_VFS")
    lines = [line.split() for line in told.splitlines()]
    columns = {words[-4]: words[-3:] for words in lines if len(words) > 3}
    assert columns["SRIOV_EN"] == ["False(0)", "True(1)", "True(1)"]
    assert columns["NUM_OF_VFS"] == ["0", str(CARDS[address]), str(CARDS[address])]


@pytest.mark.parametrize("address", CARDS)
def test_the_vfs_are_there(y0: t.Any, address: str) -> None:
    base = f"/sys/bus/pci/devices/{address}"
    assert int(y0.file(f"{base}/sriov_totalvfs").content_string) == CARDS[address]
    assert int(y0.file(f"{base}/sriov_numvfs").content_string) == CARDS[address]


def test_one_reboot_was_enough(y0: t.Any) -> None:
    console = (TWIN / "y0/console.log").read_text(errors="replace")
    assert console.count("Linux version ") == 2, "the first boot and the one after the reboot"
    assert y0.file("/sys/kernel/iommu_groups").listdir() != []


@pytest.mark.parametrize("address", CARDS)
def test_the_flash_was_written_once(y0: t.Any, address: str) -> None:
    """Each parameter of the two lies in one record of the flash; a second run writes none."""
    status = y0.check_output(
        "PYTHONPATH=/usr/lib/connectx python3 -m connectx status"
        f" --state /var/lib/connectx/{address}.json"
    )
    (card,) = json.loads(status).values()
    assert sum(card["writes"].values()) == 1
