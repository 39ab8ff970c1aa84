# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Binding PCI functions to drivers, VFs to `vfio-pci` above all.

`driver_override` and `drivers_probe` name one driver for one function. `new_id` would give every
function of the same kind to the driver, and `bind` is refused for a VF while its PF has
`sriov_drivers_autoprobe` 0. `drivers_probe` reports success also where no driver took the
function, so the result is read back.
"""

from __future__ import annotations

import collections
import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import BlockedError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci, _usage

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

_DRIVERS = "/sys/bus/pci/drivers"
_PROBE = "/sys/bus/pci/drivers_probe"
_BIND_SECONDS = 30
# If one function takes all of that time, the run waits less for the others.
_NEXT_SECONDS = 5

# VFIO gives a group to a process only while none of its members has a driver that could use the
# group's memory access; these have none of their own (drivers/vfio/vfio_main.c, vfio.rst).
VIABLE = (None, "pci-stub", "pcieport")


class Binding(t.NamedTuple):
    """The function at *address* with *driver*, or with none where that is `None`."""

    address: str
    driver: str | None


class DriverChange(t.NamedTuple):
    """A function whose driver or override differs from what is wanted."""

    address: str
    before: str | None
    after: str | None
    override: str | None


def resolve(host: Host, items: t.Iterable[t.Mapping[str, t.Any]]) -> list[Binding]:
    """What *items* ask for, each with `driver` and either `address` or `pf` and `vf`.

    Raises `SriovError` with all VFs that are not there.
    """
    pfs: dict[str, _pci.PF] = {}
    problems = []
    wanted = []
    for item in items:
        address = item.get("address")
        try:
            if address is None:
                name, vf = item["pf"], item["vf"]
                if name not in pfs:
                    pfs[name] = _pci.find_pf(host, name)
                pf = pfs[name]
                if not 0 <= vf < len(pf.vfs):
                    raise SriovError(
                        f"PF {name} ({pf.address}) has no VF {vf}: it has {len(pf.vfs)} VFs; "
                        "create them with mergetb.sriov.numvfs"
                    )
                address = pf.vfs[vf]
        except SriovError as error:
            problems.append(str(error))
        else:
            wanted.append(Binding(address.lower(), item.get("driver") or None))
    if problems:
        raise SriovError("; ".join(problems))
    return wanted


def change(device: _pci.Device, driver: str | None) -> DriverChange | None:
    """The change that gives *device* the *driver*; `None` if it has it."""
    if device.driver == driver and (driver or not device.driver_override):
        return None
    return DriverChange(device.address, device.driver, driver, device.driver_override)


def plan(devices: t.Iterable[_pci.Device], wanted: t.Iterable[Binding]) -> list[DriverChange]:
    """What differs between *devices* and *wanted*, which name the same functions in one order."""
    changes = (change(device, item.driver) for device, item in zip(devices, wanted))
    return [item for item in changes if item is not None]


def check(host: Host, wanted: t.Sequence[Binding]) -> None:
    """Raise `SriovError` with all that stands against *wanted*.

    That is a function or driver that is not there, one function listed twice, and, for VFIO, an
    IOMMU that is off or a group with members that somebody else could use.
    """
    problems = []
    counts = collections.Counter(item.address for item in wanted)
    problems += [f"{address} is listed twice" for address, count in counts.items() if count > 1]
    for driver in sorted({item.driver for item in wanted if item.driver}):
        if not _plain_name(driver) or not host.exists(f"{_DRIVERS}/{driver}"):
            problems.append(
                f"the driver {driver!r} is not loaded: load its module (modprobe {driver}), or "
                "check its name"
            )
    to_vfio = [item.address for item in wanted if "vfio" in (item.driver or "")]
    problems += _group_problems(host, to_vfio)
    if problems:
        raise SriovError("; ".join(problems))


def _plain_name(driver: str) -> bool:
    return os.path.basename(driver) == driver and driver not in (".", "..")


def _group_problems(host: Host, addresses: t.Sequence[str]) -> t.Iterator[str]:
    group_of = {
        address: host.link(f"{_pci.DEVICES}/{address}/iommu_group") for address in addresses
    }
    for address, group in group_of.items():
        if group is None:
            yield (
                f"{address} is in no IOMMU group: enable the IOMMU in the firmware setup and on "
                "the kernel command line (role mergetb.sriov.iommu)"
            )
    for group in dict.fromkeys(group for group in group_of.values() if group is not None):
        blocking = [
            f"{member} ({driver})"
            for member in _pci.group_members(host, group)
            if member not in group_of
            for driver in [host.link(f"{_pci.DEVICES}/{member}/driver")]
            if driver not in VIABLE and "vfio" not in (driver or "")
        ]
        if blocking:
            members = ", ".join(address for address, own in group_of.items() if own == group)
            yield (
                f"{members} cannot be given to a guest: {', '.join(blocking)} in the same IOMMU "
                f"group {group} stay with their drivers. Unbind them too, or put the card into a "
                "slot whose upstream port has ACS"
            )


def refuse_used(host: Host, changes: t.Iterable[DriverChange]) -> None:
    """Raise `SriovError` where one of *changes* is of a function that somebody has.

    A VF that a materialization holds is refused also while it has no driver, and a PF with its VFs,
    which go with the driver of the PF.
    """
    owners = {
        address: item.address
        for item in changes
        if item.before != item.after
        for address in (*_pci.vf_addresses(host, item.address), item.address)
    }
    problems = [
        f"{owner}: {text}" if owner == address else f"{owner}: its VF {address}: {text}"
        for address, texts in _usage.holders(host, owners).items()
        for owner in [owners[address]]
        for text in texts
    ]
    if problems:
        raise SriovError(f"in use: {'; '.join(problems)}. End that use first, or set force")


def apply(host: Host, changes: t.Iterable[DriverChange]) -> None:
    """Make *changes* and read each back; raises `SriovError` at the first that fails."""
    for item in changes:
        _make(host, item, _BIND_SECONDS)


def attempt(host: Host, changes: t.Iterable[DriverChange]) -> dict[str, str]:
    """Make *changes* and read each back; returns why some failed, by address."""
    failed = {}
    seconds = _BIND_SECONDS
    for item in changes:
        try:
            _make(host, item, seconds)
        except (SriovError, OSError) as error:
            failed[item.address] = str(error)
            if isinstance(error.__cause__, BlockedError):
                seconds = min(_BIND_SECONDS, _NEXT_SECONDS)
    return failed


def _make(host: Host, item: DriverChange, seconds: float) -> None:
    base = f"{_pci.DEVICES}/{item.address}"
    group = host.link(f"{base}/iommu_group")
    users = _usage.openers(host, _pci.Device(item.address, item.before, None, group, None))
    try:
        if item.override != item.after:
            host.write(f"{base}/driver_override", f"{item.after or ''}\n", seconds=seconds)
        if item.before not in (None, item.after):
            host.write(f"{base}/driver/unbind", item.address, seconds=seconds)
        if item.after not in (None, item.before):
            host.write(_PROBE, item.address, seconds=seconds)
    except BlockedError as error:
        raise SriovError(_waiting(item, seconds, users())) from error
    except OSError as error:
        raise SriovError(
            f"{item.address}: driver {item.after or 'none'} could not be set: "
            f"{os.strerror(error.errno or 0)} ({error.filename or base}); see the kernel's log"
        ) from error
    _verify(host, item)


def _waiting(item: DriverChange, seconds: float, users: t.Sequence[str]) -> str:
    """Why the kernel did not take *item*, which *users* may keep it from."""
    cause = (
        f"{'; '.join(users)}: end that use"
        if users
        else "no process has it open here; the kernel's log tells what it waits for"
    )
    return (
        f"{item.address}: driver {item.after or 'none'} was not set within {seconds} s, and "
        f"the kernel goes on trying: {cause}, and run this again"
    )


def _verify(host: Host, item: DriverChange) -> None:
    path = f"{_pci.DEVICES}/{item.address}/driver"
    if not host.wait_for(lambda: host.link(path) == item.after, seconds=_BIND_SECONDS):
        raise SriovError(
            f"{item.address}: its driver is {host.link(path) or 'none'} {_BIND_SECONDS} s after "
            f"{item.after or 'none'} was asked for; see the kernel's log"
        )
