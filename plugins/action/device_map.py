# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _device_map, _files
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play import _agreement
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    RESULTS,
    ControllerAction,
    Play,
)


class ActionModule(ControllerAction):
    """Writes the device map of a materialization."""

    ARGUMENT_SPEC: t.ClassVar = {
        "path": {"type": "str", "required": True},
        "mzid": {"type": "str", "required": True},
        "results": RESULTS,
        "own_only": {"type": "bool", "default": False},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Write the map, unless a host returned no devices."""
        path, mzid = arguments["path"], arguments["mzid"]
        if arguments["own_only"] and not _device_map.is_of(path, mzid):
            return {"skipped": True, "msg": f"{path} has no devices of {mzid}"}
        results = {host: play.variable(host, arguments["results"]) for host in play.hosts}
        if missing := [host for host in results if not _agreement.has_told_devices(results[host])]:
            return {"skipped": True, "msg": f"host {missing[0]} returned no devices"}
        devices = [
            {**device, "host": host} for host in results for device in results[host]["devices"]
        ]
        document = _device_map.device_map(devices, mzid)
        return self.write(path, _files.json_text(document))
