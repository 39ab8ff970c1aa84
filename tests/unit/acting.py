# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs an action plugin of the collection by itself, without a playbook."""

from __future__ import annotations

import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import action_loader, connection_loader


def run(
    action: str,
    arguments: dict[str, t.Any],
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    *,
    left: t.Sequence[str] | None = None,
    limit: t.Sequence[str] | None = None,
    check: bool = False,
    diff: bool = False,
    host: str | None = None,
) -> dict[str, t.Any]:
    """Return the result of an action in a play whose hosts have *hostvars*.

    *left* are the hosts that are left in the play, all if it is None. *limit* are those that a
    limit leaves in the play; there is no limit if it is None. *host* is the one that the task is
    about, if it is about one.
    """
    task = Task.load({"action": f"mergetb.sriov.{action}", "check_mode": check, "diff": diff})
    task.args = arguments
    context = PlayContext()
    plugin = action_loader.get(
        f"mergetb.sriov.{action}",
        task=task,
        connection=connection_loader.get("ansible.builtin.local", context, None),
        play_context=context,
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )
    task_vars = {
        "ansible_play_hosts_all": list(hostvars if limit is None else limit),
        **({} if limit is None else {"ansible_limit": ",".join(limit)}),
        "groups": {"hypervisors": list(hostvars)},
        "ansible_play_hosts": list(hostvars if left is None else left),
        "hostvars": hostvars,
        **({"inventory_hostname": host} if host else {}),
    }
    return plugin.run(task_vars=task_vars)
