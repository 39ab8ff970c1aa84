# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _materialization
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play import _agreement
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    ControllerAction,
    Play,
)


class ActionModule(ControllerAction):
    """Tells which VFs a materialization takes on the hosts of the play."""

    ARGUMENT_SPEC: t.ClassVar = {"path": {"type": "str", "required": True}}

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Read the file, and check it against the PFs of all hosts of the play."""
        path = os.path.expanduser(arguments["path"])
        materialization = _document.load(path, _document.MATERIALIZATION)
        pfs = play.pfs(play.hosts)
        nics = {host: play.variable(host, "sriov_nics", []) for host in play.hosts}
        mzid = _materialization.mzid(materialization)
        functions = {host: play.functions(host, mzid) for host in play.hosts}
        try:
            found = _materialization.vfs(materialization, pfs, nics, functions)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return found | {"run": _agreement.run_name(datetime.datetime.now(datetime.timezone.utc))}
