# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VFs of one materialization on one host: reserved, isolated and given to guests; and back.

A materialization with several hosts is reserved on all of them before any VF is touched: the run
that reserves is told at once what stands against it, and what is reserved no other run gets.

The ledger is written before the first change and after the last. In between, and after a run that
was ended in the middle, it says of each VF that the run touches where that was to go, so that the
next run, from whatever is there, gets it there.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    NoVfAttributesError,
    VfState,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import Entry
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import (
    _attributes,
    _driver,
    _isolation,
)

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Link
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import Ledger

# A driver may take seconds to make a hundred VFs.
_SETTLE_SECONDS = 30
_SETTLE_EVERY = 0.1

# From one task to the next, Ansible takes some seconds, and more on hosts that are busy.
_YOUNGER_SECONDS = 60
_YOUNGER_EVERY = 1

# A VF with this takes which it likes.
_NO_MAC = "00:00:00:00:00:00"


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


class YoungerRunsError(SriovError):
    """Nothing but reservations of younger runs stands against what a run wants."""


class LostReservationError(SriovError):
    """Another run came between: the reservation is gone, or the other has one of its own."""

    facts: t.ClassVar = {"lost": True}


class UnsettledError(SriovError):
    """The VFs of a PF are just being made or destroyed, so nothing is known about them."""


class Port(t.NamedTuple):
    """A PF of the host as the run found it, with the attributes of its VFs by index.

    *states* is `None` where the NIC keeps none for its VFs (no VST).
    """

    pf: _pci.PF
    link: Link
    states: dict[int, VfState] | None


class Found(t.NamedTuple):
    """What a run found on its host.

    *ports* are the PFs that it is about, by permanent MAC, and *drivers* the drivers of all of
    their VFs; *devices* are the VFs that the run is about. Both are by address. *functions* are the
    PCI functions of all interfaces of the host by the MACs that these have.
    """

    ledger: Ledger
    ports: dict[str, Port]
    drivers: dict[str, str | None]
    devices: dict[str, _pci.Device]
    functions: dict[str, dict[str, str]]


class Plan(t.NamedTuple):
    """What a run does: the ledger before, during and after it, and the steps between.

    *taken* are the addresses of VFs that the materialization did not hold before. *reserved* are
    entries for what it is going to hold and does not yet hold in this way, and for what it holds
    and is going to lose.
    """

    before: Ledger
    during: Ledger
    after: Ledger
    steps: list[_isolation.Step]
    taken: frozenset[str]
    reserved: list[Entry]

    @property
    def changes(self) -> bool:
        return bool(self.steps) or self.after != self.before


def run(
    host: Host,
    mzid: str,
    claims: t.Sequence[Claim],
    policy: Policy,
    *,
    reserved_by: str | None = None,
    force: bool = False,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """Give *claims*, and nothing else, to the materialization *mzid*.

    Where *reserved_by* names a run, only what that run has reserved or *mzid* holds already is
    given. Returns what the module `materialization` does. In check mode, nothing is written.
    """
    with _ledger.exclusive(host, check_mode=check_mode):
        planned, found = _planned(host, mzid, claims, policy)
        if reserved_by is not None:
            _insist_on_reservation(planned, mzid, reserved_by)
        refuse(host, planned, found, mzid, force=force)
        warnings: list[str] = []
        if planned.changes and not check_mode:
            warnings = apply(host, planned, mzid, lambda state: _ledger.write(host, state))
    return {**_result(planned, found, claims, mzid), "warnings": warnings}


def reserve(
    host: Host,
    mzid: str,
    claims: t.Sequence[Claim],
    policy: Policy,
    *,
    run: str,
    force: bool = False,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """Reserve for the run named *run* what giving *claims* to *mzid* takes, and touch no VF.

    Where nothing but reservations of younger runs stands against the claims, it waits for these to
    take them back (`without_younger`). Raises `SriovError` with all that stands against the claims.
    Returns what `run` is going to, and as *reserved* what is reserved now.
    """
    deadline = time.monotonic() + _YOUNGER_SECONDS
    while True:
        try:
            return _reserve(host, mzid, claims, policy, run, force=force, check_mode=check_mode)
        except YoungerRunsError:
            if check_mode or time.monotonic() >= deadline:
                raise
        time.sleep(_YOUNGER_EVERY)


def _reserve(
    host: Host,
    mzid: str,
    claims: t.Sequence[Claim],
    policy: Policy,
    run: str,
    *,
    force: bool,
    check_mode: bool,
) -> dict[str, t.Any]:
    """As `reserve`; raises `YoungerRunsError` where it helps to wait."""

    def reserved_in(ledger: Ledger) -> tuple[Plan, Found, Ledger]:
        found = look(host, mzid, claims, ledger)
        planned = plan(mzid, claims, policy, found)
        refuse(host, planned, found, mzid, force=force)
        return planned, found, reservation(planned, mzid, run)

    with _ledger.exclusive(host, check_mode=check_mode):
        before = _ledger.read(host)
        try:
            planned, found, after = reserved_in(before)
        except SriovError as error:
            older = without_younger(before, run)
            if older == before:
                raise
            try:
                reserved_in(older)
            except SriovError:
                raise error from None
            raise YoungerRunsError(str(error)) from error
        if after != before and not check_mode:
            _ledger.write(host, after)
    names = [f"{item.pf_name} ({item.pf_mac}) VF {item.vf}" for item in planned.reserved]
    return {**_result(planned, found, claims, mzid), "reserved": names, "warnings": []}


def without_younger(ledger: Ledger, run: str) -> Ledger:
    """*ledger* without what only runs that are younger than *run* have reserved.

    Of two experiments that meet on two hosts in opposite order, each would be refused where the
    other was first. So the older run waits, and the younger one is refused at once and gives way
    (wait-die: Rosenkrantz, Stearns and Lewis, 1978). The age is told by the name, which begins with
    the time; whatever the clocks say, no two runs wait for each other.
    """
    kept = {
        other: [item for item in entries if item.held or min(item.runs) <= run]
        for other, entries in ledger.items()
    }
    return {other: entries for other, entries in kept.items() if entries}


def withdraw(host: Host, mzid: str, *, run: str, check_mode: bool = False) -> dict[str, t.Any]:
    """Take back what the run named *run* has reserved for *mzid* and did not carry out."""
    with _ledger.exclusive(host, check_mode=check_mode):
        before = _ledger.read(host)
        entries = []
        withdrawn = []
        for entry in before.get(mzid, []):
            runs = tuple(other for other in entry.runs if other != run)
            if entry.held or runs:
                entries.append(entry._replace(runs=runs))
            if runs != entry.runs:
                withdrawn.append(entry)
        if withdrawn and not check_mode:
            _ledger.write(host, _with(before, mzid, entries))
    names = [f"{item.pf_name} ({item.pf_mac}) VF {item.vf}" for item in withdrawn]
    return {
        "changed": bool(withdrawn),
        "devices": [],
        "steps": {name: ["withdraw reservation"] for name in names},
        "diff": {"before": dict.fromkeys(names, f"reserved by {run}"), "after": {}},
        "warnings": [],
    }


def _planned(
    host: Host, mzid: str, claims: t.Sequence[Claim], policy: Policy
) -> tuple[Plan, Found]:
    found = look(host, mzid, claims, _ledger.read(host))
    return plan(mzid, claims, policy, found), found


def _result(planned: Plan, found: Found, claims: t.Sequence[Claim], mzid: str) -> dict[str, t.Any]:
    return {
        "changed": planned.changes,
        "devices": devices_of(claims, planned.after.get(mzid, []), found.devices),
        "steps": described(planned),
        "diff": difference(planned, found.devices),
    }


def look(host: Host, mzid: str, claims: t.Sequence[Claim], ledger: Ledger) -> Found:
    """What there is on the host, above all of the VFs that are claimed or that *mzid* holds."""
    vfs = {(item.pf_mac, item.vf) for item in claims}
    vfs.update(entry.key for entry in ledger.get(mzid, []))
    ports = read_ports(host, {mac for mac, _vf in vfs})
    # A VF that the kernel has locked keeps nobody from the others, so no more are read.
    addresses = [
        ports[mac].pf.vfs[vf]
        for mac, vf in sorted(vfs)
        if mac in ports and 0 <= vf < len(ports[mac].pf.vfs)
    ]
    functions: dict[str, dict[str, str]] = {}
    for link in host.netlink.links():
        # What is stacked on an interface shows its MAC, too, but has no permanent one.
        if link.permanent_mac:
            function = _pci.function_of_interface(host, link.name) or ""
            for mac in {link.mac, link.permanent_mac} - {None}:
                functions.setdefault(str(mac), {})[link.name] = function
    return Found(
        ledger,
        ports,
        {
            address: host.link(f"{_pci.DEVICES}/{address}/driver")
            for port in ports.values()
            for address in port.pf.vfs
        },
        {address: _pci.read_device(host, address) for address in addresses},
        functions,
    )


def read_ports(host: Host, macs: t.Iterable[str]) -> dict[str, Port]:
    """The PFs with the permanent *macs*, by MAC; those that the host does not have are left out.

    Raises `SriovError` with all PFs whose VFs are being made or destroyed all the time.
    """
    wanted = set(macs)
    ports: dict[str, Port] = {}
    problems: list[str] = []

    def settled() -> bool:
        problems.clear()
        links = host.netlink.links()
        interfaces, ambiguous = interfaces_of(host, wanted, links)
        if ambiguous:
            raise SriovError("; ".join(ambiguous.values()))
        for mac, link in interfaces.items():
            if mac not in ports:
                try:
                    ports[mac] = read_port(host, link, links)
                except UnsettledError as error:
                    problems.append(str(error))
        return not problems

    if not host.wait_for(settled, seconds=_SETTLE_SECONDS, every=_SETTLE_EVERY):
        raise SriovError("; ".join(problems))
    return ports


def interfaces_of(
    host: Host, macs: t.Container[str], links: t.Iterable[Link]
) -> tuple[dict[str, Link], dict[str, str]]:
    """The interfaces of the PFs with the permanent *macs*, and what is wrong where that is unclear.

    What lies on an interface may have its permanent MAC, too (ipvlan, MACsec), but no function.
    """
    functions: dict[str, dict[str, Link]] = {}
    for link in links:
        if link.permanent_mac in macs:
            address = _pci.function_of_interface(host, link.name)
            if address is not None and not _pci.is_vf(host, address):
                functions.setdefault(str(link.permanent_mac), {}).setdefault(address, link)
    ambiguous = {
        mac: f"{mac} is the permanent MAC of several PFs: {', '.join(sorted(found))}. Their VFs "
        "cannot be told apart: take the driver from all but one, or mend the MACs of the cards"
        for mac, found in functions.items()
        if len(found) > 1
    }
    found = {mac: next(iter(found.values())) for mac, found in functions.items()}
    return {mac: link for mac, link in found.items() if mac not in ambiguous}, ambiguous


def read_port(host: Host, link: Link, links: t.Sequence[Link]) -> Port:
    """The PF with the interface *link*, one of *links*, which are the host's.

    Raises `UnsettledError` while VFs are being made or destroyed. The kernel makes all `virtfnN`
    links before it counts the VFs, and destroys them before it counts none (sriov_enable(),
    sriov_disable()), so that links, count and attributes are equal in number once that has ended.
    Whether the driver keeps attributes at all does not depend on the moment.
    """
    name = f"PF {link.name} ({link.permanent_mac})"
    states: dict[int, VfState] | None
    try:
        pf = _pci.find_pf(host, link.name, links)
        try:
            states = host.netlink.vf_states(link.ifindex)
        except NoVfAttributesError:
            states = None
        again = _pci.find_pf(host, link.name, links)
    except OSError as error:
        raise UnsettledError(f"{name} cannot be read: {error}") from error
    count = pf.numvfs or 0
    told = count if states is None else len(states)
    if pf != again or not len(pf.vfs) == count == told:
        raise UnsettledError(
            f"{name}: its VFs are just being made or destroyed ({len(pf.vfs)} are on PCI, the "
            f"driver counts {count}, attributes are there for {told}): run this again when that "
            "has ended"
        )
    return Port(pf, link, states)


def plan(mzid: str, claims: t.Sequence[Claim], policy: Policy, found: Found) -> Plan:
    """Plan to give *claims* to *mzid* and to take from it all that it holds beyond them.

    A held VF that is gone needs nothing. Raises `SriovError` with all that stands against a claim.
    """
    ledger, ports, devices = found.ledger, found.ports, found.devices
    claimed = {(item.pf_mac, item.vf) for item in claims}
    problems = [text for item in claims for text in _problems(item, mzid, policy, found, claimed)]
    if problems:
        raise SriovError("; ".join(problems))
    held = {entry.key: entry for entry in ledger.get(mzid, []) if entry.held}
    staying = []
    reserved = []
    taken = set()
    for item in claims:
        known = held.pop((item.pf_mac, item.vf), None)
        entry = _entry(item, policy, known, ports[item.pf_mac], devices)
        staying.append(entry)
        if known is None:
            taken.add(entry.address)
        if known is None or known._replace(state=_ledger.READY) != entry:
            reserved.append(entry._replace(state=_ledger.RESERVED))
    leaving = [
        entry._replace(state=_ledger.LEAVING, address=address_of(entry, ports) or entry.address)
        for entry in held.values()
    ]
    # Reserved as it is held means that it is to be taken back: nobody reserves what stays.
    reserved += [entry._replace(state=_ledger.RESERVED) for entry in leaving]
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
        reserved=reserved,
    )


def reservation(planned: Plan, mzid: str, run: str) -> Ledger:
    """The ledger with what *run* reserves, so that *planned* can be carried out.

    What other runs have reserved for *mzid* in the same way, this run shares with them, as it does
    where one of them was killed and this one finishes it. Raises `SriovError` where another run
    has reserved in another way: of two runs with different aims, one host could be given by the
    one and the next by the other.
    """
    entries = planned.before.get(mzid, [])
    others = {
        entry.key: tuple(name for name in entry.runs if name != run)
        for entry in entries
        if set(entry.runs) - {run}
    }
    former = {entry.key: _aim(entry) for entry in entries if entry.key in others}
    wanted = {entry.key: _aim(entry) for entry in planned.reserved}
    if others and former != wanted:
        names = sorted({name for names in others.values() for name in names})
        raise SriovError(
            f"materialization {mzid}: run {' and '.join(names)} has reserved other VFs, or the "
            "same for another purpose, and did not end. Wait for it to end; if it was killed, take "
            f"its reservation back with mergetb.sriov.release -e sriov_mzid={mzid} "
            f"-e sriov_run={names[0]}"
        )
    reserved = [
        entry._replace(runs=(*others.get(entry.key, ()), run)) for entry in planned.reserved
    ]
    return _with(planned.before, mzid, [*(item for item in entries if item.held), *reserved])


def _aim(entry: Entry) -> Entry:
    """*entry* without what it is reserved by and what was there before, which may change."""
    return entry._replace(runs=(), state=_ledger.RESERVED, baseline={}, baseline_driver=None)


def _insist_on_reservation(planned: Plan, mzid: str, run: str) -> None:
    """Raise `LostReservationError` where *run* has not reserved all that *planned* changes.

    So it does where another run has reserved something: that has another aim, or it would have been
    shared, and came between on a host where *run* had nothing to reserve.
    """
    entries = [entry for entry in planned.before.get(mzid, []) if entry.runs]
    reserved = {entry.key: _aim(entry) for entry in entries if run in entry.runs}
    lost = [entry for entry in planned.reserved if reserved.get(entry.key) != _aim(entry)]
    others = sorted({name for item in entries if run not in item.runs for name in item.runs})
    if others:
        raise LostReservationError(
            f"materialization {mzid}: run {' and '.join(others)} has reserved other VFs on this "
            "host meanwhile. Nothing was changed on this host; wait for it to end, and run this "
            "again"
        )
    if lost:
        names = ", ".join(f"VF {item.vf} of PF {item.pf_name}" for item in lost)
        raise LostReservationError(
            f"materialization {mzid}: run {run} has no reservation for {names} any more: somebody "
            "released it, or another run of the materialization came between. Nothing was changed "
            "on this host; run this again"
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


def refuse(host: Host, plan: Plan, found: Found, mzid: str, *, force: bool = False) -> None:
    """Raise `SriovError` where *plan* cannot be carried out on this host.

    That is a VF that is to be given back and whose PF cannot be reached, a driver that is not
    loaded, an IOMMU group that is not isolated, and, without *force*, a VF that somebody uses.
    """
    staying = {entry.key for entry in plan.after.get(mzid, [])}
    stranded = [
        f"{entry.node}.{entry.nic}: {text}"
        for entry in plan.before.get(mzid, [])
        if entry.held and entry.key not in staying
        for port in [found.ports.get(entry.pf_mac)]
        if port is None or port.pf.address != entry.pf_address
        for text in _usage.stranded(host, entry, port and port.pf)
    ]
    if stranded:
        raise SriovError(f"materialization {mzid} keeps its VFs: {'; '.join(stranded)}")
    touched = sorted(plan.taken.union(step.target.address for step in plan.steps))
    users = _usage.holders(host, touched, own=[mzid], ledger=plan.before)
    problems = [f"VF {address}: {text}" for address, texts in users.items() for text in texts]
    if problems and not force:
        raise SriovError(
            f"materialization {mzid} would change VFs that are in use: {'; '.join(problems)}. "
            f"End that use first, or take them all the same with sriov_force_mzid={mzid}"
        )
    _driver.check(
        host,
        [_driver.Binding(step.bind.address, step.bind.after) for step in plan.steps if step.bind],
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
        f"{step.target.vf.pf} VF {step.target.vf.number} at {step.target.address}": [
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
            name = f"{step.target.vf.pf} VF {step.target.vf.number}"
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
    item: Claim,
    mzid: str,
    policy: Policy,
    found: Found,
    claimed: t.Container[tuple[str, int]],
) -> t.Iterator[str]:
    name = f"{item.node}.{item.nic}"
    port = found.ports.get(item.pf_mac)
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
    if item.mac == _NO_MAC:
        yield f"{name}: its MAC {item.mac} would leave the guest the choice of its MAC"
    for text in _attributes.value_problems(
        {**policy.attributes, "mac": item.mac, "vlan": item.vlan}
    ):
        yield f"{name}: {text}"
    if item.mtu is not None and item.mtu > port.link.mtu:
        yield (
            f"{name}: its MTU {item.mtu} is larger than the {port.link.mtu} of PF {item.pf_name}: "
            "raise the MTU of the PF"
        )
    for text in _collisions(item, mzid, found.ledger):
        yield f"{name}: {text}"
    for text in _collisions_beside_the_ledger(item, found, claimed):
        yield f"{name}: {text}"


def _collisions(item: Claim, mzid: str, ledger: Ledger) -> t.Iterator[str]:
    """What other materializations hold or have reserved that *item* would meet."""
    for mz, entries in ledger.items():
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


def _collisions_beside_the_ledger(
    item: Claim, found: Found, claimed: t.Container[tuple[str, int]]
) -> t.Iterator[str]:
    """What the kernel has, and no materialization, that *item* would meet."""
    port = found.ports[item.pf_mac]
    own = dict(enumerate(port.pf.vfs)).get(item.vf)
    for interface, function in found.functions.get(item.mac, {}).items():
        if function != own:
            yield f"its MAC {item.mac} is that of this host's interface {interface}"
    known = {entry.key for entries in found.ledger.values() for entry in entries}
    for vf, state in (port.states or {}).items():
        driver = found.drivers[port.pf.vfs[vf]]
        # Nobody can send through a VF without driver.
        if driver is None or (item.pf_mac, vf) in known or (item.pf_mac, vf) in claimed:
            continue
        name = f"VF {vf} of PF {item.pf_name}, which {driver} has and no materialization,"
        if state.vlan == item.vlan:
            yield (
                f"{name} is on its VLAN {item.vlan} and would reach it: take the driver from that "
                "VF or the VLAN"
            )
        if state.mac == item.mac:
            yield f"{name} has its MAC {item.mac}"


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
    return {port.link.ifindex: port.states for port in ports.values() if port.states is not None}


def address_of(entry: Entry, ports: t.Mapping[str, Port]) -> str | None:
    """Where the VF of *entry* is now; `None` where it is gone."""
    port = ports.get(entry.pf_mac)
    return port.pf.vfs[entry.vf] if port and entry.vf < len(port.pf.vfs) else None


def target(entry: Entry, ports: t.Mapping[str, Port]) -> _isolation.Target:
    """What *entry* promises of its VF."""
    return _isolation.Target(
        # The MAC tells apart what a model may give one name.
        _attributes.Vf(
            f"{entry.pf_name} ({entry.pf_mac})", ports[entry.pf_mac].link.ifindex, entry.vf
        ),
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
