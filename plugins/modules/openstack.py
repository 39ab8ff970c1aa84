#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: openstack
short_description: Tell Nova and Neutron which virtual functions are theirs
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Makes, from what M(mergetb.sriov.sriov_info) tells of each host and from a mapping of physical
    networks to PFs, the settings of Nova and Neutron for SR-IOV.
  - Takes the mapping of a host from its variable C(sriov_physical_networks). If that is not set, it
    takes Kolla-Ansible's C(neutron_sriov_physnet_mappings), and then C(sriov_physnet_mappings), as
    Kayobe's document has it. The role P(mergetb.sriov.openstack#role) documents all three. They
    must be in the inventory or come with C(-e).
  - Nova's C(device_spec) names each VF by its address, and never its PF. It leaves out each VF that
    a materialization holds or that a run has reserved, and Neutron's C(exclude_devices) has these.
  - If something does not fit on a host, the module names it for all hosts and writes nothing.
requirements:
  - netaddr (Python package where ansible runs)
notes:
  - It looks at all hosts that have not failed, so it is for tasks with C(run_once).
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.change
options:
  results:
    description:
      - Name of the variable in which each host has registered the result of
        M(mergetb.sriov.sriov_info).
    type: str
    required: true
  directory:
    description:
      - Kolla-Ansible's directory of custom configuration (C(node_custom_config)) on the controller.
        The module writes C(nova.conf), C(neutron/ml2_conf.ini) and, for each host,
        C(nova/HOST/nova.conf) and C(neutron/HOST/sriov_agent.ini) below it.
      - It writes a block at the end of each file and leaves the rest alone. It refuses a file whose
        rest has one of the options of the block.
      - If you leave it out, the module writes nothing.
    type: str
    default: ""
  aliases:
    description:
      - Nova's aliases of PCI devices. Each has C(name), C(device_type) (V(type-PF), V(type-VF) or
        V(type-PCI)), C(vendor_id) and C(product_id), and may have C(numa_policy) and
        C(live_migratable).
      - The module refuses V(type-VF) with the product id of a PF, since VFs have their own.
    type: list
    elements: dict
    default: []
  filters:
    description:
      - The filters of Nova's scheduler in C(nova.conf). The module adds C(PciPassthroughFilter).
      - The default is Nova's own. Name all filters of the deployment if it has others.
    type: list
    elements: str
    default:
      - ComputeFilter
      - ComputeCapabilitiesFilter
      - ImagePropertiesFilter
      - ServerGroupAntiAffinityFilter
      - ServerGroupAffinityFilter
  mechanism_drivers:
    description:
      - The mechanism drivers of Neutron in C(neutron/ml2_conf.ini). The module adds
        C(sriovnicswitch).
      - If you leave it out, the module does not write them. Kolla-Ansible adds C(sriovnicswitch) by
        itself if C(enable_neutron_sriov) is set.
    type: list
    elements: str
    default: []
  whitelist:
    description:
      - Whether to write Nova's C(passthrough_whitelist) in place of C(device_spec), for Nova before
        26 (Zed). Later releases still read it and call it deprecated.
    type: bool
    default: false
seealso:
  - module: mergetb.sriov.sriov_info
  - plugin: mergetb.sriov.openstack_settings
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read what the host has
  mergetb.sriov.sriov_info:
  register: found

- name: Tell Nova and Neutron which VFs are theirs
  mergetb.sriov.openstack:
    results: found
    directory: /etc/kolla/config
    aliases:
      - name: connectx
        device_type: type-VF
        vendor_id: "15b3"
        product_id: "101e"
  run_once: true
"""

RETURN = r"""
hosts:
  description: The settings of each host.
  returned: success
  type: dict
  contains:
    device_spec:
      description: Nova's C(device_spec), one entry for each VF or whole PF.
      type: list
      elements: dict
      sample: [{address: "0000:3b:00.2", physical_network: physnet2}]
    physical_device_mappings:
      description: The elements of Neutron's C(physical_device_mappings).
      type: list
      elements: str
      sample: ["physnet2:ens1f0"]
    exclude_devices:
      description: The elements of Neutron's C(exclude_devices).
      type: list
      elements: str
      sample: ["ens1f0:0000:3b:00.3;0000:3b:00.4"]
    neutron_sriov_physnet_mappings:
      description:
        - Physical network to device, as Kolla-Ansible has it.
        - Null if a physical network has more than one PF, which this variable cannot say.
      type: dict
      sample: {physnet2: ens1f0}
    sriov_physnet_mappings:
      description: Device to physical network, as Kayobe's document has it.
      type: dict
      sample: {ens1f0: physnet2}
aliases:
  description: Nova's aliases.
  returned: success
  type: list
  elements: dict
  sample: [{name: connectx, vendor_id: 15b3, product_id: 101e, device_type: type-VF}]
enabled_filters:
  description: The filters of Nova's scheduler.
  returned: success
  type: list
  elements: str
  sample: [ComputeFilter, PciPassthroughFilter]
mechanism_drivers:
  description: The mechanism drivers of Neutron, empty without O(mechanism_drivers).
  returned: success
  type: list
  elements: str
  sample: [openvswitch, sriovnicswitch]
files:
  description: The absolute paths of the files.
  returned: with O(directory)
  type: list
  elements: str
  sample: [/etc/kolla/config/nova.conf]
"""
