#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: See whether a host can give the VFs that its model promises
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Finds each PF by its permanent MAC, reads its capabilities from PCI configuration space, and
    tells what prevents its VFs and what helps.
  - Returns all problems in one list. The module itself fails only for input that it cannot use.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.info
options:
  pfs:
    description:
      - The PFs, as the inventory has them in C(sriov_pfs). The module uses C(name), C(mac) and
        C(max_vfs) of each. It finds a PF without C(mac) by its C(name), which then must be an
        interface or a PCI address.
    type: list
    elements: dict
    required: true
  numvfs:
    description:
      - Numbers of VFs by C(name), for PFs that do not get the C(max_vfs) of the model. Or one
        number for all PFs.
    type: raw
    default: {}
  firmware:
    description:
      - Whether the roles that are the keys of RV(firmware) set the firmware of NICs before their
        VFs are created. Too few VFs of such a NIC are then a warning, not an error.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Look at the host
  mergetb.sriov.preflight:
    pfs: "{{ sriov_pfs }}"
  register: preflight

- name: Insist
  ansible.builtin.assert:
    that: preflight.problems | selectattr('severity', 'eq', 'error') | length == 0
"""

RETURN = r"""
platform:
  description: The host.
  returned: success
  type: dict
  contains:
    arch:
      description: CPU architecture.
      type: str
      sample: x86_64
    iommu:
      description: IOMMU that the firmware announces, null where none.
      type: str
      sample: Intel VT-d
    iommu_effective:
      description: Whether the running kernel drives it and has put devices behind it.
      type: bool
      sample: true
    lockdown:
      description: Lockdown of the kernel, null where it has none.
      type: str
      sample: none
pfs:
  description: The PFs that were found, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name in the model.
      type: str
      sample: ens1f0
    address:
      description: PCI address.
      type: str
      sample: "0000:3b:00.0"
    interface:
      description: Name of the network interface, null where there is none.
      type: str
      sample: enp59s0f0np0
    mac:
      description: Permanent MAC.
      type: str
      sample: 0c:42:a1:00:00:10
    vendor:
      description: PCI vendor.
      type: str
      sample: "0x15b3"
    device:
      description: PCI device.
      type: str
      sample: "0x1017"
    driver:
      description: Driver, null where there is none.
      type: str
      sample: mlx5_core
    numvfs:
      description: Number of VFs that it has.
      type: int
      sample: 0
    totalvfs:
      description: The most VFs that it can have, null where it offers none.
      type: int
      sample: 64
    sriov:
      description: Whether it has the SR-IOV capability.
      type: bool
      sample: true
    aer:
      description: Whether it has Advanced Error Reporting.
      type: bool
      sample: true
    ari:
      description: Whether it has Alternative Routing-ID Interpretation.
      type: bool
      sample: true
    acs:
      description:
        - Whether all ports above it have Access Control Services, null where there is no port or it
          cannot be read.
      type: bool
      sample: true
    iommu_group:
      description: IOMMU group of this boot, null where the IOMMU is not effective.
      type: str
      sample: "17"
    isolated:
      description: Whether it is alone in its group, null where it has none.
      type: bool
      sample: true
wanted:
  description: The VFs to make, as M(mergetb.sriov.numvfs) takes them.
  returned: success
  type: list
  elements: dict
  contains:
    pf:
      description: The MAC, the interface or the PCI address of the PF.
      type: str
      sample: 0c:42:a1:00:00:10
    numvfs:
      description: Number of VFs.
      type: int
      sample: 16
firmware:
  description:
    - What to set in the firmware of the PFs, by the role of this collection that does it, as
      M(mergetb.sriov.mlx_config) takes it. Each role has a list, which is empty if there is no such
      PF.
    - The number is that of O(numvfs), else the model's. If O(numvfs) gives another PF of the card
      more, it is that, since a card has one number for all. A PF that is to have no VFs asks for
      nothing.
  returned: success
  type: dict
  sample:
    mlx_firmware:
      - address: "0000:3b:00.0"
        names: [ens1f0, "0c:42:a1:00:00:10"]
        settings: {"SRIOV_EN": true, "NUM_OF_VFS": 16}
firmware_tool:
  description: The installed tool that sets the firmware of ConnectX cards, null where none is.
  returned: success
  type: str
  sample: mstconfig
problems:
  description: What prevents or endangers VFs.
  returned: success
  type: list
  elements: dict
  contains:
    severity:
      description: V(error) if it prevents VFs, V(warning) if it endangers them.
      type: str
      sample: error
    element:
      description: The PF or the host that has the problem.
      type: str
      sample: "ens1f0 (0000:3b:00.0)"
    cause:
      description: What is wrong.
      type: str
      sample: the model declares 16 VFs, the NIC offers 7
    remedy:
      description: What helps.
      type: str
      sample: correct the model
    text:
      description: All that in one line.
      type: str
      sample: "ens1f0 (0000:3b:00.0): it has no driver; load the driver of the card"
"""

import functools
import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _preflight

ARGUMENT_SPEC: dict[str, t.Any] = {
    "pfs": {"type": "list", "elements": "dict", "required": True},
    "numvfs": {"type": "raw", "default": {}},
    "firmware": {"type": "bool", "default": False},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    if os.geteuid():
        raise SriovError("preparing a host takes root: set become, or connect as root")
    seen = _preflight.look(host, params["pfs"], params["numvfs"], firmware=params["firmware"])
    return {"changed": False, **_preflight.described(host, seen)}


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
