#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: numvfs
short_description: Create the VFs of PFs, now and at every boot
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Gives each PF its number of VFs through C(sriov_numvfs) and keeps drivers from taking them
    (C(sriov_drivers_autoprobe) is 0), so that a VF belongs to nobody until it is isolated.
  - Writes a udev rule for each PF that does the same at every boot, before anything can use a VF.
    PFs that a call does not name keep what they have, the rule too.
  - To give a PF up, set O(pfs[].numvfs=0). That also takes its rule away. If the PF is not on the
    host any more, name it by its MAC or PCI address.
  - Writes nothing if a PF has the wanted number already.
  - The kernel changes a number only by way of 0, which destroys all VFs of the PF. The module does
    that only if nobody uses one of them and no materialization holds one. For the same reason, it
    does not lower the rule of a PF whose VFs are missing while a materialization holds them.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  pfs:
    description: The PFs that the call is about, and their numbers of VFs.
    type: list
    elements: dict
    required: true
    suboptions:
      pf:
        description: The PF, by PCI address (V(0000:3b:00.0)), permanent MAC or interface name.
        type: str
        required: true
      numvfs:
        description: The number of VFs; V(0) gives the PF up.
        type: int
        required: true
  at_boot:
    description:
      - Whether to write or take away the rules of these PFs in
        C(/etc/udev/rules.d/70-mergetb-sriov.rules). With V(false), that file stays as it is.
    type: bool
    default: true
  force:
    description: Whether to destroy VFs even if they are in use.
    type: bool
    default: false
seealso:
  - module: mergetb.sriov.vf
  - module: mergetb.sriov.pci_driver
"""

EXAMPLES = r"""
- name: Have 16 VFs on one port, and give the other one up
  mergetb.sriov.numvfs:
    pfs:
      - pf: 0c:42:a1:00:00:10
        numvfs: 16
      - pf: 0000:3b:00.1
        numvfs: 0
"""

RETURN = r"""
pfs:
  description:
    - Each PF as it is after the call, in check mode as it was before, in the order given. PFs that
      are not on the host are left out.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: PCI address.
      type: str
      sample: "0000:3b:00.0"
    interface:
      description: Name of the network interface, null if there is none.
      type: str
      sample: enp59s0f0np0
    mac:
      description: Permanent MAC.
      type: str
      sample: 0c:42:a1:00:00:10
    driver:
      description: Driver of the PF.
      type: str
      sample: mlx5_core
    numvfs:
      description: Number of VFs.
      type: int
      sample: 16
    totalvfs:
      description: The most VFs that the PF can have.
      type: int
      sample: 64
    autoprobe:
      description: Whether the kernel gives new VFs to drivers by itself.
      type: bool
      sample: false
    vfs:
      description: PCI addresses of the VFs in the order of their indexes.
      type: list
      elements: str
      sample: ["0000:3b:00.2", "0000:3b:00.3"]
steps:
  description: What was done, or would be in check mode, by the PF or file that it is done to.
  returned: success
  type: dict
  sample: {"0000:3b:00.0": ["sriov_drivers_autoprobe 0", "sriov_numvfs 16"]}
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs

ARGUMENT_SPEC: dict[str, t.Any] = {
    "pfs": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "pf": {"type": "str", "required": True},
            "numvfs": {"type": "int", "required": True},
        },
    },
    "at_boot": {"type": "bool", "default": True},
    "force": {"type": "bool", "default": False},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    wanted = [_numvfs.VfCount(**item) for item in params["pfs"]]
    with _ledger.exclusive(host, check_mode=check_mode):
        plan = _numvfs.plan_host(host, wanted, at_boot=params["at_boot"])
        used = _numvfs.in_use(host, plan)
        if not params["force"]:
            _numvfs.refuse(used)
        if not check_mode:
            _numvfs.apply_all(host, plan, used)
        pfs = [_pci.read_pf(host, change.pf.address)._asdict() for change in plan.changes]
    rules = plan.rules_before if plan.rules is None else plan.rules
    return {
        "changed": bool(plan.steps),
        "steps": plan.steps,
        "pfs": pfs,
        "warnings": [
            f"no PF of this host is {pf}, so that only its udev rule, if any, is given up"
            for pf in plan.gone
        ],
        "diff": [
            {
                "before_header": "sriov_numvfs",
                "before": {change.pf.address: change.pf.numvfs for change in plan.changes},
                "after": {change.pf.address: change.numvfs for change in plan.changes},
            },
            {
                "before_header": _numvfs.UDEV_RULES,
                "before": _shown(plan.rules_before),
                "after": _shown(rules),
            },
        ],
    }


def _shown(text: str) -> str:
    """*text* without the bytes that are none."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
