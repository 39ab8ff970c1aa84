#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_map
short_description: Write the device map of a materialization
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Writes on the controller the document from which the hypervisor's manager (Mariner, libvirt,
    plain QEMU) takes the virtual functions of the guests of a materialization.
    C(docs/device_map.md) describes it.
  - It checks every value, and that no virtual function and no NIC is there twice.
  - It skips the task if a host of the play returned no devices, so that no map has half an
    experiment.
  - The role P(mergetb.sriov.materialize#role) uses it.
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
  mzid:
    description: Id of the materialization, C(rid.eid.pid).
    type: str
    required: true
  results:
    description:
      - Name of the variable in which each host has registered the result of
        M(mergetb.sriov.materialization).
    type: str
    required: true
  own_only:
    description:
      - Whether to write only if the file is the device map of this materialization and has devices.
    type: bool
    default: false
seealso:
  - module: mergetb.sriov.materialization
  - plugin: mergetb.sriov.qemu_args
    plugin_type: filter
  - plugin: mergetb.sriov.libvirt_xml
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Give the VFs to their guests
  mergetb.sriov.materialization:
    mzid: one.hello.demo
    vfs: "{{ experiment.hosts[inventory_hostname] | default([]) }}"
  register: given

- name: Write the device map
  mergetb.sriov.device_map:
    path: device_map.json
    mzid: one.hello.demo
    results: given
  run_once: true
"""

RETURN = r"""
path:
  description: The absolute path of the file.
  returned: success
  type: str
  sample: /run/pipeline/device_map.json
"""
