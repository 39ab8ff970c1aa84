# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _materialization
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _device_map
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    ControllerAction,
    Play,
)


class ActionModule(ControllerAction):
    """The hosts that a materialization is about."""

    ARGUMENT_SPEC: t.ClassVar = {
        "path": {"type": "str", "default": ""},
        "device_map": {"type": "str", "default": ""},
        "sweep": {"type": "bool", "default": False},
        "candidates": {"type": "list", "elements": "str", "required": True},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Read both files; reach no further than they say."""
        candidates = arguments["candidates"]
        if arguments["sweep"] or not arguments["path"]:
            return {"hosts": candidates}
        path = os.path.expanduser(arguments["path"])
        materialization = _document.load(path, _document.MATERIALIZATION)
        named = _materialization.hosts(materialization)
        mzid = _materialization.mzid(materialization)
        former = _device_map.hosts(arguments["device_map"], mzid) - named
        here = set(candidates)
        if cut := sorted(host for host in (named | former) - here if play.knows(host)):
            raise InputError(
                f"materialization {mzid} is on host {', '.join(cut)}, too, which the play leaves"
                " out: a materialization is given on all of its hosts or on none, so name them with"
                " --limit, or leave that out"
            )
        gone = sorted(former - here)
        warnings = [
            f"{arguments['device_map']} has host {host}, which is not in the inventory any more:"
            f" VFs that {mzid} has there stay"
            for host in gone
        ]
        about = [host for host in candidates if host in named | former]
        return {"hosts": about or candidates, "warnings": warnings}
