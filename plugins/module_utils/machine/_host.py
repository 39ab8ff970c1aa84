# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one port to the machine: files below a root directory, commands, and netlink.

Everything that the collection reads or changes on a managed node goes through a `Host`. The same
code therefore runs on a real host, on a fabricated tree in a test, and in a boot helper.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import mmap
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._generic import (
        GenericNetlink,
        GenericRequest,
    )
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Rtnetlink

_POLL_SECONDS = 0.02
_WRITE_SECONDS = 60
_READ_SECONDS = 30
# A driver may need some milliseconds for each attribute of each VF.
_NETLINK_SECONDS = 120

# The kernel shows these under the lock of the device, and holds that while a driver comes or goes
# (drivers/pci/pci-sysfs.c, drivers/pci/iov.c). It shows the others under the lock of all
# interfaces, and holds that while a driver sets the attributes of a VF (net/core/net-sysfs.c).
_SHOWN_UNDER_LOCK = ("driver_override", "sriov_numvfs", "phys_port_name", "carrier", "speed")

_LENGTH = struct.Struct("=Q")


class Completed(t.NamedTuple):
    """What a command left: exit code, standard output and standard error."""

    rc: int
    out: str
    err: str


class BlockedError(TimeoutError):
    """The kernel has not ended an access in time, and goes on with it.

    A driver that gives up answers with the same number, ETIMEDOUT, in a plain `TimeoutError`.
    """


class Turn(t.NamedTuple):
    """Writes that belong together, as pairs of path and value; *link* then names *outcome*."""

    writes: tuple[tuple[str, str], ...]
    link: str
    outcome: str | None


class Host:
    """A machine whose files are below *root*.

    Paths are absolute paths of that machine (`/sys/bus/pci/devices`). Methods that read answer
    `None` or an empty list if the file does not exist, and raise `OSError` for any other cause.
    """

    def __init__(self, root: str = "/", *, netlink: Rtnetlink | None = None) -> None:
        self.root = root
        self._prefix = root.rstrip("/")
        self._netlink = netlink
        self._helper: _Helper | None = None
        self._lasting: int | None = None

    @property
    def netlink(self) -> Rtnetlink:
        """The route netlink socket of the machine, opened at first use.

        Its methods raise `SriovError` if the kernel does not answer in time.
        """
        return self._netlink or t.cast("Rtnetlink", _BoundedNetlink(self))

    def path(self, path: str) -> str:
        """Where *path* of the machine is for this process."""
        return f"{self._prefix}{path}"

    def is_claimed(self, path: str) -> bool:
        """Whether the kernel keeps the block device *path* to itself (O_EXCL in open(2)).

        A device that does not answer in time counts as kept.
        """
        try:
            return bool(self._helper_call(_READ_SECONDS, path, _is_claimed, self.path(path)))
        except BlockedError:
            return True

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.path(path))

    def read_bytes(self, path: str) -> bytes | None:
        """The content of *path*; raises `SriovError` if the kernel does not show it in time."""
        if os.path.basename(path) not in _SHOWN_UNDER_LOCK:
            return _read(self.path(path))
        return self._read_in_child([path])[0]

    def _read_in_child(self, paths: t.Sequence[str]) -> list[bytes | None]:
        calls = [_Call(path, _read, (self.path(path),)) for path in paths]
        contents, error = self._helper_calls(_READ_SECONDS, calls)
        if isinstance(error, BlockedError):
            raise SriovError(
                f"{error.filename} could not be read within {_READ_SECONDS} s: the kernel has the "
                "device locked for a process that binds or unbinds a driver, makes or destroys "
                "VFs, or sets their attributes, and does not come to its end. A guest that has "
                "such a VF open is the usual cause: the kernel's log names it ('blocked until "
                "device is released')"
            ) from error
        if error is not None:
            raise error
        return contents

    def read(self, path: str) -> str | None:
        """The text of *path* without white space at its ends."""
        return _text(self.read_bytes(path))

    def read_all(self, paths: t.Sequence[str]) -> list[str | None]:
        """The text of each of *paths*, as `read` answers it, for the cost of one call."""
        return [_text(content) for content in self._read_in_child(paths)]

    def modified(self, path: str) -> int | None:
        """When *path* was last written, in nanoseconds; `None` if it does not exist."""
        try:
            return os.stat(self.path(path)).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path: str) -> list[str]:
        """The sorted names in the directory *path*."""
        try:
            return sorted(os.listdir(self.path(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def target(self, path: str) -> str | None:
        """What the symbolic link *path* points to, as it is written there."""
        return _target(self.path(path))

    def link(self, path: str) -> str | None:
        """The last component of what the symbolic link *path* points to."""
        target = self.target(path)
        return None if target is None else os.path.basename(target)

    def write(self, path: str, value: str, *, seconds: float = _WRITE_SECONDS) -> None:
        """Write *value* to an existing file in one write, as sysfs attributes want it.

        Raises `BlockedError` if that takes longer than *seconds*. The write then goes on in the
        kernel. Nobody can take it back, and it ends when what it waits for does.
        """
        self._helper_call(seconds, path, _write, self.path(path), value)

    def write_in_turn(
        self, turns: t.Sequence[Turn], *, seconds: float = _WRITE_SECONDS
    ) -> tuple[int, Exception | None]:
        """Take *turns* one after the other, each within *seconds*, up to the first that fails.

        Answers how many had their outcome, and what the next one failed with: an error that `write`
        raises, or `None` if it is only its outcome that does not show yet.
        """
        calls = [
            _Call(
                turn.link,
                _take,
                (
                    [(self.path(path), value) for path, value in turn.writes],
                    self.path(turn.link),
                    turn.outcome,
                ),
            )
            for turn in turns
        ]
        answers, error = self._helper_calls(seconds, calls)
        return len(answers), None if isinstance(error, _OutcomeError) else error

    def generic_dump(self, family: str, command: int) -> list[dict[int, bytes]] | None:
        """What *command* of generic netlink's *family* tells; `None` without such a family.

        Raises `SriovError` if the kernel does not answer in time.
        """
        try:
            found: list[dict[int, bytes]] | None = self._helper_call(
                _NETLINK_SECONDS, "netlink", _ask_generic, "dump", family, command
            )
        except BlockedError as error:
            raise SriovError(
                f"the kernel did not answer a netlink request ({family}) within "
                f"{_NETLINK_SECONDS} s: another request waits, as one does that removes a device "
                "that a process has open; see the kernel's log"
            ) from error
        return found

    def generic_in_turn(
        self, requests: t.Sequence[GenericRequest], *, seconds: float = _NETLINK_SECONDS
    ) -> tuple[int, Exception | None]:
        """Make *requests* one after the other, each within *seconds*, up to the first that fails.

        Answers how many were carried out, and why the next one was not: `OSError` with the kernel's
        words, or `BlockedError`.
        """
        calls = [_Call(item.name, _ask_generic, ("request", item)) for item in requests]
        answers, error = self._helper_calls(seconds, calls)
        return len(answers), error

    @contextlib.contextmanager
    def lasting(self, descriptor: int) -> t.Iterator[None]:
        """Keep the lock of the file *descriptor* until the last write within has ended.

        Without that, a process that is killed in a write would free the lock before the write has
        its effect. The caller must unlock explicitly, because a child that was given up has the
        lock, too.
        """
        self._helper, self._lasting = None, descriptor
        try:
            yield
        finally:
            self._lasting = None

    def _helper_call(
        self, seconds: float, path: str, function: t.Callable[..., t.Any], *arguments: t.Any
    ) -> t.Any:
        """What *function* answers or raises in the child; `BlockedError` after *seconds*."""
        answers, error = self._helper_calls(seconds, [_Call(path, function, arguments)])
        if error is not None:
            raise error
        return answers[0]

    def _helper_calls(
        self, seconds: float, calls: t.Sequence[_Call]
    ) -> tuple[list[t.Any], Exception | None]:
        """What *calls* answer in the child, up to the first that fails, and what that raises.

        Each call has *seconds*; `BlockedError` is the error of one that takes longer. Where the
        child is lost, only the number of the answers is right.
        """
        if not calls:
            return [], None
        # Never ask a child again that did not answer, for whatever cause.
        helper, self._helper = self._helper or _Helper(self._lasting), None
        try:
            answers, error = helper.call(seconds, calls)
        except socket.timeout:  # noqa: UP041 (in Python 3.9 it is no TimeoutError)
            path = calls[helper.reached].path
            late = BlockedError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
            return [None] * helper.reached, late
        except (EOFError, ConnectionError):
            path = calls[helper.reached].path
            end = OSError(errno.EIO, "the process that makes the access was ended", path)
            return [None] * helper.reached, end
        self._helper = helper
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = f"/{os.path.relpath(error.filename, self.root)}"
        return answers, error

    def require_replaceable(self, path: str) -> None:
        """Raise `SriovError` if *path* exists and is no regular file.

        A link to /dev/null masks a file, and to replace it would replace the device.
        """
        target = os.path.realpath(self.path(path))
        if os.path.exists(target) and not os.path.isfile(target):
            raise SriovError(
                f"{path} is no regular file, but {target}: a link to /dev/null means that somebody "
                "has switched it off. Remove the link if this run may write the file, and run again"
            )

    def replace(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Put *content* into the file *path* atomically, making missing directories.

        An existing file keeps its mode and owner. Raises `SriovError` as `require_replaceable`.
        """
        self.require_replaceable(path)
        target = os.path.realpath(self.path(path))
        directory = os.path.dirname(target)
        os.makedirs(directory, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                try:
                    old = os.stat(target)
                    os.fchown(descriptor, old.st_uid, old.st_gid)
                    mode = old.st_mode & 0o7777
                except FileNotFoundError:
                    pass
                os.fchmod(descriptor, mode)
                if isinstance(content, str):
                    content = content.encode("utf-8", "surrogateescape")
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.rename(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
        directory_descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(directory_descriptor)
        finally:
            os.close(directory_descriptor)

    def remove(self, path: str) -> None:
        os.unlink(self.path(path))

    def has_command(self, name: str) -> bool:
        """Whether `run` finds the command *name*."""
        return shutil.which(name, path=_command_path()) is not None

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        """Run a command of the machine without a shell.

        Raises `SriovError` if the command is missing or takes longer than *seconds*.
        """
        try:
            # This also runs at a boot, without an AnsibleModule.
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=seconds,
                env={**os.environ, "LC_ALL": "C", "PATH": _command_path()},
                check=False,
            )
        except FileNotFoundError as error:
            raise SriovError(f"the command {argv[0]} is not installed on this host") from error
        except subprocess.TimeoutExpired as error:
            raise SriovError(f"'{' '.join(argv)}' did not end within {seconds:g} s") from error
        return Completed(done.returncode, done.stdout, done.stderr)

    def wait_for(
        self, condition: t.Callable[[], object], *, seconds: float, every: float = _POLL_SECONDS
    ) -> bool:
        """Poll *condition* until it holds; false if it still does not after *seconds*.

        *every* is the number of seconds between two looks.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            time.sleep(every)
        return True


class _BoundedNetlink:
    """`Rtnetlink` with a limit of time, because a driver that hangs blocks its requests."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __getattr__(self, name: str) -> t.Callable[..., t.Any]:
        def ask(*arguments: t.Any) -> t.Any:
            try:
                return self._host._helper_call(
                    _NETLINK_SECONDS, "netlink", _ask_netlink, name, *arguments
                )
            except BlockedError as error:
                raise SriovError(
                    f"the kernel did not answer a netlink request ({name}) within "
                    f"{_NETLINK_SECONDS} s: the driver of a network interface hangs; see the "
                    "kernel's log, and reboot the host"
                ) from error

        return ask


class _Call(t.NamedTuple):
    """What a child does with *path*, as errors are to name it."""

    path: str
    function: t.Callable[..., t.Any]
    arguments: tuple[t.Any, ...]


class _Helper:
    """A child process that makes the calls which can block for ever.

    This process can then give the child up. Often nobody can kill what the kernel blocks, and a
    thread would keep its process with it. One child serves all calls, so an exchange costs some 50
    microseconds and no fork. It takes a list of calls, and only the last one wakes this process:
    shared memory tells which call the child has reached and when that began.
    """

    def __init__(self, kept: int | None) -> None:
        self._progress = memoryview(mmap.mmap(-1, 16)).cast("q")
        self._socket, other = socket.socketpair()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            try:
                _serve(other.detach(), kept, parent, self._progress)
            finally:
                os._exit(1)
        other.close()

    def call(
        self, seconds: float, calls: t.Sequence[_Call]
    ) -> tuple[list[t.Any], Exception | None]:
        """What *calls* answer, up to the first that raises, and what that raises.

        Raises `socket.timeout` if one takes longer than *seconds*, and `EOFError` or
        `ConnectionError` if somebody has ended the child. In all of these cases the child is lost,
        and `reached` is the number of the call that it was at.
        """
        self.reached = 0
        self._progress[0], self._progress[1] = 0, time.monotonic_ns()
        try:
            self._socket.settimeout(max(seconds, 0.001))
            _send(self._socket, [(call.function, call.arguments) for call in calls])
            self._wait(seconds)
            answer: tuple[list[t.Any], Exception | None] = _receive(self._socket)
            return answer
        except BaseException:
            # It must not go on with the next call.
            os.kill(self._child, signal.SIGKILL)
            raise

    def _wait(self, seconds: float) -> None:
        """Wait until the answer begins, or the child ends."""
        left = seconds
        while True:
            self._socket.settimeout(max(left, 0.001))
            try:
                self._socket.recv(1, socket.MSG_PEEK)
            except socket.timeout:  # noqa: UP041
                # The child tells the time first, so that this time is of no earlier call.
                self.reached = self._progress[0]
                left = self._progress[1] / 1e9 + seconds - time.monotonic()
                if left <= 0:
                    raise
            else:
                self.reached = self._progress[0]
                return

    def __del__(self) -> None:
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, os.WNOHANG)


def _serve(channel: int, kept: int | None, parent: int, progress: memoryview) -> None:
    """Answer all calls that come through the descriptor *channel*, with the file *kept* open.

    Tell in *progress* which call of a list began when. Without the process *parent*, none begins.
    """
    # The descriptors of the parent's objects are closed below, and others get their numbers. When
    # such an object ends, it must not close what has its number by then.
    gc.freeze()
    # A child that hangs must not keep the output of its parent.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in (channel, kept):
            with contextlib.suppress(OSError):
                os.close(int(name))
    with socket.socket(fileno=channel) as connection:
        while True:
            try:
                calls = _receive(connection)
            except EOFError:  # The parent has ended.
                os._exit(0)
            answers, failure = [], None
            for number, (function, arguments) in enumerate(calls):
                if os.getppid() != parent:
                    os._exit(0)
                progress[1] = time.monotonic_ns()
                progress[0] = number
                try:
                    answers.append(function(*arguments))
                except Exception as error:
                    failure = error
                    break
            _send(connection, (answers, failure))


def _send(connection: socket.socket, message: object) -> None:
    data = pickle.dumps(message)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def _receive(connection: socket.socket) -> t.Any:
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return pickle.loads(_exactly(connection, length))


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _write(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _take(writes: t.Iterable[tuple[str, str]], link: str, outcome: str | None) -> None:
    for path, value in writes:
        _write(path, value)
    if _link(link) != outcome:
        raise _OutcomeError


class _OutcomeError(Exception):
    """What a turn was to bring about does not show yet."""


def _read(path: str) -> bytes | None:
    # `open` asks the kernel for much that nobody needs here.
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return b"".join(iter(functools.partial(os.read, descriptor, 1 << 16), b""))
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # Only `os.open` names the file.
        error.filename = path
        raise


def _is_claimed(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK)
    except OSError as error:
        return error.errno == errno.EBUSY
    os.close(descriptor)
    return False


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "surrogateescape").strip()


def _link(path: str) -> str | None:
    target = _target(path)
    return None if target is None else os.path.basename(target)


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR):
            return None
        raise


@functools.cache
def _own_netlink() -> Rtnetlink:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _netlink

    return _netlink.Rtnetlink()


def _ask_netlink(name: str, *arguments: t.Any) -> t.Any:
    return getattr(_own_netlink(), name)(*arguments)


@functools.cache
def _own_generic() -> GenericNetlink:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _generic

    return _generic.GenericNetlink()


def _ask_generic(name: str, *arguments: t.Any) -> t.Any:
    return getattr(_own_generic(), name)(*arguments)


def _command_path() -> str:
    # An administrator's commands are not on the path of every login.
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
