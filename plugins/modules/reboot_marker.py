#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reboot_marker
short_description: Remember for which causes a host is rebooted
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Call it right before a reboot with O(reboot=true). In every other run, call it with what is
    pending.
  - It keeps a marker for each cause that a reboot is made for, and forgets it when the cause is
    gone.
  - It fails if a cause is still there after the reboot that was made for it. So there is no more
    than one reboot for a cause, over any number of runs.
  - It also fails if a cause takes a power cycle, in every run until the cause is gone.
  - With O(reboot=true) it fails if VFs are in use, unless O(held=true).
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  causes:
    description: What a reboot is pending for.
    type: list
    elements: dict
    required: true
    suboptions:
      cause:
        description: Name of the cause, the same in each run.
        type: str
        required: true
      reason:
        description: How the cause shows.
        type: str
        required: true
      remedy:
        description: What to do if a reboot did not cure it.
        type: str
        required: true
      power_cycle:
        description:
          - Whether only switching the host off and on cures it. Later calls need not say so again.
        type: bool
        default: false
  reboot:
    description: Whether the host is rebooted for these causes right after this task.
    type: bool
    default: false
  held:
    description:
      - Whether the host may be rebooted although somebody uses its VFs, or a materialization
        holds or has reserved them. Without it, the module fails with O(reboot=true),
        names the users, and marks nothing.
    type: bool
    default: false
seealso:
  - module: mergetb.sriov.kernel_cmdline
  - module: ansible.builtin.reboot
"""

EXAMPLES = r"""
- name: Remember what this reboot is for
  mergetb.sriov.reboot_marker:
    causes:
      - cause: iommu
        reason: the kernel was started without intel_iommu=on
        remedy: see which boot entry the firmware starts
    reboot: true
"""

RETURN = r"""
markers:
  description:
    - By cause, the boot in which a reboot was made for it, or would be in check mode; V(power
      cycle) for a cause that takes one.
  returned: success
  type: dict
  sample: {"iommu": "f0b1c7de-52d5-4a6b-a9a9-d0a3d7c4f0e1"}
steps:
  description:
    - V(remove), by the file of the markers, if the module forgot the last of them, or would in
      check mode.
  returned: success
  type: dict
  sample: {"/var/lib/mergetb-sriov/reboots.json": ["remove"]}
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _reboot
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _usage

ARGUMENT_SPEC: dict[str, t.Any] = {
    "causes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "cause": {"type": "str", "required": True},
            "reason": {"type": "str", "required": True},
            "remedy": {"type": "str", "required": True},
            "power_cycle": {"type": "bool", "default": False},
        },
    },
    "reboot": {"type": "bool", "default": False},
    "held": {"type": "bool", "default": False},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    before = _reboot.read(host)
    causes = [_reboot.Cause(**cause) for cause in params["causes"]]
    boot_id = _reboot.boot_id(host)
    after = _reboot.plan(before, causes, boot_id, reboot=params["reboot"])
    if params["reboot"] and not params["held"] and _reboot.is_made(after, causes, boot_id):
        _reboot.refuse_used(_usage.used_nic_vfs(host))
    if not check_mode and after != before:
        _reboot.write(host, after)
    _reboot.refuse(after, causes, boot_id)
    return {
        "changed": after != before,
        "markers": after,
        "steps": _reboot.steps(before, after),
        "diff": {
            "before_header": _reboot.PATH,
            "after_header": _reboot.PATH,
            "before": before,
            "after": after,
        },
    }


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
