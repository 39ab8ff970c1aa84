# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _known
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import RememberingAction

if t.TYPE_CHECKING:
    import datetime


class ActionModule(RememberingAction):
    """Reads what the host has, and remembers it."""

    def facts(
        self, result: dict[str, t.Any], whose: _known.Whose, asked: datetime.datetime
    ) -> dict[str, t.Any]:
        """Return the answer, or at least the ledger, as facts."""
        return _known.facts_of_answer(result, self._task.args, whose, asked)
