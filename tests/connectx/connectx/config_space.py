# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The PCI configuration space of a function, with the capability through which tools reach it.

Offsets of the header and of capabilities are those of the PCI specification
(include/uapi/linux/pci_regs.h).
"""

from __future__ import annotations

import errno
import os
import struct
import typing as t

from connectx.card import Card
from connectx.command_interface import SPACES, CommandInterface

MELLANOX = 0x15B3
BYTES = 4096
_HEADER_BYTES = 0x40
_STATUS, _STATUS_CAPABILITIES = 0x06, 0x10
_CLASS_ETHERNET = 0x0200
_SUBSYSTEM, _FIRST_CAPABILITY = 0x2C, 0x34

_VENDOR_SPECIFIC = 0x09
_VENDOR_BYTES = 0x18
_CAPABILITY_BYTES = {0x01: 8, 0x03: 8, 0x05: 24, 0x10: 60, 0x11: 12}
"""How long capabilities are that do not tell: power, VPD, MSI, PCI Express, MSI-X."""

_EXTENDED, _SRIOV = 0x100, 0x10
_INITIAL_VFS = 0x0C
"""Within the SR-IOV capability; the number of all VFs follows it."""

_CONTROL, _COUNTER, _SEMAPHORE, _ADDRESS, _DATA = 0x04, 0x08, 0x0C, 0x10, 0x14
_SPACE_SUPPORTED = 1 << 29
_DONE = 1 << 31
_SOMEBODY = 0x5EBD5EBD


def ids(card: Card) -> dict[str, int]:
    """The attributes of sysfs that tell which product a function is."""
    profile = card.profile
    # Without firmware, the function shows what it is in hardware.
    device = profile.hardware_id if card.fault("livefish") else profile.device_id
    return {
        "vendor": MELLANOX,
        "device": device,
        "subsystem_vendor": MELLANOX,
        "subsystem_device": profile.device_id,
    }


def bare(function: int) -> bytes:
    """The configuration space of a function that has no capability."""
    space = bytearray(BYTES)
    multifunction = 0x80
    struct.pack_into("<H", space, 0x0A, _CLASS_ETHERNET)
    space[0x0E] = multifunction
    space[0x3D] = 1 + function
    return bytes(space)


class ConfigSpace:
    """The space of one function of *card*: *below* as the card shows it.

    *below* reads the space of the function that is really there.
    """

    def __init__(self, card: Card, function: int, below: t.Callable[[], bytes]) -> None:
        self._card = card
        self._below = below
        self._position = _gap(below())
        self._spaces = CommandInterface(card, function)
        self._space = self._tickets = self._holder = self._address = self._data = 0

    def read(self, size: int, offset: int) -> bytes:
        """Up to *size* bytes from *offset* on."""
        position = offset - self._position
        if size == 4 and position in (_CONTROL, _COUNTER, _SEMAPHORE, _ADDRESS, _DATA):
            return struct.pack("<I", self._read_dword(position))
        return self._content()[offset : offset + size]

    def write(self, data: bytes, offset: int) -> bool:
        """Write *data*; false where it is for the function below.

        Raises `OSError` as the kernel does under lockdown.
        """
        if self._card.fault("lockdown"):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        position = offset - self._position
        if not 0 <= position < _VENDOR_BYTES:
            return False
        if len(data) == 4:
            self._write_dword(position, struct.unpack("<I", data)[0])
        return True

    def _read_dword(self, position: int) -> int:
        if position == _CONTROL:
            return self._space | (_SPACE_SUPPORTED if self._space in SPACES else 0)
        if position == _COUNTER:
            self._tickets += 1
            return self._tickets
        if position == _SEMAPHORE:
            return _SOMEBODY if self._card.fault("vsc_semaphore") else self._holder
        return self._address if position == _ADDRESS else self._data

    def _write_dword(self, position: int, dword: int) -> None:
        if position == _CONTROL:
            self._space = dword & 0xFFFF
        elif position == _SEMAPHORE:
            if not self._card.fault("vsc_semaphore") and not (dword and self._holder):
                self._holder = dword
        elif position == _DATA:
            self._data = dword
        elif position == _ADDRESS:
            address = dword & ~_DONE
            if dword & _DONE:
                self._spaces.write(self._space, address, self._data)
                self._address = address
            else:
                self._data = self._spaces.read(self._space, address)
                self._address = dword | _DONE

    def _content(self) -> bytes:
        space = bytearray(self._below())
        product = ids(self._card)
        struct.pack_into("<HH", space, 0, product["vendor"], product["device"])
        struct.pack_into(
            "<HH", space, _SUBSYSTEM, product["subsystem_vendor"], product["subsystem_device"]
        )
        space[_STATUS] |= _STATUS_CAPABILITIES
        if len(space) > _HEADER_BYTES:
            header = (_VENDOR_SPECIFIC, space[_FIRST_CAPABILITY], _VENDOR_BYTES, 0)
            space[self._position : self._position + len(header)] = bytes(header)
        space[_FIRST_CAPABILITY] = self._position
        _limit_vfs(space, self._card.vfs)
        return bytes(space)


def _gap(space: bytes) -> int:
    """Where behind the header no capability is in *space*."""
    used = sorted(_capabilities(space))
    position = _HEADER_BYTES
    for begin, end in [*used, (0x100, 0x100)]:
        if begin - position >= _VENDOR_BYTES:
            return position
        position = max(position, end + 3 & ~3)
    raise OSError(errno.ENOSPC, "no room for a capability in the configuration space")


def _capabilities(space: bytes) -> t.Iterator[tuple[int, int]]:
    position = space[_FIRST_CAPABILITY]
    while position:
        kind, following, length = space[position : position + 3]
        if kind != _VENDOR_SPECIFIC:
            length = _CAPABILITY_BYTES.get(kind, 8)
        yield position, position + length
        position = following


def _limit_vfs(space: bytearray, vfs: int | None) -> None:
    """Let the SR-IOV capability of *space*, if any, offer at most *vfs* VFs, or hide it."""
    before, position = 0, _EXTENDED
    while position and position + 4 <= len(space):
        (header,) = struct.unpack_from("<I", space, position)
        following = header >> 20
        if header & 0xFFFF == _SRIOV:
            if vfs is not None:
                counts = struct.unpack_from("<HH", space, position + _INITIAL_VFS)
                limited = (min(vfs, count) for count in counts)
                struct.pack_into("<HH", space, position + _INITIAL_VFS, *limited)
            elif before:
                (header,) = struct.unpack_from("<I", space, before)
                struct.pack_into("<I", space, before, header & 0xFFFFF | following << 20)
            else:
                struct.pack_into("<I", space, position, following << 20)
            return
        before, position = position, following
