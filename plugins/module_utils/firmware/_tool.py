# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`mstconfig`, which reads and writes the firmware configuration of a ConnectX or BlueField.

`mlxconfig` of NVIDIA's MFT is the same tool under another name. Both print errors on standard
output that name neither cause nor remedy. The errors of this module name both.
"""

from __future__ import annotations

import os
import re
import tempfile
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _output
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._output import Answer
from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _kernel
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed, Host

# Each tool, with the one that resets a card's firmware.
RESETS = {"mstconfig": "mstfwreset", "mlxconfig": "mlxfwreset"}

UNKNOWN = (
    "the tool knows no such parameter of this card; see that it is spelt right (in capitals), and "
    "that the card has the port that it ends with"
)
UNSUPPORTED = (
    "the card's firmware does not offer it, or only after another parameter is set; leave it out, "
    "set that parameter too, or update the firmware"
)
READ_ONLY = "the card's firmware lets nobody change it; leave it out, or ask the vendor of the card"

# The tool takes one or two seconds. On an emulated processor that is busy it takes minutes.
_SECONDS = 900
_RESET_SECONDS = 300
_CONNECTX3 = ("0x1003", "0x1004", "0x1007")


def _is_locked_down(host: Host, address: str) -> bool:
    return _kernel.lockdown(host) not in (None, "none")


def _is_connectx3(host: Host, address: str) -> bool:
    return _pci.read_identity(host, address).device in _CONNECTX3


class _Failure(t.NamedTuple):
    """What the tool says, as a regular expression, and what that means.

    *holds* tells for a host and the address of a card whether it has that meaning there.
    """

    says: str
    cause: str
    remedy: str
    holds: t.Callable[[Host, str], bool] = lambda host, address: True


# The first that matches and holds counts. In cause and remedy, `{0}` is the first group of the
# expression.
_FAILURES = (
    _Failure(
        r"not permitted|denied|Failed to (?:open|identify) the device",
        "the kernel is in lockdown, which keeps the tool from the card",
        "switch Secure Boot off, or manage the card's firmware by other means",
        _is_locked_down,
    ),
    _Failure(
        r"not permitted|denied",
        "the kernel keeps the tool from the card's configuration space",
        "see whether the host is a guest or a container that does not own the card",
    ),
    _Failure(
        r"[Uu]nsupported device",
        "the card is a ConnectX-3, which mstflint dropped in version 4.26",
        "install an older one, or use another card",
        _is_connectx3,
    ),
    _Failure(
        r"Livefish",
        "the card is in livefish mode: it runs without its firmware",
        "burn its firmware anew (mstflint) and power cycle the host",
    ),
    _Failure(
        r"Cannot access NV register|NV access registers are supported|NVQC access register",
        "the firmware gives this host no access to its configuration, or somebody else uses its "
        "command interface",
        "end other tools that work on the card, give this host the access (mstprivhost), power "
        "cycle the host if the mode of a BlueField was changed, or update the firmware",
    ),
    _Failure(
        r"[Uu]nsupported [Dd]evice|Device not supported",
        "the tool does not know this kind of card",
        "install another version of it",
    ),
    _Failure(
        r"lock operation|[Ss]emaphore|Resource temporarily unavailable",
        "another process uses it, or another host that shares the card",
        "wait until that has ended, then run again",
    ),
    _Failure(
        r"arameter (\S+?)' value is (larger than maximum|smaller than minimum) allowed (-?\d+)",
        "{0} is {1} allowed, which is {2}",
        "ask for what the card can do",
    ),
    _Failure(
        r"arameter (\S+) has Illegal constraint",
        "{0} does not fit the card's other parameters (as many VFs with so many MSI-X vectors or "
        "such large BARs)",
        "ask for fewer VFs, or lower NUM_VF_MSIX or VF_LOG_BAR_SIZE",
    ),
    _Failure(
        r"Unknown value (\S+)",
        "{0} is no value of its parameter",
        "see the values that the parameter has: mstconfig -d ADDRESS show_confs",
    ),
    _Failure(
        r"Cannot parse the value",
        "the value is a text, but the parameter takes a number",
        "see the values that the parameter has: mstconfig -d ADDRESS show_confs",
    ),
    _Failure(
        r"Failed to set (?:configuration|\S+ settings)",
        "the firmware refused to store all of it",
        "see the release notes of the firmware, update it, or leave the parameter out",
    ),
    _Failure(
        r"Failed to (?:open|identify) the device",
        "the card does not answer, or somebody else uses it",
        "end other tools that work on the card and see the kernel's log; if that does not help, "
        "power cycle the host",
    ),
)


class ToolError(SriovError):
    """The tool failed; *words* are its own."""

    def __init__(self, message: str, words: str) -> None:
        super().__init__(f"{message}. It says: {words}")
        self.words = words


class Tool:
    """The tool *command* (`mstconfig` or `mlxconfig`) of *host*, which takes a card by PCI address.

    All methods raise `ToolError` with cause and remedy if the tool fails.
    """

    def __init__(self, host: Host, command: str) -> None:
        self.command = command
        self._host = host
        self._has_json = True

    def query(self, address: str, names: t.Iterable[str]) -> tuple[Answer, dict[str, str]]:
        """The parameters *names*, and the reason for each that the card does not show."""
        names = list(names)
        answer = Answer("", "", {})
        absent: dict[str, str] = {}
        while names:
            try:
                answer = self._query(address, names)
                break
            except ToolError as error:
                # One unknown name fails the whole query.
                name, reason = _absent(error.words)
                if name not in names:
                    raise
                absent[name] = reason
                names.remove(name)
        return answer, absent

    def set(self, address: str, assignments: t.Sequence[str]) -> bool:
        """Write *assignments* (`NAME=value`); tells whether only a power cycle loads them."""
        return "Please power cycle" in self._run(address, ["-y", "set", *assignments])

    def reset(self, address: str) -> None:
        """Make the card load its configuration now. Its driver is away meanwhile."""
        command = [RESETS[self.command], "-d", address, "-l", "3", "-y", "reset"]
        done = self._host.run(command, seconds=_RESET_SECONDS)
        if done.rc:
            words = _words(done)
            raise ToolError(f"{command[0]} could not reset the firmware of {address}", words)

    def _query(self, address: str, names: t.Sequence[str]) -> Answer:
        try:
            if self._has_json:
                try:
                    return self._query_json(address, names)
                except ToolError as error:
                    # Versions before 4.31 print only a table.
                    if "invalid argument: -j" not in error.words:
                        raise
                    self._has_json = False
            table = self._run(address, ["-e", "query", *names])
            return _output.read_table(table, names)
        except _output.Unread as error:
            raise SriovError(f"{address}: {self.command} query: {error}") from error

    def _query_json(self, address: str, names: t.Sequence[str]) -> Answer:
        with tempfile.TemporaryDirectory(prefix="mergetb-sriov-") as directory:
            path = os.path.join(directory, "answer.json")
            self._run(address, ["-e", "-j", path, "query", *names])
            with open(path, encoding="utf-8") as file:
                return _output.read_json(file.read(), names)

    def _run(self, address: str, arguments: t.Sequence[str]) -> str:
        """What the tool prints."""
        done = self._host.run([self.command, "-d", address, *arguments], seconds=_SECONDS)
        if done.rc == 0:
            return done.out
        words = _words(done)
        cause, remedy = self._explained(address, words)
        command = " ".join([self.command, *arguments])
        raise ToolError(f"{address}: {cause}; {remedy}. '{command}' failed", words)

    def _explained(self, address: str, words: str) -> tuple[str, str]:
        for failure in _FAILURES:
            found = re.search(failure.says, words)
            if found and failure.holds(self._host, address):
                return failure.cause.format(*found.groups()), failure.remedy
        return "the tool failed", "see what it says"


def installed(host: Host, candidates: t.Iterable[str] = tuple(RESETS)) -> str | None:
    """The first of *candidates* that is installed."""
    return next((command for command in candidates if host.has_command(command)), None)


def find(host: Host, choice: str) -> Tool:
    """The tool *choice*; for `auto` the first that is installed."""
    candidates = list(RESETS) if choice == "auto" else [choice]
    command = installed(host, candidates)
    if command is not None:
        return Tool(host, command)
    missing = " and ".join(candidates) + (" are" if len(candidates) > 1 else " is")
    raise SriovError(f"{missing} not installed on this host: install the package mstflint")


def _absent(words: str) -> tuple[str, str]:
    """The parameter that the tool misses, and the reason; both empty if it says something else."""
    found = re.search(r"Device doesn't support (\S+) parameter", words)
    if found:
        return found[1], UNSUPPORTED
    found = re.search(r"Unknown [Pp]arameter:? (\S+)", words)
    return (found[1].rstrip("."), UNKNOWN) if found else ("", "")


def _words(done: Completed) -> str:
    """What the tool says about its failure, in one line."""
    _table, mark, error = done.out.partition("-E-")
    return " ".join(f"{done.err} {mark + error or done.out}".split()) or "nothing"
