#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: twin
short_description: Boot the emulated twin of a facility, or end it
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Runs one QEMU per host, here on the managed node. Each has an SR-IOV NIC (C(igb), with at most
    7 VFs) for each PF, an Intel IOMMU, and an SSH server that a port of 127.0.0.1 leads to.
  - One more QEMU plays the leafs. PFs of one leaf hear each other, and all that passes a PF's wire
    is recorded in C(wires/<host>-<pf>.pcap).
  - Waits until the hosts have booted, that is, until their SSH servers answer.
  - Uses KVM where the processor has it, which is much faster than without.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
attributes:
  platform:
    platforms: linux
options:
  state:
    description:
      - V(present) makes all hosts run. It starts a host that is off with the disk that the host
        has. It restarts a host whose definition differs. It ends a host that is not in O(hosts),
        and removes its disk.
      - V(absent) ends all hosts and removes O(directory).
    type: str
    choices: [present, absent]
    default: present
  directory:
    description:
      - Where the twin lives, with the disks and consoles of its hosts, its SSH keys, and an
        inventory C(hosts.yml) that leads to it.
      - The module removes it with the twin. So it refuses a directory that holds anything else.
    type: path
    required: true
  hosts:
    description: The hosts to emulate. Required with O(state=present).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the host.
        type: str
        required: true
      pfs:
        description:
          - PFs of the host as in C(sriov_pfs) of P(mergetb.sriov.xir#inventory). The module uses
            C(name), C(mac) and C(leaf) of each.
        type: list
        elements: dict
        required: true
  image:
    description:
      - The image that all hosts start from, as M(mergetb.sriov.twin_image) returns it. Required
        with O(state=present).
    type: path
  ssh_port:
    description:
      - The TCP port of 127.0.0.1 that leads to the first host. Each further host has the next.
      - The UDP ports of 127.0.0.1 from the same number on are wires, two for each PF.
    type: int
    default: 22220
  boot_timeout:
    description: How long the hosts may take to boot, in seconds.
    type: int
    default: 300
  memory:
    description: Memory of each host in MiB.
    type: int
    default: 1536
  uefi:
    description:
      - Names of the hosts that start by UEFI, from the EFI system partition of O(image). The
        firmware is that of Debian's package C(ovmf). The others start GRUB.
      - VFs of C(igb) do not work there, because this UEFI places them where they do not answer.
    type: list
    elements: str
    default: []
  qemu_args:
    description:
      - Further arguments of QEMU, as a list by name of host. Paths in them are relative to
        O(directory).
    type: dict
    default: {}
seealso:
  - module: mergetb.sriov.twin_image
  - plugin: mergetb.sriov.xir
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Boot a twin of two hosts that have a leaf in common
  mergetb.sriov.twin:
    directory: /tmp/twin
    image: "{{ twin_image.image }}"
    hosts:
      - name: x0
        pfs:
          - name: ens1f0
            mac: 04:72:00:00:10:00
            leaf: {host: xleaf0, port: swp1}
      - name: x1
        pfs:
          - name: ens1f0
            mac: 04:72:00:00:11:00
            leaf: {host: xleaf0, port: swp2}

- name: End it
  mergetb.sriov.twin:
    directory: /tmp/twin
    state: absent
"""

RETURN = r"""
hosts:
  description: The hosts of the twin.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the host.
      type: str
      sample: x0
    ssh_port:
      description: The TCP port of 127.0.0.1 that leads to its SSH server.
      type: int
      sample: 22220
"""

import contextlib
import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.twin import _twin

ARGUMENT_SPEC: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "directory": {"type": "path", "required": True},
    "hosts": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "pfs": {"type": "list", "elements": "dict", "required": True},
        },
    },
    "image": {"type": "path"},
    "ssh_port": {"type": "int", "default": 22220},
    "boot_timeout": {"type": "int", "default": 300},
    "memory": {"type": "int", "default": 1536},
    "uefi": {"type": "list", "elements": "str", "default": []},
    "qemu_args": {"type": "dict", "default": {}},
}


def run(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    twin = _twin.Twin(params["directory"])
    hosts: list[_twin.TwinHost] = []
    wanted = _twin.NOTHING
    if params["state"] == "present":
        hosts = _twin.twin_hosts(
            params["hosts"],
            first_port=params["ssh_port"],
            memory_mib=params["memory"],
            uefi=params["uefi"],
            qemu_args=params["qemu_args"],
        )
        image = _twin.image_in(params["image"])
        wanted = _twin.wanted_twin(hosts, image, twin.directory, kvm=_twin.kvm_works())
    elif not os.path.isdir(twin.directory):
        return {"changed": False, "hosts": []}
    with contextlib.nullcontext() if check_mode else twin.held():
        found = twin.read()
        steps = _twin.plan(wanted, found)
        twin.check(steps, hosts, found)
        if any(steps) and not check_mode:
            twin.apply(steps, wanted)
    if not check_mode:
        twin.wait(hosts, params["boot_timeout"])
    return {
        "changed": any(steps),
        "hosts": [{"name": host.name, "ssh_port": host.ssh_port} for host in hosts],
        "diff": {"before": found.commands, "after": wanted.commands},
    }


def main() -> None:
    run_module(run, ARGUMENT_SPEC, required_if=[("state", "present", ("hosts", "image"))])


if __name__ == "__main__":
    main()
