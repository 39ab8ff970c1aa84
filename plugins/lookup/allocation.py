# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: allocation
short_description: Materialization of an experiment, for a facility without a MergeTB portal
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads an experiment model (C(xir.Network)) as mergexp writes it, and chooses for each socket
    with C(port.vf==True) a host, a PF, a virtual function (VF), a VLAN and a MAC address. The rules
    are in C(docs/allocation.md).
  - The content of the file tells its encoding, which is base64 text, the protocol buffer itself, or
    JSON.
  - One input always gives the same result. NICs that the ledgers know of the materialization keep
    their VF, VLAN and MAC address.
  - Nothing is returned unless every NIC has a VF, and the error tells for each NIC which constraint
    fails, with numbers.
requirements:
  - protobuf >= 4.25 (Python package where ansible runs)
  - netaddr (Python package where ansible runs)
options:
  _terms:
    description: Files, absolute or relative to the current directory.
    type: list
    elements: str
    required: true
  mzid:
    description: Id of the materialization, C(rid.eid.pid).
    type: str
    required: true
  facility:
    description: Name of the facility.
    type: str
    default: ""
  pfs:
    description: The C(sriov_pfs) of each host whose VFs may be taken, by the name of the host.
    type: dict
    required: true
  found:
    description:
      - The results of the module M(mergetb.sriov.sriov_info) of all these hosts, by the name of the
        host.
      - Where left out, VFs are counted as the model does, and none is in use. That tells what would
        fit; the result is not for use.
    type: dict
    default: {}
  excluded:
    description:
      - Names and MAC addresses, as in O(pfs), of PFs that are to give no VF, by the name of the
        host.
      - It is for PFs that carry virtio links or the operator's own traffic.
    type: dict
    default: {}
  placement:
    description:
      - V(spread) prefers the host and the PF with the most VFs left.
      - V(pack) prefers those with the fewest that suffice.
    type: str
    choices: [spread, pack]
    default: spread
  vlans:
    description: Ranges of the VLAN ids to choose from, the lowest first.
    type: str
    default: 2-4094
seealso:
  - plugin: mergetb.sriov.materialization
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Choose VFs
  ansible.builtin.set_fact:
    allocation: >-
      {{ lookup('mergetb.sriov.allocation', 'hello.pb64', mzid='one.hello.demo', pfs=pfs,
                found=found, vlans='100-199') }}
  vars:
    names: "{{ groups['hypervisors'] }}"
    pfs: "{{ dict(names | zip(names | map('extract', hostvars, 'sriov_pfs'))) }}"
    found: "{{ dict(names | zip(names | map('extract', hostvars, 'sriov'))) }}"
"""

RETURN = r"""
_raw:
  description: The allocation of each file.
  type: list
  elements: dict
  contains:
    materialization:
      description:
        - JSON (protojson) of C(portal.v1.Materialization), which the lookup
          P(mergetb.sriov.materialization#lookup) reads.
      type: dict
    choices:
      description: A line for each guest NIC, link by link.
      type: list
      elements: str
      sample: ["alpha eth1: x0 ens1f0 VF 0, VLAN 2, MAC 02:8a:5e:10:ab:cd"]
"""

import os
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate import _allocation, _experiment
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError


class LookupModule(LookupBase):
    """Materializations of experiments."""

    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return the allocation of each file of ``terms``; the options are in ``kwargs``."""
        self.set_options(var_options=variables, direct=kwargs)
        return [self._allocation(os.path.expanduser(path)) for path in terms]

    def _allocation(self, path: str) -> dict[str, t.Any]:
        mzid, facility = self.get_option("mzid"), self.get_option("facility")
        try:
            network = _document.load(path, _document.EXPERIMENT)
        except InputError as error:
            raise AnsibleLookupError(str(error)) from error
        try:
            choices = _allocation.allocate(
                _experiment.nics(network),
                _allocation.Facility(
                    **{name: self.get_option(name) for name in ("pfs", "found", "excluded")}
                ),
                mzid=mzid,
                policy=self.get_option("placement"),
                vlans=_allocation.vlan_ids(self.get_option("vlans")),
            )
        except InputError as error:
            raise AnsibleLookupError(f"{path}: {error}") from error
        return {
            "materialization": _allocation.materialization(choices, mzid=mzid, facility=facility),
            "choices": list(map(str, choices)),
        }
