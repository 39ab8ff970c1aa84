# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that a run leaves on the controller. PRIVATE to the collection.

A relative path begins in the directory of the process. That is the one in which Ansible was
started, whatever the environment says.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

ROOM = 2**20
"""How many bytes must be free for a file; no file has more."""

_MODE = 0o644


def json_text(document: t.Mapping[str, t.Any]) -> str:
    """Return a document as the text of a file. Equal documents have equal texts."""
    return f"{json.dumps(document, indent=4, sort_keys=True)}\n"


def absolute(path: str) -> str:
    """Return the absolute path of the file that ``path`` names. It follows symbolic links.

    :raises InputError: the directory of the process is gone, or ``path`` is no path
    """
    try:
        return os.path.realpath(os.path.expanduser(path))
    except FileNotFoundError:
        raise InputError(
            f"{path}: the directory that the run was started in is gone; start it in another"
        ) from None
    except ValueError as error:
        raise InputError(f"{path!r} is no path: {error}") from None


def require_writable(path: str) -> None:
    """Find out whether ``write`` can write the absolute ``path``, and leave nothing behind.

    :raises InputError: it cannot; the error names the cause
    """
    directory = os.path.dirname(path)
    with _errors(path):
        with contextlib.suppress(FileNotFoundError):
            _require_replaceable(path, os.stat(path))
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())


def _require_regular(path: str, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path} is a directory; name a file")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is not a regular file; name another")


def _require_replaceable(path: str, found: os.stat_result) -> None:
    _require_regular(path, found)
    directory = os.stat(os.path.dirname(path))
    if found.st_dev != directory.st_dev or path in _mount_points():
        raise InputError(f"{path} is mounted there, so it cannot be replaced; name another")
    owners = (0, found.st_uid, directory.st_uid)
    if directory.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        raise InputError(
            f"{path} is another user's, in a directory where only the owner may replace a file"
            " (sticky bit); name another"
        )
    # Do not replace a file that may not be written, even if its directory allows it.
    os.close(os.open(path, os.O_WRONLY))


def _mount_points() -> set[str]:
    """Return the paths of all mount points; none if the system does not tell them."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            places = [line.split(" ")[4] for line in file]
    except OSError:
        return set()
    # Space, tabulator, line break and backslash are in octal there: proc_pid_mountinfo(5).
    return {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place) for place in places}


def read(path: str) -> bytes | None:
    """Return the content of a file, None if there is none.

    :raises InputError: it cannot be read
    """
    try:
        _require_regular(path, os.stat(path))
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def write(path: str, content: bytes) -> None:
    """Write ``content`` to the absolute ``path``. A reader sees all of it or what was there before.

    :raises InputError: it cannot be written
    """
    with _errors(path):
        descriptor, temporary = tempfile.mkstemp(
            dir=os.path.dirname(path), prefix=".mergetb-sriov-"
        )
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(descriptor, _mode(path))
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def _mode(path: str) -> int:
    """Return the mode of a file; an operator's file can have secrets, and keeps its own."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return _MODE


def make_directory(path: str) -> None:
    """Make the directory ``path``, with those above it.

    :raises InputError: it cannot be made
    """
    with _errors(path):
        os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Remove a file if it is there.

    :raises InputError: it cannot be removed
    """
    with _errors(path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@contextlib.contextmanager
def _errors(path: str) -> t.Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        directory = os.path.dirname(path)
        raise InputError(
            f"{path}: cannot be written: the directory {directory} does not exist; make it, or"
            " name another file"
        ) from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; mend that, or name another file"
        ) from None
