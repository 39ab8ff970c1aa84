# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files

ARGUMENT_SPEC = {"path": {"type": "str", "required": True}, "content": {"type": "str"}}


class ActionModule(ActionBase):
    """A file on the controller, written by the process of Ansible itself."""

    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None
    ) -> dict[str, t.Any]:
        """Write the file, or find out whether it could be written."""
        result = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(ARGUMENT_SPEC)
        content = arguments["content"]
        try:
            path = _files.absolute(arguments["path"])
            if content is None or self._task.check_mode:
                _files.require_writable(path)
            told = {} if content is None else self._write(path, content)
        except InputError as error:
            return result | {"failed": True, "msg": str(error)}
        return result | {"changed": False, "path": path} | told

    def _write(self, path: str, content: str) -> dict[str, t.Any]:
        before, after = _files.read(path), content.encode()
        if before == after:
            return {}
        if not self._task.check_mode:
            _files.write(path, after)
        diff = {
            "before": (before or b"").decode(errors="replace"),
            "after": content,
            "before_header": path,
            "after_header": path,
        }
        return {"changed": True} | ({"diff": diff} if self._task.diff else {})
