# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_lines
short_description: A plan of many hosts as text
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Tells what is done to which hosts, those that are alike together, and at the end has a table
    with a line for each host.
options:
  _input:
    description: The document that the filter P(mergetb.sriov.plan#filter) makes.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json | mergetb.sriov.plan_lines }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _plan


class FilterModule:
    """The filter plan_lines."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"plan_lines": _plan.lines}
