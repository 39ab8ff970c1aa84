# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks on made-up hosts: the action of a module plays what the module tells."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.tests.unit import command_line

COLLECTION = Path("ansible_collections", "mergetb", "sriov")
ROOT = Path(command_line.COLLECTIONS) / COLLECTION
"""This checkout."""

_TOLD = "told.json"
_CALLS = "calls"
_ACTION = "from ansible.plugins.action.normal import ActionModule"
_PLAYED = f"""

import json

from ansible.errors import AnsibleConnectionFailure


class ActionModule(ActionModule):
    def _execute_module(self, *arguments, task_vars=None, **others):
        with open("{_CALLS}", "a") as file:
            file.write(task_vars["inventory_hostname"] + "\\n")
        with open("{_TOLD}") as file:
            told = json.load(file)[task_vars["inventory_hostname"]]
        if told is None:
            raise AnsibleConnectionFailure("no route to host")
        return told
"""


def collections(directory: Path, *modules: str) -> Path:
    """A path of collections, in *directory*, with a copy of this one whose *modules* are played.

    What the action of a module does with the answer stays as it is.
    """
    for part in ("plugins", "roles", "playbooks"):
        shutil.copytree(ROOT / part, directory / COLLECTION / part)
    action = directory / COLLECTION / "plugins" / "action"
    action.mkdir(exist_ok=True)
    for module in modules:
        path = action / f"{module}.py"
        original = path.read_text(encoding="utf-8") if path.exists() else _ACTION
        path.write_text(original + _PLAYED, encoding="utf-8")
    return directory


def tell(directory: Path, told: t.Mapping[str, t.Any]) -> None:
    """Let the module return *told* by host, in runs in *directory*; `None` is out of reach."""
    (directory / _TOLD).write_text(json.dumps(told), encoding="utf-8")


def calls(directory: Path) -> list[str]:
    """The hosts of all calls of the module in runs in *directory*."""
    path = directory / _CALLS
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def run(
    collections: Path,
    directory: Path,
    playbook: str,
    *arguments: str,
    check: bool = True,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run a playbook in *directory*, on the facility `phobos.xir` there.

    It is one of the collection, or a file in *directory*.
    """
    own = playbook.endswith(".yml")
    return command_line.run(
        directory,
        "playbook",
        *("-i", "phobos.xir", playbook if own else f"mergetb.sriov.{playbook}", *arguments),
        check=check,
        **({"ANSIBLE_COLLECTIONS_PATH": str(collections)} | environment),
    )
