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

CARD = "0000:01:00.0"
TWIN = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / ".twin-molecule"


@pytest.fixture(scope="module")
def card(y0: t.Any) -> dict[str, t.Any]:
    """The card itself, as its emulator knows it."""
    status = y0.check_output(
        "PYTHONPATH=/usr/lib/connectx python3 -m connectx status"
        f" --state /var/lib/connectx/{CARD}.json"
    )
    return json.loads(status)[CARD]


def test_the_firmware_offers_what_the_model_says(card: dict[str, t.Any]) -> None:
    settings = card["settings"][CARD]
    assert settings["SRIOV_EN"] == {"default": 0, "current": 1, "next": 1}
    assert settings["NUM_OF_VFS"] == {"default": 0, "current": 7, "next": 7}


def test_the_flash_was_written_once(card: dict[str, t.Any]) -> None:
    """Both parameters lie in one record, and the look after the reboot wrote none."""
    assert sum(card["writes"].values()) == 1


@pytest.mark.parametrize(("address", "vfs"), [(CARD, 7), ("0000:02:00.0", 5)])
def test_the_vfs_are_there(y0: t.Any, address: str, vfs: int) -> None:
    base = f"/sys/bus/pci/devices/{address}"
    assert int(y0.file(f"{base}/sriov_totalvfs").content_string) == 7
    assert int(y0.file(f"{base}/sriov_numvfs").content_string) == vfs


def test_one_reboot_was_enough(y0: t.Any) -> None:
    console = (TWIN / "y0/console.log").read_text(errors="replace")
    assert console.count("Linux version ") == 2, "the first boot and the one after the reboot"
    assert y0.file("/sys/kernel/iommu_groups").listdir() != []
