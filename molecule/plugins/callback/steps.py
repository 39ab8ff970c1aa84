# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps what was planned and what was done, in the order of time, for tests to compare."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: steps
type: notification
short_description: Append each plan and each step to the file that SRIOV_STEPS names
description:
  - One JSON object a line, with C(host), C(role), and C(plan) or C(steps).
"""

_PLAN = "mergetb.sriov.plan_info"
_PLANNING = "mergetb.sriov.plan"
_PREPARING = "mergetb.sriov.prepare"
_REBOOT = "ansible.builtin.reboot"
# What these tell is still to be done.
_AHEAD = ("reserved", "withdrawn")


class CallbackModule(CallbackBase):
    """The plans and the steps of runs."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "steps"

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """See whether the play is there for its plan; `prepare` imports the role for its own."""
        roles = [role.get_name() for role in play.roles]
        self._is_planning = _PLANNING in roles and _PREPARING not in roles

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Note what the task planned or did."""
        task, values = result._task, result._result
        if task.resolved_action == _PLAN:
            if self._is_planning:
                self._note(result, plan=values["steps"])
        elif task.check_mode or not task._role or task.args.get("state") in _AHEAD:
            return
        elif task.resolved_action == _REBOOT:
            self._note(result, steps={"host": ["reboot"]})
        elif values.get("steps"):
            self._note(result, steps=values["steps"])

    def _note(self, result: t.Any, **found: t.Any) -> None:
        noted = {
            "host": result._host.get_name(),
            "role": result._task._role and result._task._role.get_name(include_role_fqcn=False),
            **found,
        }
        with open(os.environ["SRIOV_STEPS"], "a", encoding="utf-8") as file:
            file.write(json.dumps(noted) + "\n")
