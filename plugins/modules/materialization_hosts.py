#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: materialization_hosts
short_description: Tell which hosts a materialization is about
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads which hosts a materialization names, and which hosts its former device map has. A run of
    the materialization need not reach any other host.
  - Refuses a C(--limit) that leaves one of these hosts out, because a materialization is given on
    all of its hosts or on none.
  - Does not check the materialization any further. M(mergetb.sriov.materialization_info) does that.
  - The role P(mergetb.sriov.select_hosts#role) uses it.
requirements:
  - protobuf >= 4.25 (Python package where ansible runs)
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.info
options:
  path:
    description:
      - The file of the materialization, absolute or relative to the directory that Ansible was
        started in.
      - If it is left out, nobody knows which hosts have VFs of the materialization, so all
        hosts of O(group) are returned.
    type: str
    default: ""
  mzid:
    description: Id of the materialization, if it is known without its file.
    type: str
    default: ""
  device_map:
    description:
      - The file of the device map that an earlier run of the materialization may have written. A
        file that is missing, or is of another materialization, adds no host.
    type: str
    default: ""
  sweep:
    description: Whether to return all hosts of O(group).
    type: bool
    default: false
  group:
    description: The group of the hosts that offer VFs.
    type: str
    default: hypervisors
seealso:
  - module: mergetb.sriov.materialization_info
"""

EXAMPLES = r"""
- name: Read which hosts the experiment is about
  mergetb.sriov.materialization_hosts:
    path: one.hello.demo.pb64
    device_map: device_map.json
  register: experiment
  run_once: true
"""

RETURN = r"""
hosts:
  description:
    - The hosts, in the order of O(group).
    - The first of these if the files name none of them.
  returned: success
  type: list
  elements: str
  sample: [x0, x1]
mzid:
  description: Id of the materialization; empty if nothing tells it.
  returned: success
  type: str
  sample: one.hello.demo
group:
  description:
    - A name for a group of these hosts, which no other run uses. That of the latest run sorts last.
  returned: success
  type: str
  sample: sriov_hosts_of_run_20261127T120000000000_5f0c2a91
"""
