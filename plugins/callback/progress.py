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
  - Shows at the end of each wave of a play with the role P(mergetb.sriov.prepare#role) how many
    hosts are ready, were restarted, wait for a restart, were refused, failed or were not reached,
    and how many are left. It names each host that is not ready, with the reason.
  - A wave is what C(serial) of the play takes at once. In the playbook C(mergetb.sriov.prepare),
    the variable C(sriov_serial) sets it, and without that all hosts are one wave.
  - If the play stops before its last wave, it says so, and what to do.
  - Leaves other plays alone.
requirements:
  - enable in the configuration, for example by the environment variable
    C(ANSIBLE_CALLBACKS_ENABLED=mergetb.sriov.progress)
"""

import typing as t

from ansible.plugins.callback import CallbackBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _progress

_ROLE = "mergetb.sriov.prepare"
_PLAN, _REBOOT = "mergetb.sriov.plan_info", "ansible.builtin.reboot"


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
        self._blocked: set[str] = set()

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Begin a wave if the play has the role. Ansible starts the play anew for each wave."""
        self._end_wave(play_goes_on=play._uuid == self._play)
        if _ROLE not in [role.get_name() for role in play.roles]:
            self._play = None
            return
        variables = play.get_variable_manager().get_vars(play=play)
        hosts, everybody = variables["ansible_play_batch"], variables["ansible_play_hosts_all"]
        if play._uuid != self._play:
            self._play, self._waves, self._left = play._uuid, 0, len(everybody)
        self._waves += 1
        self._left -= len(hosts)
        self._wave = _progress.Wave(self._waves, hosts, self._left)

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Note what the task says of its host."""
        if self._wave is None:
            return
        task, host = result._task, result._host.get_name()
        if task.resolved_action == _PLAN and result._result.get("state") == "blocked":
            self._blocked.add(host)
        elif task.resolved_action == _REBOOT:
            self._wave.restart(host)
        elif (outcome := task.vars.get("_sriov_progress")) is not None:
            self._wave.reach(host, outcome)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Note why the host failed."""
        if self._wave is not None and not ignore_errors:
            host = result._host.get_name()
            outcome = _progress.REFUSED if host in self._blocked else _progress.FAILED
            self._wave.reach(host, outcome, result._result.get("msg", ""))

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Note why the host was not reached."""
        if self._wave is not None:
            message = result._result.get("msg", "")
            self._wave.reach(result._host.get_name(), _progress.UNREACHABLE, message)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """End the last wave."""
        self._end_wave(play_goes_on=False)

    def _end_wave(self, *, play_goes_on: bool) -> None:
        if self._wave is None:
            return
        lines = self._wave.lines()
        if self._wave.left and not play_goes_on:
            lines.append(_progress.stopped(self._wave.left))
        self._wave = None
        for line in lines:
            self._display.display(line)
