# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    ControllerAction,
    Play,
)


class ActionModule(ControllerAction):
    """Writes a file on the controller, in the process of Ansible itself."""

    ARGUMENT_SPEC: t.ClassVar = {
        "path": {"type": "str", "required": True},
        "content": {"type": "str"},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Write the file, or find out whether it could be written."""
        if arguments["content"] is not None:
            return self.write(arguments["path"], arguments["content"])
        path = _files.absolute(arguments["path"])
        _files.require_writable(path)
        return {"path": path}
