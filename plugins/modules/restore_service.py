#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_service
short_description: Restore the VFs of materializations at every boot
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Installs the service C(mergetb-sriov-restore). At every boot, before the units in O(before), it
    brings each VF of the ledger (C(/var/lib/mergetb-sriov/ledger.json)) to what the ledger says,
    in the order of M(mergetb.sriov.materialization) and by the same code.
  - The service waits up to two minutes for PFs that are not there yet, and all units that come
    after it wait, too.
  - If anything about a VF is in doubt, the VF stays without driver, so that its guest cannot start,
    and the service fails. That is so if its PF did not come back, came back with fewer VFs or sits
    at another PCI address, or if a run for the VF had not ended. Guests of other VFs do start.
  - If another try may help, as with a PF that comes late, systemd starts the service again after 30
    seconds, up to six times in half an hour. It leaves a VF alone that a guest uses by then.
  - The service runs with C(/usr/bin/python3), or with C(/usr/libexec/platform-python) if the former
    is older than Python 3.9. So an upgrade of the distribution replaces the service's Python, too.
    If neither will do, the service runs with the Python that Ansible uses, and the call warns.
  - Run C(systemctl status mergetb-sriov-restore) to see how the last boot went, and
    C(python3 /usr/local/lib/mergetb-sriov/restore.pyz --check) to see what differs now.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  before:
    description: The units that may start guests. Units that the host does not have do no harm.
    type: list
    elements: str
    default:
      - libvirtd.service
      - virtqemud.service
      - libvirt-guests.service
      - mariner.service
      - machines.target
      - nova-compute.service
      - openstack-nova-compute.service
      - edpm_nova_compute.service
      - tripleo_nova_compute.service
      - neutron-sriov-agent.service
      - neutron-sriov-nic-agent.service
      - kolla-nova_compute-container.service
      - kolla-neutron_sriov_agent-container.service
      - docker.service
      - containerd.service
      - crio.service
      - podman.service
      - podman-restart.service
      - kubelet.service
seealso:
  - module: mergetb.sriov.materialization
"""

EXAMPLES = r"""
- name: Restore VFs before the facility's own hypervisor manager starts
  mergetb.sriov.restore_service:
    before: [libvirtd.service, our-vms.service]
"""

RETURN = r"""
files:
  description: The files that were written, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/systemd/system/mergetb-sriov-restore.service]
enabled:
  description: Whether the service was enabled before the call.
  returned: success
  type: bool
  sample: true
steps:
  description: What was done, or would be in check mode, by what it is done to.
  returned: success
  type: dict
  sample: {"mergetb-sriov-restore.service": ["enable"]}
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _service
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module

ARGUMENT_SPEC: dict[str, t.Any] = {
    "before": {
        "type": "list",
        "elements": "str",
        "default": list(_service.GUESTS),
    },
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    python = _service.interpreter(host)
    unit = _service.unit(python.path, params["before"])
    unit_before = host.read_bytes(_service.UNIT) or b""
    plan = _service.plan(host, unit)
    if plan.steps and not check_mode:
        _service.apply(host, plan)
    return {
        "changed": bool(plan.steps),
        "files": list(plan.files),
        "enabled": plan.enabled,
        "steps": plan.steps,
        "warnings": [python.warning] if python.warning else [],
        "diff": [
            {
                "before_header": _service.UNIT,
                "before": unit_before.decode(errors="replace"),
                "after": unit,
            },
            {
                "before_header": "files that differ, and the service",
                "before": {"files": list(plan.files), "enabled": plan.enabled},
                "after": {"files": [], "enabled": True},
            },
        ],
    }


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
