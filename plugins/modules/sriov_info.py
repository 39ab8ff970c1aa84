#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sriov_info
short_description: Report PFs, VFs, their attributes, drivers and IOMMU groups, and who holds them
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads every function that the kernel offers SR-IOV for, all of their VFs, and the ledger of the
    materializations, in one call.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.info
options:
  pfs:
    description:
      - The PFs to report, each by PCI address, permanent MAC or interface name.
      - Where left out, all PFs of the host.
    type: list
    elements: str
seealso:
  - module: mergetb.sriov.preflight
"""

EXAMPLES = r"""
- name: Read all PFs and VFs
  mergetb.sriov.sriov_info:
  register: sriov

- name: Show the VFs that have no driver
  ansible.builtin.debug:
    msg: "{{ sriov.pfs | map(attribute='vfs') | flatten | rejectattr('driver') }}"
"""

RETURN = r"""
iommu_groups:
  description: Number of IOMMU groups; 0 means that the IOMMU is off.
  returned: success
  type: int
  sample: 24
pfs:
  description: The PFs in the order of their addresses.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: PCI address.
      type: str
      sample: "0000:3b:00.0"
    interface:
      description: Name of the network interface, null where there is none.
      type: str
      sample: enp59s0f0np0
    mac:
      description: Permanent MAC, null where there is no network interface.
      type: str
      sample: 0c:42:a1:00:00:10
    vendor:
      description: PCI vendor id.
      type: str
      sample: "0x15b3"
    device:
      description: PCI device id.
      type: str
      sample: "0x101d"
    driver:
      description: Driver, null for none.
      type: str
      sample: mlx5_core
    iommu_group:
      description: IOMMU group, null where the IOMMU is off.
      type: str
      sample: "17"
    numa_node:
      description: NUMA node, null where the firmware names none.
      type: int
      sample: 0
    numvfs:
      description: Number of VFs.
      type: int
      sample: 2
    totalvfs:
      description: The most VFs that the PF can have.
      type: int
      sample: 64
    autoprobe:
      description: Whether the kernel gives new VFs to drivers by itself.
      type: bool
      sample: false
    capabilities:
      description:
        - What the PCI configuration space announces (C(sriov), C(total_vfs), C(acs), C(aer),
          C(ari)).
        - C(extended) is false where only its first 256 bytes could be read.
      type: dict
      sample: {acs: false, aer: true, ari: true, extended: true, sriov: true, total_vfs: 64}
    problem:
      description: Why the attributes of the VFs could not be read, null where they could.
      type: str
      sample: null
    vfs:
      description:
        - The VFs in the order of their indexes.
        - Their attributes (C(mac), C(vlan), C(qos), C(vlan_proto), C(spoofchk), C(trust),
          C(link_state), C(min_tx_rate), C(max_tx_rate) and C(query_rss), see
          M(mergetb.sriov.vf)) are left out where they could not be read.
      type: list
      elements: dict
      contains:
        index:
          description: Index of the VF.
          type: int
          sample: 0
        address:
          description: PCI address.
          type: str
          sample: "0000:3b:00.2"
        driver:
          description: Driver, null for none.
          type: str
          sample: vfio-pci
        iommu_group:
          description: IOMMU group, null where the IOMMU is off.
          type: str
          sample: "42"
        numa_node:
          description: NUMA node, null where the firmware names none.
          type: int
          sample: 0
        vlan:
          description: VLAN id, 0 for none.
          type: int
          sample: 100
materializations:
  description: What the ledger says that each materialization holds, by its id.
  returned: success
  type: dict
  sample:
    one.hello.demo:
      - node: alpha
        nic: eth1
        pf_name: ens1f0
        pf_mac: 0c:42:a1:00:00:10
        pf_address: "0000:3b:00.0"
        vf: 0
        address: "0000:3b:00.2"
        values:
          mac: "02:00:00:00:01:01"
          vlan: 100
          qos: 0
          vlan_proto: 802.1Q
          spoofchk: true
          trust: false
        driver: vfio-pci
        state: ready
        baseline:
          mac: "00:00:00:00:00:00"
          vlan: 0
          qos: 0
          vlan_proto: 802.1Q
          spoofchk: true
          trust: false
          link_state: auto
          min_tx_rate: 0
          max_tx_rate: 0
          query_rss: null
        baseline_driver: null
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils import _info
from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils._module import run_module

ARGUMENT_SPEC: dict[str, t.Any] = {"pfs": {"type": "list", "elements": "str"}}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    return {"changed": False, **_info.gather(host, params["pfs"])}


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
