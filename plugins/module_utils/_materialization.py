# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VFs of one materialization on one host: claimed, isolated and given to guests; and back."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils import (
    _driver,
    _isolation,
    _pci,
    _usage,
    _vf,
)
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils._ledger import Entry

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils._ledger import Ledger
    from ansible_collections.mergetb.sriov.plugins.module_utils._netlink import Link, VfState


class Claim(t.NamedTuple):
    """A guest NIC and the VF that plays it; *mtu* is in bytes, `None` where none is asked for."""

    node: str
    nic: str
    pf_name: str
    pf_mac: str
    vf: int
    mac: str
    vlan: int
    mtu: int | None


class Port(t.NamedTuple):
    """A PF of the host as the run found it, with the attributes of its VFs by index."""

    pf: _pci.PF
    link: Link
    states: dict[int, VfState]


class Plan(t.NamedTuple):
    """What a run does: the ledger during it and after it, and the steps between."""

    during: Ledger
    after: Ledger
    steps: _isolation.Steps


def read_ports(host: Host, macs: t.Iterable[str]) -> dict[str, Port]:
    """The PFs with the permanent *macs*, by MAC; those that the host does not have are left out."""
    links = {link.permanent_mac: link for link in host.netlink.links()}
    ports = {}
    for mac in set(macs) & set(links):
        link = links[mac]
        ports[mac] = Port(_pci.find_pf(host, link.name), link, host.netlink.vf_states(link.index))
    return ports


def read_devices(host: Host, ports: t.Iterable[Port]) -> dict[str, _pci.Device]:
    """The VFs of *ports* as PCI functions, by address."""
    return {address: _pci.read_device(host, address) for port in ports for address in port.pf.vfs}


def plan(
    mzid: str,
    claims: t.Sequence[Claim],
    driver: str,
    ledger: Ledger,
    ports: t.Mapping[str, Port],
    devices: t.Mapping[str, _pci.Device],
) -> Plan:
    """Plan to give *claims* to *mzid* and to take from it all that it holds beyond them.

    A held VF that is gone needs nothing. Raises `SriovError` with all that stands against a claim.
    """
    problems = [text for item in claims for text in _problems(item, mzid, ledger, ports)]
    if problems:
        raise SriovError("; ".join(problems))
    held = {(entry.pf_mac, entry.vf): entry for entry in ledger.get(mzid, [])}
    targets = []
    entries = []
    for item in claims:
        port = ports[item.pf_mac]
        address = port.pf.vfs[item.vf]
        state = port.states[item.vf]
        entry = held.pop((item.pf_mac, item.vf), None) or Entry(
            item.node, item.nic, item.pf_mac, item.vf, state._asdict(), devices[address].driver
        )
        entries.append(entry._replace(node=item.node, nic=item.nic))
        targets.append(
            _isolation.Target(
                # The MAC tells apart what a model may give one name.
                f"{item.pf_name} ({item.pf_mac})",
                port.link.index,
                item.vf,
                address,
                _values(item, state),
                driver,
            )
        )
    targets = _baselines(held.values(), ports) + targets
    others = {other: held_by for other, held_by in ledger.items() if other != mzid}
    after = {**others, mzid: entries} if entries else others
    leaving = list(held.values())
    return Plan(
        during={**others, mzid: entries + leaving} if entries or leaving else others,
        after=after,
        steps=_isolation.plan(
            targets, devices, {port.link.index: port.states for port in ports.values()}
        ),
    )


def refuse(host: Host, plan: Plan, mzid: str) -> None:
    """Raise `SriovError` where *plan* cannot be carried out on this host: a VF that somebody uses,
    a driver that is not loaded, an IOMMU group that is not isolated."""
    touched = sorted({change.address for change in plan.steps.unbind})
    problems = [
        f"VF {address}: {text}"
        for address, texts in _usage.holders(host, touched, mzid=mzid).items()
        for text in texts
    ]
    if problems:
        raise SriovError(
            f"materialization {mzid} would change VFs that are in use: {'; '.join(problems)}. "
            "End that use first"
        )
    _driver.check(
        host, [_driver.Wanted(change.address, change.after) for change in plan.steps.bind]
    )


def apply(host: Host, plan: Plan, save: t.Callable[[Ledger], None]) -> None:
    """Carry out *plan*; *save* is given the ledger before the first change and after the last.

    The baseline is thus on disk before anything differs from it.
    """
    save(plan.during)
    _isolation.apply(host, plan.steps)
    if plan.after != plan.during:
        save(plan.after)


def difference(plan: Plan, devices: t.Mapping[str, _pci.Device]) -> dict[str, t.Any]:
    """What *plan* changes, as Ansible's diff: attributes by PF and VF, drivers by address."""
    bound = {change.address: change.after for change in plan.steps.bind}
    unbound = {change.address: None for change in plan.steps.unbind}
    drivers = {**unbound, **bound}
    return {
        "before": {
            **{f"{item.pf} VF {item.vf}": item.before for item in plan.steps.attributes},
            **{address: devices[address].driver for address in drivers},
        },
        "after": {
            **{f"{item.pf} VF {item.vf}": item.after for item in plan.steps.attributes},
            **drivers,
        },
    }


def devices_of(
    claims: t.Sequence[Claim],
    driver: str,
    ports: t.Mapping[str, Port],
    devices: t.Mapping[str, _pci.Device],
) -> list[dict[str, t.Any]]:
    """What the device map says of each claim, in their order."""
    answers = []
    for item in claims:
        address = ports[item.pf_mac].pf.vfs[item.vf]
        answers.append(
            {
                "node": item.node,
                "nic": item.nic,
                "pci_address": address,
                "pf": item.pf_name,
                "vf_index": item.vf,
                "mac": item.mac,
                "vlan": item.vlan,
                "mtu": item.mtu,
                "driver": driver,
                "numa_node": devices[address].numa_node,
            }
        )
    return answers


def _problems(
    item: Claim, mzid: str, ledger: Ledger, ports: t.Mapping[str, Port]
) -> t.Iterator[str]:
    name = f"{item.node}.{item.nic}"
    port = ports.get(item.pf_mac)
    if port is None:
        yield (
            f"{name}: no interface of this host has the permanent MAC {item.pf_mac} of PF "
            f"{item.pf_name}"
        )
        return
    if not 0 <= item.vf < len(port.pf.vfs):
        yield (
            f"{name}: VF {item.vf} of PF {item.pf_name} is not there: the PF has "
            f"{len(port.pf.vfs)} VFs; run mergetb.sriov.prepare"
        )
    if item.vlan == 0:
        yield f"{name}: it has no VLAN (vlan 0), so its frames would leave untagged"
    for text in _vf.value_problems({"mac": item.mac, "vlan": item.vlan}):
        yield f"{name}: {text}"
    if item.mtu is not None and item.mtu > port.link.mtu:
        yield (
            f"{name}: its MTU {item.mtu} is larger than the {port.link.mtu} of PF {item.pf_name}: "
            "raise the MTU of the PF"
        )
    for other, entries in ledger.items():
        if other != mzid and any((e.pf_mac, e.vf) == (item.pf_mac, item.vf) for e in entries):
            yield f"{name}: VF {item.vf} of PF {item.pf_name} belongs to materialization {other}"


def _values(item: Claim, state: VfState) -> dict[str, t.Any]:
    values = {
        "mac": item.mac,
        "vlan": item.vlan,
        "qos": 0,
        "vlan_proto": "802.1Q",
        "spoofchk": True,
    }
    # A driver that keeps no trust trusts no VF.
    if state.trust is not None:
        values["trust"] = False
    return values


def _baselines(entries: t.Iterable[Entry], ports: t.Mapping[str, Port]) -> list[_isolation.Target]:
    """The targets that give *entries* back as they were, for the VFs that are still there."""
    return [
        _isolation.Target(
            entry.pf_mac,
            port.link.index,
            entry.vf,
            port.pf.vfs[entry.vf],
            {name: value for name, value in entry.baseline.items() if value is not None},
            entry.baseline_driver,
        )
        for entry in entries
        for port in [ports.get(entry.pf_mac)]
        if port is not None and entry.vf < len(port.pf.vfs)
    ]
