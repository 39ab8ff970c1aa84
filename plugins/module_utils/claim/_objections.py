# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands against giving a VF to a guest.

The kernel knows more than the ledger: what has no materialization can be in the way, too.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _attributes

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._found import Found
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import Claim, Policy
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import Ledger


# A VF with this MAC chooses its own.
_NO_MAC = "00:00:00:00:00:00"


def against(
    item: Claim,
    mzid: str,
    policy: Policy,
    found: Found,
) -> t.Iterator[str]:
    name = f"{item.node}.{item.nic}"
    host_pf = found.host_pfs.get(item.pf_mac)
    whole = _ledger.function_at(found.ledger, item.pf_mac, host_pf.pf.address if host_pf else None)
    if whole:
        holder, entry = whole
        yield (
            f"{name}: materialization {holder} {entry.has} the whole PF {item.pf_name} for "
            f"{entry.guest}, so nobody else gets a VF of it"
        )
    if host_pf is None:
        if whole:
            return
        yield (
            f"{name}: no interface of this host has the permanent MAC {item.pf_mac} of PF "
            f"{item.pf_name}"
        )
        return
    if not 0 <= item.vf < len(host_pf.pf.vfs):
        yield (
            f"{name}: VF {item.vf} of PF {item.pf_name} is not there: the PF has "
            f"{len(host_pf.pf.vfs)} VFs; run mergetb.sriov.prepare"
        )
    if host_pf.states is None and not policy.trunk:
        yield (
            f"{name}: PF {item.pf_name} tags no VLANs for its VFs (no VST): use a PF of another "
            "NIC, or let the guest tag with sriov_without_vst=trunk"
        )
    if item.vlan == 0:
        yield f"{name}: it has no VLAN (vlan 0), so its frames would leave untagged"
    if item.mac == _NO_MAC:
        yield f"{name}: its MAC {item.mac} would leave the guest the choice of its MAC"
    for text in _attributes.value_problems(
        {**policy.attributes, "mac": item.mac, "vlan": item.vlan}
    ):
        yield f"{name}: {text}"
    if item.mtu is not None and item.mtu > host_pf.link.mtu:
        yield (
            f"{name}: its MTU {item.mtu} is larger than the {host_pf.link.mtu} of PF "
            f"{item.pf_name}: raise the MTU of the PF"
        )
    for text in _collisions(item, mzid, found.ledger):
        yield f"{name}: {text}"
    for text in _collisions_beside_the_ledger(item, found):
        yield f"{name}: {text}"


def _collisions(item: Claim, mzid: str, ledger: Ledger) -> t.Iterator[str]:
    """What other materializations hold or have reserved that *item* would meet."""
    for mz, entries in _ledger.vfs(ledger).items():
        for entry in entries if mz != mzid else ():
            guest = f"{entry.node}.{entry.nic}"
            if entry.key == (item.pf_mac, item.vf):
                claim = (
                    f"belongs to materialization {mz}"
                    if entry.held
                    else f"is reserved for materialization {mz} by run {' and '.join(entry.runs)}"
                )
                yield f"VF {entry.vf} of PF {item.pf_name} {claim}"
            elif (entry.pf_mac, entry.vlan) == (item.pf_mac, item.vlan):
                yield (
                    f"materialization {mz} has VLAN {item.vlan} on PF {item.pf_name} for {guest}: "
                    "two experiments would reach each other"
                )
            elif entry.values.get("mac") == item.mac:
                yield f"materialization {mz} has its MAC {item.mac} on this host for {guest}"


def _collisions_beside_the_ledger(item: Claim, found: Found) -> t.Iterator[str]:
    """What the kernel has, and no materialization, that *item* would meet."""
    host_pf = found.host_pfs[item.pf_mac]
    own = dict(enumerate(host_pf.pf.vfs)).get(item.vf)
    for interface, function in found.functions.get(item.mac, {}).items():
        if function != own:
            yield f"its MAC {item.mac} is that of this host's interface {interface}"
    known = {entry.key for entries in found.ledger.values() for entry in entries}
    for vf, state in (host_pf.states or {}).items():
        driver = found.drivers[host_pf.pf.vfs[vf]]
        # Nobody can send through a VF without driver.
        if driver is None or (item.pf_mac, vf) in known or (item.pf_mac, vf) in found.claimed:
            continue
        name = f"VF {vf} of PF {item.pf_name} has the driver {driver} and no materialization, and"
        if state.vlan == item.vlan:
            yield (
                f"{name} is on the same VLAN {item.vlan}: the two would reach each other. Take the "
                "driver or the VLAN from that VF"
            )
        if state.mac == item.mac:
            yield f"{name} has the same MAC {item.mac}"
