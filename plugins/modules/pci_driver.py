#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pci_driver
short_description: Bind VFs and other PCI functions to drivers
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Gives each function the driver asked for, C(vfio-pci) above all, or takes its driver away, for
    any number of functions in one call.
  - Uses C(driver_override), so that no other function of the same kind is touched, and reads back
    which driver took the function.
  - Fails if a function is to go to VFIO and a device of its IOMMU group stays with another driver.
    The error names the device.
  - Takes no function away from anybody who uses it.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  devices:
    description: The functions and their drivers.
    type: list
    elements: dict
    required: true
    suboptions:
      address:
        description: PCI address of the function.
        type: str
      pf:
        description: The PF of the VF, by PCI address, permanent MAC or interface name.
        type: str
      vf:
        description: Index of the VF of O(devices[].pf), from 0.
        type: int
      driver:
        description:
          - Name of the driver. If you leave it out, the function gets none.
          - V(auto) takes the VFIO driver that fits the function best. That is the variant of the
            function's vendor if the running kernel has one, such as C(mlx5_vfio_pci), which can
            move a guest to another host while it runs. Otherwise it is C(vfio-pci).
        type: str
  force:
    description: Whether to take functions away even if they are in use.
    type: bool
    default: false
seealso:
  - module: mergetb.sriov.vf
"""

EXAMPLES = r"""
- name: Give one VF to VFIO and leave another without driver
  mergetb.sriov.pci_driver:
    devices:
      - pf: 0c:42:a1:00:00:10
        vf: 0
        driver: vfio-pci
      - address: "0000:3b:00.3"
"""

RETURN = r"""
devices:
  description: Each function after the call, in check mode as it would be, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: PCI address.
      type: str
      sample: "0000:3b:00.2"
    driver:
      description: Name of the driver, null for none.
      type: str
      sample: vfio-pci
    iommu_group:
      description: IOMMU group; its number can change at every boot.
      type: str
      sample: "42"
    numa_node:
      description: NUMA node, null if the firmware names none.
      type: int
      sample: 0
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _driver, _variant

ARGUMENT_SPEC: dict[str, t.Any] = {
    "devices": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "address": {"type": "str"},
            "pf": {"type": "str"},
            "vf": {"type": "int"},
            "driver": {"type": "str"},
        },
        "required_one_of": [("address", "pf")],
        "mutually_exclusive": [("address", "pf")],
        "required_by": {"vf": "pf", "pf": "vf"},
    },
    "force": {"type": "bool", "default": False},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    with _ledger.exclusive(host, check_mode=check_mode):
        wanted = _with_variants(host, _driver.resolve(host, params["devices"]))
        devices = _pci.read_devices(host, [item.address for item in wanted])
        changes = _driver.plan(devices, wanted)
        _driver.check(host, devices, wanted)
        if not params["force"]:
            _driver.refuse_used(host, changes)
        if not check_mode:
            _driver.apply(host, changes)
    return {
        "changed": bool(changes),
        "devices": [
            {
                "address": device.address,
                "driver": item.driver,
                "iommu_group": device.iommu_group,
                "numa_node": device.numa_node,
            }
            for device, item in zip(devices, wanted)
        ],
        "diff": {
            "before": {item.address: item.before for item in changes},
            "after": {item.address: item.after for item in changes},
        },
    }


def _with_variants(host: Host, wanted: list[_driver.Binding]) -> list[_driver.Binding]:
    """*wanted* with the name of a driver instead of `auto`."""
    best = _variant.best(host, [item.address for item in wanted if item.driver == _variant.AUTO])
    return [item._replace(driver=best.get(item.address, item.driver)) for item in wanted]


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
