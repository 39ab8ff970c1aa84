# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Making vDPA devices, binding them to their drivers, and removing them.

Of `vhost_vdpa` and `virtio_vdpa`, the one that was loaded first would take each new device. So the
bus probes none while devices are made. `driver_override` then names one driver for each, which
`drivers_probe` asks for, and the result is read back.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import BlockedError, Turn
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._text import MAC
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils.vdpa import _state

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

_AUTOPROBE = f"{_state.BUS}/drivers_autoprobe"
_PROBE = f"{_state.BUS}/drivers_probe"
_DEVICES = f"{_state.BUS}/devices"
_DRIVERS = f"{_state.BUS}/drivers"
_SECONDS = 30

# As `driver_override` it keeps all drivers away, also one that is loaded later.
_NO_DRIVER = "none"

# A name becomes one of a directory in sysfs, and of a file for udev.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

# The attributes that the drivers of management devices take, in any version of theirs: their
# `config_attr_mask`. The kernel does not tell it, but refuses what is not in it. The keys are the
# driver of the PCI function, or the name of the management device up to the first dot.
_TAKEN = {
    "vdpasim_net": ("mac", "mtu", "features"),  # drivers/vdpa/vdpa_sim/vdpa_sim_net.c
    "vp-vdpa": ("features",),  # drivers/vdpa/virtio_pci/vp_vdpa.c
    "mlx5_core": ("mac", "mtu", "max_vqp", "features"),  # drivers/vdpa/mlx5/net/mlx5_vnet.c
    "pds_core": ("mac", "max_vqp", "features"),  # drivers/vdpa/pds/vdpa_dev.c
}

# Bits of virtio features without which the kernel has no such attribute (drivers/vdpa/vdpa.c).
_NEEDED_FEATURES = {"mtu": 3, "mac": 5, "max_vqp": 22}


class Wanted(t.NamedTuple):
    """The device *name* as it must be: not at all without a *management_device*.

    *attributes* are some of `_state.ATTRIBUTES`.
    """

    name: str
    management_device: str | None
    attributes: t.Mapping[str, t.Any]
    driver: str | None


class VdpaPlan(t.NamedTuple):
    """What is to be done, in this order; a device that must be made anew is in the first two.

    *rebind* has devices that exist and are to have another driver, as pairs of before and after.
    """

    delete: tuple[_state.VdpaDevice, ...]
    add: tuple[Wanted, ...]
    rebind: tuple[tuple[_state.VdpaDevice, Wanted], ...]

    @property
    def changed(self) -> bool:
        return any(self)

    @property
    def taken_away(self) -> list[_state.VdpaDevice]:
        """The devices that lose their driver, which nobody may use then."""
        return [*self.delete, *(before for before, _after in self.rebind if before.driver)]


def value_problems(item: Wanted) -> t.Iterator[str]:
    """What no kernel could make of *item*."""
    if not _NAME.fullmatch(item.name):
        yield (
            f"{item.name[:80]!r} is no name of a device: use up to 64 letters, digits, '.', '_' "
            "and '-', with a letter or digit first"
        )
    values = item.attributes
    mac = values.get("mac")
    if mac is not None and not MAC.fullmatch(mac):
        yield f"{item.name}: mac {mac!r} is not six hexadecimal bytes separated by colons"
    elif mac is not None and int(mac[:2], 16) & 1:
        yield f"{item.name}: mac {mac} is a multicast address"
    for name, least, most in (
        ("mtu", 68, 65535),
        ("max_vqp", 1, 32768),
        ("features", 0, (1 << 64) - 1),
    ):
        if not least <= values.get(name, least) <= most:
            yield f"{item.name}: {name} {values[name]} is not within {least} to {most}"


def plan(wanted: t.Iterable[Wanted], found: t.Mapping[str, _state.VdpaDevice]) -> VdpaPlan:
    """What differs between the devices *found* and those *wanted*."""
    delete, add, rebind = [], [], []
    for item in wanted:
        device = found.get(item.name)
        if item.management_device is None:
            if device:
                delete.append(device)
        elif device is None:
            add.append(item)
        elif device.management_device != item.management_device or _differing(item, device):
            delete.append(device)
            add.append(item)
        elif device.driver != item.driver:
            rebind.append((device, item))
    return VdpaPlan(tuple(delete), tuple(add), tuple(rebind))


def _differing(item: Wanted, device: _state.VdpaDevice) -> list[str]:
    """What *device* has where it differs from *item*.

    The kernel tells the number of queue pairs only of a device with several.
    """
    known = device._asdict()
    return [
        f"{name} {known[name]}"
        for name, value in item.attributes.items()
        if known[name] != value and (name, known[name]) != ("max_vqp", None)
    ]


def check(
    host: Host,
    wanted: t.Sequence[Wanted],
    steps: VdpaPlan,
    found: t.Mapping[str, _state.VdpaDevice],
    management: t.Mapping[str, _state.ManagementDevice],
) -> None:
    """Raise `SriovError` with all that stands against *steps* from *found* to *wanted*.

    The kernel would make a second device on a VF, but then removes the wrong one and crashes.
    """
    counts = collections.Counter(item.name for item in wanted)
    problems = [f"{name} is listed twice" for name, count in counts.items() if count > 1]
    for driver in dict.fromkeys(item.driver for item in wanted if item.management_device):
        if driver and not host.exists(f"{_DRIVERS}/{driver}"):
            problems.append(
                f"the driver {driver} is not loaded: load its module (modprobe {driver})"
            )
    shared: dict[str, list[str]] = collections.defaultdict(list)
    for device in found.values():
        if device.management_device.startswith("pci/"):
            shared[device.management_device].append(device.name)
    problems += [
        f"{device.name}: {device.management_device} has the devices "
        f"{', '.join(shared[device.management_device])}, of which the kernel removes the wrong one "
        "and then crashes; restart the host to be rid of them"
        for device in steps.delete
        if len(shared[device.management_device]) > 1
    ]
    staying = {name: item for name, item in found.items() if item not in steps.delete}
    owners = {item.management_device: name for name, item in staying.items()}
    for item in steps.add:
        target = management.get(item.management_device or "")
        if target is None:
            problems.append(_missing(host, item, management))
            continue
        problems += _unfit(host, item, target)
        owner = owners.setdefault(target.name, item.name)
        if target.pci_address and owner != item.name:
            problems.append(
                f"{item.name}: {target.name} has the device {owner} already, and the kernel can "
                "handle one on a PCI function only; use another VF, or remove that one"
            )
    if problems:
        raise SriovError("; ".join(problems))


def _missing(host: Host, item: Wanted, management: t.Mapping[str, _state.ManagementDevice]) -> str:
    name = item.management_device or ""
    bus, _slash, address = name.partition("/")
    if bus == "pci":
        driver = host.link(f"{_pci.DEVICES}/{address}/driver") or "none"
        remedy = (
            f"the driver of this function is {driver}; give it its vendor's vDPA driver, such as "
            "vp-vdpa (mergetb.sriov.pci_driver)"
        )
    else:
        shown = ", ".join(sorted(management)[:20])
        remedy = f"there are {shown}" if shown else "there is none; load the driver of one"
    return f"{item.name}: there is no management device {name}: {remedy}"


def _unfit(host: Host, item: Wanted, target: _state.ManagementDevice) -> t.Iterator[str]:
    """The attributes of *item* that *target* does not take, each with what it takes."""
    driver = (
        host.link(f"{_pci.DEVICES}/{target.pci_address}/driver") if target.pci_address else None
    )
    taken = _TAKEN.get(driver or target.name.rpartition("/")[2].partition(".")[0])
    for name, value in item.attributes.items():
        bit = _NEEDED_FEATURES.get(name)
        if taken is not None and name not in taken:
            yield f"{item.name}: {target.name} takes no {name}, only {', '.join(taken)}"
        elif name != "features" and "net" not in target.classes:
            yield f"{item.name}: {target.name} takes no {name}: it makes no network devices"
        elif name == "features" and value & ~target.features:
            yield (
                f"{item.name}: {target.name} does not offer the features "
                f"{value & ~target.features:#x}, only some of {target.features:#x}"
            )
        elif bit is not None and not target.features >> bit & 1:
            yield (
                f"{item.name}: {target.name} takes no {name}: it does not offer the virtio feature "
                f"{1 << bit:#x}, only some of {target.features:#x}"
            )
        elif bit is not None and not item.attributes.get("features", 1 << bit) >> bit & 1:
            yield (
                f"{item.name}: {name} needs the virtio feature {1 << bit:#x}, which is not in its "
                f"features {item.attributes['features']:#x}"
            )
        elif name == "max_vqp" and 2 * value > target.max_vqs:
            yield (
                f"{item.name}: {value} pairs of queues are more than {target.name} has: its "
                f"devices have up to {target.max_vqs} queues"
            )


def predicted(
    steps: VdpaPlan, found: t.Mapping[str, _state.VdpaDevice]
) -> dict[str, _state.VdpaDevice]:
    """What *found* is after *steps*, as far as nobody needs to ask the kernel."""
    gone = {device.name for device in steps.delete}
    after = {name: device for name, device in found.items() if name not in gone}
    for device, item in steps.rebind:
        after[item.name] = device._replace(driver=item.driver, path=None)
    unknown = dict.fromkeys(_state.VdpaDevice._fields)
    for item in steps.add:
        known: dict[str, t.Any] = {**unknown, **item._asdict(), **item.attributes}
        del known["attributes"]
        after[item.name] = _state.VdpaDevice(**known)
    return after


def diff(steps: VdpaPlan) -> dict[str, dict[str, t.Any]]:
    """The devices before and after *steps*, by name."""

    def described(management_device: str | None, driver: str | None, **attributes: t.Any) -> t.Any:
        return {"management_device": management_device, **attributes, "driver": driver}

    asked = {item.name: item.attributes for item in steps.add}
    before = {
        device.name: described(
            device.management_device,
            device.driver,
            **{key: getattr(device, key) for key in asked.get(device.name, _state.ATTRIBUTES)},
        )
        for device in steps.delete
    }
    before.update((device.name, {"driver": device.driver}) for device, _item in steps.rebind)
    after = {
        item.name: described(item.management_device, item.driver, **item.attributes)
        for item in steps.add
    }
    after.update((item.name, {"driver": item.driver}) for _device, item in steps.rebind)
    return {"before": before, "after": after}


def refuse_used(host: Host, steps: VdpaPlan) -> None:
    """Raise `SriovError` if somebody uses a device that *steps* would take away, or its VF."""
    leaving = steps.taken_away
    problems = [
        f"{device.name}: {text}"
        for device, texts in zip(leaving, _users(host, leaving))
        for text in texts
    ]
    if problems:
        raise SriovError(f"in use: {'; '.join(problems)}. End that use first, or set force")


def _users(host: Host, leaving: t.Sequence[_state.VdpaDevice]) -> list[list[str]]:
    """Who uses each of the devices *leaving*, as text."""
    paths = {device.path for device in leaving if device.path}
    opened = _usage.openers_of(host, paths) if paths else {}
    ledger = _ledger.read(host) if leaving else {}
    entries = {
        f"pci/{entry.address}": f"materialization {mzid} {entry.has} its VF"
        for mzid, entries in ledger.items()
        for entry in entries
    }
    # PCI can have numbered its buses anew since the ledger was written.
    entries.update((f"pci/{at}", text) for at, text in _usage.holdings(host, ledger, ()))
    up = {}
    if any(device.driver == "virtio_vdpa" for device in leaving):
        up = {link.name: link.up for link in host.netlink.links()}
    found = []
    for device in leaving:
        texts = list(opened.get(device.path or "", ()))
        if device.management_device in entries:
            texts.append(entries[device.management_device])
        for child in host.names(f"{_DEVICES}/{device.name}") if up else ():
            texts += [
                f"interface {interface} is up"
                for interface in host.names(f"{_DEVICES}/{device.name}/{child}/net")
                if up.get(interface)
            ]
        found.append(texts)
    return found


def apply(host: Host, steps: VdpaPlan) -> None:
    """Carry out *steps* and read them back. If that fails, remove what was made.

    A device is bound only after its attributes were read back.
    """
    if not steps.changed:
        return
    with _unprobed(host):
        _delete(host, steps.delete)
        if steps.add:
            made = _add(host, steps.add)
            try:
                _verify(host, steps.add)
                _bind(host, [(item.name, None, item.driver) for item in steps.add])
            except BaseException:
                _remove_again(host, made)
                raise
        _bind(host, [(device.name, device.driver, item.driver) for device, item in steps.rebind])


@contextlib.contextmanager
def _unprobed(host: Host) -> t.Iterator[None]:
    """Keep the bus from giving new devices to a driver; at the end it does again what it did."""
    before = host.read(_AUTOPROBE)
    if before == "0":
        yield
        return
    host.write(_AUTOPROBE, "0")
    try:
        yield
    finally:
        host.write(_AUTOPROBE, before or "1")


def _delete(host: Host, devices: t.Sequence[_state.VdpaDevice]) -> None:
    requests = [_state.delete_request(device.name) for device in devices]
    done, error = host.generic_in_turn(requests, seconds=_SECONDS)
    if done == len(requests):
        return
    device = devices[done]
    if isinstance(error, BlockedError):
        cause = "; ".join(_usage.openers_of_removed(host, device.path)) or "see the kernel's log"
        raise SriovError(
            f"{device.name} was not removed within {_SECONDS} s, and the kernel goes on trying, "
            f"with all of vDPA locked: {cause}. End that use, and run this again"
        ) from error
    raise SriovError(f"{device.name} could not be removed: {_reason(error)}") from error


def _add(host: Host, items: t.Sequence[Wanted]) -> list[str]:
    """Make all of *items*, or none; answers their names."""
    requests = [
        _state.new_request(item.name, item.management_device or "", item.attributes)
        for item in items
    ]
    done, error = host.generic_in_turn(requests, seconds=_SECONDS)
    if done < len(requests):
        item = items[done]
        others = "None of the others was made"
        if not isinstance(error, BlockedError):
            _remove_again(host, [made.name for made in items[:done]])
        elif done:
            others = f"These were made before, and stay: {', '.join(i.name for i in items[:done])}"
        raise SriovError(
            f"{item.name} could not be made on {item.management_device}: "
            f"{_refused_attributes(item, error) or _reason(error)}. {others}"
        ) from error
    return [item.name for item in items]


def _refused_attributes(item: Wanted, error: Exception | None) -> str | None:
    """The attributes that the kernel names by a mask of their numbers (drivers/vdpa/vdpa.c)."""
    mask = re.search(r"attributes are not supported: 0x([0-9a-f]+)", str(error))
    if mask is None:
        return None
    bits = int(mask[1], 16)
    refused = [name for name, bit in _state.ATTRIBUTES.items() if bits >> bit & 1]
    taken = [name for name in item.attributes if name not in refused]
    also = f"; it takes {', '.join(taken)}" if taken else ""
    return f"its driver takes no {', '.join(refused)}{also}"


def _reason(error: Exception | None) -> str:
    if isinstance(error, BlockedError):
        return (
            f"the kernel did not answer within {_SECONDS} s: another request waits, as one does "
            "that removes a device that a process has open; see the kernel's log"
        )
    if isinstance(error, OSError) and error.errno == errno.EPERM:
        return "root is needed, and CAP_NET_ADMIN inside a container"
    return getattr(error, "strerror", None) or str(error)


def _verify(host: Host, items: t.Iterable[Wanted]) -> None:
    found = _state.devices(host)
    problems = []
    for item in items:
        device = found.get(item.name)
        if device is None:
            problems.append(f"{item.name}: it is not there any more")
        elif _differing(item, device):
            asked = ", ".join(f"{name} {value}" for name, value in item.attributes.items())
            told = ", ".join(_differing(item, device))
            problems.append(f"{item.name}: the kernel accepted {asked} but reports {told}")
    if problems:
        raise SriovError(f"{'; '.join(problems)}. The new devices are removed again")


def _remove_again(host: Host, names: t.Sequence[str]) -> None:
    """Remove devices that nobody can have opened yet, as far as the kernel does it."""
    requests = [_state.delete_request(name) for name in names]
    while requests:
        done, error = host.generic_in_turn(requests, seconds=_SECONDS)
        if isinstance(error, BlockedError):
            return  # All of vDPA is locked.
        requests = requests[done + 1 :]  # One that is gone does not keep the others.


def _bind(host: Host, items: t.Sequence[tuple[str, str | None, str | None]]) -> None:
    """Give the devices, each by name, with its driver before and after, their drivers."""
    turns = [_turn(*item) for item in items]
    done, error = host.write_in_turn(turns, seconds=_SECONDS)
    if done == len(turns):
        return
    name, _before, driver = items[done]
    reason = "no driver took it" if error is None else _reason(error)
    raise SriovError(
        f"{name}: driver {driver or 'none'} could not be set: {reason}; see the kernel's log"
    ) from error


def _turn(name: str, before: str | None, after: str | None) -> Turn:
    base = f"{_DEVICES}/{name}"
    writes = [(f"{base}/driver_override", after or _NO_DRIVER)]
    if before:
        writes.append((f"{base}/driver/unbind", name))
    if after:
        writes.append((_PROBE, name))
    return Turn(tuple(writes), f"{base}/driver", after)
