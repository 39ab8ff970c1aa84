# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: notification
short_description: How far the preparation of a facility has got
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Shows at the end of each wave how many hosts are ready, were restarted, wait for a restart,
    were refused, failed or were not reached, and how many are left. It names each host that is not
    ready, with the reason.
  - This is for plays that have the role P(mergetb.sriov.prepare#role) under C(roles), as the
    playbook C(mergetb.sriov.prepare) has it. It leaves other plays alone.
  - A wave is what C(serial) of the play takes at once. In that playbook, C(-e sriov_serial=…) sets
    it, and without that all hosts are one wave.
  - If the play stops before its last wave, it says so, and what to do.
requirements:
  - enable in the configuration, for example by the environment variable
    C(ANSIBLE_CALLBACKS_ENABLED=mergetb.sriov.progress)
"""

import typing as t

from ansible.plugins.callback import CallbackBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _progress

_ROLE = "mergetb.sriov.prepare"
_REBOOT = "mergetb.sriov.reboot"


class CallbackModule(CallbackBase):
    """Shows the progress of `prepare`."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mergetb.sriov.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._wave: _progress.Wave | None = None
        self._waves = self._left = 0
        self._play: str | None = None
        self._lost: dict[str, tuple[str, t.Any]] = {}

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Begin a wave if the play has the role. Ansible starts the play anew for each wave."""
        self._end_wave(goes_on=play._uuid == self._play)
        if _ROLE not in [role.get_name() for role in play.roles]:
            self._play = None
            return
        variables = play.get_variable_manager().get_vars(play=play)
        hosts, everybody = variables["ansible_play_batch"], variables["ansible_play_hosts_all"]
        if play._uuid != self._play:
            self._play, self._waves, self._left = play._uuid, 0, len(everybody)
        self._waves += 1
        self._left -= len(hosts)
        self._wave = _progress.Wave(
            self._waves, hosts, self._left, check_mode=bool(play.check_mode)
        )
        # A host that was lost in an earlier play takes no part in this one.
        for host, lost in self._lost.items():
            self._wave.reach(host, *lost)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Forget the play: Ansible began it with hosts that it is not about."""
        self._wave = self._play = None

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Note what the task says of its host."""
        if self._wave is None:
            return
        task, host = result._task, result._host.get_name()
        outcome = task.vars.get("_sriov_progress")
        if _is_reboot(task):
            self._wave.restart(host)
        elif outcome is not None:
            self._wave.reach(host, outcome)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Note why the host failed."""
        task = result._task
        if self._wave is not None and _is_reboot(task) and result._result.get("rebooted"):
            self._wave.restart(result._host.get_name())
        if not ignore_errors:
            outcome = task.vars.get("_sriov_progress", _progress.FAILED)
            self._lose(result, outcome)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Note why the host was not reached."""
        if not result._task.ignore_unreachable:
            self._lose(result, _progress.UNREACHABLE)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """End the last wave."""
        self._end_wave(goes_on=False)

    def _lose(self, result: t.Any, outcome: str) -> None:
        host = result._host.get_name()
        self._lost[host] = (outcome, result._result.get("msg", ""))
        if self._wave is not None:
            self._wave.reach(host, *self._lost[host])

    def _end_wave(self, *, goes_on: bool) -> None:
        if self._wave is not None:
            for line in self._wave.lines(goes_on=goes_on):
                self._display.display(line)
        self._wave = None


def _is_reboot(task: t.Any) -> bool:
    role = task._role.get_name() if task._role else None
    return bool(role == _REBOOT and task.resolved_action == "ansible.builtin.reboot")
