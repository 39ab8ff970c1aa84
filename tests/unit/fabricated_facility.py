# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A facility of fabricated hypervisors, on which Ansible runs the real roles and modules."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.tests.unit import command_line, machine_file
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import Hypervisor

_HERE = Path(__file__).resolve().parent / "on_fabricated"
_PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
# Those of Ansible that reach a host.
_ACTIONS = ("ansible.builtin.reboot", "ansible.builtin.package", "ansible.builtin.ping")


class Task(t.NamedTuple):
    """A task that was run on a host, and how it ended: `ok`, `skipped` or `failed`."""

    host: str
    status: str
    name: str
    role: str | None
    action: str
    changed: bool
    steps: t.Any
    msg: t.Any

    @property
    def is_call(self) -> bool:
        """Whether it reached the host."""
        collection, _dot, name = self.action.rpartition(".")
        if collection == "mergetb.sriov":
            return self.status != "skipped" and not _is_of_controller(name)
        return self.status != "skipped" and self.action in _ACTIONS


def _is_of_controller(name: str) -> bool:
    path = _PLUGINS / f"action/{name}.py"
    return path.exists() and "ControllerAction" in path.read_text(encoding="utf-8")


class Played(t.NamedTuple):
    """What a run of a playbook did, and what it printed."""

    code: int
    output: str
    tasks: list[Task]

    def on(self, host: str) -> list[Task]:
        """The tasks of *host* in the order of time."""
        return [task for task in self.tasks if task.host == host]

    def calls(self, host: str) -> list[str]:
        """The modules that were called on *host*."""
        return [task.action for task in self.on(host) if task.is_call]

    def steps(self, host: str) -> list[tuple[str, str, str]]:
        """What was done to *host*, or in check mode would be: role, element and action."""
        found: list[tuple[str, str, str]] = []
        for task in self.on(host):
            if task.status == "skipped":
                continue
            if task.action == "ansible.builtin.reboot":
                found.append(("reboot", "host", "reboot"))
            elif task.action == "ansible.builtin.package":
                found.append(("mlx_firmware", "mstflint", "install"))
            elif task.name == "Show what is planned behind the restart" and task.changed:
                found += [(step["role"], step["element"], step["action"]) for step in task.msg]
            elif task.steps and not task.action.endswith(".plan_info"):
                found += [
                    (str(task.role), element, action)
                    for element, actions in task.steps.items()
                    for action in actions
                ]
        return found

    def failure(self, host: str) -> t.Any:
        """What the task says that has failed on *host*."""
        return next((task.msg for task in self.on(host) if task.status == "failed"), None)


def environment(tasks: Path) -> dict[str, str]:
    """What has the callback `tasks`, once it is enabled, note each task in the file *tasks*."""
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(_HERE / "callback"),
        "ANSIBLE_FORKS": str(2 * (os.cpu_count() or 1)),
        "TASKS": str(tasks),
    }


def noted(tasks: Path) -> list[Task]:
    """The tasks that a run has noted in the file *tasks*."""
    return [Task(**json.loads(line)) for line in tasks.read_text(encoding="utf-8").splitlines()]


class Facility:
    """The facility, with its files in *directory*."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._variables: dict[str, dict[str, t.Any]] = {}

    def add(self, name: str, make: t.Callable[[Path], Hypervisor], **variables: t.Any) -> None:
        """A host, and its variables."""
        directory = self._directory / name
        directory.mkdir()
        (directory / "root").mkdir()
        machine_file.save(directory / "machine", make(directory / "root"))
        python = directory / "python"
        python.write_text(
            f'#!/bin/sh\nFABRICATED_HOST="{directory}/machine" PYTHONPATH="{_HERE}/managed" '
            f'exec "{sys.executable}" "$@"\n',
            encoding="utf-8",
        )
        python.chmod(0o755)
        self._variables[name] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(python),
            "ansible_remote_tmp": str(directory / "tmp"),
            "fabricated_host": str(directory / "machine"),
            **variables,
        }

    @contextlib.contextmanager
    def host(self, name: str) -> t.Iterator[Hypervisor]:
        """The host, to be looked at and altered."""
        path = self._directory / name / "machine"
        machine = machine_file.load(path)
        yield machine
        machine_file.save(path, machine)

    def write_inventory(self, path: Path) -> None:
        """Write an inventory of the hosts."""
        inventory = {"hypervisors": {"hosts": self._variables}}
        path.write_text(json.dumps(inventory), encoding="utf-8")

    def play(self, playbook: str | list[dict[str, t.Any]], *arguments: str) -> Played:
        """Run a playbook of the collection, or one that an operator wrote."""
        self.write_inventory(self._directory / "hosts.yml")
        if not isinstance(playbook, str):
            (self._directory / "own.yml").write_text(json.dumps(playbook), encoding="utf-8")
            playbook = "own.yml"
        tasks = self._directory / "tasks"
        tasks.unlink(missing_ok=True)
        tasks.touch()
        done = command_line.run(
            self._directory,
            "playbook",
            *("-i", "hosts.yml", playbook, *arguments),
            check=False,
            ANSIBLE_INVENTORY_ENABLED="ansible.builtin.yaml",
            ANSIBLE_CALLBACKS_ENABLED="tasks,mergetb.sriov.progress",
            **environment(tasks),
        )
        return Played(done.returncode, done.stdout + done.stderr, noted(tasks))
