# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two runs on one host, in the order that does harm where they do not exclude each other."""

from __future__ import annotations

import concurrent.futures
import threading
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine

_SECONDS = 30


def overtaken(
    machine: Machine, run: t.Callable[[], dict[str, t.Any]], other: t.Callable[[], None]
) -> dict[str, t.Any]:
    """Start *run* while another run holds the lock, which then does *other* and ends.

    Returns what *run* does, or raises what that raises. A run that does not wait has written before
    *other* is called, which is an error here.
    """
    waits = threading.Event()
    wait_for = machine.wait_for

    def noticed(condition: t.Callable[[], object], **options: t.Any) -> bool:
        waits.set()
        return wait_for(condition, **options)

    machine.wait_for = noticed
    with concurrent.futures.ThreadPoolExecutor() as executor:
        with _ledger.locked(machine):
            waits.clear()
            running = executor.submit(run)
            assert waits.wait(_SECONDS), "it neither waited for the lock nor for anything else"
            assert machine.writes == [], "it wrote while another run was at work"
            other()
        return running.result(_SECONDS)
