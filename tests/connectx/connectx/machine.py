# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine with emulated cards, for tests: this one, as a private mount namespace shows it.

The namespace belongs to the emulator's process and ends with it, so nothing can be left mounted.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pathlib
import random
import shutil
import socket
import subprocess
import typing as t

from connectx import card as cards
from connectx.layouts import DATABASE, read_layouts
from connectx.state import StateFile

_PACKAGE_PARENT = pathlib.Path(__file__).parents[1]
_DEBIAN_ROOT = _PACKAGE_PARENT.parent / "tools" / "debian_root.sh"
_TOOLS = ("mstconfig", "mstfwreset")
_LOCKS = "tmp/mstflint_lockfiles"
_START_SECONDS = 30
_COMMAND_SECONDS = 120
_LOCKDOWN = {False: "[none] integrity confidentiality", True: "none [integrity] confidentiality"}

_numbers = itertools.count()


class Card(t.NamedTuple):
    """A card to emulate: the name of its profile, and the PCI addresses of its functions."""

    profile: str
    functions: t.Sequence[str]


class Machine:
    """A machine with *cards*, and with the `mstconfig` of a Debian release or none.

    What belongs to it is in *directory*, the flash included: another machine with the same
    directory continues it. Needs root.
    """

    def __init__(
        self, cards: t.Sequence[Card], *, mstflint: str | None, directory: str | os.PathLike[str]
    ) -> None:
        self.directory = pathlib.Path(directory).resolve()
        self._cards = cards
        # The layouts come from the package, also where the machine has not got it.
        self._root = mstflint_root(mstflint or "bookworm")
        self._with_tools = mstflint is not None
        self._state = StateFile(str(self.directory / "flash.json"))
        self._database = f"{self._root}{DATABASE}"
        # Tool and emulator talk in turns; waking the other one is slow on another CPU.
        self._on_cpu = f"taskset --cpu-list {random.choice(sorted(os.sched_getaffinity(0)))}"
        self._locks = contextlib.ExitStack()
        self._emulator: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Machine:
        for name in ("bin", "locks", "security"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self._show_lockdown(False)
        self._start()
        try:
            self._hide_tools()
            if self._with_tools:
                self._install_tools()
            self.run(
                ["mount", "--bind", str(self.directory / "security"), "/sys/kernel/security"]
            ).check_returncode()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._locks.close()
        if self._emulator:
            self._emulator.terminate()
            try:
                self._emulator.wait(_START_SECONDS)
            except subprocess.TimeoutExpired:
                self._emulator.kill()
                self._emulator.wait()
            self._emulator = None

    def run(
        self,
        command: t.Sequence[str],
        *,
        env: t.Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: str | os.PathLike[str] = ".",
        seconds: float = _COMMAND_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine; *env* is added to the environment of this process."""
        assert self._emulator, "the machine is off"
        environment = {**os.environ, **(env or {})}
        environment["PATH"] = f"{self.directory / 'bin'}:{environment['PATH']}"
        return subprocess.run(
            [
                *("nsenter", f"--mount=/proc/{self._emulator.pid}/ns/mnt"),
                *(f"--wd={os.path.abspath(cwd)}", "--", *command),
            ],
            env=environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
        )

    def reboot(self) -> None:
        """What a warm reboot of the machine does to its cards."""
        cards.reboot(self._state)

    def power_cycle(self) -> None:
        """What an interruption of the machine's power does to its cards."""
        cards.power_cycle(self._state)

    def fault(self, name: str, value: t.Any = True, *, card: str | None = None) -> None:
        """Give a fault of `cards.FAULTS`, or `lock_file`, to a card or to all; false ends it.

        With `lock_file`, another process holds the lock that `mstconfig` wants.
        """
        if name == "lock_file":
            self._locks.close()
            for function in self._functions() if value else ():
                path = self.directory / "locks" / f"{function}_config"
                fcntl.flock(self._locks.enter_context(path.open("w")), fcntl.LOCK_EX)
            return
        cards.set_faults(self._state, {name: value}, card)
        if name == "lockdown":
            self._show_lockdown(bool(value))

    def heal(self) -> None:
        """End all faults."""
        self._locks.close()
        self._show_lockdown(False)
        cards.heal(self._state)

    @property
    def writes(self) -> int:
        """How often the flash of any card was written, or was to be, since it was new."""
        records = self._state.read()["cards"].values()
        return sum(sum(record["writes"].values()) for record in records)

    def settings(self, function: str) -> dict[str, cards.Columns]:
        """What the flash holds, by the parameters' names."""
        card, number = self._card(function)
        return card.settings(number)

    def put(self, function: str, **columns: t.Mapping[str, int]) -> None:
        """Change parameters in `default`, `current` or `next`, without counting a write."""
        card, number = self._card(function)
        for column, values in columns.items():
            card.put(number, column, values)

    def _functions(self) -> list[str]:
        return [function for card in self._cards for function in card.functions]

    def _card(self, function: str) -> tuple[cards.Card, int]:
        for name, record in self._state.read()["cards"].items():
            if function in record["functions"]:
                card = cards.Card(self._state, name, read_layouts(self._database))
                return card, record["functions"].index(function)
        raise KeyError(function)

    def _show_lockdown(self, locked: bool) -> None:
        text = _LOCKDOWN[locked] + "\n"
        (self.directory / "security" / "lockdown").write_text(text, encoding="ascii")

    def _start(self) -> None:
        """Start the emulator and wait until the cards are there."""
        # An abstract address, since the path of a test's directory can be too long for one.
        address = f"connectx-{os.getpid()}-{next(_numbers)}"
        options = [f"--card={card.profile}@{','.join(card.functions)}" for card in self._cards]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind("\0" + address)
            ready.settimeout(0.1)
            with (self.directory / "emulator.log").open("wb") as log:
                self._emulator = subprocess.Popen(
                    [
                        *("unshare", "--mount", "--propagation=private", "--"),
                        *self._on_cpu.split(),
                        *("/usr/bin/python3", "-m", "connectx", "bus", *options),
                        *("--state", str(self.directory / "flash.json")),
                        *("--database", self._database),
                    ],
                    env={
                        "PATH": os.environ["PATH"],
                        "PYTHONPATH": str(_PACKAGE_PARENT),
                        "PYTHONDONTWRITEBYTECODE": "1",
                        "NOTIFY_SOCKET": "@" + address,
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            for _attempt in range(10 * _START_SECONDS):
                with contextlib.suppress(TimeoutError):
                    ready.recv(16)
                    return
                if self._emulator.poll() is not None:
                    break
        self.__exit__()
        raise RuntimeError((self.directory / "emulator.log").read_text("utf-8", "replace"))

    def _hide_tools(self) -> None:
        """Take away the tools that this computer itself has: no test is about their version."""
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        for tool in (*_TOOLS, "mlxconfig", "mlxfwreset"):
            for directory in dict.fromkeys(map(os.path.realpath, path.split(":"))):
                if found := shutil.which(tool, path=directory):
                    # What may not be run is no command.
                    self.run(["mount", "--bind", "/dev/null", found]).check_returncode()

    def _install_tools(self) -> None:
        """Put commands of the Debian root on the path; they see this machine's files."""
        for tool in _TOOLS:
            path = self.directory / "bin" / tool
            command = f'exec {self._on_cpu} chroot "{self._root}" /usr/bin/{tool} "$@"'
            path.write_text(f"#!/bin/sh\n{command}\n", "utf-8")
            path.chmod(0o755)
        os.makedirs(f"/{_LOCKS}", exist_ok=True)
        shared = ["/tmp", os.path.expanduser("~"), str(self.directory)]
        # Two machines can have cards at the same addresses, so each has locks of its own.
        script = f"""
            for path in /dev /proc /sys; do mount --rbind $path "$ROOT$path"; done
            for path in "$@"; do mkdir -p "$ROOT$path"; mount --bind "$path" "$ROOT$path"; done
            mount --bind "{self.directory}/locks" "$ROOT/{_LOCKS}"
        """
        done = self.run(["sh", "-ec", script, "sh", *shared], env={"ROOT": self._root})
        if done.returncode:
            raise RuntimeError(done.stderr)


def mstflint_root(release: str) -> str:
    """The directory of a Debian root with `mstflint`; its first use makes it and takes a while."""
    command = [str(_DEBIAN_ROOT), release, "mstflint"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()
