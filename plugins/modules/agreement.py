#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agreement
short_description: Tell which hosts of a play have not agreed to a materialization
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Judges what M(mergetb.sriov.materialization) has answered on all hosts of the play. A
    materialization is given on all of its hosts or on none, so no host may go on before all have
    agreed.
  - A host has agreed if it has reserved the VFs, and if the second look did not change that. One
    that failed, was not reached or was not asked yet has not agreed. It does not matter which hosts
    are left in the play, because a playbook can rescue or ignore a failure.
  - The role P(mergetb.sriov.materialize#role) uses it.
notes:
  - It looks at all hosts, so it is for tasks with C(run_once).
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.info
options:
  reserved:
    description:
      - Name of the variable in which each host has registered its answer to
        O(mergetb.sriov.materialization#module:state=reserved).
    type: str
    required: true
  looked:
    description:
      - Name of the variable with the answers of the hosts that looked again. Hosts without it, or
        that have skipped the task, were not asked.
    type: str
    default: ""
  given:
    description:
      - Name of the variable with the answers to
        O(mergetb.sriov.materialization#module:state=present), where that was asked for already.
    type: str
    default: ""
  run:
    description:
      - Name of the run. An answer to another run does not count. A playbook with several runs keeps
        the variables of the earlier ones.
      - If it is left out, each answer counts.
    type: str
    default: ""
seealso:
  - module: mergetb.sriov.materialization
"""

EXAMPLES = r"""
- name: Reserve the VFs on each host
  mergetb.sriov.materialization:
    mzid: one.hello.demo
    state: reserved
    run: "{{ experiment.run }}"
    vfs: "{{ experiment.hosts[inventory_hostname] | default([]) }}"
  register: reserved

- name: See which hosts have not agreed
  mergetb.sriov.agreement:
    reserved: reserved
    looked: looked
    given: given
    run: "{{ experiment.run }}"
  register: agreement
  run_once: true
"""

RETURN = r"""
missing:
  description: The hosts that have not agreed.
  returned: success
  type: list
  elements: str
  sample: [x1]
lost:
  description: The hosts on which another run came between the reservation and its carrying out.
  returned: success
  type: list
  elements: str
  sample: []
changes:
  description: Whether any host is going to be changed.
  returned: success
  type: bool
  sample: true
"""
