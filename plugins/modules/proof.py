#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: proof
short_description: Tell whether guests reached each other, each on its own VLANs only
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Compares what the guests of all hosts have written, and what the wires have seen, with the
    device map.
  - The role P(mergetb.sriov.prove#role) uses it.
notes:
  - It looks at all hosts that are left in the play, so it is for tasks with C(run_once).
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.info
options:
  consoles:
    description:
      - Name of the variable in which each host has registered a loop of M(ansible.builtin.slurp)
        over the consoles of its guests.
    type: str
    required: true
  captures:
    description: What M(mergetb.sriov.capture_info) returned for all wires.
    type: list
    elements: dict
    required: true
  devices:
    description: The devices of the device map.
    type: list
    elements: dict
    required: true
seealso:
  - module: mergetb.sriov.capture_info
"""

EXAMPLES = r"""
- name: Compare what was seen with what was promised
  mergetb.sriov.proof:
    consoles: guest_logs
    captures: "{{ wires.captures }}"
    devices: "{{ (lookup('ansible.builtin.file', 'device_map.json') | from_json).devices }}"
  register: proof
  run_once: true
"""

RETURN = r"""
proven:
  description: Whether nothing is RV(lost), RV(stray) or RV(unseen).
  returned: success
  type: bool
  sample: true
answered:
  description: The addresses whose answers guests have seen.
  returned: success
  type: list
  elements: str
  sample: [10.0.1.1]
lost:
  description: What guests miss, in their words.
  returned: success
  type: list
  elements: str
  sample: []
stray:
  description:
    - The frames of guests on a VLAN that is not theirs, or untagged. Each has the source MAC and
      the VLAN, which is null for none.
  returned: success
  type: list
  elements: list
  sample: []
unseen:
  description: The MAC and VLAN of each device that no wire has seen.
  returned: success
  type: list
  elements: list
  sample: []
"""
