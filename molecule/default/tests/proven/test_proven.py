# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the wires have recorded, and the guests' hosts afterwards."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import PcapReader

TWIN = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / ".twin-molecule"


@pytest.fixture(scope="module")
def devices() -> list[dict[str, t.Any]]:
    return json.loads((TWIN / "device_map.json").read_text())["devices"]


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, set[int | None]]]:
    """The VLANs in which each source sent, by wire and MAC; `None` stands for untagged."""
    wires: dict[str, dict[str, set[int | None]]] = {}
    for path in sorted((TWIN / "wires").glob("*.pcap")):
        sources = wires.setdefault(path.stem, {})
        with PcapReader(str(path)) as reader:
            for frame in reader:
                vlan = frame[Dot1Q].vlan if Dot1Q in frame else None
                sources.setdefault(frame[Ether].src, set()).add(vlan)
    return wires


def test_each_guest_nic_sent_on_its_vlan_only(
    devices: list[dict[str, t.Any]], seen: dict[str, dict[str, set[int | None]]]
) -> None:
    for device in devices:
        wire = seen[f"{device['host']}-{device['pf']}"]
        assert wire[device["mac"]] == {device["vlan"]}


def test_no_guest_nic_is_seen_elsewhere(
    devices: list[dict[str, t.Any]], seen: dict[str, dict[str, set[int | None]]]
) -> None:
    for device in devices:
        for sources in seen.values():
            assert sources.get(device["mac"], {device["vlan"]}) == {device["vlan"]}


def test_each_guest_reached_all_others() -> None:
    result = (TWIN / "result.txt").read_text()
    assert "Pings answered: 6, lost: 0" in result


def test_no_guest_is_left(machine: t.Any) -> None:
    assert machine.run("pgrep -f guest.cpio").stdout == ""
