#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlx_config
short_description: Set what the firmware of ConnectX and BlueField cards loads at its next start
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Sets parameters of the firmware, such as C(SRIOV_EN) and C(NUM_OF_VFS), with C(mstconfig) or
    C(mlxconfig).
  - Compares with the value of the next start and writes only what differs. So a second call writes
    nothing, even if there was no reboot between the two.
  - The ports of one card share their configuration and are one device here. It is an error to want
    different values of one parameter for two ports of a card.
  - A number of VFs (C(NUM_OF_VFS), C(PF_NUM_OF_VF)) that is larger than the wanted one suffices.
    The module leaves it alone, unless O(lower_numvfs) names the card. It never makes a card offer
    fewer VFs than one of its ports has, gets at boot from M(mergetb.sriov.numvfs), or has given to
    a materialization.
  - Writes all parameters of a card in one go. If a parameter is hidden until another is set
    (C(PF_NUM_OF_VF) until C(PF_NUM_OF_VF_VALID)), the module writes that other one first.
  - If one card cannot have what is wanted, the module writes to none. If a card refuses a write,
    the error tells which parameters are written by then and which are not.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  devices:
    description: The cards. Name all cards of the host in one call.
    type: list
    elements: dict
    required: true
    suboptions:
      address:
        description: PCI address of the PF (V(0000:3b:00.0)).
        type: str
        required: true
      settings:
        description:
          - Values by name of the parameter. Spell the name as C(mstconfig query) shows it. One
            element of an array is V(NAME[0]).
          - A value is a number (also V(0x10)), a boolean, or the text of an enumeration in any
            case.
        type: dict
        required: true
      names:
        description:
          - Other names that O(card_settings) and O(lower_numvfs) may use for the card, such as the
            name and the MAC of the PF.
        type: list
        elements: str
        default: []
  settings:
    description: Settings of all cards. They override those of O(devices).
    type: dict
    default: {}
  card_settings:
    description:
      - Settings of single cards. They override all others. Name a card by the address or one of the
        names of any of its ports in O(devices).
    type: dict
    default: {}
  lower_numvfs:
    description: The cards whose numbers of VFs may be lowered, named as in O(card_settings).
    type: list
    elements: str
    default: []
  tool:
    description: The tool; V(auto) is C(mstconfig), or C(mlxconfig) if only that is installed.
    type: str
    choices: [auto, mstconfig, mlxconfig]
    default: auto
  largest_numvfs:
    description: Whether a card gets the largest C(NUM_OF_VFS) of its ports.
    type: bool
    default: false
  reset:
    description:
      - Have a card that is not yet as wanted load its configuration at once (C(mstfwreset), level
        3). Its interfaces are away for some seconds.
      - The module does not reset a card if one of its ports has VFs; carries a default route, the
        route to the SSH client, or storage (iSCSI, NVMe over Fabrics, NFS and other network file
        systems); is part of a bond, a bridge, Open vSwitch or another interface; belongs to a
        guest; or is in another network namespace. Nor does it reset any card if it cannot tell the
        way by which storage comes, as with a tunnel.
      - If the module does not reset the card, or the reset fails, a warning tells why, and the card
        still needs the reboot.
    type: bool
    default: false
seealso:
  - module: mergetb.sriov.numvfs
"""

EXAMPLES = r"""
- name: Let two cards have VFs after the next start
  mergetb.sriov.mlx_config:
    devices:
      - address: "0000:3b:00.0"
        settings:
          SRIOV_EN: true
          NUM_OF_VFS: 16
      - address: "0000:5e:00.0"
        settings:
          SRIOV_EN: true
          NUM_OF_VFS: 64
          LINK_TYPE_P1: eth
  register: firmware

- name: Reboot where one of them has other values now
  ansible.builtin.reboot:
  when: firmware.reboot_required and not firmware.power_cycle_required
"""

RETURN = r"""
devices:
  description: Each card as it is after the call, in check mode as it was, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: PCI address.
      type: str
      sample: "0000:3b:00.0"
    type:
      description: Kind of the card.
      type: str
      sample: ConnectX5
    name:
      description: Part number of the card.
      type: str
      sample: MCX516A-CDA_Ax_Bx
    settings:
      description:
        - The parameters that are wanted for the card, by name.
        - A value is a boolean, a number or the text of an enumeration with its number
          (V(ETH(2\))). It is null if the firmware does not tell it. Old firmware does not tell
          C(current).
      type: dict
      contains:
        default:
          description: The manufacturer's value.
          type: raw
          sample: 0
        current:
          description: The value that the card runs with.
          type: raw
          sample: 0
        next:
          description: The value that it loads at its next start.
          type: raw
          sample: 16
      sample: {"NUM_OF_VFS": {"default": 0, "current": 0, "next": 16}}
    changed:
      description: Whether something was written to the card, or would be in check mode.
      type: bool
      sample: true
    reboot_required:
      description:
        - Whether the card runs with another value than the wanted one, whoever wrote it.
        - If the firmware does not tell C(current), the module judges C(SRIOV_EN) and
          C(NUM_OF_VFS) by C(sriov_totalvfs), and other parameters by whether this call writes them.
          A warning says so.
      type: bool
      sample: true
    power_cycle_required:
      description:
        - Whether the tool said that only a power cycle loads what this call wrote. No later call
          can know.
      type: bool
      sample: false
changed:
  description: Whether something was written to any card, or would be in check mode.
  returned: success
  type: bool
  sample: true
reboot_required:
  description: Whether any card runs with another value than the wanted one.
  returned: success
  type: bool
  sample: true
power_cycle_required:
  description: Whether any card needs a power cycle.
  returned: success
  type: bool
  sample: false
reboot_cause:
  description:
    - Why a reboot is required, in the form that M(mergetb.sriov.reboot_marker) takes; null if none
      is.
  returned: success
  type: dict
  sample:
    cause: mlx_firmware
    reason: the firmware of 0000:3b:00.0 runs with other values than the wanted ones
    remedy: switch the host off and on
    power_cycle: false
steps:
  description:
    - What was done, or would be in check mode, to each card that changes, by the first of its
      addresses in O(devices).
    - In check mode the value of a hidden parameter is unknown. The module assumes that it differs.
  returned: success
  type: dict
  sample: {"0000:3b:00.0": ["SRIOV_EN=1 NUM_OF_VFS=16"]}
"""

import contextlib
import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _card, _tool
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger

ARGUMENT_SPEC: dict[str, t.Any] = {
    "devices": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "address": {"type": "str", "required": True},
            "settings": {"type": "dict", "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
        },
    },
    "settings": {"type": "dict", "default": {}},
    "card_settings": {"type": "dict", "default": {}},
    "lower_numvfs": {"type": "list", "elements": "str", "default": []},
    "tool": {"type": "str", "choices": ["auto", *_tool.RESETS], "default": "auto"},
    "largest_numvfs": {"type": "bool", "default": False},
    "reset": {"type": "bool", "default": False},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    devices = [
        _card.CardDevice(item["address"].strip().lower(), item["settings"], item["names"])
        for item in params["devices"]
    ]
    cards = _card.cards(
        devices,
        settings=params["settings"],
        card_settings=params["card_settings"],
        lower_numvfs=params["lower_numvfs"],
        largest_numvfs=params["largest_numvfs"],
    )
    tool = _tool.find(host, params["tool"])
    # No VF may come up between the look and a reset.
    with contextlib.nullcontext() if check_mode else _ledger.locked(host):
        changes = _card.plan_all(host, tool, cards)
        if check_mode:
            outcomes = [_card.predict(host, each, reset=params["reset"]) for each in changes]
        else:
            outcomes = _card.apply_all(host, tool, changes, reset=params["reset"])
    described = {
        address: _described(card, outcome)
        for card, outcome in zip(cards, outcomes)
        for address in card.addresses
    }
    cause = _card.reboot_cause(cards, outcomes)
    return {
        "changed": any(outcome.steps for outcome in outcomes),
        "reboot_required": any(outcome.reboot_required for outcome in outcomes),
        "power_cycle_required": any(outcome.power_cycle_required for outcome in outcomes),
        "reboot_cause": cause and cause._asdict(),
        "devices": [{"address": each.address, **described[each.address]} for each in devices],
        "steps": {
            card.address: list(outcome.steps)
            for card, outcome in zip(cards, outcomes)
            if outcome.steps
        },
        "warnings": [warning for outcome in outcomes for warning in outcome.warnings],
        "diff": [
            {
                "before_header": change.card.address,
                "after_header": change.card.address,
                "before": _card.described(change.card, change.state.settings),
                "after": _card.described(change.card, _card.planned_settings(change)),
            }
            for change in changes
        ],
    }


def _described(card: _card.Card, outcome: _card.Outcome) -> dict[str, t.Any]:
    return {
        "type": outcome.state.type,
        "name": outcome.state.name,
        "settings": _card.described(card, outcome.state.settings),
        "changed": bool(outcome.steps),
        "reboot_required": outcome.reboot_required,
        "power_cycle_required": outcome.power_cycle_required,
    }


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
