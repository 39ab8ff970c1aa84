# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notes each task of a run on fabricated hosts, and restarts and equips these hosts."""

from __future__ import annotations

import json
import os
import types
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import action_loader

DOCUMENTATION = """
name: tasks
type: notification
short_description: Append each result of a task to the file that TASKS names
description:
  - One JSON object a line. Ansible's own reboot and package act on the fabricated host.
"""


def _reboot(host: t.Any) -> None:
    host.restart()


def _install(host: t.Any) -> None:
    host.tools.add("mstconfig")


_ACTS = {"ansible.builtin.reboot": _reboot, "ansible.builtin.package": _install}


def _run(self: t.Any, tmp: object = None, task_vars: t.Any = None) -> dict[str, t.Any]:
    """Do on the fabricated host what the action does on a host."""
    from ansible_collections.mergetb.sriov.tests.unit import machine_file

    if not self._task.check_mode:
        path = Path(task_vars["fabricated_host"])
        machine = machine_file.load(path)
        _ACTS[self._task.resolved_action](machine)
        machine_file.save(path, machine)
    return {"changed": True}


_get = action_loader.get


def _loaded(name: str, *arguments: t.Any, **options: t.Any) -> t.Any:
    action = _get(name, *arguments, **options)
    if name in _ACTS:
        action.run = types.MethodType(_run, action)
    return action


# The workers are forked of this process.
action_loader.get = _loaded


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    """The results of the tasks of a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "tasks"

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Note what the task did."""
        self._note(result, "ok")

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """Note that the task was not for the host."""
        self._note(result, "skipped")

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Note why the task failed."""
        self._note(result, "failed")

    def _note(self, result: t.Any, status: str) -> None:
        task, values = result._task, result._result
        role = task._role and task._role.get_name(include_role_fqcn=False)
        noted = {
            "host": result._host.get_name(),
            "status": status,
            "name": task.name,
            "role": role,
            # The validation of arguments has no resolved one before ansible-core 2.19.
            "action": task.resolved_action or task.action,
            "changed": values.get("changed", False),
            "steps": values.get("steps"),
            "msg": values.get("msg"),
        }
        with Path(os.environ["TASKS"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(noted, default=str) + "\n")
