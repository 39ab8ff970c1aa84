# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate import (
    _allocation,
    _experiment,
    _placement,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _known
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import (
    InputError,
    listed,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    FROM_CACHE,
    RESULTS,
    ControllerAction,
    Play,
    now,
)


class ActionModule(ControllerAction):
    """Writes the materialization of an experiment for the hosts of a facility."""

    ARGUMENT_SPEC: t.ClassVar = {
        "experiment": {"type": "str", "required": True},
        "mzid": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
        "results": RESULTS,
        "from_cache": FROM_CACHE,
        "hosts": {"type": "list", "elements": "str", "required": True},
        "facility": {"type": "str", "default": ""},
        "placement": {"type": "str", "choices": list(_placement.POLICIES), "default": "spread"},
        "vlans": {"type": "str", "default": "2-4094"},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Choose a VF for each NIC of the experiment, and write the materialization."""
        path, mzid, hosts = (arguments[name] for name in ("experiment", "mzid", "hosts"))
        path = os.path.expanduser(path)
        network = _document.load(path, _document.EXPERIMENT)
        answers = play.answers(play.hosts, arguments, every_ledger=True)
        silent = [
            f"{host} ({answer.get('msg') or 'without a reason'})"
            for host, answer in answers.items()
            if _known.failed(answer)
        ]
        if silent and arguments["from_cache"] == "none":
            raise InputError(
                f"no answer from {listed(silent)}, so nobody knows what is in use there: see that"
                " each of them is up, or set sriov_from_cache=missing"
            )
        facility = _allocation.Supply(
            pfs=play.pfs(hosts),
            found=answers,
            excluded={host: play.variable(host, "sriov_excluded_pfs", []) for host in hosts},
        )
        try:
            choices = _allocation.allocate(
                _experiment.nics(network),
                facility,
                mzid=mzid,
                policy=arguments["placement"],
                vlans=_allocation.vlan_ids(arguments["vlans"]),
            )
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        document = _allocation.materialization(choices, mzid=mzid, facility=arguments["facility"])
        written = self.write(arguments["path"], _files.json_text(document))
        return written | {"lines": [*_known.ages(answers, now()), *map(str, choices)]}
