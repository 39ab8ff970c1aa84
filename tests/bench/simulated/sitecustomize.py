# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts the modules of the collection on the simulated host that SIMULATED_HOST names.

Python imports this file at its start, since `facility.py` has it on the path. It waits for the
collection's `_host`, from wherever Ansible has that imported, and replaces the class `Host` in it
by one that reads from the directory of the host and can change nothing.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import json
import os
import sys

NAME = "ansible_collections.mergetb.sriov.plugins.module_utils.machine._host"


def simulated_host(module):
    """The class `Host` of *module*, whose hosts are the simulated one."""
    root = os.environ["SIMULATED_HOST"]

    class Netlink:
        """What netlink told of the host: `links` and `vfs` of netlink.json."""

        def __init__(self, recorded):
            from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _netlink

            self._links = [_netlink.Link(*link) for link in recorded["links"]]
            self._vfs = {
                int(index): [_netlink.VfState(*state) for state in states]
                for index, states in recorded["vfs"].items()
            }

        def links(self):
            return self._links

        def addresses(self):
            return {}

        def vf_states(self, ifindex):
            return dict(enumerate(self._vfs.get(ifindex, [])))

    class SimulatedHost(module.Host):
        """Its commands print what commands.json says, and the others nothing."""

        def __init__(self):
            super().__init__(os.path.join(root, "root"))

        @functools.cached_property
        def netlink(self):
            return Netlink(_document("netlink"))

        def run(self, argv, *, seconds=300):
            return module.Completed(0, _document("commands").get(" ".join(argv), ""), "")

        def has_command(self, name):
            return any(command.split()[0] == name for command in _document("commands"))

        def write(self, path, value):
            raise AssertionError(f"{path} is written: {value}")

        replace = write

        def remove(self, path):
            raise AssertionError(f"{path} is removed")

    @functools.cache
    def _document(name):
        with open(os.path.join(root, f"{name}.json"), encoding="utf-8") as file:
            return json.load(file)

    return SimulatedHost


class Loader(importlib.abc.Loader):
    """Loads as *loader* does, and replaces the class."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        # The collection asks the module's loader for its source.
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        module.Host = simulated_host(module)


class Finder(importlib.abc.MetaPathFinder):
    """Finds `_host` where the other finders do."""

    def find_spec(self, name, path=None, target=None):
        if name != NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        spec.loader = Loader(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
