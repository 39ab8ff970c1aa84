# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    RESULTS,
    ControllerAction,
    Play,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _plan


class ActionModule(ControllerAction):
    """Writes the plans of all hosts of the play as one document."""

    ARGUMENT_SPEC: t.ClassVar = {
        "path": {"type": "str", "required": True},
        "results": RESULTS,
        "mzid": {"type": "str", "default": ""},
        "accept": {
            "type": "list",
            "elements": "str",
            "choices": list(_plan.STATES),
            "default": ["ready", "change", "reboot"],
        },
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Write the document, and tell which hosts are in a state that is not accepted."""
        results = play.results(play.hosts, arguments["results"])
        document = _plan.document(results, mzid=arguments["mzid"])
        return self.write(arguments["path"], _files.json_text(document)) | {
            "lines": _plan.lines(document),
            "not_accepted": [
                name
                for name, host in document["hosts"].items()
                if host["state"] not in arguments["accept"]
            ],
        }
