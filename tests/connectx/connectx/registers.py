# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The firmware's access registers, as far as `mstconfig` reads and writes them.

All numbers in a register are big endian. A register answers with a status (that of the access
register protocol) and with its content.
"""

from __future__ import annotations

import enum
import typing as t

from connectx.card import Card

MGIR, MQIS, NVDA, NVDI, MFRL = 0x9020, 0x9064, 0x9024, 0x9025, 0x9028
NVQC, NVIA, NVQGC, MCAM = 0x9030, 0x9033, 0x9034, 0x907F

_HEADER_BYTES = 12
"""Before the TLV's data in NVDA."""
_LENGTH_MASK = 0x1FF
_DEFAULT, _CURRENT = 1 << 23, 1 << 22
"""Flags that choose a configuration in NVDA; without any it is that of the next start."""
_RESET_LEVELS = 0x49
"""What MFRL offers: live patch, PCI reset, warm reboot."""


class Status(enum.IntEnum):
    OK = 0
    REGISTER_NOT_SUPPORTED = 4
    BAD_PARAMETER = 7
    RESOURCE_NOT_AVAILABLE = 8


Answer = tuple[Status, bytes]


class Firmware:
    """The registers of a card as one of its functions reaches them."""

    def __init__(self, card: Card, function: int) -> None:
        self._card = card
        self._function = function
        self._get: dict[int, t.Callable[[bytes], Answer]] = {
            MGIR: self._general_information,
            MQIS: self._text,
            MFRL: self._reset_levels,
            MCAM: lambda data: (Status.OK, data),
            NVQC: self._tlv_access,
            NVQGC: self._columns,
            NVDA: self._read,
        }
        self._set: dict[int, t.Callable[[bytes], Answer]] = {
            MFRL: self._reset_at_reboot,
            NVDA: self._write,
            NVDI: self._reset,
            NVIA: self._reset_all,
        }

    def access(self, register: int, data: bytes, *, write: bool) -> Answer:
        """Read or write a register."""
        if register in (NVQC, NVQGC, NVDA, NVDI, NVIA) and self._card.fault("no_nv_access"):
            return Status.BAD_PARAMETER, data
        action = (self._set if write else self._get).get(register)
        if action is None:
            return Status.REGISTER_NOT_SUPPORTED, data
        return action(data)

    def _general_information(self, data: bytes) -> Answer:
        return Status.OK, _put(data, 4, self._card.profile.ports << 16)

    def _text(self, data: bytes) -> Answer:
        """A part of the card's name (1) or description (2)."""
        profile = self._card.profile
        text = {1: profile.name, 2: profile.description}.get(_dword(data, 0) & 0xFF, "")
        part = _dword(data, 8)
        offset, length = part >> 16, part & 0xFFFF
        # The text ends with a zero byte, which counts.
        content = text.encode("ascii") + b"\0"
        data = _put(data, 4, len(content))
        return Status.OK, data[:16] + content[offset : offset + length].ljust(length, b"\0")

    def _reset_levels(self, data: bytes) -> Answer:
        return Status.OK, data[:7] + bytes([_RESET_LEVELS]) + data[8:]

    def _reset_at_reboot(self, data: bytes) -> Answer:
        return Status.OK if self._card.loads_at_reboot() else Status.BAD_PARAMETER, data

    def _tlv_access(self, data: bytes) -> Answer:
        layout = self._card.layout(_dword(data, 0))
        if layout is None:
            return Status.OK, _put(data, 4, 0)
        return Status.OK, _put(data, 4, layout.version << 4 | self._card.writable(layout) << 1 | 1)

    def _columns(self, data: bytes) -> Answer:
        no_default, no_current = self._card.fault("no_default"), self._card.fault("no_current")
        return Status.OK, _put(data, 0, (not no_current) << 1 | (not no_default))

    def _read(self, data: bytes) -> Answer:
        header, tlv_type = _dword(data, 0), _dword(data, 4)
        column = "next"
        for flag, name in ((_DEFAULT, "default"), (_CURRENT, "current")):
            if header & flag:
                column = name
        if self._card.layout(tlv_type) is None or self._card.fault(f"no_{column}"):
            return Status.RESOURCE_NOT_AVAILABLE, data
        content = self._card.get(tlv_type, self._function, column)
        data = _put(data, 0, header & ~_LENGTH_MASK | len(content))
        return Status.OK, data[:_HEADER_BYTES] + content + data[_HEADER_BYTES + len(content) :]

    def _write(self, data: bytes) -> Answer:
        tlv_type, length = _dword(data, 4), _dword(data, 0) & _LENGTH_MASK
        content = data[_HEADER_BYTES : _HEADER_BYTES + length]
        layout = self._card.layout(tlv_type)
        if layout is None or not self._card.writable(layout) or len(content) != layout.size:
            return Status.BAD_PARAMETER, data
        stored = self._card.set(tlv_type, self._function, content)
        return Status.OK if stored else Status.BAD_PARAMETER, data

    def _reset(self, data: bytes) -> Answer:
        tlv_type = _dword(data, 4)
        if self._card.layout(tlv_type) is None:
            return Status.BAD_PARAMETER, data
        self._card.reset(tlv_type, self._function)
        return Status.OK, data

    def _reset_all(self, data: bytes) -> Answer:
        self._card.reset_all()
        return Status.OK, data


def _dword(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "big")


def _put(data: bytes, offset: int, dword: int) -> bytes:
    return data[:offset] + dword.to_bytes(4, "big") + data[offset + 4 :]
