#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_modules
short_description: Load kernel modules, now and at every boot
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Loads with C(modprobe) what is not loaded yet, and reads back that the kernel has it.
  - Writes C(/etc/modules-load.d/<name>.conf), which systemd reads at boot.
  - A module that is built into the kernel counts as loaded.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  modules:
    description: Names of the kernel modules. The file for boot holds exactly these.
    type: list
    elements: str
    required: true
  name:
    description: Name of the file for boot, without directory and suffix.
    type: str
    default: mergetb-sriov
"""

EXAMPLES = r"""
- name: Have the driver that gives devices to guests
  mergetb.sriov.kernel_modules:
    modules: [vfio-pci]
"""

RETURN = r"""
loaded:
  description: The modules that were loaded, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [vfio-pci]
file:
  description: The file that loads them at boot.
  returned: success
  type: str
  sample: /etc/modules-load.d/mergetb-sriov.conf
steps:
  description: What was done, or would be in check mode, by what it is done to.
  returned: success
  type: dict
  sample: {"vfio-pci": ["load"], "/etc/modules-load.d/mergetb-sriov.conf": ["write"]}
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _modules
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module

ARGUMENT_SPEC: dict[str, t.Any] = {
    "modules": {"type": "list", "elements": "str", "required": True},
    "name": {"type": "str", "default": "mergetb-sriov"},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    plan = _modules.plan(host, params["modules"], params["name"])
    if not check_mode:
        _modules.apply(host, plan)
    modules = _modules.checked(params["modules"])
    return {
        "changed": bool(plan.steps),
        "loaded": plan.load,
        "file": plan.file,
        "steps": plan.steps,
        "diff": [
            {
                "before_header": "loaded kernel modules",
                "after_header": "loaded kernel modules",
                "before": "".join(f"{name}\n" for name in modules if name not in plan.load),
                "after": "".join(f"{name}\n" for name in modules),
            },
            {
                "before_header": plan.file,
                "after_header": plan.file,
                "before": plan.before,
                "after": plan.after,
            },
        ],
    }


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
