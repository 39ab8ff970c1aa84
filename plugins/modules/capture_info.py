#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: capture_info
short_description: Tell which sources sent frames in which VLANs
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads captures of wires, as the twin records them, and counts their frames by source MAC and
    VLAN tag. It proves where frames of VFs went without trusting the host that sent them.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.info
options:
  paths:
    description: The capture files (pcap, Ethernet). A file that is still being written will do.
    type: list
    elements: path
    required: true
seealso:
  - module: mergetb.sriov.twin
"""

EXAMPLES = r"""
- name: Read what was seen on a wire of the twin
  mergetb.sriov.capture_info:
    paths: [/srv/twin/wires/x0-ens1f0.pcap]
  delegate_to: localhost
"""

RETURN = r"""
captures:
  description: What each file shows, in the order of O(paths).
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      sample: .twin/wires/x0-ens1f0.pcap
    flows:
      description: The frames of one source with one outer tag.
      type: list
      elements: dict
      contains:
        source:
          description: Source MAC.
          type: str
          sample: 02:00:00:00:01:01
        vlan:
          description: VLAN id of the outer tag, null for an untagged frame.
          type: int
          sample: 100
        priority:
          description: Priority of the outer tag (802.1p), null for an untagged frame.
          type: int
          sample: 0
        protocol:
          description: Protocol of the outer tag, null for an untagged frame.
          type: str
          sample: 802.1Q
        frames:
          description: Number of frames.
          type: int
          sample: 12
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.twin import _capture

ARGUMENT_SPEC: dict[str, t.Any] = {
    "paths": {"type": "list", "elements": "path", "required": True},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    return {
        "changed": False,
        "captures": [{"path": path, "flows": _flows(host, path)} for path in params["paths"]],
    }


def _flows(host: Host, path: str) -> list[dict[str, t.Any]]:
    capture = host.read_bytes(path)
    if capture is None:
        raise SriovError(f"there is no capture {path}: boot the twin (mergetb.sriov.twin) first")
    try:
        return [flow._asdict() for flow in _capture.flows(capture)]
    except SriovError as error:
        raise SriovError(f"{path}: {error}") from error


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
