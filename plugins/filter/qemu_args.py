# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: qemu_args
short_description: QEMU arguments that give a guest its virtual functions
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Returns a C(-device vfio-pci) for each device. Its C(id) is the name of the guest's NIC.
options:
  _input:
    description:
      - Devices of one node, as in the device map. C(node), C(nic) and C(pci_address) are used.
    type: list
    elements: dict
    required: true
  iommufd:
    description:
      - Whether QEMU reaches the devices through C(/dev/iommu), the newer way of VFIO, instead of
        through their groups. It takes QEMU 9.0, and a host whose
        RV(mergetb.sriov.sriov_info#module:platform.iommufd) is true. The arguments then begin with
        the C(-object) that all devices of the guest share.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Start a guest with its NICs
  ansible.builtin.command:
    argv: "{{ ['qemu-system-x86_64', '-machine', 'q35'] + nics | mergetb.sriov.qemu_args }}"
  vars:
    nics: "{{ device_map.devices | selectattr('node', 'eq', 'alpha') }}"

- name: Start it through /dev/iommu where the host has that
  ansible.builtin.command:
    argv: "{{ ['qemu-system-x86_64', '-machine', 'q35'] + arguments }}"
  vars:
    arguments: "{{ nics | mergetb.sriov.qemu_args(iommufd=true) }}"
    nics: "{{ device_map.devices | selectattr('node', 'eq', 'alpha') }}"
"""

RETURN = r"""
_value:
  description: The arguments.
  type: list
  elements: str
  sample: ["-device", "vfio-pci,host=0000:01:10.0,id=eth1"]
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _device_map


def qemu_args(devices: t.Iterable[_device_map.Device], *, iommufd: bool = False) -> list[str]:
    """Return the QEMU arguments of ``devices``."""
    try:
        return _device_map.qemu_args(devices, iommufd=iommufd)
    except InputError as error:
        raise AnsibleFilterError(f"qemu_args: {error}") from error


class FilterModule:
    """Holds the filter qemu_args."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"qemu_args": qemu_args}
