# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import os
import secrets
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import (
    _document,
    _materialization,
    _names,
)
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
        "mzid": {"type": "str", "default": ""},
        "device_map": {"type": "str", "default": ""},
        "sweep": {"type": "bool", "default": False},
        "group": {"type": "str", "default": "hypervisors"},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Read both files; reach no further than they say."""
        mzid, named, vms = _named(arguments["path"], arguments["mzid"])
        offered = play.group(arguments["group"])
        # Its message does not name GPUs, but the hosts of its VMs.
        named |= {host for host in vms & set(offered) if play.functions(host, mzid)}
        former = _device_map.hosts(arguments["device_map"], mzid) - named
        reachable = play.within_limit(offered)
        if cut := sorted((named | former) & (set(offered) - set(reachable))):
            raise InputError(
                f"materialization {_names.quoted(mzid)} is on host {', '.join(cut)}, too, which the"
                " play leaves out: a materialization is given on all of its hosts or on none, so"
                " name them with --limit, or leave that out"
            )
        if arguments["sweep"] or not arguments["path"]:
            hosts = reachable
        else:
            # One host is enough to tell what is wrong, or that nothing is asked for.
            hosts = [host for host in reachable if host in named | former] or reachable[:1]
        return {
            "hosts": hosts,
            "mzid": mzid,
            "group": _group(datetime.datetime.now(datetime.timezone.utc)),
            "warnings": [
                f"{arguments['device_map']} has host {_names.quoted(host)}, which is not in group"
                f" {arguments['group']} any more: VFs that {_names.quoted(mzid)} has there stay"
                for host in sorted(former - set(offered))[:20]
            ],
        }


def _group(now: datetime.datetime) -> str:
    """Return a name for a group; that of the latest run sorts last.

    Nothing takes a host out of a group again, so each run has one of its own.
    """
    return f"sriov_hosts_of_run_{now:%Y%m%dT%H%M%S%f}_{secrets.token_hex(4)}"


def _named(path: str, mzid: str) -> tuple[str, set[str], set[str]]:
    """Return the id of the materialization, and the hosts that its file names, for NICs and VMs."""
    if not path:
        return mzid, set(), set()
    path = os.path.expanduser(path)
    materialization = _document.load(path, _document.MATERIALIZATION)
    found = _materialization.mzid(materialization)
    if mzid not in ("", found):
        raise InputError(
            f"{path} is materialization {_names.quoted(found)}, and sriov_mzid is"
            f" {_names.quoted(mzid)}: leave one of the two out"
        )
    hosts, vms = _materialization.hosts(materialization), _materialization.vm_hosts(materialization)
    return found, hosts, vms
