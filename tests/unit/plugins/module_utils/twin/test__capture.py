# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.twin import _capture
from ansible_collections.mergetb.sriov.plugins.module_utils.twin._capture import Flow

A = bytes.fromhex("020000000101")
B = bytes.fromhex("020000000102")
BROADCAST = b"\xff" * 6


def capture(*frames: bytes, order: str = "<", link_type: int = 1) -> bytes:
    header = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    return header + b"".join(
        struct.pack(f"{order}IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames
    )


def frame(source: bytes, *tags: tuple[int, int]) -> bytes:
    return BROADCAST + source + b"".join(struct.pack(">HH", *tag) for tag in tags) + b"\x08\x06" * 9


def test_counts_frames_by_source_and_tag() -> None:
    tagged = (0x8100, 3 << 13 | 100)
    assert _capture.flows(capture(frame(A, tagged), frame(B), frame(A, tagged))) == [
        Flow("02:00:00:00:01:01", 100, 3, "802.1Q", 2),
        Flow("02:00:00:00:01:02", None, None, None, 1),
    ]


def test_the_outer_tag_counts() -> None:
    assert _capture.flows(capture(frame(A, (0x88A8, 7), (0x8100, 100)))) == [
        Flow("02:00:00:00:01:01", 7, 0, "802.1ad", 1)
    ]


def test_one_source_may_leave_both_ways() -> None:
    flows = _capture.flows(capture(frame(A, (0x8100, 100)), frame(A)))
    assert [flow.vlan for flow in flows] == [None, 100]


def test_reads_the_other_byte_order() -> None:
    assert _capture.flows(capture(frame(A), order=">")) == [
        Flow("02:00:00:00:01:01", None, None, None, 1)
    ]


@pytest.mark.parametrize("cut", range(1, 16 + len(frame(A))))
def test_a_record_that_is_still_written_is_left_out(cut: int) -> None:
    whole = capture(frame(A), frame(A))
    assert [flow.frames for flow in _capture.flows(whole[:-cut])] == [1]


@pytest.mark.parametrize(
    "data", [b"", b"\xd4\xc3\xb2\xa1", b"PK\x03\x04" * 10, capture(link_type=113)]
)
def test_refuses_what_is_no_capture_of_frames(data: bytes) -> None:
    with pytest.raises(SriovError, match="capture"):
        _capture.flows(data)
