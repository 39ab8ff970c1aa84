# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VFs, a kind of devices: the answers that `_plan.DeviceKind` asks for."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _found, _objections
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import VfState
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import VfEntry

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._found import Found
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Claim, Policy
    from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _isolation


against = _objections.against


def key(item: Claim, found: Found) -> t.Hashable:
    """The permanent MAC of the PF, and the index."""
    return item.pf_mac, item.vf


def address(entry: VfEntry, found: Found) -> str | None:
    """The present address of the VF of *entry*; `None` if it is gone."""
    return _found.address_of(entry, found.host_pfs)


def entry(item: Claim, policy: Policy, known: VfEntry | None, found: Found) -> VfEntry:
    """What the ledger says of *item* once it is as it must be; *known* is what it said before."""
    host_pf = found.host_pfs[item.pf_mac]
    address = host_pf.pf.vfs[item.vf]
    state = None if host_pf.states is None else host_pf.states[item.vf]
    values = {} if state is None else _values(item, policy, state)
    refused = {
        name
        for name in values
        if name in policy.dispensable
        and (getattr(state, name) is None or (known and name in known.refused))
    }
    return VfEntry(
        node=item.node,
        nic=item.nic,
        pf_name=item.pf_name,
        pf_mac=item.pf_mac,
        pf_address=host_pf.pf.address,
        vf=item.vf,
        address=address,
        vlan=item.vlan,
        vlan_mode=_ledger.TRUNK if state is None else _ledger.VST,
        values={name: value for name, value in values.items() if name not in refused},
        refused=sorted(refused),
        driver=policy.driver,
        state=_ledger.READY,
        baseline=known.baseline if known else ({} if state is None else state._asdict()),
        baseline_driver=known.baseline_driver if known else found.devices[address].driver,
    )


def _values(item: Claim, policy: Policy, state: VfState) -> dict[str, t.Any]:
    values = {
        "qos": 0,
        "vlan_proto": "802.1Q",
        # A driver that keeps no trust trusts no VF.
        **({} if state.trust is None else {"trust": False}),
        **policy.attributes,
        "mac": item.mac,
        "vlan": item.vlan,
        "spoofchk": True,
    }
    return {name: values[name] for name in VfState._fields if name in values}


def given(entry: VfEntry, policy: Policy, found: Found) -> _isolation.Target:
    """What *entry* promises, with the attributes that the VF may go without as `optional`."""
    target = _found.target(entry, found.host_pfs)
    names = {name for name in target.values if name in policy.dispensable}
    return target._replace(
        values={name: value for name, value in target.values.items() if name not in names},
        optional={name: target.values[name] for name in names},
    )


def freed(entry: VfEntry, found: Found) -> _isolation.Target:
    """What the VF of *entry* was before."""
    return _found.target(entry, found.host_pfs)._replace(
        values={name: value for name, value in entry.baseline.items() if value is not None},
        driver=entry.baseline_driver,
    )


def device(item: Claim, entry: VfEntry, found: Found) -> dict[str, t.Any]:
    """The VF for the device map."""
    return {
        "kind": _ledger.VF,
        "node": entry.node,
        "nic": entry.nic,
        "pci_address": entry.address,
        "pf": entry.pf_name,
        "vf_index": entry.vf,
        "mac": item.mac,
        "vlan": entry.vlan,
        "vlan_mode": entry.vlan_mode,
        "mtu": item.mtu,
        "driver": entry.driver,
        "numa_node": found.devices[entry.address].numa_node,
    }
