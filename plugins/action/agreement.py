# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.play import _agreement
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    ControllerAction,
    Play,
)


class ActionModule(ControllerAction):
    """Tells which hosts have not agreed to a materialization."""

    ARGUMENT_SPEC: t.ClassVar = {
        "reserved": {"type": "str", "required": True},
        "looked": {"type": "str", "default": ""},
        "given": {"type": "str", "default": ""},
        "run": {"type": "str", "default": ""},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Judge what all hosts have answered so far."""
        reserved, looked, given = (
            {
                host: _agreement.of_run(play.variable(host, arguments[name]), arguments["run"])
                for host in play.hosts
            }
            for name in ("reserved", "looked", "given")
        )
        return {
            "missing": _agreement.missing(reserved, looked),
            "lost": [host for host, answer in given.items() if answer and answer.get("lost")],
            "changes": _agreement.changes(reserved),
        }
