# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: result
type: notification
short_description: Result document and exit code of a run for a materialization
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Writes one JSON document at the end of a play with the role P(mergetb.sriov.materialize#role),
    P(mergetb.sriov.dematerialize#role) or P(mergetb.sriov.release#role), even if hosts failed or
    could not be reached, or the run was refused. C(docs/result.md) describes the document.
  - Removes the document of an earlier run when the play starts. So a run that is killed leaves
    none.
  - Sets the exit code of C(ansible-playbook) to 0 for V(ok), 2 for V(failed), 4 for V(unreachable)
    and 10 for V(refused). It is also 4 if the run was refused because a host could not be reached,
    and 1 if the document cannot be written.
  - Leaves other playbooks alone.
requirements:
  - enable in the configuration, for example by the environment variable
    C(ANSIBLE_CALLBACKS_ENABLED=mergetb.sriov.result)
notes:
  - A callback plugin that is enabled after this one does not see the end of a run that failed.
options:
  path:
    description:
      - File for the document. Its directory must exist.
      - A relative path begins in the directory that Ansible was started in. In the configuration,
        it begins in the directory of the configuration.
    type: path
    default: result.json
    env:
      - name: SRIOV_RESULT
    ini:
      - section: callback_mergetb_sriov_result
        key: path
"""

import contextlib
import datetime
import typing as t

from ansible.plugins.callback import CallbackBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _result


class CallbackModule(CallbackBase):
    """Writes the result document of a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mergetb.sriov.result"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._run: _result.Run | None = None
        self._events: list[_result.Event] = []
        self._selects = False
        self._documents: list[dict[str, t.Any]] = []

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Begin a document if the play has one of the roles, or selects the hosts for one."""
        selects = play.vars.get("_sriov_action")
        actions = [
            _result.ACTIONS[role.get_name()]
            for role in play.roles
            if role.get_name() in _result.ACTIONS
        ] or ([selects] if selects else [])
        if not actions:
            self._end_run()
            return
        variables = play.get_variable_manager()
        hosts = variables.get_vars(play=play)["ansible_play_hosts_all"]
        selected, self._selects = self._selects, selects is not None
        if self._run is not None and selected:
            self._run = self._run._replace(hosts=hosts)
            return
        self._end_run()
        self._run = _result.Run(
            action=actions[-1],
            hosts=[] if selects else hosts,
            mzid=None if actions[-1] == "materialize" else variables.extra_vars.get("sriov_mzid"),
            check_mode=bool(play.check_mode),
            started=_now(),
            ended="",
        )
        self._events = []
        with self._file_errors():
            _result.clear(self.get_option("path"))

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Note the result of a task."""
        self._note(result, "ok")

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Note the failure of a task."""
        if not ignore_errors:
            self._note(result, "failed")

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Note that a host could not be reached."""
        self._note(result, "unreachable")

    def _note(self, result: t.Any, status: str) -> None:
        if self._run is None:
            return
        task = result._task
        self._events.append(
            _result.Event(
                host=None if task.run_once else result._host.get_name(),
                status=status,
                state=_option(task, "state", "present"),
                check_mode=bool(task.check_mode),
                result=result._result,
                reads=task.resolved_action in _result.READERS,
                mzid=_option(task, "mzid"),
            )
        )

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Write the document and end Ansible with the exit code of its outcome."""
        self._end_run()
        if not self._documents:
            return
        # Of several runs in one playbook, the first that did not end well counts.
        failed = [item for item in self._documents if item["outcome"] != "ok"]
        document = (failed or self._documents[-1:])[0]
        self._documents = []
        with self._file_errors():
            _result.save(self.get_option("path"), document)
        # Ansible catches what else a callback raises; on SystemExit it cleans up, then it ends.
        if code := _result.exit_code(document):
            raise SystemExit(code)

    def _end_run(self) -> None:
        if self._run is not None:
            document = _result.document(self._run._replace(ended=_now()), self._events)
            self._documents.append(document)
        self._run = None

    @contextlib.contextmanager
    def _file_errors(self) -> t.Iterator[None]:
        try:
            yield
        except InputError as error:
            self._display.error(f"result document {error}; see SRIOV_RESULT", wrap_text=False)
            raise SystemExit(1) from error


def _option(task: t.Any, name: str, default: str | None = None) -> str | None:
    """Return an option that the module materialization was called with; None for another module.

    The result does not tell the option: since ansible-core 2.21 it has no ``invocation``.
    """
    if task.resolved_action != _result.MODULE:
        return None
    value: str | None = task.args.get(name, default)
    return value


def _now() -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
