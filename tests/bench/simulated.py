# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host that `facility.py` gives the modules it measures, instead of the one they run on."""

from __future__ import annotations

import functools
import json
import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _host, _netlink


class Netlink(_netlink.Rtnetlink):
    """What netlink told of a host: the `links` and `vfs` of its netlink.json."""

    def __init__(self, recorded: dict[str, t.Any]) -> None:
        self._links = [_netlink.Link(*link) for link in recorded["links"]]
        self._vfs = {
            int(index): [_netlink.VfState(*state) for state in states]
            for index, states in recorded["vfs"].items()
        }

    def links(self) -> list[_netlink.Link]:
        return self._links

    def addresses(self) -> dict[int, list[str]]:
        return {}

    def vf_states(self, ifindex: int) -> dict[int, _netlink.VfState]:
        return dict(enumerate(self._vfs.get(ifindex, [])))


class Host(_host.Host):
    """The host in the directory `SIMULATED_HOST`, where nothing can be changed.

    A shell reads its files; other commands print what commands.json says, or nothing.
    """

    def __init__(self) -> None:
        self._directory = os.environ["SIMULATED_HOST"]
        super().__init__(os.path.join(self._directory, "root"))

    @functools.cached_property
    def netlink(self) -> Netlink:
        return Netlink(self._document("netlink"))

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> _host.Completed:
        if "/bin/sh" in argv:
            return super().run(argv, seconds=seconds)
        return _host.Completed(0, self._commands.get(" ".join(argv), ""), "")

    def has_command(self, name: str) -> bool:
        return any(command.split()[0] == name for command in self._commands)

    def write(self, path: str, value: str, *, seconds: float = 0) -> None:
        raise AssertionError(f"{path} is written: {value}")

    def replace(self, path: str, content: str | bytes, *, mode: int = 0) -> None:
        raise AssertionError(f"{path} is replaced by {content!r}")

    def remove(self, path: str) -> None:
        raise AssertionError(f"{path} is removed")

    @functools.cached_property
    def _commands(self) -> dict[str, str]:
        return self._document("commands")

    def _document(self, name: str) -> t.Any:
        with open(os.path.join(self._directory, f"{name}.json"), encoding="utf-8") as file:
            return json.load(file)
