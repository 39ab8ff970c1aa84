# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The firmware configuration that ConnectX and BlueField cards load at their next start.

The functions of one ASIC share one configuration, so they are one card here. This module compares
what is wanted with the value of the next start. If it compared the current value, it would write an
equal value again and ask for a reboot.
"""

from __future__ import annotations

import os
import re
import types
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _reboot
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _output, _storage
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._output import (
    Setting,
    Value,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._tool import (
    READ_ONLY,
    UNSUPPORTED,
    Tool,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import (
    _ledger,
    _management,
    _pci,
    _usage,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

VENDOR = "0x15b3"

# A number, or the text of an enumeration in capitals.
WantedValue = t.Union[int, str]

_BLUEFIELDS = ("0xa2d2", "0xa2d6", "0xa2dc", "0xa2df")
# Who owns the functions of a BlueField whose processors run. It is the host if all of these have
# these numbers (NVIDIA BlueField documentation, modes of operation).
_MODEL = "INTERNAL_CPU_MODEL"
_EMBEDDED_CPU = 1
_NIC_MODE = {
    "INTERNAL_CPU_PAGE_SUPPLIER": 1,
    "INTERNAL_CPU_ESWITCH_MANAGER": 1,
    "INTERNAL_CPU_IB_VPORT0": 1,
    "INTERNAL_CPU_OFFLOAD_ENGINE": 1,
}
# The parameters that others depend on (column `dependency` of mlxconfig_host.db in mstflint 4.21
# and 4.31). The tool hides the others until the switch has the right value for the next start.
_SWITCHES = (
    "ADVANCED_PCI_SETTINGS",
    "ADVANCED_POWER_SETTINGS",
    "BOOT_DBG_LOG",
    _MODEL,
    "IP_OVER_VXLAN_EN",
    "PF_NUM_OF_VF_VALID",
    "PHY_RATE_MASK_OVERRIDE",
    "ROCE_CC_LEGACY_DCQCN",
    "SAFE_MODE_ENABLE",
    "UEFI_LOGS",
)
VFS = ("SRIOV_EN", "NUM_OF_VFS")
# A port's own number of VFs. It holds instead of NUM_OF_VFS if the switch is on.
_OWN_VFS = ("PF_NUM_OF_VF_VALID", "PF_NUM_OF_VF")
# A card may offer more VFs than are wanted.
_COUNTS = ("NUM_OF_VFS", "PF_NUM_OF_VF")
# How long a driver may take to probe a port after the reset.
_INTERFACE_SECONDS = 60


class CardDevice(t.NamedTuple):
    """A function with the parameters wanted for it. *names* are its other names."""

    address: str
    settings: t.Mapping[str, object]
    names: t.Sequence[str] = ()

    @property
    def card(self) -> str:
        """How the addresses of all functions of its ASIC begin."""
        return _pci.card_of(self.address)


class Card(t.NamedTuple):
    """One ASIC: the functions that it was named by, and the values that its parameters must have.

    *lower* tells whether a run may lower the number of VFs that it offers.
    """

    addresses: tuple[str, ...]
    wanted: dict[str, WantedValue]
    lower: bool = False

    @property
    def address(self) -> str:
        return self.addresses[0]


class CardState(t.NamedTuple):
    """What the tool shows of a card.

    *absent* has the reason for each wanted parameter that it does not show.
    """

    type: str
    name: str
    settings: dict[str, Setting]
    absent: dict[str, str]


class CardChange(t.NamedTuple):
    """What has to be written to one card: the parameters of each step, in order."""

    card: Card
    state: CardState
    steps: tuple[tuple[str, ...], ...]


class Outcome(t.NamedTuple):
    """How a card is after its change. *steps* are those that were made."""

    state: CardState
    steps: tuple[str, ...]
    reboot_required: bool
    power_cycle_required: bool
    warnings: tuple[str, ...]


def reboot_cause(cards: t.Iterable[Card], outcomes: t.Iterable[Outcome]) -> _reboot.Cause | None:
    """Why the host has to reboot for the *outcomes* of *cards*; `None` if it has not."""
    outcomes = list(outcomes)
    pending = [card.address for card, it in zip(cards, outcomes) if it.reboot_required]
    if not pending:
        return None
    return _reboot.Cause(
        cause="mlx_firmware",
        reason=f"the firmware of {' and '.join(pending)} runs with other values than the wanted "
        "ones",
        remedy="the firmware loads them at a power cycle only; switch the host off and on, and see "
        "whether there is newer firmware for the card",
        power_cycle=any(outcome.power_cycle_required for outcome in outcomes),
    )


def wanted(name: str, value: object) -> WantedValue:
    """The value that is wanted for the parameter *name*, read from *value*.

    Takes the number of the printed form `ETH(2)`, which the tool itself refuses. Raises
    `SriovError` if *value* is no value.
    """
    if not _output.is_name(name):
        raise SriovError(f"{name!r} is no name of a firmware parameter")
    if isinstance(value, int):
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    labelled = re.fullmatch(r"[^\s()]+\((\w+)\)", text)
    if labelled:
        text = labelled[1]
    if re.fullmatch(r"-?[0-9]{1,20}", text):
        return int(text)
    if re.fullmatch(r"0[xX][0-9A-Fa-f]{1,16}", text):
        return int(text, 16)
    if not re.fullmatch(r"[\w.:-]{1,255}", text, re.ASCII):
        raise SriovError(f"{name} cannot be {value!r}: give a number, true, false or a text")
    return {"TRUE": 1, "FALSE": 0}.get(text.upper(), text.upper())


def suffices(card: Card, name: str, value: Value) -> bool:
    """Whether *value*, which the tool shows, is as *card* must have it.

    A larger number of VFs suffices, unless a run may lower it.
    """
    wanted = card.wanted[name]
    if name in _COUNTS and not card.lower and isinstance(wanted, int) and isinstance(value, int):
        return value >= wanted
    return matches(wanted, value)


def matches(wanted: WantedValue, value: Value) -> bool:
    """Whether *value*, which the tool shows, is the *wanted* one."""
    if isinstance(value, str):
        label, _parenthesis, number = value.rstrip(")").partition("(")
        return wanted in (label.upper(), int(number))
    return value is not None and wanted == int(value)


def cards(
    devices: t.Iterable[CardDevice],
    *,
    settings: t.Mapping[str, object] = types.MappingProxyType({}),
    card_settings: t.Mapping[str, object] = types.MappingProxyType({}),
    lower_numvfs: t.Iterable[str] = (),
    largest_numvfs: bool = False,
) -> list[Card]:
    """The cards of *devices*.

    *settings* override those of the devices. *card_settings* override both; they are by a name of
    any port of the card. *lower_numvfs* names the cards whose number of VFs may become smaller.
    With *largest_numvfs*, a card gets the largest NUM_OF_VFS of its functions. Raises `SriovError`
    with every value that is impossible or contradicts another.
    """
    devices = list(devices)
    problems: list[str] = []
    named = {
        name.strip().lower(): device.card
        for device in devices
        for name in (device.address, *device.names)
    }

    def cards_of(option: str, names: t.Iterable[str]) -> dict[str, str]:
        found = {name: _card_of(named, name) for name in names}
        problems.extend(
            f"{option} names {name}, which is no port of a card in this call ({', '.join(named)})"
            for name, card in found.items()
            if not card
        )
        return found

    by_card = _by_card(cards_of("card_settings", card_settings), card_settings, problems)
    lower = set(cards_of("lower_numvfs", lower_numvfs).values())
    wishes: dict[str, dict[str, dict[str, WantedValue]]] = {}
    for device in devices:
        values = {**device.settings, **settings, **by_card.get(device.card, {})}
        wish = wishes.setdefault(device.card, {}).setdefault(device.address, {})
        _merge(wish, values, device.address, problems)
    result = [
        Card(tuple(functions), _of_card(functions, largest_numvfs, problems), card in lower)
        for card, functions in wishes.items()
    ]
    if problems:
        raise SriovError("; ".join(problems))
    return result


def _merge(
    wish: dict[str, WantedValue], values: t.Mapping[str, object], whose: str, problems: list[str]
) -> None:
    """Add *values* to *wish*, and what is wrong with them to *problems*."""
    for name, value in values.items():
        try:
            value = wanted(name, value)
        except SriovError as error:
            problems.append(f"{whose}: {error}")
            continue
        if wish.setdefault(name, value) != value:
            problems.append(f"{whose}: {name} is wanted as both {wish[name]} and {value}")


def _card_of(named: t.Mapping[str, str], name: str) -> str:
    """The card that *named* has for a name; a port that is not in it is known by its address."""
    text = str(name).strip().lower()
    return named.get(text) or next((c for c in named.values() if text[:-1] == f"{c}."), "")


def _by_card(
    named: t.Mapping[str, str], card_settings: t.Mapping[str, object], problems: list[str]
) -> dict[str, dict[str, WantedValue]]:
    """The *card_settings* by the card that *named* has for each of their names."""
    found: dict[str, dict[str, WantedValue]] = {}
    for name, card in named.items():
        values = card_settings[name]
        if isinstance(values, t.Mapping):
            _merge(found.setdefault(card, {}), values, name, problems)
        else:
            problems.append(f"card_settings: {name} is {values!r}, not values by name")
    return found


def _of_card(
    functions: t.Mapping[str, t.Mapping[str, WantedValue]],
    largest_numvfs: bool,
    problems: list[str],
) -> dict[str, WantedValue]:
    """What the *functions* of one card want, which has one value for all."""
    merged: dict[str, WantedValue] = {}
    for name in dict.fromkeys(name for wish in functions.values() for name in wish):
        values = {address: wish[name] for address, wish in functions.items() if name in wish}
        counts = [value for value in values.values() if isinstance(value, int)]
        merged[name] = next(iter(values.values()))
        if largest_numvfs and name == "NUM_OF_VFS" and len(counts) == len(values):
            merged[name] = max(counts)
        elif len(set(values.values())) > 1:
            problems.append(_contradiction(name, values))
    return merged


def _contradiction(name: str, values: t.Mapping[str, WantedValue]) -> str:
    wishes = ", ".join(f"{value} for {address}" for address, value in values.items())
    remedy = " or take the largest (largest_numvfs)" if name == "NUM_OF_VFS" else ""
    return (
        f"{name} is wanted as {wishes}, but these are ports of one card, which has one value for "
        f"all: want the same for each{remedy}"
    )


def read(host: Host, tool: Tool, card: Card) -> CardState:
    """The parameters of *card* that are wanted, and those that decide whether they may be set.

    Raises `SriovError` if *card* is no card that this host may set.
    """
    present = _pci.devices(host)
    for address in card.addresses:
        if address not in present:
            raise SriovError(
                f"there is no PCI device {address} on this host: see that the card is plugged in, "
                "and write its address as lspci -D prints it"
            )
        vendor = _pci.read_identity(host, address).vendor
        if vendor != VENDOR:
            raise SriovError(f"{address} is no NVIDIA (Mellanox) card: its vendor is {vendor}")
        if _pci.is_vf(host, address):
            raise SriovError(f"{address} is a VF, not a PF: name the PF that it belongs to")
    if os.geteuid():
        raise SriovError(f"{tool.command} opens a card only for root: set become")
    names = list(card.wanted)
    if not set(names).isdisjoint(_OWN_VFS):
        names += [name for name in _OWN_VFS if name not in names]
    if not set(names).isdisjoint(VFS + _OWN_VFS):
        names += [name for name in VFS if name not in names]
    bluefield = _pci.read_identity(host, card.address).device in _BLUEFIELDS
    if bluefield and _MODEL not in names:
        names.append(_MODEL)
    answer, absent = tool.query(card.address, names)
    if bluefield and _may_be(answer.settings.get(_MODEL), _EMBEDDED_CPU):
        _refuse_dpu(card, tool.query(card.address, _NIC_MODE)[0].settings)
    return CardState(
        answer.type,
        answer.name,
        answer.settings,
        {name: reason for name, reason in absent.items() if name in card.wanted},
    )


def _may_be(setting: Setting | None, number: int) -> bool:
    """Whether the parameter is *number* now or will be after the next start."""
    return setting is not None and any(
        matches(number, value) for value in (setting.current, setting.next)
    )


def _refuse_dpu(card: Card, settings: t.Mapping[str, Setting]) -> None:
    owned = [
        f"{name} {value}"
        for name, number in _NIC_MODE.items()
        if name in settings
        for value in {settings[name].current, settings[name].next} - {None}
        if not matches(number, value)
    ]
    if owned:
        raise SriovError(
            f"{card.address} is a BlueField in DPU mode ({', '.join(sorted(owned))}): its own "
            "processors, and not this host, decide about its VFs; make it a NIC "
            f"({' '.join(f'{name}={number}' for name, number in _NIC_MODE.items())}) and power "
            "cycle the host, or leave the card out"
        )


def plan(card: Card, state: CardState) -> CardChange:
    """The steps from *state* to what is wanted.

    Raises `SriovError` with every parameter that cannot be set.
    """
    differing = [
        name
        for name in card.wanted
        if name in state.settings and not suffices(card, name, state.settings[name].next)
    ]
    switches = [name for name in differing if re.sub(r"_P\d+$", "", name) in _SWITCHES]
    problems = [f"{name}: {READ_ONLY}" for name in differing if state.settings[name].read_only]
    problems += [
        f"{name}: {reason}"
        for name, reason in state.absent.items()
        if reason != UNSUPPORTED or not switches
    ]
    if _is_sriov_without_vfs(card, state):
        problems.append(
            "SRIOV_EN is true and NUM_OF_VFS 0, which makes no VFs: ask for VFs, or set "
            "SRIOV_EN to false"
        )
    if problems:
        raise SriovError("; ".join(f"{card.address}: {problem}" for problem in problems))
    steps = [differing]
    if state.absent:
        rest = [name for name in card.wanted if name in differing or name in state.absent]
        steps = [switches, [name for name in rest if name not in switches]]
    return CardChange(card, state, tuple(tuple(step) for step in steps if step))


def _is_sriov_without_vfs(card: Card, state: CardState) -> bool:
    """Whether the wanted values switch SR-IOV on without VFs."""
    enabled, count = (
        card.wanted[name]
        if name in card.wanted
        else _number(state.settings[name].next if name in state.settings else None)
        for name in VFS
    )
    # If each PF has a number of its own, NUM_OF_VFS does not count.
    own = card.wanted.get("PF_NUM_OF_VF_VALID", 0)
    return bool(set(VFS) & set(card.wanted)) and (enabled, count, own) == (1, 0, 0)


def _number(value: Value) -> int | None:
    return value if isinstance(value, int) else None


def plan_all(host: Host, tool: Tool, cards: t.Iterable[Card]) -> list[CardChange]:
    """Read each card and plan its change; raises `SriovError` with all that is wrong."""
    changes = []
    problems = []
    for card in cards:
        try:
            change = plan(card, read(host, tool, card))
            _refuse_lowering(host, change)
            changes.append(change)
        except SriovError as error:
            problems.append(str(error))
    if problems:
        raise SriovError("; ".join(problems))
    return changes


def offered(settings: t.Mapping[str, Setting]) -> int | None:
    """How many VFs a PF can have after the next start with *settings*; `None` if unknown.

    Firmware that shows no SRIOV_EN has it on. A port's own number is 0 until somebody sets it.
    """

    def number(name: str) -> int | None:
        return _number(settings[name].next if name in settings else None)

    if number("SRIOV_EN") == 0:
        return 0
    if number("PF_NUM_OF_VF_VALID"):
        return number("PF_NUM_OF_VF") or 0
    return number("NUM_OF_VFS")


def _refuse_lowering(host: Host, change: CardChange) -> None:
    """Raise `SriovError` if *change* takes VFs that are in use, or takes any without permission."""
    before, after = offered(change.state.settings), offered(planned_settings(change))
    if before is None or after is None or after >= before:
        return
    card = change.card
    reasons = _beyond(host, card, after)
    if reasons:
        raise SriovError(
            f"{card.address}: its firmware offers {before} VFs a PF and would offer {after}, but "
            f"{'; '.join(reasons)}: release these, give the PFs fewer VFs (sriov_numvfs), then "
            "run this again"
        )
    if after and not card.lower:
        raise SriovError(
            f"{card.address}: its firmware offers {before} VFs a PF and would offer {after}; "
            "if that is meant, name the card in lower_numvfs (sriov_mlx_lower_numvfs)"
        )


def _beyond(host: Host, card: Card, count: int) -> list[str]:
    """Why PFs of *card* need more VFs than *count*."""
    reasons = []
    macs = {link.name: link.permanent_mac for link in host.netlink.links()}
    rules = _numvfs.counts_at_boot(host)
    ledger = _ledger.vfs(_ledger.read(host))
    for address in _functions(host, card):
        names = {address, *(macs.get(name) for name in _pci.interfaces(host, address))} - {None}
        numvfs = int(host.read(f"{_pci.DEVICES}/{address}/sriov_numvfs") or 0)
        at_boot = max((n for pf, n in rules.items() if not names.isdisjoint(pf)), default=0)
        if numvfs > count:
            reasons.append(f"{address} has {numvfs} VFs")
        elif at_boot > count:
            reasons.append(f"{address} gets {at_boot} VFs at every boot ({_numvfs.UDEV_RULES})")
        reasons += [
            f"materialization {mzid} {entry.has} VF {entry.vf} of {address} for "
            f"{entry.node}.{entry.nic}"
            for mzid, entries in ledger.items()
            for entry in entries
            if entry.vf >= count and not names.isdisjoint((entry.pf_mac, entry.pf_address))
        ]
    return reasons


def predict(host: Host, change: CardChange, *, reset: bool) -> Outcome:
    """What `apply` would do. The state in the outcome is the present one."""
    card, state = change.card, change.state
    names = {name for step in change.steps for name in step}
    steps = [_assignments(card, step) for step in change.steps]
    pending = _pending(host, card, state, names)
    warnings = _unknown(card, state)
    if reset and pending:
        hindrance = _hindrance(host, card)
        if hindrance:
            warnings.append(f"{hindrance}; reboot the host")
        else:
            steps.append(["reset"])
            pending = []
    return Outcome(state, _joined(steps), bool(pending), False, tuple(warnings))


def apply(host: Host, tool: Tool, change: CardChange, *, reset: bool) -> Outcome:
    """Carry out *change*, and read the card again after each step.

    Raises `SriovError`, which also tells what has been written by then and what has not.
    """
    card, state = change.card, change.state
    steps: list[list[str]] = []
    written: set[str] = set()
    power_cycle = False
    planned = change
    try:
        while planned.steps:
            step = planned.steps[0]
            power_cycle |= tool.set(card.address, _assignments(card, step))
            steps.append(_assignments(card, step))
            written.update(step)
            state = read(host, tool, card)
            planned = plan(card, state)
            if planned.steps and planned.steps[0] == step:
                raise SriovError(
                    f"{card.address}: the firmware took {' '.join(steps[-1])} but did not keep "
                    "it; see whether another program writes the card's configuration"
                )
    except SriovError as error:
        raise SriovError(f"{error}. {_left(host, tool, change)}") from error
    warnings = _unknown(card, state)
    if reset and _pending(host, card, state, written):
        try:
            _reset(host, tool, card)
            steps.append(["reset"])
            state = read(host, tool, card)
            written = set()
        except SriovError as error:
            warnings.append(f"{error}; reboot the host")
    pending = bool(_pending(host, card, state, written))
    return Outcome(state, _joined(steps), pending, pending and power_cycle, tuple(warnings))


def apply_all(
    host: Host, tool: Tool, changes: t.Iterable[CardChange], *, reset: bool
) -> list[Outcome]:
    """Carry out *changes*; an error also tells what was done to the cards before."""
    outcomes: list[Outcome] = []
    done: list[str] = []
    for change in changes:
        try:
            outcomes.append(apply(host, tool, change, reset=reset))
        except SriovError as error:
            if not done:
                raise
            raise SriovError(f"{error}. Done before that: {'; '.join(done)}") from error
        done += [f"{change.card.address} {step}" for step in outcomes[-1].steps]
    return outcomes


def described(card: Card, settings: t.Mapping[str, Setting]) -> dict[str, t.Any]:
    """The wanted parameters that *card* shows: default, current and next value of each."""
    return {
        name: {
            "default": settings[name].default,
            "current": settings[name].current,
            "next": settings[name].next,
        }
        for name in card.wanted
        if name in settings
    }


def planned_settings(change: CardChange) -> dict[str, Setting]:
    """The parameters as they will be when all of *change* is written."""
    settings = dict(change.state.settings)
    for step in change.steps:
        for name in step:
            before = settings.get(name, Setting(None, None, None))
            settings[name] = before._replace(next=_printed(change.card.wanted[name], before))
    return settings


def _printed(wanted: WantedValue, setting: Setting) -> Value:
    """The wanted value as the tool will print it, as far as the present values show that."""
    for value in (setting.next, setting.current, setting.default):
        if isinstance(value, bool) and wanted in (0, 1):
            return wanted == 1
        if isinstance(value, str) and matches(wanted, value):
            return value
    return wanted


def _assignments(card: Card, names: t.Iterable[str]) -> list[str]:
    return [f"{name}={card.wanted[name]}" for name in names]


def _joined(steps: t.Iterable[t.Iterable[str]]) -> tuple[str, ...]:
    return tuple(" ".join(step) for step in steps)


def _pending(host: Host, card: Card, state: CardState, written: t.Container[str]) -> list[str]:
    """The parameters whose current value is not the wanted one.

    If a current value is unknown, the parameter counts if it is *written*.
    """
    pending = []
    for name in card.wanted:
        current = state.settings[name].current if name in state.settings else None
        if current is None:
            current = _running(host, card, name)
        if name in written if current is None else not suffices(card, name, current):
            pending.append(name)
    return pending


def _running(host: Host, card: Card, name: str) -> Value:
    """The current value as the kernel shows it, for firmware that does not tell it."""
    total = host.read(f"{_pci.DEVICES}/{card.address}/sriov_totalvfs")
    if name == "SRIOV_EN":
        return total not in (None, "0")
    return int(total) if name == "NUM_OF_VFS" and total else None


def _unknown(card: Card, state: CardState) -> list[str]:
    names = [n for n in card.wanted if n in state.settings and state.settings[n].current is None]
    if not names:
        return []
    return [
        f"{card.address}: its firmware does not tell the current value of {', '.join(names)}. So "
        "only the kernel's number of VFs and what this run writes tell whether the host has to "
        "reboot; update the firmware"
    ]


def _left(host: Host, tool: Tool, change: CardChange) -> str:
    """Which parameters of a change that failed have been written."""
    card = change.card
    names = [name for step in change.steps for name in step]
    try:
        settings = tool.query(card.address, names)[0].settings
    except SriovError as error:
        return f"What has been written cannot be read: {error}"
    written = [
        name for name in names if name in settings and suffices(card, name, settings[name].next)
    ]
    rest = [name for name in names if name not in written]
    return (
        f"Written for the next start of {card.address}: "
        f"{' '.join(_assignments(card, written)) or 'nothing'}; not written: "
        f"{' '.join(_assignments(card, rest)) or 'nothing'}"
    )


def _functions(host: Host, card: Card) -> list[str]:
    """All PFs of the card, also those that the call does not name."""
    prefix = f"{_pci.card_of(card.address)}."
    return [
        address
        for address in _pci.devices(host)
        if address.startswith(prefix) and not _pci.is_vf(host, address)
    ]


def _hindrance(host: Host, card: Card) -> str | None:
    """Why nobody may reset the card's firmware now; `None` if nothing prevents it."""
    storage, unknown = _storage.devices(host)
    management = _management.devices(host)
    reasons = list(unknown)
    for address in _functions(host, card):
        count = host.read(f"{_pci.DEVICES}/{address}/sriov_numvfs")
        if count not in (None, "0"):
            reasons.append(f"{address} has {count} VFs")
        reasons += [carriers[address] for carriers in (management, storage) if address in carriers]
        reasons += [f"{it.interface} is part of {it}" for it in _pci.uppers(host, address)]
        # A guest may have a port that has no interface here, or another network namespace may.
        if host.link(f"{_pci.DEVICES}/{address}/driver") and not _pci.interfaces(host, address):
            using = _usage.users(host, [_pci.read_device(host, address)])
            reasons += [f"{address}: {text}" for text in using.get(address, ())]
    if reasons:
        return f"{card.address}: its firmware was not reset, because {'; '.join(reasons)}"
    return None


def _reset(host: Host, tool: Tool, card: Card) -> None:
    hindrance = _hindrance(host, card)
    if hindrance:
        raise SriovError(hindrance)
    functions = [address for address in _functions(host, card) if _pci.interfaces(host, address)]
    tool.reset(card.address)
    host.wait_for(
        lambda: all(_pci.interfaces(host, address) for address in functions),
        seconds=_INTERFACE_SECONDS,
    )
