# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether all hosts of a play agree on a materialization. PRIVATE to the collection.

A materialization is given on all of its hosts or on none. Only the answer of a host tells whether
it has agreed, because a host that failed stays in the play if a playbook rescues or ignores the
failure.
"""

from __future__ import annotations

import secrets
import typing as t

if t.TYPE_CHECKING:
    import datetime

Answer = t.Mapping[str, t.Any] | None
"""The result of the module materialization on a host; None if the host was not asked."""


def run_name(now: datetime.datetime) -> str:
    """Return a name for a run. The name of the older of two runs sorts first."""
    return f"{now:%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(3)}"


def of_run(answer: Answer, run: str) -> Answer:
    """Return an answer, or None if it was given to an earlier run in the same playbook.

    An answer that is no success names no run.
    """
    return None if answer and run and answer.get("run", run) != run else answer


def missing(reserved: t.Mapping[str, Answer], looked: t.Mapping[str, Answer]) -> list[str]:
    """Return the hosts that have not agreed.

    :param reserved: by host, the answer to the reservation
    :param looked: by host, the answer to the second look, which not every host is asked for
    """
    return [
        host
        for host, answer in reserved.items()
        if not has_told_devices(answer)
        or (_was_asked(looked[host]) and not has_told_devices(looked[host]))
    ]


def has_told_devices(answer: Answer) -> bool:
    """Return whether a host has told which devices its guests get."""
    return answer is not None and "devices" in answer and not answer.get("failed")


def _was_asked(answer: Answer) -> bool:
    return bool(answer and not answer.get("skipped"))


def changes(reserved: t.Mapping[str, Answer]) -> bool:
    """Return whether the run is going to change any host."""
    return any(answer and answer.get("steps") for answer in reserved.values())
