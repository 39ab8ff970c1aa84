#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: materialization
short_description: Reserve VFs and whole functions for a materialization, give or free them
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Claims the VFs of one materialization on this host and makes each of them what its guest NIC
    needs. The module takes the VF's driver, sets MAC, VLAN and spoof checking, reads them back, and
    only then gives the VF its driver. If that fails, the VF stays without a driver, the module goes
    on with the other VFs, and the call fails at its end.
  - Remembers in C(/var/lib/mergetb-sriov/ledger.json) which materialization holds which VF, what
    the VF must be and how it was before. When it frees the VF, it puts exactly that back. If a
    call was ended in the middle, the next one finishes it.
  - A guest can also get a whole PCI function, such as a NIC, a GPU or an NVMe controller. The
    module takes the function from its driver, and gives it back to that driver when it frees it.
  - Refuses the whole call before its first write, and names all problems at once, if another
    materialization holds or has reserved one of the VFs, if somebody uses one, or if another guest
    has its VLAN or MAC, even if only the kernel knows of that.
  - To give a materialization its VFs on all of its hosts or on none, reserve on each host with
    O(state=reserved). When all have agreed, carry it out on each with O(state=present). If one has
    not, or was not reached, take the reservations back with O(state=withdrawn). Pass the same
    O(run) to all of these calls. Before you carry it out on any host, reserve once more on those
    where RV(reserved) is empty. That shows another run of the materialization.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  mzid:
    description: Id of the materialization, C(rid.eid.pid).
    type: str
    required: true
  state:
    description:
      - V(reserved) checks all that V(present) checks, and remembers that O(run) is going to give
        O(vfs) to the materialization. Nobody else gets these VFs then. It also reserves the VFs
        that the materialization is going to lose. It touches no VF.
      - V(present) gives O(vfs) to the materialization and frees all its other VFs. With
        O(run), it changes only what that run has reserved. It changes nothing if another run of the
        materialization has reserved something else.
      - V(withdrawn) takes back what O(run) has reserved and not carried out.
      - V(absent) frees all that the materialization holds, and takes back all that is reserved for
        it.
    type: str
    choices: [reserved, present, withdrawn, absent]
    default: present
  run:
    description:
      - Name of the run that reserves, unique among all runs of all controllers.
      - Runs of one materialization share a reservation if they want the same. So the next run
        finishes what a run that was killed has reserved.
      - If two runs want the same VFs for different materializations, or one materialization in
        different ways, the one whose name sorts first waits up to a minute for the other to take
        its reservation back. So begin the name with the time.
    type: str
  driver:
    description: The driver that the VFs get.
    type: str
    default: vfio-pci
  attributes:
    description:
      - What all VFs of the call get on top of their MAC, VLAN and spoof checking. See
        M(mergetb.sriov.vf) for the attributes and their units.
      - By default O(attributes.qos) is 0, O(attributes.vlan_proto) is V(802.1Q) and
        O(attributes.trust) is false. The other attributes stay as they are.
    type: dict
    suboptions:
      qos:
        description: Priority of the VLAN tag, 0 to 7.
        type: int
      vlan_proto:
        description: Protocol of the VLAN tag.
        type: str
        choices: [802.1Q, 802.1ad]
      trust:
        description: Whether the VF is trusted.
        type: bool
      link_state:
        description: State of the VF's link.
        type: str
        choices: [auto, enable, disable]
      min_tx_rate:
        description: Guaranteed rate in Mbit/s.
        type: int
      max_tx_rate:
        description: Limit in Mbit/s, 0 for none.
        type: int
      query_rss:
        description: Whether the VF may read the configuration of receive side scaling.
        type: bool
  unsupported:
    description:
      - What to do if the driver of the NIC refuses an attribute. With V(fail), the default, the VF
        gets no driver and the call fails. With V(warn) the VF goes without the attribute.
        The module remembers that and does not try again.
      - What isolates a VF (MAC, VLAN, its protocol and priority, spoof checking) cannot be named
        here.
    type: dict
    suboptions:
      trust: &way
        description: As above.
        type: str
        choices: [fail, warn]
      link_state: *way
      min_tx_rate: *way
      max_tx_rate: *way
      query_rss: *way
  without_vst:
    description:
      - What to do with VFs of a NIC that tags no VLANs for them and keeps no attributes at all.
      - V(refuse) refuses the call. V(trunk) gives the VF to its guest all the same. The guest then
        has to tag its frames, and can send on any VLAN that the leaf's port carries. The device map
        says C(vlan_mode) V(trunk).
    type: str
    choices: [refuse, trunk]
    default: refuse
  force:
    description: Whether to take and change VFs even if somebody uses them.
    type: bool
    default: false
  vfs:
    description:
      - The guest NICs on this host and their VFs, as M(mergetb.sriov.materialization_info) returns
        them for a host.
    type: list
    elements: dict
    default: []
    suboptions:
      node:
        description: Name of the guest.
        type: str
        required: true
      nic:
        description: Name of the NIC within the guest.
        type: str
        required: true
      link:
        description: Name of the experiment's link; informative.
        type: str
      pf:
        description: The PF.
        type: dict
        required: true
        suboptions:
          name:
            description: Name of the PF in the facility model.
            type: str
            required: true
          mac:
            description: Permanent MAC of the PF.
            type: str
            required: true
      vf_index:
        description: Index of the VF.
        type: int
        required: true
      mac:
        description: MAC of the guest NIC.
        type: str
        required: true
      vlan:
        description: VLAN id, V(1) to V(4094).
        type: int
        required: true
      mtu:
        description: MTU of the guest NIC in bytes.
        type: int
      addresses:
        description: IP addresses of the guest NIC; informative.
        type: list
        elements: str
  functions:
    description:
      - The whole PCI functions that guests on this host get, as
        M(mergetb.sriov.materialization_info) returns them for a host.
      - One process gets all of an IOMMU group. So give all functions of a group to one guest, such
        as a GPU and its audio, or take the drivers from the others. The module refuses a group with
        a function that stays with a driver, and names it.
      - The module refuses a function that the host needs, which is a NIC that carries its way to
        the operator and a disk with a mounted file system, swap, or a part of LVM or RAID. Even
        O(force) does not help there. It refuses a PF that has VFs, because VFs go with the driver
        of their PF, and VFs that somebody made are not to go unnoticed.
    type: list
    elements: dict
    default: []
    suboptions:
      node:
        description: Name of the guest.
        type: str
        required: true
      nic:
        description: Name of the NIC, or of any other device, within the guest.
        type: str
        required: true
      link:
        description: Name of the experiment's link; informative.
        type: str
      function:
        description:
          - The function, by its PCI address, by its permanent MAC, by vendor and device
            (C(10de:2204)), or by the beginning of its class (C(0x0302)).
          - If the host has several such functions, the call is refused. Name one by its PCI
            address.
        type: str
        required: true
      pf:
        description:
          - Name of the NIC in the facility model. Name the NIC by its permanent MAC in
            O(functions[].function), and its VLAN in O(functions[].vlan).
        type: str
      driver:
        description: The driver that the function gets; by default O(driver).
        type: str
      console:
        description: Whether the function may be the GPU of the host's console.
        type: bool
        default: false
      vlan:
        description:
          - VLAN id of the leaf's port, which is in access mode; V(1) to V(4094). Only for a NIC
            with O(functions[].pf).
        type: int
      mtu:
        description: MTU of the guest NIC in bytes.
        type: int
      addresses:
        description: IP addresses of the guest NIC; informative.
        type: list
        elements: str
seealso:
  - module: mergetb.sriov.vf
  - module: mergetb.sriov.pci_driver
  - module: mergetb.sriov.materialization_info
"""

EXAMPLES = r"""
- name: Give one VF to a guest
  mergetb.sriov.materialization:
    mzid: one.hello.demo
    vfs:
      - node: alpha
        nic: eth1
        pf:
          name: ens1f0
          mac: 04:70:00:00:00:10
        vf_index: 0
        mac: 02:00:00:00:01:01
        vlan: 100

- name: Reserve one VF for a guest, and touch none
  mergetb.sriov.materialization:
    mzid: one.hello.demo
    state: reserved
    run: 2026-11-27T12:00:00Z-4f2a
    vfs:
      - node: alpha
        nic: eth1
        pf:
          name: ens1f0
          mac: 04:70:00:00:00:10
        vf_index: 0
        mac: 02:00:00:00:01:01
        vlan: 100

- name: Give a GPU with its audio to a guest
  mergetb.sriov.materialization:
    mzid: one.hello.demo
    functions:
      - node: alpha
        nic: gpu0
        function: "0000:41:00.0"
      - node: alpha
        nic: audio0
        function: "0000:41:00.1"

- name: Take the reservation back
  mergetb.sriov.materialization:
    mzid: one.hello.demo
    state: withdrawn
    run: 2026-11-27T12:00:00Z-4f2a

- name: Free all VFs of the materialization
  mergetb.sriov.materialization:
    mzid: one.hello.demo
    state: absent
"""

RETURN = r"""
devices:
  description:
    - The guest NICs and their PCI functions, in the order of O(vfs) and then of O(functions).
    - Empty for O(state=absent).
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(vf), or V(function) for a whole PCI function.
      type: str
      sample: vf
    node:
      description: Name of the guest.
      type: str
      sample: alpha
    nic:
      description: Name of the NIC within the guest.
      type: str
      sample: eth1
    pci_address:
      description: PCI address of the device.
      type: str
      sample: "0000:01:10.0"
    pf:
      description: Name of the PF in the facility model; null for a function that is no NIC.
      type: str
      sample: ens1f0
    vf_index:
      description: Index of the VF; null for a whole function.
      type: int
      sample: 0
    mac:
      description: MAC of the guest NIC; null for a function that is no NIC.
      type: str
      sample: 02:00:00:00:01:01
    vlan:
      description: VLAN id; null for a function that is no NIC.
      type: int
      sample: 100
    vlan_mode:
      description:
        - V(vst) if the NIC tags the frames, V(trunk) if the guest has to.
        - V(access) for a whole NIC, because the leaf's port is in access mode; null for a function
          that is no NIC.
      type: str
      sample: vst
    mtu:
      description: MTU of the guest NIC in bytes; null if none is asked for.
      type: int
      sample: 1500
    driver:
      description: Driver of the device.
      type: str
      sample: vfio-pci
    numa_node:
      description: NUMA node of the device, null where the firmware names none.
      type: int
      sample: 0
lost:
  description:
    - Whether another run came between, so that O(run) has not reserved any more what it was to give
      on this host.
    - VFs may have been given on other hosts. Reserve on all hosts again, or free all.
  returned: failure with O(run), if that is so
  type: bool
  sample: true
ansible_facts:
  description:
    - The ledger of the host as the fact C(mergetb_sriov_ledger). If there is a fact cache,
      M(mergetb.sriov.allocation) takes it from there once the host does not answer.
  returned: success, but not in check mode
  type: dict
  contains:
    mergetb_sriov_ledger:
      description: >-
        C(materializations) as M(mergetb.sriov.sriov_info) returns them, and when the host told them
        (C(asked)).
      type: dict
reserved:
  description:
    - The VFs that are reserved. The list leaves out a VF that the materialization already holds in
      the same way, even if somebody has changed it and O(state=present) is going to mend that.
  returned: success with O(state=reserved)
  type: list
  elements: str
  sample: ["ens1f0 (04:70:00:00:00:10) VF 0"]
run:
  description: O(run), null where that is not given.
  returned: success
  type: str
  sample: 2026-11-27T12:00:00Z-4f2a
steps:
  description: What was done, or would be in check mode, by what it is done to.
  returned: success
  type: dict
  sample:
    "ens1f0 (04:70:00:00:00:10) VF 0 at 0000:01:10.0":
      - mac 02:00:00:00:01:01 vlan 100
      - driver vfio-pci
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import (
    _assignment,
    _request,
    _reservation,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger

ARGUMENT_SPEC = _request.ARGUMENT_SPEC


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    done = {**_run(host, params, check_mode=check_mode), "run": params["run"]}
    if not check_mode:
        done["materializations"] = _ledger.described(_ledger.read(host))
    return done


def _run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    mzid = params["mzid"]
    if params["state"] == "withdrawn":
        return _reservation.withdraw(host, mzid, run=params["run"], check_mode=check_mode)
    wanted = _request.claims(params), _request.policy(params)
    how = {"force": params["force"], "check_mode": check_mode}
    if params["state"] == "reserved":
        return _reservation.reserve(host, mzid, *wanted, run=params["run"], **how)
    return _assignment.run(host, mzid, *wanted, reserved_by=params["run"], **how)


def main() -> None:
    needs_run = [("state", state, ["run"]) for state in ("reserved", "withdrawn")]
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC, required_if=needs_run)


if __name__ == "__main__":
    main()
