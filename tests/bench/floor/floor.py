# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An inventory plugin that takes no time of its own."""

from __future__ import annotations

DOCUMENTATION = """
name: floor
short_description: Add what is in memory
description: Adds hosts, variables and groups as they are.
"""

import typing as t

from ansible.plugins.inventory import BaseInventoryPlugin


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]
    """Adds its hosts."""

    NAME = "floor"

    hosts: t.ClassVar[list[t.Any]] = []

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        for host in self.hosts:
            name = host["name"]
            inventory.add_host(name)
            for variable, value in host["variables"].items():
                inventory.set_variable(name, variable, value)
            for group in host["groups"]:
                inventory.add_child(inventory.add_group(group), name)
