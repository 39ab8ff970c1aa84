#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan_info
short_description: See what preparing a host or materializing an experiment is going to do to it
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads the host and plans what P(mergetb.sriov.prepare#role) or
    P(mergetb.sriov.materialize#role) is going to do there, role by role. It plans with the
    functions of the modules that do it. It changes nothing.
  - If something blocks that, the run does nothing there. The plan then has no steps, and tells all
    that blocks, so far as one does not hide the other.
  - Plans the steps after a restart for the host as it comes back, with the VFs that its udev rules
    make. It assumes that the links of its PFs are then up or down as now.
  - Cannot know what the firmware of ConnectX and BlueField cards needs while C(mstconfig) is not
    installed. A note says so.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.info
options:
  prepare:
    description:
      - Plan P(mergetb.sriov.prepare#role) with these of its variables. Leave out their prefix
        C(sriov_).
      - One of O(prepare) and O(materialize) is required.
    type: dict
    suboptions:
      pfs:
        description: See P(mergetb.sriov.preflight#role).
        type: list
        elements: dict
        required: true
      numvfs:
        description: See P(mergetb.sriov.preflight#role).
        type: raw
        default: {}
      kernel_arguments:
        description: See P(mergetb.sriov.iommu#role).
        type: list
        elements: str
        default: []
      mlx_firmware:
        description: See P(mergetb.sriov.mlx_firmware#role).
        type: bool
        default: true
      mlx_settings:
        description: See P(mergetb.sriov.mlx_firmware#role).
        type: dict
        default: {}
      mlx_card_settings:
        description: See P(mergetb.sriov.mlx_firmware#role).
        type: dict
        default: {}
      mlx_lower_numvfs:
        description: See P(mergetb.sriov.mlx_firmware#role).
        type: list
        elements: str
        default: []
      mlx_largest_numvfs:
        description: See P(mergetb.sriov.mlx_firmware#role).
        type: bool
        default: false
      mlx_reset:
        description: See P(mergetb.sriov.mlx_firmware#role).
        type: bool
        default: false
      kernel_modules:
        description: See P(mergetb.sriov.vfio#role).
        type: list
        elements: str
        default: []
      restore_before:
        description: See P(mergetb.sriov.restore#role).
        type: list
        elements: str
      force:
        description: See P(mergetb.sriov.vfs#role).
        type: bool
        default: false
      reboot:
        description:
          - Whether the run may reboot the host. The plan assumes so anyhow. If it is true, VFs in
            use are among the RV(blockers) of a reboot.
        type: bool
        default: false
      reboot_held:
        description: See P(mergetb.sriov.reboot#role).
        type: bool
        default: false
  materialize:
    description:
      - Plan the call of M(mergetb.sriov.materialization) with these options.
    type: dict
seealso:
  - module: mergetb.sriov.preflight
  - module: mergetb.sriov.materialization
"""

EXAMPLES = r"""
- name: See what the host lacks
  mergetb.sriov.plan_info:
    prepare:
      pfs: "{{ sriov_pfs }}"
      kernel_arguments: [iommu=pt]
      kernel_modules: [vfio-pci]
  register: plan

- name: Leave alone a host that somebody has to look at
  ansible.builtin.meta: end_host
  when: plan.state == 'blocked'
"""

RETURN = r"""
state:
  description:
    - V(ready) if nothing is to be done, V(change) if there are steps, V(reboot) if they take a
      RV(restart), and V(blocked) if something prevents them.
  returned: success
  type: str
  sample: reboot
restart:
  description:
    - The restart that the steps take; null for none. After V(firmware reset) the card's interfaces
      are away for seconds. No run makes a V(power cycle).
  returned: success
  type: str
  sample: reboot
steps:
  description: What is done, in the order of time; nothing if there are RV(blockers).
  returned: success
  type: list
  elements: dict
  contains:
    role:
      description: The role that does it.
      type: str
      sample: vfs
    element:
      description: The file, device or service that changes.
      type: str
      sample: "0000:3b:00.0"
    action:
      description: What is done.
      type: str
      sample: sriov_numvfs 16
roles:
  description: The roles that do the RV(steps), in this order.
  returned: success
  type: list
  elements: str
  sample: [iommu, reboot, vfs]
behind:
  description:
    - Those of the RV(steps) that come behind a RV(restart). They are done to the host as it comes
      back. Nothing if there is no restart.
  returned: success
  type: list
  elements: dict
  sample: [{role: vfs, element: "0000:3b:00.0", action: sriov_numvfs 16}]
roles_now:
  description: Those of the RV(roles) that do none of the steps RV(behind) a restart.
  returned: success
  type: list
  elements: str
  sample: [iommu]
blockers:
  description: What prevents the run on this host.
  returned: success
  type: list
  elements: dict
  contains:
    role:
      description: The role that it prevents.
      type: str
      sample: preflight
    message:
      description: The cause, and what helps.
      type: str
      sample: "ens1f0 (0000:3b:00.0): it has no driver; load the driver of the card"
notes:
  description: What does not stop the run, but should be known.
  returned: success
  type: list
  elements: str
  sample: []
disturbed:
  description:
    - The VFs that are destroyed, and those in use that a reboot takes away for a while. If there
      are RV(blockers), those that it would be.
  returned: success
  type: list
  elements: dict
  contains:
    pf:
      description: PCI address of the PF.
      type: str
      sample: "0000:3b:00.0"
    vf:
      description: Index of the VF.
      type: int
      sample: 0
    address:
      description: PCI address of the VF.
      type: str
      sample: "0000:3b:00.2"
    by:
      description: V(destroyed) or V(reboot).
      type: str
      sample: destroyed
    users:
      description: Who uses it.
      type: list
      elements: str
      sample: ["process 4711 (qemu-system-x86, guest alpha) has /dev/vfio/42 open"]
reboot_causes:
  description: Why the steps take a reboot, in the form that M(mergetb.sriov.reboot_marker) takes.
  returned: success
  type: list
  elements: dict
  sample: []
complete:
  description:
    - Whether RV(steps) are all that is done. They are not if C(mstconfig) is to be installed first.
  returned: success
  type: bool
  sample: true
preflight:
  description:
    - What M(mergetb.sriov.preflight) returns for the same PFs; null with O(materialize).
  returned: success
  type: dict
  sample: null
"""

import functools
import os
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _request
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _stages

ARGUMENT_SPEC: dict[str, t.Any] = {
    "prepare": {
        "type": "dict",
        "options": {
            "pfs": {"type": "list", "elements": "dict", "required": True},
            "numvfs": {"type": "raw", "default": {}},
            "kernel_arguments": {"type": "list", "elements": "str", "default": []},
            "mlx_firmware": {"type": "bool", "default": True},
            "mlx_settings": {"type": "dict", "default": {}},
            "mlx_card_settings": {"type": "dict", "default": {}},
            "mlx_lower_numvfs": {"type": "list", "elements": "str", "default": []},
            "mlx_largest_numvfs": {"type": "bool", "default": False},
            "mlx_reset": {"type": "bool", "default": False},
            "kernel_modules": {"type": "list", "elements": "str", "default": []},
            "restore_before": {"type": "list", "elements": "str"},
            "force": {"type": "bool", "default": False},
            "reboot": {"type": "bool", "default": False},
            "reboot_held": {"type": "bool", "default": False},
        },
    },
    "materialize": {"type": "dict"},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    if os.geteuid():
        raise SriovError("looking into a host's devices takes root: set become, or connect as root")
    if params["prepare"]:
        plan = _stages.prepare(host, _stages.Preparation(**params["prepare"]))
    else:
        plan = _stages.materialize(host, _validated(params["materialize"]))
    return {
        "changed": False,
        "state": plan.state,
        "restart": plan.restart,
        "steps": [step._asdict() for step in plan.steps],
        "roles": plan.roles,
        "behind": [step._asdict() for step in plan.behind],
        "roles_now": plan.roles_now,
        "blockers": [blocker._asdict() for blocker in plan.blockers],
        "notes": plan.notes,
        "disturbed": [vf._asdict() for vf in plan.disturbed],
        "reboot_causes": [cause._asdict() for cause in plan.causes],
        "complete": plan.complete,
        "preflight": plan.preflight,
    }


def _validated(params: dict[str, t.Any]) -> dict[str, t.Any]:
    result = ArgumentSpecValidator(_request.ARGUMENT_SPEC).validate(params)
    if result.error_messages:
        raise SriovError(f"materialize: {'; '.join(result.error_messages)}")
    validated: dict[str, t.Any] = result.validated_parameters
    return validated


def main() -> None:
    run_module(
        functools.partial(run, Host()),
        ARGUMENT_SPEC,
        required_one_of=[("prepare", "materialize")],
        mutually_exclusive=[("prepare", "materialize")],
    )


if __name__ == "__main__":
    main()
