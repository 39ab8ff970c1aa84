# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VFs of one materialization on one host: claimed, isolated and given to guests; and back.

The ledger is written before the first change and after the last. In between, and after a run that
was ended in the middle, it says of each VF that the run touches where that was to go, so that the
next run, from whatever is there, gets it there.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils import (
    _driver,
    _isolation,
    _ledger,
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
    """What a run does: the ledger before, during and after it, and the steps between.

    *taken* are the addresses of VFs that the materialization did not hold before.
    """

    before: Ledger
    during: Ledger
    after: Ledger
    steps: list[_isolation.Step]
    taken: frozenset[str]

    @property
    def changes(self) -> bool:
        return bool(self.steps) or self.after != self.before


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
    staying = []
    taken = set()
    for item in claims:
        port = ports[item.pf_mac]
        address = port.pf.vfs[item.vf]
        known = held.pop((item.pf_mac, item.vf), None)
        if known is None:
            taken.add(address)
        state = port.states[item.vf]
        staying.append(
            Entry(
                node=item.node,
                nic=item.nic,
                pf_name=item.pf_name,
                pf_mac=item.pf_mac,
                pf_address=port.pf.address,
                vf=item.vf,
                address=address,
                values=_values(item, state),
                driver=driver,
                state=_ledger.READY,
                baseline=known.baseline if known else state._asdict(),
                baseline_driver=known.baseline_driver if known else devices[address].driver,
            )
        )
    leaving = [
        entry._replace(state=_ledger.LEAVING, address=address_of(entry, ports) or entry.address)
        for entry in held.values()
    ]
    steps = _isolation.plan(
        [
            *(_baseline(entry, ports) for entry in leaving if address_of(entry, ports)),
            *(target(entry, ports) for entry in staying),
        ],
        devices,
        {port.link.index: port.states for port in ports.values()},
    )
    touched = {step.target.address for step in steps}
    changing = [
        entry._replace(state=_ledger.CHANGING) if entry.address in touched else entry
        for entry in staying
    ]
    return Plan(
        before=ledger,
        during=_with(ledger, mzid, changing + leaving),
        after=_with(ledger, mzid, staying),
        steps=steps,
        taken=frozenset(taken),
    )


def _with(ledger: Ledger, mzid: str, entries: list[Entry]) -> Ledger:
    others = {other: held for other, held in ledger.items() if other != mzid}
    return {**others, mzid: entries} if entries else others


def refuse(host: Host, plan: Plan, mzid: str, *, force: bool = False) -> None:
    """Raise `SriovError` where *plan* cannot be carried out on this host: a driver that is not
    loaded, an IOMMU group that is not isolated, and, without *force*, a VF that somebody uses."""
    touched = plan.taken.union(step.target.address for step in plan.steps if step.unbind)
    problems = [
        f"VF {address}: {text}"
        for address, texts in _usage.holders(host, sorted(touched), own=[mzid]).items()
        for text in texts
    ]
    if problems and not force:
        raise SriovError(
            f"materialization {mzid} would change VFs that are in use: {'; '.join(problems)}. "
            f"End that use first, or take them all the same with sriov_force={mzid}"
        )
    _driver.check(
        host,
        [_driver.Wanted(step.bind.address, step.bind.after) for step in plan.steps if step.bind],
    )


def apply(host: Host, plan: Plan, mzid: str, save: t.Callable[[Ledger], None]) -> None:
    """Carry out *plan*; *save* is given the ledger before the first change and after the last.

    What goes wrong with one VF leaves that one without driver and does not stop the others. Raises
    `SriovError` with all that went wrong.
    """
    if plan.during != plan.before:
        save(plan.during)
    failed = _isolation.apply(host, plan.steps)
    after = plan.after
    if failed:
        ready = {entry.address: entry for entry in plan.after.get(mzid, [])}
        after = _with(
            plan.after,
            mzid,
            [
                entry if entry.address in failed else ready[entry.address]
                for entry in plan.during[mzid]
                if entry.address in failed or entry.address in ready
            ],
        )
    if after != plan.during:
        save(after)
    if failed:
        raise SriovError(
            f"materialization {mzid}: {'; '.join(failed.values())}. These VFs have no driver and "
            "stay reserved; mend that and run this again"
        )


def difference(plan: Plan, devices: t.Mapping[str, _pci.Device]) -> dict[str, t.Any]:
    """What *plan* changes, as Ansible's diff: attributes by PF and VF, drivers by address."""
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for step in plan.steps:
        address = step.target.address
        if step.attributes:
            name = f"{step.target.pf} VF {step.target.vf}"
            before[name], after[name] = step.attributes.before, step.attributes.after
        if step.unbind or step.bind:
            before[address] = devices[address].driver
            after[address] = step.target.driver
    return {"before": before, "after": after}


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


def address_of(entry: Entry, ports: t.Mapping[str, Port]) -> str | None:
    """Where the VF of *entry* is now; `None` where it is gone."""
    port = ports.get(entry.pf_mac)
    return port.pf.vfs[entry.vf] if port and entry.vf < len(port.pf.vfs) else None


def target(entry: Entry, ports: t.Mapping[str, Port]) -> _isolation.Target:
    """What *entry* promises of its VF."""
    return _isolation.Target(
        # The MAC tells apart what a model may give one name.
        f"{entry.pf_name} ({entry.pf_mac})",
        ports[entry.pf_mac].link.index,
        entry.vf,
        entry.address,
        entry.values,
        entry.driver,
    )


def _baseline(entry: Entry, ports: t.Mapping[str, Port]) -> _isolation.Target:
    """What the VF of *entry* was before."""
    return target(entry, ports)._replace(
        values={name: value for name, value in entry.baseline.items() if value is not None},
        driver=entry.baseline_driver,
    )
