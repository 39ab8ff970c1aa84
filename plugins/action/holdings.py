# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.play import _holdings
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    RESULTS,
    ControllerAction,
    Play,
)


class ActionModule(ControllerAction):
    """Tells which materialization holds which VF on the hosts that are left in the play."""

    ARGUMENT_SPEC: t.ClassVar = {
        "results": RESULTS,
        "mzid": {"type": "str", "default": ""},
        "run": {"type": "str", "default": ""},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Make the table. Fail if no host knows what the task names."""
        results = play.results(play.left, arguments["results"])
        ledgers = {host: result["materializations"] for host, result in results.items()}
        _holdings.require(ledgers.values(), arguments["mzid"], arguments["run"])
        return {"lines": _holdings.lines(ledgers, arguments["mzid"])}
