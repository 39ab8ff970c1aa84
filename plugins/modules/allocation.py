#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: allocation
short_description: Write the materialization of an experiment, for a facility without a portal
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads an experiment model (C(xir.Network)) as mergexp writes it, and chooses for each socket
    with C(port.vf==True) a host, a PF, a virtual function (VF), a VLAN and a MAC address. The rules
    are in C(docs/allocation.md).
  - The content of the file tells its encoding, which is base64 text, the protocol buffer itself, or
    JSON.
  - Writes JSON (protojson) of C(portal.v1.Materialization) on the controller, which
    M(mergetb.sriov.materialization_info) reads.
  - Reads the variables C(sriov_pfs) and C(sriov_excluded_pfs) of each of O(hosts). The second lists
    names and MAC addresses of PFs that must give no VF, for example because they carry virtio links
    or the operator's own traffic.
  - One input always gives the same result. A NIC of this materialization that a ledger has keeps
    its VF, VLAN and MAC address.
  - Writes nothing unless every NIC has a VF. The error tells for each NIC which constraint fails,
    with numbers.
  - The role P(mergetb.sriov.allocate#role) uses it.
requirements:
  - protobuf >= 4.25 (Python package where ansible runs)
  - netaddr (Python package where ansible runs)
notes:
  - It looks at all hosts, so it is for tasks with C(run_once).
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.from_cache
  - mergetb.sriov._attributes.change
options:
  experiment:
    description:
      - The file with the experiment, absolute or relative to the directory that Ansible was started
        in.
    type: str
    required: true
  mzid:
    description: Id of the materialization, C(rid.eid.pid).
    type: str
    required: true
  path:
    description: The file for the materialization.
    type: str
    required: true
  results:
    description:
      - Name of the variable in which each host of the play has registered the result of
        M(mergetb.sriov.sriov_info).
    type: str
    required: true
  hosts:
    description:
      - The hosts of the facility. Each must be in the play, because it has VLANs in use that nobody
        else knows of.
    type: list
    elements: str
    required: true
  facility:
    description: Name of the facility.
    type: str
    default: ""
  placement:
    description:
      - V(spread) prefers the host and the PF with the most VFs left.
      - V(pack) prefers those with the fewest that suffice.
    type: str
    choices: [spread, pack]
    default: spread
  vlans:
    description: Ranges of the VLAN ids to choose from, the lowest first.
    type: str
    default: 2-4094
seealso:
  - module: mergetb.sriov.materialization_info
"""

EXAMPLES = r"""
- name: Read what the host has and what is in use
  mergetb.sriov.sriov_info:
  register: found

- name: Choose a VF for each NIC of the experiment
  mergetb.sriov.allocation:
    experiment: hello.pb64
    mzid: one.hello.demo
    path: one.hello.demo.json
    results: found
    hosts: "{{ groups['hypervisors'] }}"
    vlans: 100-199
  register: allocation
  run_once: true
"""

RETURN = r"""
path:
  description: The absolute path of the file with the materialization.
  returned: success
  type: str
  sample: /srv/pipeline/one.hello.demo.json
lines:
  description: A line for each guest NIC, link by link.
  returned: success
  type: list
  elements: str
  sample: ["alpha eth1: x0 ens1f0 VF 0, VLAN 2, MAC 02:8a:5e:10:ab:cd"]
"""
