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
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import BlockedError, Turn
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
    """A function, as it was read, whose driver is to be *after*.

    *override* is the `driver_override` that it keeps then; `None` for the one that names *after*.
    """

    device: _pci.Device
    after: str | None
    override: str | None = None

    @property
    def address(self) -> str:
        return self.device.address

    @property
    def before(self) -> str | None:
        return self.device.driver


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


def change(
    device: _pci.Device, driver: str | None, override: str | None = None
) -> DriverChange | None:
    """The change that gives *device* the *driver*; `None` if it has it.

    *override* is as in `DriverChange`.
    """
    kept = device.driver_override or ""
    is_kept = (bool(driver) or not kept) if override is None else kept == override
    if device.driver == driver and is_kept:
        return None
    return DriverChange(device, driver, override)


def plan(devices: t.Iterable[_pci.Device], wanted: t.Iterable[Binding]) -> list[DriverChange]:
    """What differs between *devices* and *wanted*, which name the same functions in one order."""
    changes = (change(device, item.driver) for device, item in zip(devices, wanted))
    return [item for item in changes if item is not None]


def check(host: Host, devices: t.Iterable[_pci.Device], wanted: t.Sequence[Binding]) -> None:
    """Raise `SriovError` with all that stands against *wanted*; *devices* is as in `plan`.

    That is a function or driver that is not there, one function listed twice, and, for VFIO, an
    IOMMU that is off or a group with members that somebody else could use.
    """
    problems = []
    counts = collections.Counter(item.address for item in wanted)
    problems += [f"{address} is listed twice" for address, count in counts.items() if count > 1]
    for driver in sorted({item.driver for item in wanted if item.driver}):
        if not _plain_name(driver) or not host.exists(f"{_DRIVERS}/{driver}"):
            # The kernel takes a hyphen and an underscore for one in modules, but not in drivers.
            near = [
                name
                for name in host.names(_DRIVERS)
                if name.replace("-", "_") == driver.replace("-", "_")
            ]
            remedy = (
                f"its name is {near[0]}"
                if near
                else f"load its module (modprobe {driver}), or check its name"
            )
            problems.append(f"the driver {driver!r} is not loaded: {remedy}")
    problems += _group_problems(
        host,
        {
            device.address: device.iommu_group
            for device, item in zip(devices, wanted)
            if "vfio" in (item.driver or "")
        },
    )
    if problems:
        raise SriovError("; ".join(problems))


def _plain_name(driver: str) -> bool:
    return os.path.basename(driver) == driver and driver not in (".", "..")


def _group_problems(host: Host, group_of: t.Mapping[str, str | None]) -> t.Iterator[str]:
    for address, group in group_of.items():
        if group is None:
            yield (
                f"{address} is in no IOMMU group: enable the IOMMU in the firmware setup and on "
                "the kernel command line (role mergetb.sriov.iommu)"
            )
    for group in dict.fromkeys(group for group in group_of.values() if group is not None):
        blocking = [
            f"{member} ({driver}, {_pci.described(host, member)})"
            for member in _pci.group_members(host, group)
            if member not in group_of
            for driver in [host.link(f"{_pci.DEVICES}/{member}/driver")]
            if driver not in VIABLE and "vfio" not in (driver or "")
        ]
        if blocking:
            members = ", ".join(address for address, own in group_of.items() if own == group)
            yield (
                f"{members} cannot be given to a guest: {', '.join(blocking)} in the same IOMMU "
                f"group {group} stay with their drivers. Give them to the guest, too, or unbind "
                "them, or put the card into a slot whose upstream port has ACS"
            )


def refuse_used(host: Host, changes: t.Iterable[DriverChange]) -> None:
    """Raise `SriovError` where one of *changes* is of a function that somebody has.

    A VF that a materialization holds is refused also while it has no driver, and a PF with its VFs,
    which go with the driver of the PF.
    """
    leaving = [item.device for item in changes if item.before != item.after]
    owners = {
        address: device.address
        for device in leaving
        for address in (*_pci.vf_addresses(host, device.address), device.address)
    }
    problems = [
        f"{owner}: {text}" if owner == address else f"{owner}: its VF {address}: {text}"
        for address, texts in _usage.holders(host, owners, known=leaving).items()
        for owner in [owners[address]]
        for text in texts
    ]
    if problems:
        raise SriovError(f"in use: {'; '.join(problems)}. End that use first, or set force")


def apply(host: Host, changes: t.Iterable[DriverChange]) -> None:
    """Make *changes* and read each back; raises `SriovError` at the first that fails."""
    for _item, problem in _failures(host, changes):
        raise problem


def attempt(host: Host, changes: t.Iterable[DriverChange]) -> dict[str, str]:
    """Make *changes* and read each back; returns why some failed, by address."""
    return {item.address: str(problem) for item, problem in _failures(host, changes)}


def _failures(
    host: Host, changes: t.Iterable[DriverChange]
) -> t.Iterator[tuple[DriverChange, Exception]]:
    """Make *changes* up to one that fails, yield that with its cause, and go on with the others."""
    rest = list(changes)
    users = {item.address: _usage.openers(host, item.device) for item in rest}
    seconds = _BIND_SECONDS
    while rest:
        done, error = host.write_in_turn([_turn(item) for item in rest], seconds=seconds)
        if done == len(rest):
            return
        item, rest = rest[done], rest[done + 1 :]
        try:
            _end(host, item, error, seconds, users[item.address])
        except (SriovError, OSError) as problem:
            yield item, problem
        if isinstance(error, BlockedError):
            seconds = min(_BIND_SECONDS, _NEXT_SECONDS)


def _turn(item: DriverChange) -> Turn:
    base = _base(item)
    writes = []
    if item.device.driver_override != item.after:
        writes.append((f"{base}/driver_override", f"{item.after or ''}\n"))
    if item.before not in (None, item.after):
        writes.append((f"{base}/driver/unbind", item.address))
    if item.after not in (None, item.before):
        writes.append((_PROBE, item.address))
    if item.override is not None and item.override != item.after:
        writes.append((f"{base}/driver_override", f"{item.override}\n"))
    return Turn(tuple(writes), f"{base}/driver", item.after)


def _end(
    host: Host,
    item: DriverChange,
    error: Exception | None,
    seconds: float,
    users: t.Callable[[], t.Sequence[str]],
) -> None:
    """Wait until *item* shows its driver, or raise `SriovError` that tells of *error*."""
    if error is None:
        _verify(host, item)
    elif isinstance(error, BlockedError):
        raise SriovError(_waiting(item, seconds, users())) from error
    elif isinstance(error, OSError):
        raise SriovError(
            f"{item.address}: driver {item.after or 'none'} could not be set: "
            f"{os.strerror(error.errno or 0)} ({error.filename or _base(item)}); see the kernel's "
            "log"
        ) from error
    else:
        raise error


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
    path = f"{_base(item)}/driver"
    if not host.wait_for(lambda: host.link(path) == item.after, seconds=_BIND_SECONDS):
        raise SriovError(
            f"{item.address}: its driver is {host.link(path) or 'none'} {_BIND_SECONDS} s after "
            f"{item.after or 'none'} was asked for; see the kernel's log"
        )


def _base(item: DriverChange) -> str:
    return f"{_pci.DEVICES}/{item.address}"
