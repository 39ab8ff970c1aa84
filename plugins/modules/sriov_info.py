#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sriov_info
short_description: Report ports, PFs, VFs, their attributes, drivers, IOMMU groups and users
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads the platform, every port of the NICs, every function that the kernel offers SR-IOV for,
    all of their VFs with who uses them, and the ledger of the materializations, in one call.
  - Changes nothing. It takes root, because others may not see what the processes of a host use.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.info
options:
  pfs:
    description:
      - The PFs to report, each by PCI address, permanent MAC or interface name.
      - By default, all PFs of the host.
    type: list
    elements: str
  firmware:
    description:
      - Whether to ask the firmware of NVIDIA (Mellanox) cards, with C(mstconfig) or C(mlxconfig).
        That takes some seconds a card.
      - All PFs of the host then include the functions of such cards whose SR-IOV is off. Their
        C(totalvfs) is null.
    type: bool
    default: false
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

- name: Show where the cables lead
  ansible.builtin.debug:
    msg: "{{ item.interface }} - {{ item.neighbour.system }} {{ item.neighbour.port }}"
  loop: "{{ sriov.ports | selectattr('neighbour') }}"
"""

RETURN = r"""
platform:
  description: What the host is.
  returned: success
  type: dict
  contains:
    arch:
      description: Architecture of the processor.
      type: str
      sample: x86_64
    kernel:
      description: Release of the running kernel.
      type: str
      sample: 6.1.0-27-amd64
    iommu:
      description: IOMMU that the firmware announces, null for none.
      type: str
      sample: Intel VT-d
    iommu_effective:
      description: Whether the kernel drives an IOMMU and has put devices behind it.
      type: bool
      sample: true
    iommufd:
      description: Whether guests can have devices through C(/dev/iommu) as well as by VFIO groups.
      type: bool
      sample: false
    lockdown:
      description: >-
        The kernel's lockdown (V(none), V(integrity) or V(confidentiality)), null where unknown.
      type: str
      sample: none
iommu_groups:
  description: Number of IOMMU groups; 0 means that the IOMMU is off.
  returned: success
  type: int
  sample: 24
lldp:
  description: Whether lldpd runs on the host, so that it can know its neighbours.
  returned: success
  type: bool
  sample: true
ports:
  description:
    - The ports of all network functions that are no VFs, in the order of their addresses and of
      the port's number on its function.
    - A function without network interface is one port.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: PCI address of the function.
      type: str
      sample: "0000:3b:00.0"
    interface:
      description: Name of the network interface, null if there is none.
      type: str
      sample: enp59s0f0np0
    mac:
      description: Permanent MAC, null if there is no network interface.
      type: str
      sample: 0c:42:a1:00:00:10
    vendor:
      description: PCI vendor id.
      type: str
      sample: "0x15b3"
    device:
      description: PCI device id.
      type: str
      sample: "0x1017"
    driver:
      description: Driver, null for none.
      type: str
      sample: mlx5_core
    up:
      description: Whether the interface is set up.
      type: bool
      sample: true
    carrier:
      description: Whether it has a carrier, null if it is not set up.
      type: bool
      sample: true
    speed:
      description: Speed of its link in bit/s; null if there is no link or its speed is unknown.
      type: int
      sample: 100000000000
    mtu:
      description: MTU in bytes, null if there is no network interface.
      type: int
      sample: 1500
    pcie:
      description:
        - The function's PCI Express link as it is (C(speed) in GT/s, C(width) in lanes), and the
          best that the function can have (C(max_speed), C(max_width)).
        - Null if it has no such link or does not tell.
      type: dict
      sample: {speed: 8.0, width: 16, max_speed: 16.0, max_width: 16}
    numa_node:
      description: NUMA node, null if the firmware names none.
      type: int
      sample: 0
    management:
      description: What management traffic goes through the function, null for none.
      type: str
      sample: >-
        enp59s0f0np0 is a member of bond0, which carries the route to the SSH client 10.0.0.5
    neighbour:
      description:
        - What the cable leads to, by LLDP (the C(system), its C(port), and the port's
          C(description)).
        - Null if the host has heard of nothing.
      type: dict
      sample: {system: xleaf0, port: swp1, description: to x0}
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
      description: Name of the network interface, null if there is none.
      type: str
      sample: enp59s0f0np0
    mac:
      description: Permanent MAC, null if there is no network interface.
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
    vf_device:
      description: PCI device id of its VFs, null if the kernel does not tell it.
      type: str
      sample: "0x101e"
    driver:
      description: Driver, null for none.
      type: str
      sample: mlx5_core
    iommu_group:
      description: IOMMU group, null if the IOMMU is off.
      type: str
      sample: "17"
    numa_node:
      description: NUMA node, null if the firmware names none.
      type: int
      sample: 0
    numvfs:
      description: Number of VFs, null if the kernel offers no SR-IOV.
      type: int
      sample: 2
    totalvfs:
      description: The most VFs that the PF can have, null if the kernel offers no SR-IOV.
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
    acs:
      description:
        - Whether all ports above it have Access Control Services.
        - Null if there is no such port or its configuration cannot be read.
      type: bool
      sample: true
    group_mates:
      description: PCI addresses of the other functions in its IOMMU group.
      type: list
      elements: str
      sample: ["0000:3b:00.1"]
    firmware:
      description:
        - How SR-IOV is set in the firmware of its card now. C(enabled) is V(SRIOV_EN) and C(numvfs)
          is V(NUM_OF_VFS). Each is null if the firmware does not tell it; C(problem) then says why.
        - Null for cards of other vendors, and without O(firmware).
      type: dict
      sample: {enabled: true, numvfs: 16, problem: null}
    problem:
      description: Why the attributes of the VFs could not be read, null if they could.
      type: str
      sample: null
    vfs:
      description:
        - The VFs in the order of their indexes.
        - Their attributes (C(mac), C(vlan), C(qos), C(vlan_proto), C(spoofchk), C(trust),
          C(link_state), C(min_tx_rate), C(max_tx_rate) and C(query_rss), see
          M(mergetb.sriov.vf)) are missing if they could not be read.
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
          description: IOMMU group, null if the IOMMU is off.
          type: str
          sample: "42"
        numa_node:
          description: NUMA node, null if the firmware names none.
          type: int
          sample: 0
        vlan:
          description: VLAN id, 0 for none.
          type: int
          sample: 100
        users:
          description: Who uses it on this host, whatever the ledger says of it.
          type: list
          elements: str
          sample:
            - process 4711 (qemu-system-x86, guest alpha) has /dev/vfio/42 open
        group_mates:
          description:
            - PCI addresses of the other functions in its IOMMU group. They keep it from a guest of
              its own.
            - The list leaves out bridges, which VFIO leaves to the host.
          type: list
          elements: str
          sample: []
vdpa:
  description:
    - The kernel's vDPA management devices and devices, null if the kernel has no vDPA or has not
      loaded it.
    - C(features) and C(negotiated_features) are bits of virtio features.
    - M(mergetb.sriov.vdpa) describes a device.
  returned: success
  type: dict
  contains:
    management_devices:
      description: What devices can be made on.
      type: list
      elements: dict
      sample: [{name: "pci/0000:3b:00.2", classes: [net], max_vqs: 3, features: 12884901928}]
    devices:
      description: The devices.
      type: list
      elements: dict
      sample:
        - name: alpha.eth1
          management_device: pci/0000:3b:00.2
          device_class: net
          vendor_id: 6900
          max_vqs: 3
          max_vq_size: 256
          mac: 02:00:00:00:01:01
          mtu: 1500
          max_vqp: null
          features: 12884901928
          negotiated_features: null
          driver: vhost_vdpa
          path: /dev/vhost-vdpa-0
ansible_facts:
  description:
    - The answer, but for RV(vdpa), as the fact C(mergetb_sriov), for Ansible's fact cache, if
      O(pfs) leaves out no PF and O(firmware=true). The guide "Watch a facility" tells what that is
      for.
    - Otherwise only the ledger, as the fact C(mergetb_sriov_ledger).
  returned: success
  type: dict
  contains:
    mergetb_sriov:
      description: What is described here, and when the host told it (C(asked)).
      type: dict
    mergetb_sriov_ledger:
      description: C(materializations), and when the host told them (C(asked)).
      type: dict
materializations:
  description:
    - The VFs that each materialization holds according to the ledger, by its id.
    - C(state) is V(ready) if the VF is as the ledger says. It is V(changing) or V(leaving) if a run
      works on the VF or was ended in the middle. It is V(reserved) if the runs in C(runs) are going
      to give the VF to the materialization and have not begun. Such a run can also reserve a VF
      that the materialization holds, to change it.
    - A whole PCI function has C(kind) V(function), C(identity) (vendor and device), and
      C(baseline_override). It has no VF and no attributes. Only a NIC has C(pf_name), C(pf_mac) and
      C(vlan). A VF has no C(kind).
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
        runs: []
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _info

ARGUMENT_SPEC: dict[str, t.Any] = {
    "pfs": {"type": "list", "elements": "str"},
    "firmware": {"type": "bool", "default": False},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    return {"changed": False, **_info.gather(host, params["pfs"], firmware=params["firmware"])}


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
