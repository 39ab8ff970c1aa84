# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.play import _proof
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    ControllerAction,
    Play,
)


class ActionModule(ControllerAction):
    """Tells whether the guests of a materialization are isolated."""

    ARGUMENT_SPEC: t.ClassVar = {
        "consoles": {"type": "str", "required": True},
        "captures": {"type": "list", "elements": "dict", "required": True},
        "devices": {"type": "list", "elements": "dict", "required": True},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Judge what the guests of all hosts and the wires have seen."""
        results = play.results(play.left, arguments["consoles"])
        consoles = [
            base64.b64decode(console["content"]).decode(errors="replace")
            for result in results.values()
            for console in result["results"]
        ]
        proof = _proof.judge(consoles, arguments["captures"], arguments["devices"])
        return {"proven": not (proof["lost"] or proof["stray"] or proof["unseen"]), **proof}
