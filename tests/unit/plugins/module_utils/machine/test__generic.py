# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import struct
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._generic import (
    GenericNetlink,
    GenericRequest,
)

VDPA = 35
GETFAMILY, MGMTDEV_GET, DEV_NEW = 3, 2, 3

# What Linux 6.12 answered to MGMTDEV_GET and to a device with a number of queues.
MANAGEMENT_DEVICE = bytes.fromhex(
    "02010000"
    "1000020076647061"
    "73696d5f6e657400"
    "0c00030002000000"
    "00000000"
    "08000f0003000000"
    "0c00100028008308"
    "03000000"
)
REFUSAL = (
    struct.pack("=i", -errno.EOPNOTSUPP)
    + bytes.fromhex("340000002300050002000000000000003d000100")
    + b"vdpa: Some provided attributes are not supported: 0x1000\0\0\0\0"
)


class Kernel:
    """A socket whose other end has the family `vdpa` and answers it with *answer*."""

    def __init__(self, answer: tuple[int, int, bytes]) -> None:
        self.sent: list[bytes] = []
        self._answer = answer
        self._waiting: list[bytes] = []

    def __call__(self) -> t.Any:
        return self

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        kind, sequence = struct.unpack_from("=4xH2xI", data)
        if kind == 0x10:
            family = bytes.fromhex("01020000") + bytes.fromhex("090002007664706100000000")
            answer = (0x10, 2, family + struct.pack("=HHH2x", 6, 1, VDPA))
        else:
            assert kind == VDPA
            answer = self._answer
        self._waiting.append(_message(sequence, *answer))
        if answer[0] != 2:
            self._waiting.append(_message(sequence, 3, 2, bytes(4)))

    def recvmsg(self, size: int) -> tuple[bytes, list[t.Any], int, None]:
        return self._waiting.pop(0), [], 0, None


def _message(sequence: int, kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def test_a_dump_of_a_family_that_is_found_by_its_name() -> None:
    kernel = Kernel((VDPA, 2, MANAGEMENT_DEVICE))
    netlink = GenericNetlink(kernel)

    (answer,) = netlink.dump("vdpa", MGMTDEV_GET) or []

    assert answer == {
        2: b"vdpasim_net\0",
        3: struct.pack("=Q", 2),
        15: struct.pack("=I", 3),
        16: struct.pack("=Q", 0x308830028),
    }
    assert netlink.dump("vdpa", MGMTDEV_GET) == [answer]
    assert len(kernel.sent) == 3, "the number of the family is asked for once"


def test_a_family_that_the_kernel_does_not_have() -> None:
    """The real one is asked."""
    netlink = GenericNetlink()
    assert netlink.dump("no-such-family", 1) is None
    with pytest.raises(OSError, match="the kernel has no netlink family no-such-family"):
        netlink.request(GenericRequest("no-such-family", 1, b"", "it"))
    assert netlink.dump("nlctrl", GETFAMILY), "the socket is of use afterwards"


def test_a_refusal_has_the_words_of_the_kernel() -> None:
    netlink = GenericNetlink(Kernel((2, 0x300, REFUSAL)))
    with pytest.raises(
        OSError, match=r"not supported \(vdpa: Some .* supported: 0x1000\)"
    ) as caught:
        netlink.request(GenericRequest("vdpa", DEV_NEW, b"", "vd9"))
    assert caught.value.errno == errno.EOPNOTSUPP


def test_an_acknowledgement() -> None:
    kernel = Kernel((2, 0x100, struct.pack("=i16x", 0)))
    GenericNetlink(kernel).request(GenericRequest("vdpa", DEV_NEW, b"body", "vd9"))
    assert kernel.sent[-1][16:] == bytes((DEV_NEW, 1, 0, 0)) + b"body"
