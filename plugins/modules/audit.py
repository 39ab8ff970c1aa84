#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: audit
short_description: Write where a facility model and the hosts of a play differ
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Compares a facility model (C(xir.Facility)) with what M(mergetb.sriov.sriov_info) tells of its
    hosts, and writes what differs to a file on the controller. C(docs/audit.md) describes the
    checks and the file.
  - Reads the model in every encoding that the inventory plugin P(mergetb.sriov.xir#inventory)
    reads, also by way of that plugin's configuration.
  - Can correct the model if the right value of a field is known. The copy differs only in these
    fields and keeps what this collection does not know. It is base64 text, or JSON if the model is.
  - Fails before it writes if a file to write is the model, its configuration, or the other file to
    write.
  - The role P(mergetb.sriov.audit#role) uses it.
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
      - The facility model, or a configuration of the inventory plugin (C(.xir.yml), C(.xir.yaml));
        absolute or relative to the directory that Ansible was started in.
      - The C(link_roles) of a configuration tell which PFs are offered for VFs. Without a
        configuration, it is C(XpLink).
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
    description: The file for the findings.
    type: str
    required: true
  corrected_path:
    description: The file for the corrected model. If it is empty, the module makes none.
    type: str
    default: ""
seealso:
  - module: mergetb.sriov.sriov_info
"""

EXAMPLES = r"""
- name: Read what the host has
  mergetb.sriov.sriov_info:
    firmware: true
  register: found
  ignore_errors: true
  ignore_unreachable: true

- name: Compare the model with the hosts
  mergetb.sriov.audit:
    model: phobos.xir
    results: found
    path: audit.json
    corrected_path: corrected.xir
  register: audit
  run_once: true
"""

RETURN = r"""
path:
  description: The absolute path of the file with the findings.
  returned: success
  type: str
  sample: /srv/pipeline/audit.json
lines:
  description: The findings as lines of text, a table and a total.
  returned: success
  type: list
  elements: str
  sample: ["the model agrees with the hosts (error: 0, warning: 0, info: 0)"]
summary:
  description: The number of findings of each severity.
  returned: success
  type: dict
  sample: {error: 1, warning: 0, info: 2}
"""
