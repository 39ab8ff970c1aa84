# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layout of the non-volatile configuration, from the database of the installed `mstflint`.

The configuration is a set of TLVs (type, length, value), and a parameter is a field of one.
"""

from __future__ import annotations

import contextlib
import sqlite3
import typing as t

DATABASE = "/usr/share/mstflint/mlxconfig_dbs/mlxconfig_host.db"

PORT, FUNCTION = 1, 3
"""Classes of TLVs that exist once a port or once a PCI function; others exist once a card."""


class Field(t.NamedTuple):
    """Bits of the big-endian dword at byte *offset*; *parameter* is their name in `mstconfig`."""

    parameter: str | None
    offset: int
    bit: int
    bits: int

    def get(self, data: bytes) -> int:
        dword = int.from_bytes(data[self.offset : self.offset + 4], "big")
        return dword >> self.bit & (1 << self.bits) - 1

    def put(self, data: bytes, value: int) -> bytes:
        """*data* with the field set to *value*."""
        mask = (1 << self.bits) - 1
        if not 0 <= value <= mask:
            raise ValueError(f"{self.parameter}: {value} does not fit into {self.bits} bits")
        dword = int.from_bytes(data[self.offset : self.offset + 4], "big")
        dword = dword & ~(mask << self.bit) | value << self.bit
        return data[: self.offset] + dword.to_bytes(4, "big") + data[self.offset + 4 :]


class Layout(t.NamedTuple):
    """A TLV: *size* in bytes, and its fields by their names in the database."""

    name: str
    tlv_class: int
    number: int
    version: int
    size: int
    fields: t.Mapping[str, Field]

    def type(self, port: int = 0) -> int:
        """The type by which a register names the TLV; *port* counts from 1."""
        return self.tlv_class << 24 | port << 16 | self.number

    def encode(self, values: t.Mapping[str, int]) -> bytes:
        """The TLV with these values of fields; one that this version does not know is left out."""
        data = bytes(self.size)
        for name, value in values.items():
            if name in self.fields:
                data = self.fields[name].put(data, value)
        return data


def read_layouts(database: str = DATABASE) -> dict[str, Layout]:
    """The TLVs of a NIC by name. Raises `sqlite3.Error` where *database* is none of `mstflint`."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        fields: dict[str, dict[str, Field]] = {}
        rows = connection.execute(
            "SELECT tlv_name, name, mlxconfig_name, offset, size FROM params WHERE array_length = 0"
        )
        for tlv, name, parameter, offset, size in rows:
            offset, bit = _bytes_and_bits(offset)
            size, bits = _bytes_and_bits(size)
            if 8 * size + bits <= 32:
                field = Field(parameter or None, offset, bit, 8 * size + bits)
                fields.setdefault(tlv, {})[name] = field
        rows = connection.execute("SELECT name, class, id, version, size FROM tlvs")
        return {
            name: Layout(name, tlv_class, index, int(version), size, fields.get(name, {}))
            for name, tlv_class, index, version, size in rows
        }


def _bytes_and_bits(text: str) -> tuple[int, int]:
    """'0x4.31' is byte 4, bit 31."""
    whole, bits = text.split(".")
    return int(whole, 16), int(bits)
