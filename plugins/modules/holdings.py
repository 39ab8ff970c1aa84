#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: holdings
short_description: Tell which materialization holds which VF of the hosts of a play
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Makes one table of what M(mergetb.sriov.sriov_info) has read from the ledgers of all hosts.
  - Fails if you name a materialization or a run that no host knows, so that a typing error does not
    look like a success.
  - The role P(mergetb.sriov.release#role) uses it.
notes:
  - It looks at the hosts that are left in the play, so it is for tasks with C(run_once).
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.info
options:
  results:
    description:
      - Name of the variable in which each host has registered the result of
        M(mergetb.sriov.sriov_info).
    type: str
    required: true
  mzid:
    description: Id of the only materialization to show; empty for all.
    type: str
    default: ""
  run:
    description:
      - Name of a run of O(mzid). A host must have a reservation of this run. It is empty for none.
    type: str
    default: ""
seealso:
  - module: mergetb.sriov.sriov_info
"""

EXAMPLES = r"""
- name: Read the ledger
  mergetb.sriov.sriov_info:
    pfs: []
  register: ledger

- name: See who holds which VF
  mergetb.sriov.holdings:
    results: ledger
  register: holdings
  run_once: true

- name: Show it
  ansible.builtin.debug:
    var: holdings.lines
  run_once: true
"""

RETURN = r"""
lines:
  description: The table, as lines of text.
  returned: success
  type: list
  elements: str
  sample:
    - host  materialization  node.nic    PF      VF  PCI address   state  reserved by
    - x0    one.hello.demo   alpha.eth1  ens1f0  0   0000:01:10.0  ready
"""
