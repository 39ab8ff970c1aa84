# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file systems that put cards into sysfs.

`Bus` shows a machine's PCI devices with emulated ones among them, `Overlay` one real function as
that of a card. Both keep a real directory open, so they may be mounted over it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import typing as t

import fusepy

from connectx.card import Card
from connectx.config_space import BYTES, ConfigSpace, bare, ids

_ATTRIBUTE_BYTES = 4096
_NUMVFS, _TOTALVFS, _AUTOPROBE = "sriov_numvfs", "sriov_totalvfs", "sriov_drivers_autoprobe"


class Directory(t.Protocol):
    """A directory of sysfs. Methods take a path below it and raise `OSError` as the kernel does."""

    def names(self, path: str) -> list[str]:
        """The names in a directory."""

    def status(self, path: str) -> dict[str, t.Any]:
        """What stat(2) tells, by its names."""

    def target(self, path: str) -> str:
        """What a symbolic link points to."""

    def read(self, path: str, size: int, offset: int) -> bytes:
        """Up to *size* bytes of a file."""

    def write(self, path: str, data: bytes, offset: int) -> int:
        """Write *data*, and tell how much of it."""


class RealDirectory:
    """A directory that is really there, also when something is mounted over it."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def names(self, path: str) -> list[str]:
        with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            return os.listdir(descriptor)

    def status(self, path: str) -> dict[str, t.Any]:
        found = os.stat(path or ".", dir_fd=self._descriptor, follow_symlinks=False)
        names = ("st_mode", "st_size", "st_nlink", "st_uid", "st_gid", "st_atime", "st_mtime")
        return {name: getattr(found, name) for name in (*names, "st_ctime")}

    def target(self, path: str) -> str:
        return os.readlink(path, dir_fd=self._descriptor)

    def read(self, path: str, size: int, offset: int) -> bytes:
        with self._opened(path, os.O_RDONLY) as descriptor:
            return os.pread(descriptor, size, offset)

    def write(self, path: str, data: bytes, offset: int) -> int:
        with self._opened(path, os.O_WRONLY) as descriptor:
            return os.pwrite(descriptor, data, offset)

    @contextlib.contextmanager
    def _opened(self, path: str, flags: int) -> t.Iterator[int]:
        # No link is followed: the kernel resolves those of this file system by itself.
        flags |= os.O_NOFOLLOW
        descriptor = os.open(path or ".", flags, dir_fd=self._descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class EmulatedFunction:
    """A directory with the attributes of an emulated function."""

    def __init__(self, card: Card, function: int) -> None:
        self._card = card
        space = bare(function)
        self._config = ConfigSpace(card, function, lambda: space)
        self._numvfs = 0
        self._autoprobe = b"1\n"

    def names(self, path: str) -> list[str]:
        if path:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return ["config", *self._attributes()]

    def status(self, path: str) -> dict[str, t.Any]:
        if not path:
            return _directory()
        if path not in self.names(""):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        writable = path in ("config", _NUMVFS, _AUTOPROBE)
        size = BYTES if path == "config" else _ATTRIBUTE_BYTES
        mode = stat.S_IFREG | (0o644 if writable else 0o444)
        return {"st_mode": mode, "st_size": size, "st_nlink": 1}

    def target(self, path: str) -> str:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def read(self, path: str, size: int, offset: int) -> bytes:
        if path == "config":
            return self._config.read(size, offset)
        return self._attributes()[path][offset : offset + size]

    def write(self, path: str, data: bytes, offset: int) -> int:
        if path == "config":
            self._config.write(data, offset)
        elif path == _NUMVFS:
            self._numvfs = _checked_numvfs(self._card, data)
        elif path == _AUTOPROBE:
            self._autoprobe = data
        else:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return len(data)

    def _attributes(self) -> dict[str, bytes]:
        found = _id_attributes(self._card)
        found.update({"class": b"0x020000\n", "revision": b"0x00\n", "numa_node": b"-1\n"})
        if self._card.vfs is not None:
            found[_TOTALVFS] = b"%d\n" % self._card.vfs
            found[_NUMVFS] = b"%d\n" % self._numvfs
            found[_AUTOPROBE] = self._autoprobe
        return found


class Bus:
    """The directory of the PCI devices, with emulated functions by address."""

    def __init__(self, real: RealDirectory, functions: t.Mapping[str, EmulatedFunction]) -> None:
        self._real = real
        self._functions = functions

    def names(self, path: str) -> list[str]:
        if path:
            return self._function(path)[0].names(self._function(path)[1])
        return sorted({*self._real.names(""), *self._functions})

    def status(self, path: str) -> dict[str, t.Any]:
        directory, rest = self._function(path)
        return directory.status(rest)

    def target(self, path: str) -> str:
        directory, rest = self._function(path)
        return directory.target(rest)

    def read(self, path: str, size: int, offset: int) -> bytes:
        directory, rest = self._function(path)
        return directory.read(rest, size, offset)

    def write(self, path: str, data: bytes, offset: int) -> int:
        directory, rest = self._function(path)
        return directory.write(rest, data, offset)

    def _function(self, path: str) -> tuple[Directory, str]:
        name, _slash, rest = path.partition("/")
        function = self._functions.get(name)
        return (self._real, path) if function is None else (function, rest)


class Overlay:
    """The directory of a real function, which looks like one of *card*."""

    def __init__(self, real: RealDirectory, card: Card, function: int) -> None:
        self._real = real
        self._card = card
        self._config = ConfigSpace(card, function, lambda: real.read("config", BYTES, 0))

    def names(self, path: str) -> list[str]:
        return [name for name in self._real.names(path) if path or not self._hidden(name)]

    def status(self, path: str) -> dict[str, t.Any]:
        self._check(path)
        return self._real.status(path)

    def target(self, path: str) -> str:
        return self._real.target(path)

    def read(self, path: str, size: int, offset: int) -> bytes:
        self._check(path)
        if path == "config":
            return self._config.read(size, offset)
        content = _id_attributes(self._card).get(path)
        if path == _TOTALVFS:
            content = b"%d\n" % self._total_vfs()
        if content is None:
            return self._real.read(path, size, offset)
        return content[offset : offset + size]

    def write(self, path: str, data: bytes, offset: int) -> int:
        self._check(path)
        if path == "config" and self._config.write(data, offset):
            return len(data)
        if path == _NUMVFS:
            _checked_numvfs(self._card, data)
        return self._real.write(path, data, offset)

    def _hidden(self, path: str) -> bool:
        return path.startswith("sriov_") and self._card.vfs is None

    def _check(self, path: str) -> None:
        if self._hidden(path):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _total_vfs(self) -> int:
        return min(int(self._real.read(_TOTALVFS, _ATTRIBUTE_BYTES, 0)), self._card.vfs or 0)


def _id_attributes(card: Card) -> dict[str, bytes]:
    return {name: b"0x%04x\n" % number for name, number in ids(card).items()}


def _checked_numvfs(card: Card, data: bytes) -> int:
    """The number in *data*; raises `OSError` where the card does not offer as many VFs."""
    try:
        numvfs = int(data)
    except ValueError:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
    if not 0 <= numvfs <= (card.vfs or 0):
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return numvfs


def _directory() -> dict[str, t.Any]:
    return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}


class _Operations(fusepy.Operations):
    """FUSE's requests for a `Directory`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def init(self, path: str) -> None:
        """The file system is mounted: tell who waits for it, as sd_notify(3) does."""
        address = os.environ.get("NOTIFY_SOCKET")
        if address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.sendto(b"READY=1", address.replace("@", "\0", 1))

    def getattr(self, path: str, fh: int | None = None) -> dict[str, t.Any]:
        return self._directory.status(path[1:])

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *self._directory.names(path[1:])]

    def readlink(self, path: str) -> str:
        return self._directory.target(path[1:])

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return self._directory.read(path[1:], size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return self._directory.write(path[1:], data, offset)

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """The kernel asks before each write unless it is told that there never are any."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        """An attribute of sysfs has no length to set, but a shell asks for it."""


def mount(directory: Directory, mountpoint: str) -> None:
    """Serve *directory* at *mountpoint*, over what is there, until it is unmounted."""
    fusepy.FUSE(
        _Operations(directory),
        mountpoint,
        foreground=True,
        # One request after another, as a card's mailbox needs it.
        nothreads=True,
        nonempty=True,
        # Attributes come and go as on a card, and a read must reach it.
        direct_io=True,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
        allow_other=True,
        fsname="connectx",
    )
