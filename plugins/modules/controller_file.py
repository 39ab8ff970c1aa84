#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: controller_file
short_description: Write a file on the controller, or find out whether it could be written
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Writes a file in the process of Ansible itself. No host is reached for it, not even one that is
    named C(localhost), and it takes no C(become).
  - A file is replaced as a whole, so that a reader sees all of it or what was before. It can be
    read by all users and written by its owner.
  - The roles of the collection use it for what they leave on the controller.
notes:
  - This is an action plugin and runs on the controller.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
attributes:
  platform:
    details:
      - It is the controller that this is about.
options:
  path:
    description:
      - The file. A relative path is relative to the directory that Ansible was started in. A
        symbolic link is followed.
    type: str
    required: true
  content:
    description:
      - The text to write.
      - Where left out, nothing is written. The task then fails if the file could not be written,
        because its directory is missing or read-only, or has less than 1 MiB free, or because
        something else than a regular file has the name.
    type: str
"""

EXAMPLES = r"""
- name: See that the findings can be written
  mergetb.sriov.controller_file:
    path: findings.json
  run_once: true

- name: Write the findings
  mergetb.sriov.controller_file:
    path: findings.json
    content: "{{ findings | to_nice_json }}\n"
  run_once: true
"""

RETURN = r"""
path:
  description: The absolute path of the file.
  returned: success
  type: str
  sample: /run/pipeline/findings.json
"""
