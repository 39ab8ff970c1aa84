# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attributes that a PF keeps for its VFs: MAC, VLAN (VST), spoof checking, rates and others.

A call sends only what differs, in one netlink request for each VF. It compares what the driver then
reports with what was asked. If they differ, it sets the former attributes again.
"""

from __future__ import annotations

import errno
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    Refusal,
    VfRequest,
    VfState,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._text import MAC
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

# A change of a driver or a reset of the VF makes a PF's driver refuse for a moment.
_BUSY = (errno.EBUSY, errno.EAGAIN)
_BUSY_SECONDS = 2.0

# In the order in which the kernel applies them (do_setvfinfo), so that the first that did not
# arrive is the one refused. What stands together goes to the driver as one.
GROUPS = (
    ("mac",),
    ("vlan", "qos", "vlan_proto"),
    ("min_tx_rate", "max_tx_rate"),
    ("spoofchk",),
    ("link_state",),
    ("query_rss",),
    ("trust",),
)

_REMEDIES = {
    errno.EOPNOTSUPP: "the driver does not support it: leave it out, or use another NIC",
    errno.EPROTONOSUPPORT: "the driver does not support this VLAN protocol: use 802.1Q",
    errno.EINVAL: "the driver takes no such value",
    errno.EBUSY: "the VF is being reset or its driver changed: run again",
    errno.EPERM: "root is needed, and CAP_NET_ADMIN inside a container",
}


class Vf(t.NamedTuple):
    """VF *number* of the PF with the interface index *ifindex*, which messages call *pf*."""

    pf: str
    ifindex: int
    number: int

    def __str__(self) -> str:
        return f"VF {self.number} of PF {self.pf}"


class AttributeChange(t.NamedTuple):
    """The differing attributes of one VF before and after, as fields of `_netlink.VfState`."""

    vf: Vf
    before: dict[str, t.Any]
    after: dict[str, t.Any]


def resolve(host: Host, pfs: t.Iterable[str]) -> dict[str, int]:
    """The interface index of each of *pfs*: PCI addresses, permanent MACs, or interface names.

    Raises `SriovError` with all that are not there. An interface need not be on PCI (netdevsim).
    """
    links = {link.name: link.ifindex for link in host.netlink.links()}
    problems = []
    indexes = {}
    for name in sorted(pfs):
        try:
            indexes[name] = links[name] if name in links else links[_interface(host, name)]
        except SriovError as error:
            problems.append(str(error))
    if problems:
        raise SriovError("; ".join(problems))
    return indexes


def _interface(host: Host, selector: str) -> str:
    pf = _pci.find_pf(host, selector)
    if pf.interface is None:
        raise SriovError(
            f"PF {selector} ({pf.address}) has no network interface here: its driver is "
            f"{pf.driver or 'none'}; VF attributes are set through the interface of the PF"
        )
    return pf.interface


def check(wanted: t.Iterable[tuple[str, t.Mapping[str, t.Any]]]) -> None:
    """Raise `SriovError` with all that is wrong in the *wanted* attributes, each with its name."""
    problems = [f"{name}: {text}" for name, values in wanted for text in value_problems(values)]
    if problems:
        raise SriovError("; ".join(problems))


def value_problems(values: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """What no driver could make of *values*."""
    mac = values.get("mac")
    if mac is not None and not MAC.fullmatch(mac):
        yield f"mac {mac!r} is not six hexadecimal bytes separated by colons"
    elif mac is not None and int(mac[:2], 16) & 1:
        yield f"mac {mac} is a multicast address"
    # With 4095 ConnectX hands the choice of the VLAN to the guest, which ends all isolation.
    if not 0 <= values.get("vlan", 0) <= 4094:
        yield f"vlan {values['vlan']} is not within 0 (none) to 4094"
    if not 0 <= values.get("qos", 0) <= 7:
        yield f"qos {values['qos']} is not within 0 to 7"
    for name in ("min_tx_rate", "max_tx_rate"):
        if not 0 <= values.get(name, 0) < 1 << 32:
            yield f"{name} {values[name]} is not a rate in Mbit/s"


def plan(
    wanted: t.Iterable[tuple[Vf, t.Mapping[str, t.Any]]],
    states: t.Mapping[int, t.Mapping[int, VfState]],
) -> list[AttributeChange]:
    """What differs between *states* (by interface index and number) and the *wanted* attributes.

    Raises `SriovError` with all VFs that are not there or listed twice, whose PF has no state, and
    all attributes that the driver does not report and which therefore could not be verified.
    """
    problems = []
    changes = []
    seen = set()
    for vf, values in wanted:
        if vf[1:] in seen:
            problems.append(f"{vf} is listed twice")
        seen.add(vf[1:])
        if vf.ifindex not in states:
            problems.append(f"{vf}: the driver of the PF keeps no attributes for VFs (no VST)")
            continue
        state = states[vf.ifindex].get(vf.number)
        if state is None:
            count = len(states[vf.ifindex])
            problems.append(f"PF {vf.pf} has no VF {vf.number}: it has {count} VFs")
            continue
        known = state._asdict()
        problems += [
            f"{vf}: the driver does not keep {key}, leave it out"
            for key in values
            if known[key] is None
        ]
        differing = {key for key, value in values.items() if known[key] != value}
        if differing:
            groups = [group for group in GROUPS if differing.intersection(group)]
            before = {key: known[key] for group in groups for key in group}
            after = {key: values.get(key, value) for key, value in before.items()}
            if after.get("vlan") == 0:
                if values.get("vlan_proto") == "802.1ad":
                    problems.append(f"{vf}: vlan_proto 802.1ad needs a vlan")
                after["vlan_proto"] = "802.1Q"
            changes.append(AttributeChange(vf, before, after))
    if problems:
        raise SriovError("; ".join(problems))
    return changes


def read(host: Host, ifindexes: t.Iterable[int]) -> dict[int, dict[int, VfState]]:
    """The state of all VFs of the interfaces *ifindexes*."""
    return {ifindex: host.netlink.vf_states(ifindex) for ifindex in set(ifindexes)}


def read_each(
    host: Host, ifindexes: t.Iterable[int]
) -> tuple[dict[int, dict[int, VfState]], dict[int, str]]:
    """As `read`, and why the other interfaces cannot be read, by interface."""
    states = {}
    problems = {}
    for ifindex in set(ifindexes):
        try:
            states[ifindex] = host.netlink.vf_states(ifindex)
        except (SriovError, OSError) as error:
            problems[ifindex] = f"the attributes of its VFs cannot be read: {error}"
    return states, problems


def refuse_held(host: Host, changes: t.Iterable[AttributeChange]) -> None:
    """Raise `SriovError` if a materialization has one of the VFs of *changes*."""
    macs = {link.ifindex: link.permanent_mac for link in host.netlink.links()}
    holders = {
        entry.key: f"materialization {mzid} {entry.has} it for {entry.node}.{entry.nic}"
        for mzid, entries in _ledger.vfs(_ledger.read(host)).items()
        for entry in entries
    }
    problems = [
        f"{item.vf}: {holders[key]}"
        for item in changes
        for key in [(macs.get(item.vf.ifindex), item.vf.number)]
        if key in holders
    ]
    if problems:
        raise SriovError(
            f"{'; '.join(problems)}. Change the materialization, dematerialize it, or set force"
        )


def apply(host: Host, changes: t.Sequence[AttributeChange]) -> None:
    """Make *changes* and read them back. If one is not as asked, undo all of them."""
    problems = _make(host, changes)
    if any(problems):
        told = [problem for problem in problems if problem]
        raise SriovError("; ".join([*told, _restore(host, changes)]))


def attempt(host: Host, changes: t.Sequence[AttributeChange]) -> list[str | None]:
    """Make *changes*, read them back, and undo those that are not as asked.

    Returns what is wrong with each of *changes*, in their order.
    """
    problems = _make(host, changes)
    failed = [item for item, problem in zip(changes, problems) if problem]
    # If a PF went away, the VFs of the others still get their former attributes.
    outcomes = {
        ifindex: _restore(host, [item for item in failed if item.vf.ifindex == ifindex])
        for ifindex in {item.vf.ifindex for item in failed}
    }
    return [
        problem and f"{problem}; {outcomes[item.vf.ifindex]}"
        for item, problem in zip(changes, problems)
    ]


def _make(host: Host, changes: t.Sequence[AttributeChange]) -> list[str | None]:
    """Make *changes*, read them back, and tell what is wrong with each."""
    if not changes:
        return []
    try:
        refusals = _send(host, changes)
    except (SriovError, OSError) as error:
        return [f"{item.vf}: {error}" for item in changes]
    states, unread = read_each(host, (item.vf.ifindex for item in changes))
    problems: list[str | None] = []
    for item, refusal in zip(changes, refusals):
        state = states.get(item.vf.ifindex, {}).get(item.vf.number)
        if state is None:
            why = unread.get(item.vf.ifindex, "it is not there any more")
            problems.append(f"{item.vf}: {why}")
            continue
        wrong = _differing(item.after, state)
        problems.append(_failure(item, refusal, wrong, state) if refusal or wrong else None)
    return problems


def _restore(host: Host, changes: t.Sequence[AttributeChange]) -> str:
    """Set the attributes from before *changes* again, and say how that went."""
    ifindexes = {item.vf.ifindex for item in changes}
    try:
        _send(host, plan([(item.vf, item.before) for item in changes], read(host, ifindexes)))
    except (SriovError, OSError) as error:
        return f"the former attributes could not be restored: {error}"
    states, _unread = read_each(host, ifindexes)
    stuck = []
    for item in changes:
        state = states.get(item.vf.ifindex, {}).get(item.vf.number)
        wrong = (
            ["attributes that cannot be read"] if state is None else _differing(item.before, state)
        )
        if wrong:
            stuck.append(f"{item.vf} still has {wrong[0]}")
    return (
        f"the former attributes could not be restored: {', '.join(stuck)}"
        if stuck
        else "the former attributes are set again"
    )


def _differing(values: t.Mapping[str, t.Any], state: VfState) -> list[str]:
    """What a VF with *state* has where it differs from *values*."""
    known = state._asdict()
    return [f"{name} {known[name]}" for name, value in values.items() if known[name] != value]


def _send(host: Host, changes: t.Sequence[AttributeChange]) -> list[Refusal | None]:
    """Ask for *changes*, again while a VF is busy, and tell what was refused in the end."""
    requests = [VfRequest(item.vf.ifindex, item.vf.number, item.after) for item in changes]
    answers: dict[int, Refusal | None] = {}
    pending = list(range(len(requests)))

    def settled() -> bool:
        sent = host.netlink.set_vfs([requests[number] for number in pending])
        answers.update(zip(pending, sent))
        pending[:] = [
            number
            for number, refusal in zip(list(pending), sent)
            if refusal is not None and refusal.errno in _BUSY
        ]
        return not pending

    host.wait_for(settled, seconds=_BUSY_SECONDS)
    return [answers[number] for number in range(len(requests))]


def _failure(
    item: AttributeChange,
    refusal: Refusal | None,
    wrong: list[str],
    state: VfState,
) -> str:
    if refusal is None:
        asked = ", ".join(f"{attribute} {value}" for attribute, value in item.after.items())
        return f"{item.vf}: the driver accepted {asked} but reports {', '.join(wrong)}"
    known = state._asdict()
    asked = next(
        (
            ", ".join(f"{attribute} {item.after[attribute]}" for attribute in group)
            for group in GROUPS
            if any(known[name] != item.after[name] for name in group if name in item.after)
        ),
        "the last attribute",
    )
    remedy = _REMEDIES.get(refusal.errno, "see the kernel's log")
    return f"{item.vf}: {asked} was refused: {refusal}: {remedy}"
