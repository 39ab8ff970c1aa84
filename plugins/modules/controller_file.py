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
  - Writes a file in the process of Ansible itself. It reaches no host for that, not even one that
    is named C(localhost), and takes no C(become).
  - Replaces the file as a whole, so a reader sees all of it or what was there before. All users can
    read the file, and its owner can write it.
  - The roles of the collection use it for what they leave on the controller.
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.change
options:
  path:
    description:
      - The file. A relative path begins in the directory that Ansible was started in. The module
        follows a symbolic link.
    type: str
    required: true
  content:
    description:
      - The text to write.
      - If you leave it out, the module writes nothing. It only fails if the file could not be
        written, because the directory is missing or read-only or has less than 1 MiB free, or
        because the name belongs to something that is not a regular file.
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
