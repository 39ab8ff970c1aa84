#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vdpa
short_description: Make vDPA devices and bind them for guests
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Makes and removes vDPA devices, any number in one call, and binds them to C(vhost_vdpa) for
    QEMU, or to C(virtio_vdpa) for the host itself and its containers.
  - Gives a device its driver only after its attributes were read back as asked, and keeps all other
    drivers from it.
  - A device whose attributes must be others is made anew.
  - If a device cannot be made, or is not as asked, the call removes all that it made and fails.
  - Refuses a second device on one PCI function. The kernel takes it, and then crashes when one of
    them is removed.
  - Takes no device away that a process has open, that the host uses as an interface, or whose VF a
    materialization holds.
  - Needs a Linux kernel with vDPA (C(CONFIG_VDPA), C(CONFIG_VHOST_VDPA)) and the vendor's vDPA
    driver. Bind a VF to that driver with M(mergetb.sriov.pci_driver).
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  devices:
    description: The devices and what they must be. Others stay as they are.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the device.
        type: str
        required: true
      state:
        description: Whether the device exists.
        type: str
        choices: [present, absent]
        default: present
      management_device:
        description:
          - What the device is made on, as V(vdpa mgmtdev show) names it, such as
            V(pci/0000:3b:00.2) for a VF. M(mergetb.sriov.sriov_info) lists all.
          - Required if the device is to exist.
        type: str
      mac:
        description: MAC of the device. Not every management device takes one.
        type: str
      mtu:
        description: MTU that the device offers.
        type: int
      max_vqp:
        description: The most pairs of queues that the user of the device can have.
        type: int
      features:
        description: The bits of virtio features that the device offers.
        type: int
      driver:
        description:
          - The driver of the device. V(none) keeps all drivers away from it.
        type: str
        choices: [vhost_vdpa, virtio_vdpa, none]
        default: vhost_vdpa
  force:
    description:
      - Whether to take devices away even if they are in use.
      - The kernel removes a device only after the process that has it open closes it. The module
        waits for 30 seconds and then fails.
    type: bool
    default: false
seealso:
  - module: mergetb.sriov.pci_driver
  - module: mergetb.sriov.sriov_info
"""

EXAMPLES = r"""
- name: Give a VF to its vDPA driver
  mergetb.sriov.pci_driver:
    devices:
      - address: "0000:3b:00.2"
        driver: vp-vdpa

- name: Make a vDPA device on it for QEMU
  mergetb.sriov.vdpa:
    devices:
      - name: alpha.eth1
        management_device: pci/0000:3b:00.2

- name: Remove it again
  mergetb.sriov.vdpa:
    devices:
      - name: alpha.eth1
        state: absent
"""

RETURN = r"""
devices:
  description:
    - The devices of the call that exist after it, in the order given. An attribute that the kernel
      does not tell is null.
    - In check mode, a device that would be made has what was asked for, and null for all else.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
      sample: alpha.eth1
    management_device:
      description: What it is made on.
      type: str
      sample: pci/0000:3b:00.2
    device_class:
      description: Kind of the device.
      type: str
      sample: net
    vendor_id:
      description: The vendor's number.
      type: int
      sample: 6900
    max_vqs:
      description: Number of its virtqueues.
      type: int
      sample: 3
    max_vq_size:
      description: The most entries of a virtqueue.
      type: int
      sample: 256
    mac:
      description: MAC.
      type: str
      sample: 02:00:00:00:01:01
    mtu:
      description: MTU.
      type: int
      sample: 1500
    max_vqp:
      description: The most pairs of queues; null if it has one.
      type: int
      sample: 4
    features:
      description: The virtio features that it offers.
      type: int
      sample: 12884901928
    negotiated_features:
      description: The virtio features that its user has taken.
      type: int
      sample: null
    driver:
      description: Driver, null for none.
      type: str
      sample: vhost_vdpa
    path:
      description: The file that a program opens to use it, null without C(vhost_vdpa).
      type: str
      sample: /dev/vhost-vdpa-0
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.vdpa import _devices, _state

ARGUMENT_SPEC: dict[str, t.Any] = {
    "devices": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "management_device": {"type": "str"},
            "mac": {"type": "str"},
            "mtu": {"type": "int"},
            "max_vqp": {"type": "int"},
            "features": {"type": "int"},
            "driver": {
                "type": "str",
                "choices": ["vhost_vdpa", "virtio_vdpa", "none"],
                "default": "vhost_vdpa",
            },
        },
        "required_if": [("state", "present", ("management_device",))],
    },
    "force": {"type": "bool", "default": False},
}


def _wanted(item: dict[str, t.Any]) -> _devices.Wanted:
    attributes = {name: item[name] for name in _state.ATTRIBUTES if item[name] is not None}
    if "mac" in attributes:
        attributes["mac"] = attributes["mac"].lower()
    present = item["state"] == "present"
    return _devices.Wanted(
        name=item["name"],
        management_device=item["management_device"] if present else None,
        attributes=attributes,
        driver=None if item["driver"] == "none" else item["driver"],
    )


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    wanted = [_wanted(item) for item in params["devices"]]
    problems = [text for item in wanted for text in _devices.value_problems(item)]
    if problems:
        raise SriovError("; ".join(problems))
    with _ledger.exclusive(host, check_mode=check_mode):
        management = _state.management_devices(host)
        found = {} if management is None else _state.devices(host)
        steps = _devices.plan(wanted, found)
        if steps.changed and management is None:
            raise SriovError(
                "the kernel has no vDPA: load the modules vdpa and vhost_vdpa and the vendor's "
                "driver; a kernel without them has CONFIG_VDPA off"
            )
        _devices.check(host, wanted, steps, found, management or {})
        if not params["force"]:
            _devices.refuse_used(host, steps)
        if not check_mode:
            _devices.apply(host, steps)
        after = found if check_mode or not steps.changed else _state.devices(host)
    if check_mode:
        after = _devices.predicted(steps, found)
    return {
        "changed": steps.changed,
        "devices": [after[item.name]._asdict() for item in wanted if item.management_device],
        "diff": _devices.diff(steps),
    }


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
