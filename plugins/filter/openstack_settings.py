# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: openstack_settings
short_description: What Nova and Neutron must be told of a host's virtual functions
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Returns the settings of one host, for those who write the files of Nova and Neutron themselves.
    The module M(mergetb.sriov.openstack) documents them.
positional: networks, offered
options:
  _input:
    description: The result of M(mergetb.sriov.sriov_info).
    type: dict
    required: true
  networks:
    description:
      - The mapping of physical networks, as C(sriov_physical_networks) of the role
        P(mergetb.sriov.openstack#role).
    type: dict
    required: true
  offered:
    description: The C(sriov_pfs) of the host, for PFs that are chosen by the model of their NIC.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show the lines of nova.conf
  ansible.builtin.debug:
    msg: "device_spec = {{ item | to_json }}"
  loop: "{{ (found | mergetb.sriov.openstack_settings({'physnet2': 'ens1f0'})).device_spec }}"
"""

RETURN = r"""
_value:
  description: The settings, as RV(mergetb.sriov.openstack#module:hosts) has them of each host.
  type: dict
  sample:
    device_spec: [{address: "0000:3b:00.2", physical_network: physnet2}]
    physical_device_mappings: ["physnet2:ens1f0"]
    exclude_devices: []
    neutron_sriov_physnet_mappings: {physnet2: ens1f0}
    sriov_physnet_mappings: {ens1f0: physnet2}
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.openstack import _networks, _settings


def openstack_settings(
    answer: t.Mapping[str, t.Any],
    networks: t.Mapping[str, t.Any],
    offered: t.Sequence[t.Mapping[str, t.Any]] = (),
) -> dict[str, t.Any]:
    """Return the settings of the host of ``answer``."""
    try:
        return _settings.settings(answer, _networks.read({_networks.OWN: networks}), offered)
    except InputError as error:
        raise AnsibleFilterError(f"openstack_settings: {error}") from error


class FilterModule:
    """Holds the filter openstack_settings."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"openstack_settings": openstack_settings}
