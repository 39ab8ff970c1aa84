# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all actions of the collection share. They run on the controller. PRIVATE."""

from __future__ import annotations

import datetime
import os
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _known
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files

RESULTS = {"type": "str", "required": True}
"""The option ``results`` of an action."""
FROM_CACHE = {"type": "str", "choices": list(_known.SOURCES), "default": "none"}
"""The option ``from_cache`` of an action."""


class Play:
    """The hosts of the play that a task belongs to, and their variables."""

    def __init__(self, task_vars: t.Mapping[str, t.Any]) -> None:
        self._task_vars = task_vars
        # Ansible makes the variables of a host anew each time that they are asked for.
        self._variables: dict[str, t.Mapping[str, t.Any]] = {}

    @property
    def hosts(self) -> list[str]:
        """All hosts of the play, also those that failed and those that are not reached yet."""
        return list(map(str, self._task_vars["ansible_play_hosts_all"]))

    @property
    def left(self) -> list[str]:
        """The hosts that have been reachable and have not failed so far."""
        return list(map(str, self._task_vars["ansible_play_hosts"]))

    def group(self, name: str) -> list[str]:
        """Return the hosts of a group of the inventory."""
        return list(map(str, self._task_vars["groups"].get(name, ())))

    def within_limit(self, hosts: t.Iterable[str]) -> list[str]:
        """Return those of ``hosts`` that ``--limit`` does not leave out."""
        if "ansible_limit" not in self._task_vars:
            return list(hosts)
        here = set(self.hosts)
        return [host for host in hosts if host in here]

    def variable(self, host: str, name: str, default: t.Any = None) -> t.Any:
        """Return a variable of a host.

        :raises InputError: the inventory does not have the host
        """
        if host not in self._variables:
            hostvars = self._task_vars["hostvars"]
            if host not in hostvars:
                raise InputError(f"host {host} is not in the inventory; add it there")
            self._variables[host] = hostvars[host]
        return self._variables[host].get(name, default)

    def pfs(self, hosts: t.Iterable[str]) -> dict[str, t.Any]:
        """Return the ``sriov_pfs`` of hosts.

        :raises InputError: a host has none
        """
        return self._required(
            hosts, "sriov_pfs", "use the inventory plugin mergetb.sriov.xir, or set it"
        )

    def functions(self, host: str, mzid: str) -> list[dict[str, t.Any]]:
        """Return what ``sriov_functions`` of a host has for a materialization.

        :raises InputError: the variable has another form
        """
        found = self.variable(host, "sriov_functions", {})
        items = found.get(mzid, []) if isinstance(found, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise InputError(
                f"host {host}: sriov_functions must have a list of functions for each id of a"
                " materialization, each with node, nic and function"
            )
        return items

    def results(self, hosts: t.Iterable[str], name: str) -> dict[str, t.Any]:
        """Return the results that a task has registered as ``name``, by host.

        :raises InputError: a host has not run the task
        """
        return self._required(
            hosts,
            name,
            "all hosts must have run the task that registers it; use the strategy linear and no"
            " serial",
        )

    def answers(
        self,
        hosts: t.Iterable[str],
        arguments: t.Mapping[str, t.Any],
        *,
        every_ledger: bool = False,
    ) -> dict[str, dict[str, t.Any]]:
        """Return what ``sriov_info`` tells of hosts, by host: a result, or what was known before.

        :param arguments: of the action, with ``results`` and ``from_cache``
        :param every_ledger: whether what was known has all that may be in use
        :raises InputError: a host has not run the task
        """
        hosts, source = list(hosts), arguments["from_cache"]
        nobody: dict[str, t.Any] = dict.fromkeys(hosts, {"failed": True, "msg": ""})
        results = nobody if source == "all" else self.results(hosts, arguments["results"])
        if source == "none":
            return results
        return {
            host: self._recalled(host, result, source, every_ledger)
            if _known.failed(result)
            else result
            for host, result in results.items()
        }

    def _recalled(
        self, host: str, result: dict[str, t.Any], source: str, every_ledger: bool
    ) -> dict[str, t.Any]:
        reason = ""
        if source == "missing":
            reason = str(result.get("msg") or "it gave no answer, and no reason")
        whose = _known.Whose(host, str(self.variable(host, "xir_facility", "")))
        facts = self.variable(host, "ansible_facts", {})
        nothing = "the fact cache has nothing of it" if reason else _NEVER_ASKED
        try:
            known = _known.recall(whose, facts, reason)
            if known and every_ledger:
                known = _known.with_every_ledger(whose, known, facts)
        except InputError as error:
            known, nothing = None, str(error)
        return known or result | {"msg": f"{reason}; {nothing}" if reason else nothing}

    def _required(self, hosts: t.Iterable[str], name: str, remedy: str) -> dict[str, t.Any]:
        found = {host: self.variable(host, name) for host in hosts}
        for host, value in found.items():
            if value is None:
                raise InputError(f"host {host} has no variable {name}: {remedy}")
        return found


_NEVER_ASKED = (
    "the fact cache has nothing of it: run mergetb.sriov.audit or mergetb.sriov.report with"
    " this cache (fact_caching in ansible.cfg) while the host is up"
)


def now() -> datetime.datetime:
    """Return the time."""
    return datetime.datetime.now(datetime.timezone.utc)


class RememberingAction(ActionBase):
    """An action that calls the module of its name on the host, and remembers part of its result.

    A subclass returns the facts for Ansible's fact cache from ``facts``.
    """

    _supports_async = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None
    ) -> dict[str, t.Any]:
        """Return the result of the module, with the facts."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        whose = _known.Whose(
            str(variables.get("inventory_hostname", "")), str(variables.get("xir_facility", ""))
        )
        asked = now()
        wrap_async = self._task.async_val and not self._connection.has_native_async
        result |= self._execute_module(task_vars=task_vars, wrap_async=wrap_async)
        facts = self.facts(result, whose, asked)
        if facts and not self._task.delegate_to:
            # The first call on a host finds its Python, and Ansible learns that from here.
            result["ansible_facts"] = result.get("ansible_facts", {}) | facts
        return result

    def facts(
        self, result: dict[str, t.Any], whose: _known.Whose, asked: datetime.datetime
    ) -> dict[str, t.Any]:
        """Return what to remember of a result; what only that needs is taken out of it."""
        raise NotImplementedError


class ControllerAction(ActionBase):
    """An action that runs on the controller, in the process of Ansible, and reaches no host.

    A subclass has its options in ``ARGUMENT_SPEC`` and returns its result from ``answer``.
    """

    ARGUMENT_SPEC: t.ClassVar[dict[str, t.Any]]

    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None
    ) -> dict[str, t.Any]:
        """Check the arguments and return the answer. Input that cannot be used fails the task."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(self.ARGUMENT_SPEC)
        try:
            answer = self.answer(arguments, Play(task_vars or {}))
        except InputError as error:
            answer = {"failed": True, "msg": str(error)}
        return result | {"changed": False} | answer

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Return the result of the task.

        :raises InputError: the input cannot be used
        """
        raise NotImplementedError

    def write(self, path: str, content: str, *, makes_directory: bool = False) -> dict[str, t.Any]:
        """Write a file, or only predict that in check mode, and return that part of the result.

        :param makes_directory: whether to make the directory of the file if it is missing
        :raises InputError: the file cannot be written
        """
        path = _files.absolute(path)
        directory = os.path.dirname(path)
        missing = makes_directory and not os.path.exists(directory)
        if self._task.check_mode and not missing:
            _files.require_writable(path)
        elif missing and not self._task.check_mode:
            _files.make_directory(directory)
        before, after = _files.read(path), content.encode(errors="surrogateescape")
        if before == after:
            return {"changed": False, "path": path}
        if not self._task.check_mode:
            _files.write(path, after)
        diff = {
            "before": (before or b"").decode(errors="replace"),
            "after": after.decode(errors="replace"),
            "before_header": path,
            "after_header": path,
        }
        return {"changed": True, "path": path} | ({"diff": diff} if self._task.diff else {})
