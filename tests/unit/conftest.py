# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets plain pytest import the collection and load its plugins, as `ansible-test units` does."""

from __future__ import annotations

import pathlib
import sys

from hypothesis import settings

try:
    from ansible.plugins.loader import init_plugin_loader
except ModuleNotFoundError:
    # ansible-test hides the controller from the tests of what runs on a managed node.
    pass
else:
    if "ansible_collections" not in sys.modules:
        init_plugin_loader([str(pathlib.Path(__file__).parents[2] / ".ansible/collections")])

# How long one example takes tells of the machine, and of what else runs there.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
