#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write a page of HTML with the virtual functions of the hosts of a play
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Makes one HTML file of what M(mergetb.sriov.sriov_info) tells of each host. It shows every
    virtual function, who has it, and how hosts and model differ. C(docs/report.md) describes it.
  - It finds the PFs that the model promises in the C(sriov_pfs) of each host.
  - The role P(mergetb.sriov.report#role) uses it.
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
  model:
    description:
      - The facility model, or a configuration of the inventory plugin, as
        O(mergetb.sriov.audit#module:model) takes it.
    type: str
    required: true
  results:
    description:
      - Name of the variable in which each host has registered the result of
        M(mergetb.sriov.sriov_info) with O(mergetb.sriov.sriov_info#module:firmware), even if it
        failed.
    type: str
    required: true
  path:
    description: The file, absolute or relative to the directory that Ansible was started in.
    type: str
    required: true
seealso:
  - module: mergetb.sriov.audit
"""

EXAMPLES = r"""
- name: Read what the host has
  mergetb.sriov.sriov_info:
    firmware: true
  register: found
  ignore_errors: true
  ignore_unreachable: true

- name: Write the report
  mergetb.sriov.report:
    model: phobos.xir
    results: found
    path: report.html
  register: report
  run_once: true
"""

RETURN = r"""
path:
  description: The absolute path of the file.
  returned: success
  type: str
  sample: /srv/pipeline/report.html
lines:
  description: The totals as lines of text.
  returned: success
  type: list
  elements: str
  sample: ["hosts: 2 of 2 answered"]
"""
