# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one port to the machine: files below a root directory, commands, and netlink.

Everything that the collection reads or changes on a managed node goes through a `Host`. The same
code therefore runs on a real host, on a fabricated tree in a test, and in a boot helper.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._netlink import Rtnetlink

_POLL_SECONDS = 0.02


class Completed(t.NamedTuple):
    """What a command left: exit code, standard output and standard error."""

    rc: int
    out: str
    err: str


class Host:
    """A machine whose files are below *root*.

    Paths are absolute paths of that machine (`/sys/bus/pci/devices`). Methods that read answer
    `None` or an empty list where the file does not exist and raise `OSError` for any other cause.
    """

    def __init__(self, root: str = "/", *, netlink: Rtnetlink | None = None) -> None:
        self.root = root
        self._netlink = netlink

    @property
    def netlink(self) -> Rtnetlink:
        """The route netlink socket of the machine, opened at first use."""
        if self._netlink is None:
            from ansible_collections.mergetb.sriov.plugins.module_utils._netlink import Rtnetlink

            self._netlink = Rtnetlink()
        return self._netlink

    def path(self, path: str) -> str:
        """Where *path* of the machine is for this process."""
        return os.path.join(self.root, path.lstrip("/"))

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.path(path))

    def read_bytes(self, path: str) -> bytes | None:
        try:
            with open(self.path(path), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str) -> str | None:
        """The text of *path* without white space at its ends."""
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "surrogateescape").strip()

    def names(self, path: str) -> list[str]:
        """The sorted names in the directory *path*."""
        try:
            return sorted(os.listdir(self.path(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def target(self, path: str) -> str | None:
        """What the symbolic link *path* points to, as it is written there."""
        try:
            return os.readlink(self.path(path))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR):
                return None
            raise

    def link(self, path: str) -> str | None:
        """The last component of what the symbolic link *path* points to."""
        target = self.target(path)
        return None if target is None else os.path.basename(target)

    def write(self, path: str, value: str) -> None:
        """Write *value* to an existing file in one write, as sysfs attributes want it."""
        descriptor = os.open(self.path(path), os.O_WRONLY)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)

    def write_within(self, path: str, value: str, *, seconds: float) -> None:
        """Like `write`, in a child process that is left behind when it takes longer than *seconds*.

        A driver can block for ever in a sysfs write (i40e did in `sriov_numvfs`), and a blocked
        write can not be interrupted, only abandoned.
        """
        child = os.fork()
        if child == 0:
            status = 1
            try:
                # An abandoned child must not keep the module's output open.
                nowhere = os.open(os.devnull, os.O_RDWR)
                for descriptor in (0, 1, 2):
                    os.dup2(nowhere, descriptor)
                self.write(path, value)
                status = 0
            except OSError as error:
                status = error.errno or errno.EIO
            finally:
                os._exit(status)
        statuses: list[int] = []

        def ended() -> bool:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                statuses.append(os.waitstatus_to_exitcode(status))
            return bool(statuses)

        if not self.wait_for(ended, seconds=seconds):
            os.kill(child, signal.SIGKILL)
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
        if statuses[0]:
            raise OSError(statuses[0], os.strerror(statuses[0]), path)

    def replace(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Put *content* into the file *path* atomically, making missing directories.

        An existing file keeps its mode and owner.
        """
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

        Raises `SriovError` where the command is missing or takes longer than *seconds*.
        """
        try:
            done = subprocess.run(
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
        """Poll *condition* until it holds; false where it still does not after *seconds*.

        *every* are the seconds between two looks.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            time.sleep(every)
        return True


def _command_path() -> str:
    # An administrator's commands are not on the path of every login.
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
