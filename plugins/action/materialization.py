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
    """Gives or takes VFs of the host, and remembers the ledger that this leaves."""

    def facts(
        self, result: dict[str, t.Any], whose: _known.Whose, asked: datetime.datetime
    ) -> dict[str, t.Any]:
        """Return the ledger as a fact; the module tells it if it may have changed it."""
        ledger = result.pop("materializations", None)
        return {} if ledger is None else _known.facts_of_ledger(ledger, whose, asked)
