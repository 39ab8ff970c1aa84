# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _audit, _source
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit._paired import SEVERITIES
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _known
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    FROM_CACHE,
    RESULTS,
    ControllerAction,
    Play,
    now,
)


class ActionModule(ControllerAction):
    """Writes how a facility model and the hosts of the play differ."""

    ARGUMENT_SPEC: t.ClassVar = {
        "model": {"type": "str", "required": True},
        "results": RESULTS,
        "from_cache": FROM_CACHE,
        "path": {"type": "str", "required": True},
        "corrected_path": {"type": "str", "default": ""},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Write the findings, and the corrected model if the task asks for it."""
        source = _source.source(arguments["model"])
        path, corrected_path = arguments["path"], arguments["corrected_path"]
        source.refuse_overwriting([path, corrected_path] if corrected_path else [path])
        answers = play.answers(play.hosts, arguments)
        document, found = source.audit(answers)
        contents = {path: _files.json_text(document)}
        if corrected_path:
            contents[corrected_path] = source.corrected(found)
        written = [self.write(target, content) for target, content in contents.items()]
        counts = collections.Counter(finding.severity for finding in found)
        return {
            "changed": any(file["changed"] for file in written),
            "diff": [file["diff"] for file in written if "diff" in file],
            "path": written[0]["path"],
            "lines": [*_known.ages(answers, now()), *_audit.table(found)],
            "summary": {severity: counts[severity] for severity in SEVERITIES},
        }
