# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _known, _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import (
    InputError,
    Problems,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.openstack import (
    _ini,
    _networks,
    _settings,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import (
    RESULTS,
    ControllerAction,
    Play,
)

if t.TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(ControllerAction):
    """Tells Nova and Neutron which VFs of the hosts of the play are theirs."""

    ARGUMENT_SPEC: t.ClassVar = {
        "results": RESULTS,
        "directory": {"type": "str", "default": ""},
        "aliases": {"type": "list", "elements": "dict", "default": []},
        "filters": {"type": "list", "elements": "str", "default": list(_settings.FILTERS)},
        "mechanism_drivers": {"type": "list", "elements": "str", "default": []},
        "whitelist": {"type": "bool", "default": False},
    }

    def answer(self, arguments: t.Mapping[str, t.Any], play: Play) -> dict[str, t.Any]:
        """Return the settings of each host, and write the files if the task asks for them."""
        problems = Problems()
        answers = {
            host: result
            for host, result in play.results(play.left, arguments["results"]).items()
            if not _known.failed(result)
        }
        made: dict[str, dict[str, t.Any]] = {}
        for host, answer in answers.items():
            try:
                _names.HOST.check(host, "its name")
                variables = {
                    name: play.variable(host, name)
                    for name in (_networks.OWN, _networks.KOLLA, _networks.KAYOBE)
                }
                offered = play.variable(host, "sriov_pfs", ())
                made[host] = _settings.settings(answer, _networks.read(variables), offered)
            except InputError as error:
                problems.append(f"host {host}: {error}")
        aliases = []
        for told in arguments["aliases"]:
            try:
                aliases.append(_settings.alias(told))
            except InputError as error:
                problems.append(str(error))
        problems.extend(_settings.alias_problems(aliases, answers))
        filters = _settings.filters(arguments["filters"])
        told_drivers = arguments["mechanism_drivers"]
        drivers = _settings.mechanism_drivers(told_drivers) if told_drivers else []
        if problems:
            raise problems.refusal("what Nova and Neutron are to be told")
        result = {
            "hosts": made,
            "aliases": aliases,
            "enabled_filters": filters,
            "mechanism_drivers": drivers,
        }
        if not arguments["directory"]:
            return result
        files = _ini.of_all(aliases, filters, drivers)
        for host, settings in made.items():
            files |= _ini.of_host(host, settings, whitelist=arguments["whitelist"])
        return result | self._write_all(arguments["directory"], files)

    def _write_all(self, directory: str, files: Mapping[str, _ini.File]) -> dict[str, t.Any]:
        """Write the files that have something of ours, or had, after all of them are made."""
        directory = _files.absolute(directory)
        if not os.path.isdir(directory):
            raise InputError(f"{directory} is no directory; make it, or name another")
        contents: dict[str, str] = {}
        names: dict[str, str] = {}
        for name, file in files.items():
            path = _files.absolute(os.path.join(directory, name))
            if names.setdefault(path, name) != name:
                raise InputError(
                    f"{name} and {names[path]} in {directory} are one file; give each host its own"
                )
            before = (_files.read(path) or b"").decode(errors="surrogateescape")
            content = _ini.merged(path, before, file)
            if content or before:
                contents[path] = content
        written = [
            self.write(path, content, makes_directory=True) for path, content in contents.items()
        ]
        return {
            "changed": any(file["changed"] for file in written),
            "diff": [file["diff"] for file in written if "diff" in file],
            "files": [file["path"] for file in written],
        }
