# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _source
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _known
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    FROM_CACHE,
    RESULTS,
    ControllerAction,
    Play,
    now,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report


class ActionModule(ControllerAction):
    """Writes the VFs of a facility as a page of HTML."""

    ARGUMENT_SPEC: t.ClassVar = {
        "model": {"type": "str", "required": True},
        "results": RESULTS,
        "from_cache": FROM_CACHE,
        "path": {"type": "str", "required": True},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Write the page."""
        answers, made_at = play.answers(play.hosts, arguments), now()
        audit, _found = _source.source(arguments["model"]).audit(answers)
        made = _report.report(
            answers,
            play.pfs(play.hosts),
            audit["findings"],
            facility=audit["facility"],
            model=audit["model"],
            made=f"{made_at:%Y-%m-%d %H:%M} UTC",
        )
        written = self.write(arguments["path"], _report.html(made))
        return written | {"lines": [*_report.summary(made), *_known.ages(answers, made_at)]}
