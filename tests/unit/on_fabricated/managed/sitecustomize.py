# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts the modules of the collection on the fabricated host that FABRICATED_HOST names.

Python imports this file at its start, where `fabricated_facility` has it on the path. Ansible sends
a module with the files that it needs, and no tests. This file replaces the class `Host` in them by
a function that loads the fabricated host, and lets the host's own code be found in this checkout.
"""

from __future__ import annotations

import atexit
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
import typing as t
from pathlib import Path

COLLECTION = "ansible_collections.mergetb.sriov."
HOST = f"{COLLECTION}plugins.module_utils.machine._host"
CHECKOUT = Path(__file__).resolve().parents[4]

if t.TYPE_CHECKING:
    Path_ = t.Sequence[str] | None
    Spec = importlib.machinery.ModuleSpec | None


class Checkout(importlib.abc.MetaPathFinder):
    """Finds what Ansible did not send."""

    def find_spec(self, name: str, path: Path_ = None, target: object = None) -> Spec:
        if not name.startswith(COLLECTION):
            return None
        place = CHECKOUT.joinpath(*name[len(COLLECTION) :].split("."))
        if place.is_dir():
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(place)]
            return spec
        file = place.with_suffix(".py")
        return importlib.util.spec_from_file_location(name, file) if file.is_file() else None


class FabricatedHost(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads the file that has the class `Host`, as the finders behind it do."""

    def find_spec(self, name: str, path: Path_ = None, target: object = None) -> Spec:
        if name != HOST:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        self._loader: t.Any = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: t.Any) -> None:
        # The collection asks the module's loader for its source.
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        real = module.Host

        def load() -> object:
            module.Host = real
            from ansible_collections.mergetb.sriov.tests.unit import machine_file

            path = Path(os.environ["FABRICATED_HOST"])
            machine = machine_file.load(path)
            atexit.register(machine_file.save, path, machine)
            return machine

        module.Host = load


if "FABRICATED_HOST" in os.environ:
    sys.meta_path.insert(0, FabricatedHost())
    sys.meta_path.append(Checkout())
    # Preparing a host takes root.
    os.geteuid = lambda: 0
