# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a boot does with the ledger: a guest gets each device that its materialization holds again.

A device about which anything is in doubt is left without driver, so that its guest cannot start.
"""

from __future__ import annotations

import argparse
import sys
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _found, _function, _whole
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _isolation

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._found import HostPf
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import (
        FunctionEntry,
        Ledger,
        VfEntry,
    )

# PFs are probed in parallel to the rest of the boot; mlx5 has been seen to take over a minute.
_PF_SECONDS = 120
_LOOK_SECONDS = 0.5


# sysexits.h has this for what may go well at another time.
_TRY_AGAIN = 75


class RestoreOutcome(t.NamedTuple):
    """How many VFs are as the ledger says, which devices were changed, and what went wrong.

    *again* tells whether another try may help, with no one having done anything. *functions* are
    the whole functions that are as the ledger says.
    """

    ready: int
    changed: list[str]
    problems: list[str]
    again: bool = False
    functions: int = 0


def run(host: Host, *, check_mode: bool = False, seconds: float = _PF_SECONDS) -> RestoreOutcome:
    """Bring the devices of the ledger to what it says, waiting *seconds* until they are there.

    In check mode only tell what differs.
    """
    with _ledger.exclusive(host, check_mode=check_mode):
        try:
            ledger = _ledger.read(host)
        except SriovError as error:  # No other try will read it.
            return RestoreOutcome(0, [], [str(error)])
        held = [
            (mzid, entry)
            for mzid, entries in _ledger.vfs(ledger).items()
            for entry in entries
            if entry.held
        ]
        whole = [(mzid, entry) for mzid, entry in _ledger.functions(ledger) if entry.held]
        macs = {entry.pf_mac for _mzid, entry in held}

        host_pfs: dict[str, HostPf] = {}
        unread: dict[str, str] = {}

        def complete() -> bool:
            host_pfs.clear()
            unread.clear()
            _read_ports(host, macs, host_pfs, unread)
            return all(_settled(entry, host_pfs) for _mzid, entry in held) and all(
                host.exists(f"{_pci.DEVICES}/{entry.address}") for _mzid, entry in whole
            )

        host.wait_for(complete, seconds=0 if check_mode else seconds, every=_LOOK_SECONDS)
        outcomes = []
        for mac in sorted(macs):
            of_port = [item for item in held if item[1].pf_mac == mac]
            if mac in unread:
                outcomes.append(RestoreOutcome(0, [], [unread[mac]], again=True))
                continue
            try:
                outcomes.append(
                    _restore_port(host, of_port, host_pfs, own=ledger, check_mode=check_mode)
                )
            # Whatever a PF brings about must not keep the guests of the others from their VFs.
            except Exception as error:
                name = f"PF {of_port[0][1].pf_name} ({mac})"
                outcomes.append(RestoreOutcome(0, [], [f"{name}: {_told(error)}"], again=True))
        if whole:
            try:
                outcomes.append(_restore_functions(host, whole, ledger, check_mode=check_mode))
            except Exception as error:
                outcomes.append(
                    RestoreOutcome(0, [], [f"whole functions: {_told(error)}"], again=True)
                )
    return RestoreOutcome(
        sum(outcome.ready for outcome in outcomes),
        [text for outcome in outcomes for text in outcome.changed],
        [text for outcome in outcomes for text in outcome.problems],
        any(outcome.again for outcome in outcomes),
        sum(outcome.functions for outcome in outcomes),
    )


def _restore_functions(
    host: Host,
    held: t.Sequence[tuple[str, FunctionEntry]],
    ledger: Ledger,
    *,
    check_mode: bool,
) -> RestoreOutcome:
    links = host.netlink.links()
    there = [item for item in held if _whole.is_there(host, item[1], links)]
    names = {entry.address: f"{mzid} {entry.guest}" for mzid, entry in held}
    problems = {
        entry.address: f"{entry.label} did not come back: see that the card is in its slot, or if "
        "it is in another one now, run mergetb.sriov.materialize for it again"
        for _mzid, entry in held
        if (_mzid, entry) not in there
    }
    again = bool(problems)
    found = _whole.read(host, [entry.address for _mzid, entry in there], links)
    targets = []
    for _mzid, entry in there:
        target = _function.target(entry)
        if entry.state != _ledger.READY:
            problems[entry.address] = (
                "a run for it did not end: run mergetb.sriov.materialize for it again, or "
                "mergetb.sriov.dematerialize"
            )
            target = target._replace(driver=None)
        targets.append(target)
    devices = {address: function.device for address, function in found.items()}
    steps = _isolation.plan(targets, devices, {})
    busy = {}
    for step in steps:
        address = step.target.address
        kept = [*found[address].needs, *_in_use(host, found[address].device, ledger)]
        if step.target.driver and found[address].numvfs:
            kept.append(f"it has {found[address].numvfs} VFs, which would go with its driver")
        if kept:
            busy[address] = f"in use: {'; '.join(kept)}"
    steps = [step for step in steps if step.target.address not in busy]
    # What keeps one IOMMU group from its guest must not keep the others.
    for group in {devices[step.target.address].iommu_group for step in steps}:
        of_group = [step for step in steps if devices[step.target.address].iommu_group == group]
        try:
            _isolation.check(host, of_group)
        except SriovError as error:
            busy.update((step.target.address, str(error)) for step in of_group if step.bind)
    steps = [step for step in steps if step.target.address not in busy]
    problems.update(busy)
    again = again or bool(busy)
    if not check_mode:
        failed = _isolation.apply(host, steps).failed
        problems.update(failed)
        again = again or bool(failed)
    changed = [
        f"{names[step.target.address]}: {step.target.name}"
        for step in steps
        if step.target.address not in problems
    ]
    ready = len(held) - len(problems) - (len(changed) if check_mode else 0)
    told = [f"{names[address]}: {text}" for address, text in problems.items()]
    return RestoreOutcome(0, changed, told, again, ready)


def _in_use(host: Host, device: _pci.Device, ledger: Ledger) -> list[str]:
    """Who uses the function, or a VF of it, apart from interfaces that the boot has set up.

    Whatever configures networks at a boot takes each NIC that it finds.
    """
    if device.driver and "vfio" in device.driver:
        return _usage.users(host, [device]).get(device.address, [])
    vfs = _pci.vf_addresses(host, device.address)
    texts = [text for texts in _usage.holders(host, vfs, own=ledger).values() for text in texts]
    texts += [
        f"interface {upper.interface} is part of {upper}"
        for upper in _pci.uppers(host, device.address)
    ]
    if not _pci.interfaces(host, device.address):
        texts += _usage.users(host, [device]).get(device.address, [])
    return texts


def _read_ports(
    host: Host, macs: t.Collection[str], host_pfs: dict[str, HostPf], unread: dict[str, str]
) -> None:
    """Read the PFs with *macs* into *host_pfs*, or why one cannot be read into *unread*."""
    try:
        links = host.netlink.links()
    except (SriovError, OSError) as error:
        unread.update(dict.fromkeys(macs, f"the interfaces cannot be read: {error}"))
        return
    interfaces, ambiguous = _found.interfaces_of(host, macs, links)
    unread.update(ambiguous)
    for mac, link in interfaces.items():
        try:
            host_pfs[mac] = _found.read_pf(host, link, links)
        # udev renames interfaces meanwhile, so that one may be gone when it is looked into.
        except Exception as error:
            unread[mac] = _told(error)


def _told(error: Exception) -> str:
    known = isinstance(error, (SriovError, OSError))
    return str(error) if known else f"{type(error).__name__}: {error}"


def _settled(entry: VfEntry, host_pfs: t.Mapping[str, HostPf]) -> bool:
    """Whether no waiting helps: the VF is there, or its PF moved, so that no boot makes it."""
    host_pf = host_pfs.get(entry.pf_mac)
    return host_pf is not None and (
        host_pf.pf.address != entry.pf_address or entry.vf < len(host_pf.pf.vfs)
    )


def _restore_port(
    host: Host,
    held: t.Sequence[tuple[str, VfEntry]],
    host_pfs: t.Mapping[str, HostPf],
    *,
    own: t.Container[str],
    check_mode: bool,
) -> RestoreOutcome:
    names = {
        _found.address_of(entry, host_pfs): f"{mzid} {entry.node}.{entry.nic}"
        for mzid, entry in held
    }
    problems = []
    targets = []
    again = False
    for mzid, entry in held:
        address = _found.address_of(entry, host_pfs)
        problem = doubt(entry, host_pfs)
        if problem:
            problems.append(f"{mzid} {entry.node}.{entry.nic}: {problem}")
            # What a run left, or a card that moved, stays as it is.
            again = again or not _settled(entry, host_pfs)
        if address:
            target = _found.target(entry, host_pfs)
            targets.append(
                target._replace(address=address, values={}, driver=None) if problem else target
            )
    try:
        steps, kept = _steps(host, targets, host_pfs, own)
    except SriovError as error:
        return RestoreOutcome(0, [], [*problems, str(error)], again=True)
    problems += [f"{names[address]}: {text}" for address, text in kept.items()]
    again = again or bool(kept)
    if not check_mode:
        failed = _isolation.apply(host, steps).failed
        problems += [f"{names[address]}: {text}" for address, text in failed.items()]
        again = again or bool(failed)
        steps = [step for step in steps if step.target.address not in failed]
    # A VF in doubt that lost its driver is told as a problem.
    changed = [
        f"{names[step.target.address]}: VF {step.target.address}"
        for step in steps
        if step.target.driver
    ]
    ready = len(held) - len(problems) - (len(changed) if check_mode else 0)
    return RestoreOutcome(ready, changed, problems, again)


def _steps(
    host: Host,
    targets: t.Sequence[_isolation.Target],
    host_pfs: t.Mapping[str, HostPf],
    own: t.Container[str],
) -> tuple[list[_isolation.IsolationStep], dict[str, str]]:
    """The steps to *targets*, and why some VFs are left alone, by address."""
    kept = {}
    devices = {}
    for item in targets:
        try:
            devices[item.address] = _pci.read_device(host, item.address)
        except SriovError as error:
            kept[item.address] = str(error)
    targets = [item for item in targets if item.address in devices]
    steps = _isolation.plan(targets, devices, _found.states_of(host_pfs))
    touched = [step.target.address for step in steps]
    used = _usage.holders(host, touched, own=own, known=devices.values())
    kept.update((address, f"in use: {'; '.join(texts)}") for address, texts in used.items())
    steps = [step for step in steps if step.target.address not in kept]
    _isolation.check(host, steps)
    return steps, kept


def doubt(entry: VfEntry, host_pfs: t.Mapping[str, HostPf]) -> str | None:
    """Why the VF of *entry* may not be given to its guest as it is; `None` if it may."""
    host_pf = host_pfs.get(entry.pf_mac)
    pf = f"PF {entry.pf_name} ({entry.pf_mac})"
    again = "run mergetb.sriov.materialize for it again"
    if host_pf is None:
        return f"{pf} did not come back: see that the card and its driver are there"
    # The guest's configuration names the address that the device map had.
    if host_pf.pf.address != entry.pf_address:
        return (
            f"{pf} moved from {entry.pf_address} to {host_pf.pf.address}: run "
            "mergetb.sriov.prepare, then mergetb.sriov.materialize for it again"
        )
    if entry.vf >= len(host_pf.pf.vfs):
        return (
            f"{pf} came back with {len(host_pf.pf.vfs)} VFs, VF {entry.vf} is not among them: run "
            "mergetb.sriov.prepare"
        )
    if host_pf.pf.vfs[entry.vf] != entry.address:
        return f"its VF moved from {entry.address} to {host_pf.pf.vfs[entry.vf]}: {again}"
    if (entry.vlan_mode == _ledger.VST) != (host_pf.states is not None):
        does = (
            "does not tag VLANs for its VFs" if host_pf.states is None else "tags VLANs for its VFs"
        )
        return f"{pf} {does}, other than when its guest got the VF: {again}"
    if entry.state != _ledger.READY:
        return f"a run for it did not end: {again}, or mergetb.sriov.dematerialize"
    return None


def main(argv: t.Sequence[str] | None = None) -> int:
    """The program that a boot starts.

    1 if a VF is not as the ledger says, and 75 if another try may help.
    """
    parser = argparse.ArgumentParser(
        prog="mergetb-sriov-restore",
        description="Restore the devices of the ledger for the guests of their materializations.",
    )
    parser.add_argument("--check", action="store_true", help="only tell what differs")
    check_mode = parser.parse_args(argv).check
    try:
        outcome = run(Host(), check_mode=check_mode)
    except (SriovError, OSError) as error:
        outcome = RestoreOutcome(0, [], [str(error)], again=True)
    told = [f"{'differs' if check_mode else 'restored'}: {text}" for text in outcome.changed]
    told.append(f"{outcome.ready} VFs are as the ledger says")
    if outcome.functions:
        told.append(f"{outcome.functions} whole functions are as the ledger says")
    sys.stderr.writelines(f"not restored: {text}\n" for text in outcome.problems)
    sys.stdout.writelines(f"{text}\n" for text in told)
    if outcome.problems and outcome.again and not check_mode:
        return _TRY_AGAIN
    return 1 if outcome.problems or (check_mode and outcome.changed) else 0
