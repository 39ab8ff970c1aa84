#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vf
short_description: Set the attributes of VFs that their PF enforces
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Sets MAC, VLAN (VST, VLAN switch tagging), spoof checking and the other attributes that a PF's
    driver keeps for each VF. One call takes any number of VFs.
  - Sends only what differs, and reads it back. If the driver then reports something else than was
    asked for, the module puts back everything that it has changed and fails.
  - Refuses an attribute that the driver does not report, because it could not verify it.
  - Does not change a VF that a materialization holds.
  - The kernel reports all VFs of a PF in one netlink attribute of at most 64 KiB. If VFs are
    missing from it, the call fails and says how many.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  vfs:
    description: The VFs and what their attributes must be. Others stay as they are.
    type: list
    elements: dict
    required: true
    suboptions:
      pf:
        description: The PF, by PCI address (V(0000:3b:00.0)), permanent MAC or interface name.
        type: str
        required: true
      vf:
        description: Index of the VF, from 0.
        type: int
        required: true
      mac:
        description: MAC that the VF must have; V(00:00:00:00:00:00) leaves it the choice.
        type: str
      vlan:
        description: VLAN id of all frames of the VF; V(0) is none.
        type: int
      qos:
        description: Priority (802.1p) of the VLAN tag, V(0) to V(7).
        type: int
      vlan_proto:
        description: Protocol of the VLAN tag.
        type: str
        choices: ["802.1Q", "802.1ad"]
      spoofchk:
        description: Whether frames with another source MAC or VLAN are dropped.
        type: bool
      trust:
        description: Whether the VF may change what a guest must not, such as its MAC.
        type: bool
      link_state:
        description: Whether the link of the VF follows the port, or is always up or down.
        type: str
        choices: [auto, enable, disable]
      min_tx_rate:
        description: Rate in Mbit/s that is guaranteed for sending; V(0) is none.
        type: int
      max_tx_rate:
        description: Rate in Mbit/s that sending is limited to; V(0) is no limit.
        type: int
      query_rss:
        description: Whether the VF may read the configuration of receive side scaling.
        type: bool
  force:
    description: Whether to change VFs even if a materialization holds them.
    type: bool
    default: false
seealso:
  - module: mergetb.sriov.numvfs
  - module: mergetb.sriov.pci_driver
"""

EXAMPLES = r"""
- name: Put two VFs on their VLANs
  mergetb.sriov.vf:
    vfs:
      - pf: 0c:42:a1:00:00:10
        vf: 0
        mac: 02:00:00:00:01:01
        vlan: 100
        spoofchk: true
        trust: false
      - pf: 0c:42:a1:00:00:10
        vf: 1
        mac: 02:00:00:00:01:02
        vlan: 200
        spoofchk: true
        trust: false
"""

RETURN = r"""
vfs:
  description:
    - All attributes of each VF after the call, in check mode as they would be, in the order given.
    - An attribute that the driver does not keep is null.
  returned: success
  type: list
  elements: dict
  contains:
    pf:
      description: The PF as it was named.
      type: str
      sample: 0c:42:a1:00:00:10
    vf:
      description: Index of the VF.
      type: int
      sample: 0
    mac:
      description: MAC.
      type: str
      sample: 02:00:00:00:01:01
    vlan:
      description: VLAN id, 0 for none.
      type: int
      sample: 100
    qos:
      description: Priority of the VLAN tag.
      type: int
      sample: 0
    vlan_proto:
      description: Protocol of the VLAN tag.
      type: str
      sample: 802.1Q
    spoofchk:
      description: Whether frames with a foreign source are dropped.
      type: bool
      sample: true
    trust:
      description: Whether the VF is trusted.
      type: bool
      sample: false
    link_state:
      description: State of the VF's link.
      type: str
      sample: auto
    min_tx_rate:
      description: Guaranteed rate in Mbit/s.
      type: int
      sample: 0
    max_tx_rate:
      description: Limit in Mbit/s, 0 for none.
      type: int
      sample: 0
    query_rss:
      description: Whether the VF may read the configuration of receive side scaling.
      type: bool
      sample: null
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _attributes

ARGUMENT_SPEC: dict[str, t.Any] = {
    "vfs": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "pf": {"type": "str", "required": True},
            "vf": {"type": "int", "required": True},
            "mac": {"type": "str"},
            "vlan": {"type": "int"},
            "qos": {"type": "int"},
            "vlan_proto": {"type": "str", "choices": ["802.1Q", "802.1ad"]},
            "spoofchk": {"type": "bool"},
            "trust": {"type": "bool"},
            "link_state": {"type": "str", "choices": ["auto", "enable", "disable"]},
            "min_tx_rate": {"type": "int"},
            "max_tx_rate": {"type": "int"},
            "query_rss": {"type": "bool"},
        },
    },
    "force": {"type": "bool", "default": False},
}


def _values(item: dict[str, t.Any]) -> dict[str, t.Any]:
    values = {
        name: value
        for name, value in item.items()
        if name not in ("pf", "vf") and value is not None
    }
    if "mac" in values:
        values["mac"] = values["mac"].lower()
    return values


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    asked = [(item["pf"], item["vf"], _values(item)) for item in params["vfs"]]
    _attributes.check((f"VF {number} of PF {pf}", values) for pf, number, values in asked)
    with _ledger.exclusive(host, check_mode=check_mode):
        ifindexes = _attributes.resolve(host, {pf for pf, _number, _values in asked})
        wanted = [
            (_attributes.Vf(pf, ifindexes[pf], number), values) for pf, number, values in asked
        ]
        states = _attributes.read(host, ifindexes.values())
        changes = _attributes.plan(wanted, states)
        if changes and not params["force"]:
            _attributes.refuse_held(host, changes)
        if changes and not check_mode:
            _attributes.apply(host, changes)
    after = {item.vf: item.after for item in changes}
    return {
        "changed": bool(changes),
        "vfs": [
            {
                "pf": vf.pf,
                "vf": vf.number,
                **states[vf.ifindex][vf.number]._asdict(),
                **after.get(vf, {}),
            }
            for vf, _values in wanted
        ],
        "diff": {
            "before": {f"{item.vf.pf} VF {item.vf.number}": item.before for item in changes},
            "after": {f"{item.vf.pf} VF {item.vf.number}": item.after for item in changes},
        },
    }


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
