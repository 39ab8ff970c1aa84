#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: materialization_info
short_description: Read which devices a MergeTB materialization takes of each host
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads a materialization (C(portal.v1.Materialization)), finds the endpoints of its links that
    are virtual functions (VFs), and checks them against the C(sriov_pfs) of all hosts of the play.
    The task fails unless all of it is right, and the error lists everything that is wrong.
  - The content of the file tells its encoding, which is base64 text, the protocol buffer itself, or
    JSON, each also inside the portal's response.
  - It refuses a host or PF that the inventory does not offer, and a VF index beyond the count of
    its PF.
  - It refuses a VLAN outside 1 to 4094, and one that differs from that of its segment.
  - It refuses a VF, MAC address or NIC that is taken twice.
  - It refuses a MAC address that is missing, zero or multicast, that a PF has, or that differs
    between the places that give it.
  - It refuses a VM that is allocated on another host than its endpoint, and a PF that also carries
    virtio links.
  - It refuses a PF whose port at the leaf has waypoints of the link that do not carry the VLAN of
    the VF tagged. It refuses one VLAN for two links of a leaf. A leaf without any waypoint is
    allowed, because somebody else sets it up.
  - An endpoint C(phy) of a VM is a whole NIC of its host. The NIC is one of C(sriov_pfs) or of
    C(sriov_nics), and the waypoints at the port of its leaf must have the VLAN of the segment in
    access mode. The NIC has the name that the VM's port with its MAC address has, or that of the
    host's NIC.
  - The message names no GPUs. C(sriov_functions) of a host lists, by the id of the materialization,
    the whole PCI functions that guests get there.
  - It finds a PF by its MAC address, and by its name only if the materialization or the inventory
    gives no MAC address.
  - Names become ids of QEMU devices and libvirt aliases later. A NIC has at most 15 of the
    characters C(A-Za-z0-9_-) and begins with a letter. A node has at most 63 of C(A-Za-z0-9_.-) and
    begins with a letter or digit. Each part of the materialization's id has at most 63 of
    C(A-Za-z0-9_-) and begins with a letter or digit.
requirements:
  - protobuf >= 4.25 (Python package where ansible runs)
  - netaddr (Python package where ansible runs)
notes:
  - It looks at all hosts, so it is for tasks with C(run_once).
extends_documentation_fragment:
  - mergetb.sriov._attributes.controller
  - mergetb.sriov._attributes.info
options:
  path:
    description: The file, absolute or relative to the directory that Ansible was started in.
    type: str
    required: true
seealso:
  - module: mergetb.sriov.materialization
"""

EXAMPLES = r"""
- name: Read which VFs the experiment takes
  mergetb.sriov.materialization_info:
    path: one.hello.demo.pb64
  register: experiment
  run_once: true

- name: Show those of this host
  ansible.builtin.debug:
    msg: "{{ experiment.hosts[inventory_hostname] | default([]) }}"
"""

RETURN = r"""
mzid:
  description: Id of the materialization, C(rid.eid.pid).
  returned: success
  type: str
  sample: one.hello.demo
hosts:
  description:
    - For each host that gives VFs, the list of these VFs, sorted by PF and VF index.
    - Empty if the materialization takes no VF.
  returned: success
  type: dict
  sample:
    x0:
      - node: alpha
        nic: eth1
        link: lan0
        pf: {name: ens1f0, mac: "04:72:00:00:10:00"}
        vf_index: 0
        mac: "02:72:00:00:00:01"
        vlan: 100
        mtu: 1500
        addresses: [10.0.1.1/24]
functions:
  description:
    - For each host that gives whole PCI functions, the list of these, sorted by node and NIC, as
      O(mergetb.sriov.materialization#module:functions) takes it.
  returned: success
  type: dict
  sample:
    x0:
      - node: alpha
        nic: eth4
        link: lan3
        function: "04:72:00:00:10:20"
        pf: ens2f0
        vlan: 400
        mtu: 1500
        addresses: []
leafs:
  description:
    - The VLANs that each port of a leaf must carry for the guests, sorted by leaf and port. A leaf
      without waypoint is here, too.
    - PFs without a leaf in the inventory are left out.
  returned: success
  type: list
  elements: dict
  contains:
    leaf:
      description: Name of the leaf.
      type: str
    port:
      description: Name of its port, null if the facility model gives none.
      type: str
    host:
      description: The host that is cabled to the port.
      type: str
    pf:
      description: The name of its PF.
      type: str
    mode:
      description: V(trunk), or V(access) for the port of a whole NIC.
      type: str
    vlans:
      description: Ids of the tagged VLANs, sorted; none in access mode.
      type: list
      elements: int
    access_vlan:
      description: Id of the VLAN of a port in access mode; null for another.
      type: int
  sample:
    - leaf: xleaf0
      port: swp1
      host: x0
      pf: ens1f0
      mode: trunk
      vlans: [100, 200]
      access_vlan:
run:
  description:
    - A name for the run that goes on from here, for O(mergetb.sriov.materialization#module:run). It
      begins with the time in UTC, so the name of the older of two runs sorts first.
  returned: success
  type: str
  sample: 2026-11-20T12:00:00Z-0f3a9c
"""
