# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a capture of a wire shows: which source sent how many frames in which VLAN.

Source: the classic capture file of libpcap (pcap-savefile(5)), which QEMU's filter-dump writes.
"""

from __future__ import annotations

import collections
import struct
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

_FILE_HEADER_BYTES = 24
_RECORD_HEADER_BYTES = 16
_BYTE_ORDERS = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}
_ETHERNET = 1
_TAGS = {0x8100: "802.1Q", 0x88A8: "802.1ad"}


class Flow(t.NamedTuple):
    """The frames of one source with one outer tag; *vlan* and the rest are `None` without a tag."""

    source: str
    vlan: int | None
    priority: int | None
    protocol: str | None
    frames: int


def flows(capture: bytes) -> list[Flow]:
    """The flows in the text of a capture file, sorted.

    Leaves out a record that is still being written. Raises `SriovError` if *capture* is no capture
    of Ethernet frames.
    """
    order = _BYTE_ORDERS.get(capture[:4])
    if order is None or len(capture) < _FILE_HEADER_BYTES:
        raise SriovError("not a capture file: it does not begin as pcap-savefile(5) says")
    (link_type,) = struct.unpack_from(f"{order}I", capture, 20)
    if link_type != _ETHERNET:
        raise SriovError(f"a capture of link type {link_type}, not of Ethernet frames")
    counts: collections.Counter[tuple[str, int | None, int | None, str | None]] = (
        collections.Counter()
    )
    offset = _FILE_HEADER_BYTES
    while offset + _RECORD_HEADER_BYTES <= len(capture):
        (captured,) = struct.unpack_from(f"{order}I", capture, offset + 8)
        offset += _RECORD_HEADER_BYTES
        frame = capture[offset : offset + captured]
        offset += captured
        if offset <= len(capture) and captured >= 16:
            counts[_key(frame)] += 1
    return sorted(
        (Flow(*key, frames=frames) for key, frames in counts.items()),
        key=lambda flow: (flow.source, -1 if flow.vlan is None else flow.vlan),
    )


def _key(frame: bytes) -> tuple[str, int | None, int | None, str | None]:
    source = ":".join(f"{byte:02x}" for byte in frame[6:12])
    kind, tag = struct.unpack_from(">HH", frame, 12)
    if kind not in _TAGS:
        return source, None, None, None
    return source, tag & 0xFFF, tag >> 13, _TAGS[kind]
