# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play import _proof

A = "02:00:00:00:00:01"
B = "02:00:00:00:00:02"
HOST = "04:72:00:00:10:00"
DEVICES = [{"mac": A, "vlan": 100}, {"mac": A, "vlan": 200}, {"mac": B, "vlan": 100}]
RIGHT = [(A, 100), (A, 200), (B, 100), (HOST, None)]


def judged(frames: list[tuple[str, int | None]], *consoles: str) -> dict[str, list[t.Any]]:
    wires = [{"flows": [{"source": mac, "vlan": vlan}]} for mac, vlan in frames]
    return _proof.judge(consoles, wires, DEVICES)


def test_frames_on_their_own_vlans_prove_it() -> None:
    """A host may send what it likes."""
    assert judged([*RIGHT, *RIGHT], "guest: ping 10.0.0.2 ok\r\nguest: all pings answered") == {
        "answered": ["10.0.0.2"],
        "lost": [],
        "stray": [],
        "unseen": [],
    }


@pytest.mark.parametrize("vlan", [None, 0, 300, 200])
def test_a_frame_elsewhere_or_untagged_is_stray(vlan: int | None) -> None:
    """Also on the VLAN of another guest. Each pair is told once."""
    assert judged([*RIGHT, (B, vlan), (B, vlan)])["stray"] == [[B, vlan]]


def test_a_device_that_no_wire_saw_is_told() -> None:
    assert judged(RIGHT[1:])["unseen"] == [[A, 100]]
    assert judged([])["unseen"] == [[A, 100], [A, 200], [B, 100]]


@pytest.mark.parametrize("words", ["ping 10.0.0.2 lost", "nic 02:00 missing", "eth0 no link"])
def test_what_a_guest_misses_is_told_in_its_words(words: str) -> None:
    assert judged(RIGHT, "boot\n", f"guest: {words}\nmore")["lost"] == [words]
