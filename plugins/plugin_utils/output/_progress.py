# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a run of `prepare` has got: one table a wave of hosts."""

from __future__ import annotations

import typing as t

READY, WAITING, REFUSED, FAILED = "ready", "waiting", "refused", "failed"
UNREACHABLE, STOPPED = "unreachable", "stopped"

_WORDS = {
    READY: "ready",
    WAITING: "waiting for a restart",
    REFUSED: "refused",
    FAILED: "failed",
    UNREACHABLE: "not reached",
    STOPPED: "stopped, since other hosts failed",
}
"""What is said of each outcome, in this order."""


class Told(t.NamedTuple):
    """What the tasks of a host have told: the last *outcome* that it got to, and why."""

    outcome: str = STOPPED
    reason: str = ""
    restarted: bool = False


class Wave:
    """The *hosts* that a run prepares together, the *number*th, with *left* hosts behind them."""

    def __init__(self, number: int, hosts: t.Sequence[str], left: int) -> None:
        self._number = number
        self._told = {host: Told() for host in hosts}
        self.left = left

    def reach(self, host: str, outcome: str, reason: object = "") -> None:
        """Note that *host* has got to *outcome*."""
        if host in self._told:
            self._told[host] = self._told[host]._replace(outcome=outcome, reason=_text(reason))

    def restart(self, host: str) -> None:
        """Note that *host* was restarted."""
        if host in self._told:
            self._told[host] = self._told[host]._replace(restarted=True)

    def lines(self) -> list[str]:
        """The counts of the outcomes, and each host that is not ready, with the reason."""
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
            shares.append(f"{restarted} of these {'was' if restarted == 1 else 'were'} restarted")
        hosts = f"{len(told)} host{'s' * (len(told) != 1)}"
        return [f"Wave {self._number}, {hosts}: {', '.join(shares)}; {self.left} left"] + [
            f"  {host}: {_WORDS[each.outcome]}{': ' * bool(each.reason)}{each.reason}"
            for outcome in _WORDS
            if outcome != READY
            for host, each in told.items()
            if each.outcome == outcome
        ]


def stopped(left: int) -> str:
    """What to do after a run that ended with hosts left."""
    return (
        f"The run stopped with {left} left, because too many hosts failed in this wave. Mend them, "
        "or leave them out with --limit, and run the same again: it asks a host that is ready once "
        "and changes nothing there."
    )


def _text(reason: object) -> str:
    items = reason if isinstance(reason, list) else [reason]
    return " ".join("; ".join(str(item) for item in items).split())
