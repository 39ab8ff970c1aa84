# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
short_description: The plans of many hosts as one document
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Puts what M(mergetb.sriov.plan_info) returned on each host into the document that
    C(docs/plan.md) describes. A host where the module failed is blocked, and one that could not be
    reached is in it too.
options:
  _input:
    description: The registered results by the name of the host.
    type: dict
    required: true
  mzid:
    description: The materialization that was planned; empty where the preparation was.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Save the plan
  ansible.builtin.copy:
    content: "{{ dict(hosts | zip(plans)) | mergetb.sriov.plan | to_nice_json }}"
    dest: plan.json
    mode: "0644"
  vars:
    hosts: "{{ ansible_play_hosts_all }}"
    plans: "{{ hosts | map('extract', hostvars, 'plan') }}"
"""

RETURN = r"""
_value:
  description: The document, with C(version), C(action), C(mzid), C(summary) and C(hosts).
  type: dict
"""

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _plan


def plan(results: t.Mapping[str, t.Mapping[str, t.Any]], mzid: str = "") -> dict[str, t.Any]:
    """Return the document of ``results``."""
    return _plan.document(results, mzid=mzid)


class FilterModule:
    """The filter plan."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"plan": plan}
