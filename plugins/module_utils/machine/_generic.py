# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generic netlink: requests to the families of the kernel that have a name and no fixed number.

Sources: include/uapi/linux/genetlink.h and net/netlink/genetlink.c of Linux.
"""

from __future__ import annotations

import errno
import socket
import struct
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    NetlinkSocket,
    attributes,
)

_NETLINK_GENERIC = 16
_GENL_ID_CTRL = 0x10
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID = 1
_CTRL_ATTR_FAMILY_NAME = 2

_GENERIC_HEADER = struct.Struct("=BBxx")
_VERSION = 1


class GenericRequest(t.NamedTuple):
    """Command number *command* of *family*, with attributes as `attribute` makes them.

    Errors call it *name*.
    """

    family: str
    command: int
    body: bytes
    name: str


class GenericNetlink(NetlinkSocket):
    """A generic netlink socket; *open_socket* stands in for the kernel in tests of its errors."""

    def __init__(self, open_socket: t.Callable[[], socket.socket] | None = None) -> None:
        super().__init__(_NETLINK_GENERIC, open_socket)
        self._families: dict[str, int] = {}

    def dump(self, family: str, command: int) -> list[dict[int, bytes]] | None:
        """The attributes of all objects that *command* tells of; `None` without such a family."""
        number = self._family(family)
        if number is None:
            return None
        return [
            dict(attributes(answer[_GENERIC_HEADER.size :]))
            for answer in self.answers(number, _GENERIC_HEADER.pack(command, _VERSION))
        ]

    def request(self, request: GenericRequest) -> None:
        """Carry out *request*; raises `OSError` with the kernel's own words if it refuses."""
        number = self._family(request.family)
        if number is None:
            raise OSError(errno.ENOENT, f"the kernel has no netlink family {request.family}")
        body = _GENERIC_HEADER.pack(request.command, _VERSION) + request.body
        (refusal,) = self.acknowledged([(number, body)])
        if refusal:
            raise OSError(refusal.errno, str(refusal))

    def _family(self, name: str) -> int | None:
        """The number of the family *name*."""
        if name not in self._families:
            # A dump, because the question for one name makes the kernel load a module.
            body = _GENERIC_HEADER.pack(_CTRL_CMD_GETFAMILY, _VERSION)
            for answer in self.answers(_GENL_ID_CTRL, body):
                parts = dict(attributes(answer[_GENERIC_HEADER.size :]))
                (number,) = struct.unpack("=H", parts[_CTRL_ATTR_FAMILY_ID])
                self._families[parts[_CTRL_ATTR_FAMILY_NAME].rstrip(b"\0").decode()] = number
        return self._families.get(name)


def text(value: str) -> bytes:
    """*value* as netlink has texts."""
    return value.encode() + b"\0"
