# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: materialization
short_description: Virtual functions that a MergeTB materialization takes of each host
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads a materialization (C(portal.v1.Materialization)), finds the endpoints of its links that
    are virtual functions (VFs), and checks them against the inventory. Nothing is returned unless
    all of it is right, and the error lists everything that is wrong.
  - The content of the file tells its encoding, which is base64 text, the protocol buffer itself, or
    JSON, each also inside the portal's response.
  - Refused are a host or PF that the inventory does not offer, a VF index beyond the count of its
    PF, a VLAN outside 1 to 4094 or another than that of its segment, a VF, MAC address or NIC that
    is taken twice, a MAC address that is missing, zero, multicast, that of a PF, or not the same in
    all places that give it, a VM that is allocated on another host than its endpoint, and a PF that
    also carries virtio links.
  - Refused is also a port of a leaf that a PF is cabled to, where the waypoints of the link do not
    carry the VLAN of the VF tagged, and a VLAN of a leaf that is that of two links. A leaf at
    which the materialization has no waypoint at all is somebody else's to set up, and is allowed.
  - A PF is found by its MAC address, and by its name only where the materialization or the
    inventory gives no MAC address.
  - Names become ids of QEMU devices and libvirt aliases later. A NIC has at most 15 of the
    characters C(A-Za-z0-9_-) and begins with a letter. A node has at most 63 of C(A-Za-z0-9_.-)
    and begins with a letter or digit. Each part of the materialization's id has at most 63 of
    C(A-Za-z0-9_-) and begins with a letter or digit.
requirements:
  - protobuf >= 4.25 (Python package where ansible runs)
  - netaddr (Python package where ansible runs)
options:
  _terms:
    description: Files, absolute or relative to the current directory.
    type: list
    elements: str
    required: true
  pfs:
    description: The C(sriov_pfs) of each host whose VFs may be taken, by the name of the host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Read which VFs the experiment takes
  ansible.builtin.set_fact:
    experiment: "{{ lookup('mergetb.sriov.materialization', 'experiment.pb64', pfs=pfs) }}"
  vars:
    names: "{{ groups['hypervisors'] }}"
    pfs: "{{ dict(names | zip(names | map('extract', hostvars, 'sriov_pfs'))) }}"
"""

RETURN = r"""
_raw:
  description: What each file takes.
  type: list
  elements: dict
  contains:
    mzid:
      description: Id of the materialization, C(rid.eid.pid).
      type: str
    hosts:
      description:
        - For each host that gives VFs the list of these, sorted by PF and VF index.
        - Empty if the materialization takes no VF.
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
    leafs:
      description:
        - The VLANs that each port of a leaf must carry, tagged, for the VFs, sorted by leaf and
          port. A leaf without waypoint is here too.
        - Without it are PFs that the inventory gives no leaf.
      type: list
      elements: dict
      contains:
        leaf:
          description: Name of the leaf.
          type: str
        port:
          description: Name of its port, null where the facility's model gives none.
          type: str
        host:
          description: The host that is cabled to the port.
          type: str
        pf:
          description: The name of its PF.
          type: str
        vlans:
          description: VLAN ids, sorted.
          type: list
          elements: int
      sample:
        - leaf: xleaf0
          port: swp1
          host: x0
          pf: ens1f0
          vlans: [100, 200]
"""

import os
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _materialization
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError


class LookupModule(LookupBase):
    """The VFs of materializations."""

    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return the VFs of each file of ``terms``; the options are in ``kwargs``."""
        self.set_options(var_options=variables, direct=kwargs)
        return [self._vfs(os.path.expanduser(path)) for path in terms]

    def _vfs(self, path: str) -> dict[str, t.Any]:
        try:
            materialization = _document.load(path, _document.MATERIALIZATION)
        except InputError as error:
            raise AnsibleLookupError(str(error)) from error
        try:
            return _materialization.vfs(materialization, self.get_option("pfs"))
        except InputError as error:
            raise AnsibleLookupError(f"{path}: {error}") from error
