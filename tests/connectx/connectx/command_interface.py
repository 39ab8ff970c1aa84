# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lies behind the vendor-specific capability: address spaces, and a mailbox for commands."""

from __future__ import annotations

from connectx.card import Card
from connectx.registers import Firmware

ICMD_EXTENDED, CR_SPACE, ICMD, SEMAPHORE = 0x1, 0x2, 0x3, 0xA
SPACES = (ICMD_EXTENDED, CR_SPACE, ICMD, SEMAPHORE)

_HARDWARE_ID = 0xF0014
_SOMEBODY = 0x5EBD
"""The process that holds a semaphore for ever."""

_CONTROL, _MAILBOX_BYTES, _MAILBOX = 0x0, 0x1000, 0x100000
_SIZE = 0x340
_BUSY = 1
_ACCESS_REGISTER = 0x9001
_INVALID_OPCODE = 1

_OPERATION_BYTES, _LENGTH_BYTES = 16, 4
"""The headers of a command: what to do, and how long the register is."""
_SET = 2


class CommandInterface:
    """The address spaces of one function, in dwords."""

    def __init__(self, card: Card, function: int) -> None:
        self._card = card
        self._firmware = Firmware(card, function)
        self._mailbox = bytearray(_SIZE)
        self._control = 0
        self._holder = 0

    def read(self, space: int, address: int) -> int:
        if space == CR_SPACE:
            return self._card.profile.hardware_id if address == _HARDWARE_ID else 0
        if space == SEMAPHORE:
            return _SOMEBODY if self._card.fault("icmd_semaphore") else self._holder
        if address == _CONTROL:
            return self._control
        if address == _MAILBOX_BYTES:
            return _SIZE
        offset = address - _MAILBOX
        if not 0 <= offset < _SIZE:
            return 0
        return int.from_bytes(self._mailbox[offset : offset + 4], "big")

    def write(self, space: int, address: int, dword: int) -> None:
        if space == SEMAPHORE:
            if not self._card.fault("icmd_semaphore") and not (dword and self._holder):
                self._holder = dword
        elif space == ICMD and address == _CONTROL:
            self._control = self._execute(dword) if dword & _BUSY else dword
        elif space == ICMD and 0 <= address - _MAILBOX < _SIZE:
            offset = address - _MAILBOX
            self._mailbox[offset : offset + 4] = dword.to_bytes(4, "big")

    def _execute(self, control: int) -> int:
        """The control dword after the command in the mailbox was carried out."""
        control &= ~(0xFF00 | _BUSY)
        if control >> 16 != _ACCESS_REGISTER:
            return control | _INVALID_OPCODE << 8
        operation = int.from_bytes(self._mailbox[4:8], "big")
        length = int.from_bytes(self._mailbox[16:20], "big") >> 16 & 0x7FF
        begin = _OPERATION_BYTES + _LENGTH_BYTES
        end = _OPERATION_BYTES + 4 * length
        status, data = self._firmware.access(
            operation >> 16,
            bytes(self._mailbox[begin:end]),
            write=operation >> 8 & 0x7F == _SET,
        )
        self._mailbox[begin:end] = data[: end - begin]
        self._mailbox[2] = self._mailbox[2] & 0x80 | status
        return control
