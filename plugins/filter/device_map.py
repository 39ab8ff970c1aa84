# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: device_map
short_description: Device map of a materialization
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Makes the document from which the hypervisor's manager of a materialization (Mariner, libvirt,
    plain QEMU) takes the virtual functions of its guests. It is described in C(docs/device_map.md).
  - Checks every value, and that no virtual function and no NIC is there twice.
positional: mzid
options:
  _input:
    description:
      - For each guest NIC C(node), C(nic), C(host), C(pci_address), C(pf), C(vf_index), C(mac),
        C(vlan), C(vlan_mode), C(mtu), C(driver) and C(numa_node). The last three may be null.
      - Other keys are left out.
    type: list
    elements: dict
    required: true
  mzid:
    description: Id of the materialization, C(rid.eid.pid).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Save the device map
  ansible.builtin.copy:
    content: "{{ devices | mergetb.sriov.device_map('one.hello.demo') | to_nice_json }}"
    dest: device_map.json
    mode: "0644"
"""

RETURN = r"""
_value:
  description:
    - The device map, with C(version), C(mzid) and C(devices).
    - C(devices) is sorted by C(node) and C(nic). Each has the keys of the input, C(qemu_args) and
      C(libvirt_xml).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _device_map


def device_map(entries: t.Iterable[_device_map.Device], mzid: str) -> dict[str, t.Any]:
    """Return the device map of ``entries``."""
    try:
        return _device_map.device_map(entries, mzid)
    except InputError as error:
        raise AnsibleFilterError(f"device_map: {error}") from error


class FilterModule:
    """The filter device_map."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"device_map": device_map}
