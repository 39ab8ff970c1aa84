# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lines that tell after each wave of hosts how far a run of `prepare` has got."""

from __future__ import annotations

import typing as t

READY, WAITING, REFUSED, FAILED = "ready", "waiting", "refused", "failed"
UNREACHABLE, UNPREPARED = "unreachable", "unprepared"

_WORDS = {
    READY: "ready",
    WAITING: "waiting for a restart",
    REFUSED: "refused",
    FAILED: "failed",
    UNREACHABLE: "not reached",
    UNPREPARED: "not prepared to the end",
}
"""How the lines name each outcome, in this order."""

_LOST = (REFUSED, FAILED, UNREACHABLE)


class Told(t.NamedTuple):
    """What the tasks of a host have told so far: its latest *outcome*, and why."""

    outcome: str = UNPREPARED
    reason: str = ""
    restarted: bool = False


class Wave:
    """Wave *number* of a run: *hosts* that it prepares together. *left* hosts are still to come.

    In *check_mode*, the lines tell what would happen.
    """

    def __init__(
        self, number: int, hosts: t.Sequence[str], left: int, *, check_mode: bool = False
    ) -> None:
        self._number = number
        self._told = {host: Told() for host in hosts}
        self._check_mode = check_mode
        self._left = left

    def reach(self, host: str, outcome: str, reason: object = "") -> None:
        """Note that *host* has got to *outcome*."""
        if host in self._told:
            self._told[host] = self._told[host]._replace(outcome=outcome, reason=_text(reason))

    def restart(self, host: str) -> None:
        """Note that *host* was restarted, so that it no longer waits for that."""
        if host in self._told:
            self._told[host] = Told(restarted=True)

    def lines(self, *, goes_on: bool) -> list[str]:
        """The counts of the outcomes, and each host that is not ready, with the reason.

        If the run does not go on although hosts are left, the last line says what to do.
        """
        told = self._told
        counts = {
            outcome: sum(each.outcome == outcome for each in told.values()) for outcome in _WORDS
        }
        shares = [f"{counts[READY]} ready"] + [
            f"{counts[outcome]} {word}"
            for outcome, word in _WORDS.items()
            if outcome != READY and counts[outcome]
        ]
        restarted = sum(each.restarted for each in told.values())
        if restarted:
            shares.append(f"{restarted} of these restarted")
        hosts = f"{len(told)} host{'s' * (len(told) != 1)}"
        would = " would be" if self._check_mode else ""
        lines = [
            f"Wave {self._number}, {hosts}{would}: {', '.join(shares)}; {self._left} left",
            *self._hosts_to_see_to(),
        ]
        if self._left and not goes_on:
            lines.append(self._advice())
        return lines

    def _hosts_to_see_to(self) -> list[str]:
        return [
            f"  {host}: {_WORDS[each.outcome]}{': ' * bool(each.reason)}{each.reason}"
            for outcome in _WORDS
            if outcome != READY
            for host, each in self._told.items()
            if each.outcome == outcome
        ]

    def _advice(self) -> str:
        lost = any(each.outcome in _LOST for each in self._told.values())
        reason = ", because too many hosts failed in this wave" if lost else ""
        remedy = "Mend them, or leave them out with --limit, and run" if lost else "Run"
        return (
            f"The run stopped with {self._left} left{reason}. {remedy} the same again: it asks a "
            "host that is ready once and changes nothing there."
        )


def _text(reason: object) -> str:
    """One line that a terminal shows as it is."""
    items = reason if isinstance(reason, list) else [reason]
    line = " ".join("; ".join(str(item) for item in items).split())
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in line
    )
