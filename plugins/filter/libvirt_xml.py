# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: libvirt_xml
short_description: Libvirt hostdev element that gives a guest a virtual function
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Returns a C(<hostdev>) that is not managed by libvirt. Its alias is C(ua-) and the name of the
    guest's NIC.
options:
  _input:
    description: A device, as in the device map. C(nic) and C(pci_address) are used.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what the domain's devices need
  ansible.builtin.debug:
    msg: "{{ device_map.devices | map('mergetb.sriov.libvirt_xml') }}"
"""

RETURN = r"""
_value:
  description: The element.
  type: str
  sample: >-
    <hostdev mode="subsystem" type="pci" managed="no"><driver name="vfio" /><source><address
    domain="0x0000" bus="0x01" slot="0x10" function="0x0" /></source><alias name="ua-eth1"
    /></hostdev>
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _device_map


def libvirt_xml(device: _device_map.Device) -> str:
    """Return the libvirt element of ``device``."""
    try:
        return _device_map.libvirt_xml(device)
    except InputError as error:
        raise AnsibleFilterError(f"libvirt_xml: {error}") from error


class FilterModule:
    """Holds the filter libvirt_xml."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"libvirt_xml": libvirt_xml}
