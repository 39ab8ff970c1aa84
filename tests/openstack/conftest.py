# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets plain pytest import the collection."""

from __future__ import annotations

import pathlib
import sys

from ansible.plugins.loader import init_plugin_loader

if "ansible_collections" not in sys.modules:
    init_plugin_loader([str(pathlib.Path(__file__).parents[2] / ".ansible/collections")])
