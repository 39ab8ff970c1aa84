#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Write the plans of all hosts of a play as one document
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Makes one document on the controller of what M(mergetb.sriov.plan_info) has returned on each
    host. C(docs/plan.md) describes it.
  - If the module failed on a host, the document calls the host blocked. A host that could not be
    reached is in it, too.
  - The role P(mergetb.sriov.plan#role) uses it.
notes:
  - It looks at all hosts, so it is for tasks with C(run_once).
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.change
options:
  path:
    description: The file, absolute or relative to the directory that Ansible was started in.
    type: str
    required: true
  results:
    description:
      - Name of the variable in which each host has registered the result of
        M(mergetb.sriov.plan_info), even if it failed.
    type: str
    required: true
  mzid:
    description: Id of the materialization that was planned; empty if the preparation was.
    type: str
    default: ""
  accept:
    description: The states that are accepted. RV(not_accepted) has the hosts in the others.
    type: list
    elements: str
    choices: [ready, change, reboot, blocked, unreachable]
    default: [ready, change, reboot]
seealso:
  - module: mergetb.sriov.plan_info
"""

EXAMPLES = r"""
- name: Plan each host
  mergetb.sriov.plan_info:
    prepare:
      pfs: "{{ sriov_pfs }}"
  register: planned
  ignore_errors: true
  ignore_unreachable: true

- name: Write the plan
  mergetb.sriov.plan:
    path: plan.json
    results: planned
  register: plan
  run_once: true

- name: Show the plan
  ansible.builtin.debug:
    var: plan.lines
  run_once: true
"""

RETURN = r"""
path:
  description: The absolute path of the file.
  returned: success
  type: str
  sample: /srv/pipeline/plan.json
lines:
  description:
    - The plan as lines of text. They tell what is done to which hosts, those that are alike
      together, and end with a table that has a line for each host.
  returned: success
  type: list
  elements: str
  sample:
    - HOST  STATE  RESTART  STEPS  VFs IN USE
    - x0    ready  -        0      0
not_accepted:
  description: The hosts in another state than those of O(accept).
  returned: success
  type: list
  elements: str
  sample: [x1]
"""
