# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VFs of one materialization on one host: claimed, isolated and given to guests; and back.

The ledger is written before the first change and after the last. In between, and after a run that
was ended in the middle, it says of each VF that the run touches where that was to go, so that the
next run, from whatever is there, gets it there.
"""

from __future__ import annotations

import contextlib
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
from ansible_collections.mergetb.sriov.plugins.module_utils._netlink import (
    NoVfAttributesError,
    VfState,
)

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils._ledger import Ledger
    from ansible_collections.mergetb.sriov.plugins.module_utils._netlink import Link


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


class Policy(t.NamedTuple):
    """What holds for all VFs of a run.

    *attributes* (`_netlink.VfState`) come on top of those that isolate; a VF may go without those
    named in *dispensable* where its NIC's driver refuses them. *trunk* tells whether a NIC that
    tags no VLANs may hand a VF to its guest all the same, which then has to tag.
    """

    driver: str
    attributes: t.Mapping[str, t.Any] = {}
    dispensable: t.Container[str] = ()
    trunk: bool = False


class Port(t.NamedTuple):
    """A PF of the host as the run found it, with the attributes of its VFs by index.

    *states* is `None` where the NIC keeps none for its VFs (no VST).
    """

    pf: _pci.PF
    link: Link
    states: dict[int, VfState] | None


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


def run(
    host: Host,
    mzid: str,
    claims: t.Sequence[Claim],
    policy: Policy,
    *,
    force: bool = False,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """Give *claims*, and nothing else, to the materialization *mzid*.

    Returns what the module `materialization` does. In check mode, nothing is written.
    """
    with contextlib.nullcontext() if check_mode else _ledger.locked(host):
        ledger = _ledger.read(host)
        held = {entry.pf_mac for entry in ledger.get(mzid, [])}
        ports = read_ports(host, held.union(item.pf_mac for item in claims))
        devices = read_devices(host, ports.values())
        planned = plan(mzid, claims, policy, ledger, ports, devices)
        refuse(host, planned, mzid, force=force)
        warnings: list[str] = []
        if planned.changes and not check_mode:
            warnings = apply(host, planned, mzid, lambda state: _ledger.write(host, state))
    return {
        "changed": planned.changes,
        "devices": devices_of(claims, planned.after.get(mzid, []), devices),
        "steps": described(planned),
        "diff": difference(planned, devices),
        "warnings": warnings,
    }


def read_ports(host: Host, macs: t.Iterable[str]) -> dict[str, Port]:
    """The PFs with the permanent *macs*, by MAC; those that the host does not have are left out."""
    links = {link.permanent_mac: link for link in host.netlink.links()}
    ports = {}
    for mac in set(macs) & set(links):
        link = links[mac]
        # VFs that appear between the two reads have attributes, but are not there yet.
        pf = _pci.find_pf(host, link.name)
        states: dict[int, VfState] | None
        try:
            states = host.netlink.vf_states(link.index)
        except NoVfAttributesError:
            states = None
        # Of an interface on a bus of its own (virtio) the kernel looks for no VFs at all.
        if pf.vfs and not states:
            states = None
        ports[mac] = Port(pf, link, states)
    return ports


def read_devices(host: Host, ports: t.Iterable[Port]) -> dict[str, _pci.Device]:
    """The VFs of *ports* as PCI functions, by address."""
    return {address: _pci.read_device(host, address) for port in ports for address in port.pf.vfs}


def plan(
    mzid: str,
    claims: t.Sequence[Claim],
    policy: Policy,
    ledger: Ledger,
    ports: t.Mapping[str, Port],
    devices: t.Mapping[str, _pci.Device],
) -> Plan:
    """Plan to give *claims* to *mzid* and to take from it all that it holds beyond them.

    A held VF that is gone needs nothing. Raises `SriovError` with all that stands against a claim.
    """
    problems = [text for item in claims for text in _problems(item, mzid, policy, ledger, ports)]
    if problems:
        raise SriovError("; ".join(problems))
    held = {(entry.pf_mac, entry.vf): entry for entry in ledger.get(mzid, [])}
    staying = []
    taken = set()
    for item in claims:
        known = held.pop((item.pf_mac, item.vf), None)
        entry = _entry(item, policy, known, ports[item.pf_mac], devices)
        staying.append(entry)
        if known is None:
            taken.add(entry.address)
    leaving = [
        entry._replace(state=_ledger.LEAVING, address=address_of(entry, ports) or entry.address)
        for entry in held.values()
    ]
    steps = _isolation.plan(
        [
            *(_baseline(entry, ports) for entry in leaving if address_of(entry, ports)),
            *(_optional(target(entry, ports), policy) for entry in staying),
        ],
        devices,
        states_of(ports),
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


def _entry(
    item: Claim,
    policy: Policy,
    known: Entry | None,
    port: Port,
    devices: t.Mapping[str, _pci.Device],
) -> Entry:
    """What the ledger says of *item* once it is as it must be; *known* is what it said before."""
    address = port.pf.vfs[item.vf]
    state = None if port.states is None else port.states[item.vf]
    values = {} if state is None else _values(item, policy, state)
    refused = {
        name
        for name in values
        if name in policy.dispensable
        and (getattr(state, name) is None or (known and name in known.refused))
    }
    return Entry(
        node=item.node,
        nic=item.nic,
        pf_name=item.pf_name,
        pf_mac=item.pf_mac,
        pf_address=port.pf.address,
        vf=item.vf,
        address=address,
        vlan=item.vlan,
        vlan_mode="trunk" if state is None else "vst",
        values={name: value for name, value in values.items() if name not in refused},
        refused=sorted(refused),
        driver=policy.driver,
        state=_ledger.READY,
        baseline=known.baseline if known else ({} if state is None else state._asdict()),
        baseline_driver=known.baseline_driver if known else devices[address].driver,
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


def apply(host: Host, plan: Plan, mzid: str, save: t.Callable[[Ledger], None]) -> list[str]:
    """Carry out *plan*; *save* is given the ledger before the first change and after the last.

    What goes wrong with one VF leaves that one without driver and does not stop the others. Returns
    what the VFs had to go without; raises `SriovError` with all that went wrong.
    """
    if plan.during != plan.before:
        save(plan.during)
    failed, refused = _isolation.apply(host, plan.steps)
    unfinished = [entry for entry in plan.during.get(mzid, []) if entry.address in failed]
    finished = [
        _without(entry, refused.get(entry.address, ()))
        for entry in plan.after.get(mzid, [])
        if entry.address not in failed
    ]
    after = _with(plan.after, mzid, finished + unfinished)
    if after != plan.during:
        save(after)
    if failed:
        raise SriovError(
            f"materialization {mzid}: {'; '.join(failed.values())}. These VFs stay "
            "reserved: mend that and run this again"
        )
    told = {text: None for texts in refused.values() for text in texts.values()}
    return [f"{text}; the VF goes without" for text in told]


def _without(entry: Entry, names: t.Container[str]) -> Entry:
    """*entry* after the attributes *names* were refused."""
    return entry._replace(
        values={name: value for name, value in entry.values.items() if name not in names},
        refused=sorted({*entry.refused, *(name for name in entry.values if name in names)}),
    )


def described(plan: Plan) -> dict[str, list[str]]:
    """What *plan* does to each VF, in the order of time."""
    return {
        f"{step.target.pf} VF {step.target.vf} at {step.target.address}": [
            *(["no driver"] if step.unbind else []),
            *(
                " ".join(f"{name} {value}" for name, value in change.after.items())
                for change in (step.attributes, *step.optional)
                if change
            ),
            *([f"driver {step.bind.after}"] if step.bind else []),
        ]
        for step in plan.steps
    }


def difference(plan: Plan, devices: t.Mapping[str, _pci.Device]) -> dict[str, t.Any]:
    """What *plan* changes, as Ansible's diff: attributes by PF and VF, drivers by address."""
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for step in plan.steps:
        address = step.target.address
        changes = [change for change in (step.attributes, *step.optional) if change]
        if changes:
            name = f"{step.target.pf} VF {step.target.vf}"
            before[name] = dict(pair for change in changes for pair in change.before.items())
            after[name] = dict(pair for change in changes for pair in change.after.items())
        if step.unbind or step.bind:
            before[address] = devices[address].driver
            after[address] = step.target.driver
    return {"before": before, "after": after}


def devices_of(
    claims: t.Sequence[Claim], entries: t.Iterable[Entry], devices: t.Mapping[str, _pci.Device]
) -> list[dict[str, t.Any]]:
    """What the device map says of each claim, which *entries* says, in the order of the claims."""
    return [
        {
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
            "numa_node": devices[entry.address].numa_node,
        }
        for item, entry in zip(claims, entries)
    ]


def _problems(
    item: Claim, mzid: str, policy: Policy, ledger: Ledger, ports: t.Mapping[str, Port]
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
    if port.states is None and not policy.trunk:
        yield (
            f"{name}: PF {item.pf_name} tags no VLANs for its VFs (no VST): use a PF of another "
            "NIC, or let the guest tag with sriov_without_vst=trunk"
        )
    if item.vlan == 0:
        yield f"{name}: it has no VLAN (vlan 0), so its frames would leave untagged"
    for text in _vf.value_problems({**policy.attributes, "mac": item.mac, "vlan": item.vlan}):
        yield f"{name}: {text}"
    if item.mtu is not None and item.mtu > port.link.mtu:
        yield (
            f"{name}: its MTU {item.mtu} is larger than the {port.link.mtu} of PF {item.pf_name}: "
            "raise the MTU of the PF"
        )
    for mz, entries in ledger.items():
        for entry in entries if mz != mzid else ():
            if (entry.pf_mac, entry.vf) == (item.pf_mac, item.vf):
                yield f"{name}: VF {entry.vf} of PF {item.pf_name} belongs to materialization {mz}"
            elif (entry.pf_mac, entry.vlan) == (item.pf_mac, item.vlan):
                yield (
                    f"{name}: materialization {mz} has VLAN {item.vlan} on PF {item.pf_name} "
                    f"for {entry.node}.{entry.nic}: two experiments would reach each other"
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


def states_of(ports: t.Mapping[str, Port]) -> dict[int, dict[int, VfState]]:
    """The attributes of the VFs of *ports* by interface index, for those that keep any."""
    return {port.link.index: port.states for port in ports.values() if port.states is not None}


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


def _optional(target: _isolation.Target, policy: Policy) -> _isolation.Target:
    """*target* with the attributes that the VF may go without told apart."""
    names = {name for name in target.values if name in policy.dispensable}
    return target._replace(
        values={name: value for name, value in target.values.items() if name not in names},
        optional={name: target.values[name] for name in names},
    )


def _baseline(entry: Entry, ports: t.Mapping[str, Port]) -> _isolation.Target:
    """What the VF of *entry* was before."""
    return target(entry, ports)._replace(
        values={name: value for name, value in entry.baseline.items() if value is not None},
        driver=entry.baseline_driver,
    )
