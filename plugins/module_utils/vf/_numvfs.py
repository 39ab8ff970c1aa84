# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The number of VFs of PFs, now and at every boot.

Order: the PF's link up, no automatic drivers, none of the old VFs, the new VFs. No VF ever gets
a driver that nobody asked for.
"""

from __future__ import annotations

import errno
import os
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import BlockedError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._text import is_comment
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci, _usage

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

UDEV_RULES = "/etc/udev/rules.d/70-mergetb-sriov.rules"

# A driver may take seconds per hundred VFs, and i40e has been seen to block for ever.
_WRITE_SECONDS = 120
_VFS_SECONDS = 120

_HEADER = "# A rule of mergetb.sriov.numvfs for each PF with VFs; it leaves all other lines alone."
_FIRST_HEADER = "# Made by mergetb.sriov.numvfs; changes are lost at its next run."
# What `_rule` writes: the PF, and its count in one of two ways.
_RULE = re.compile(
    r'KERNELS=="([^"]+)", ATTR\{address\}=="([^"]+)".*?(?:sriov_numvfs\}="(\d+)"|echo (\d+) >)'
)

# Drivers that make no VFs while the link is down (systemd issue 40739).
_UP_FIRST = ("bnxt_en",)

_REMEDIES = {
    errno.EBUSY: "the device is busy: another program changes its VFs or uses one; run again when "
    "it has ended",
    # drivers/pci/iov.c: room in the windows of the bridges above, and numbers of their buses.
    errno.ENOMEM: "there is no address space, or no bus number, for so many VFs: enable 'Above 4G "
    "decoding', ARI and SR-IOV in the firmware setup, or add the kernel argument pci=realloc",
    # ice_set_per_vf_res(); openshift/sriov-network-operator#1185.
    errno.ENOSPC: "the card has no MSI-X vectors (or queues) left for so many VFs: its PFs and "
    "their RDMA driver take some for every CPU. Lower the count; or leave it more, by keeping an "
    "RDMA driver that nobody needs (irdma) from loading or by lowering the PF's share (devlink's "
    "msix_vec_per_pf_max), and run again",
    errno.ERANGE: "the device has fewer VFs than that: lower the count, or raise the number in "
    "the card's firmware",
    errno.ENOENT: "its driver offers no SR-IOV: load the vendor's PF driver",
    errno.ENOSYS: "its driver does not create VFs through sysfs: set them in the driver's module "
    "parameters",
    errno.EOPNOTSUPP: "its driver refuses VFs in the present mode: see the kernel's log",
    errno.ETIMEDOUT: "the device or its firmware did not answer the driver: see the kernel's log",
    errno.EIO: "the device or its firmware failed: see the kernel's log",
    errno.EACCES: "root is needed",
    errno.EPERM: "root is needed, and CAP_NET_ADMIN inside a container",
}


class VfCount(t.NamedTuple):
    """*numvfs* VFs of the PF that *pf* names (PCI address, permanent MAC or interface)."""

    pf: str
    numvfs: int


class VfCountChange(t.NamedTuple):
    """What has to be done to one PF; it is nothing where *steps* is empty."""

    pf: _pci.PF
    numvfs: int
    steps: tuple[str, ...]

    @property
    def destroys(self) -> bool:
        """Whether the PF loses the VFs that it has; the kernel changes no count but from 0."""
        return bool(self.pf.numvfs) and self.numvfs != self.pf.numvfs


def plan(pf: _pci.PF, up: bool, wanted: VfCount) -> VfCountChange:
    """The steps from the state of *pf* to *wanted*; raises `SriovError` where there are none.

    *up* tells whether the link of the PF is set up, or there is none: some drivers (bnxt_en) want
    it before VFs can be created, and a VF has no carrier without it.
    """
    name = f"PF {wanted.pf} ({pf.address})"
    if wanted.numvfs == 0 and not pf.numvfs:
        return VfCountChange(pf, 0, ())
    if pf.driver is None:
        raise SriovError(f"{name} has no driver: load the driver of the card, then run again")
    if pf.totalvfs is None or pf.numvfs is None:
        raise SriovError(
            f"{name} offers no VFs: its driver {pf.driver} has no SR-IOV, or SR-IOV is switched "
            "off in the card's firmware (SRIOV_EN on ConnectX) or in the firmware setup"
        )
    if wanted.numvfs < 0:
        raise SriovError(f"{name} cannot have {wanted.numvfs} VFs")
    if wanted.numvfs > pf.totalvfs:
        raise SriovError(
            f"{name} can have {pf.totalvfs} VFs (sriov_totalvfs), {wanted.numvfs} are wanted: "
            "lower the count, or raise the number in the card's firmware"
        )
    steps = []
    if wanted.numvfs and not up:
        steps.append("link up")
    if wanted.numvfs and pf.autoprobe:
        steps.append("sriov_drivers_autoprobe 0")
    if wanted.numvfs != pf.numvfs:
        if pf.numvfs:
            steps.append("sriov_numvfs 0")
        if wanted.numvfs:
            steps.append(f"sriov_numvfs {wanted.numvfs}")
    return VfCountChange(pf, wanted.numvfs, tuple(steps))


class VfCountPlan(t.NamedTuple):
    """The changes of PFs, and the udev rules before and after; `None` for rules that stay.

    *gone* names PFs that are not on this host and are to have no VFs: only their rules are left.
    """

    changes: list[VfCountChange]
    gone: list[str]
    rules_before: str
    rules: str | None

    @property
    def steps(self) -> dict[str, list[str]]:
        """What is done, by the PF or file that it is done to."""
        steps = {change.pf.address: list(change.steps) for change in self.changes if change.steps}
        if self.rules not in (None, self.rules_before):
            steps[UDEV_RULES] = ["write" if self.rules else "remove"]
        return steps


def plan_host(
    host: Host,
    wanted: t.Sequence[VfCount],
    *,
    at_boot: bool = True,
    read: t.Callable[[Host, str], _pci.PF] = _pci.find_pf,
) -> VfCountPlan:
    """Plan the PFs of *wanted*, and with *at_boot* that every boot makes their VFs.

    *read* tells how a PF is, which is not as it is now where that is to change before.
    """
    before = (host.read_bytes(UDEV_RULES) or b"").decode("utf-8", "surrogateescape")
    gone = [item.pf for item in wanted if not item.numvfs and _is_gone(host, item.pf, before)]
    changes = plan_all(host, [item for item in wanted if item.pf not in gone], read)
    plan = VfCountPlan(
        changes, gone, before, udev_rules(before, changes, gone) if at_boot else None
    )
    if UDEV_RULES in plan.steps:
        host.require_replaceable(UDEV_RULES)
    return plan


def _is_gone(host: Host, selector: str, rules: str) -> bool:
    """Whether the PF with this address or MAC is not on this host, as far as that can be told."""
    name = selector.strip().lower()
    if _pci.is_address(name):
        return not host.exists(f"{_pci.DEVICES}/{name}")
    if not _pci.is_mac(name) or name in {link.permanent_mac for link in host.netlink.links()}:
        return False
    places = [rule.address for rule in map(_parse, _lines(rules)) if rule and rule.mac == name]
    for address in places:
        # Without driver, or with its interface in another network namespace, it shows no MAC.
        if host.exists(f"{_pci.DEVICES}/{address}") and not _pci.interfaces(host, address):
            raise SriovError(
                f"PF {selector} is {address} by its udev rule, which has no network interface "
                "here: name it by that address"
            )
    return True


def plan_all(
    host: Host,
    wanted: t.Sequence[VfCount],
    read: t.Callable[[Host, str], _pci.PF] = _pci.find_pf,
) -> list[VfCountChange]:
    """Read the PFs of *wanted* and plan each; raises `SriovError` with all that is wrong."""
    up = {link.name for link in host.netlink.links() if link.up}
    problems = []
    changes = []
    ledger = _ledger.read(host)
    for item in wanted:
        try:
            whole = _ledger.function_at(ledger, item.pf.strip().lower())
            # The interface of a PF that a guest has is not here.
            pf = read(host, whole[1].address if whole else item.pf)
            whole = whole or _ledger.function_at(ledger, pf.address, pf.mac)
            if whole and item.numvfs:
                mzid, entry = whole
                raise SriovError(
                    f"PF {item.pf}: materialization {mzid} {entry.has} the whole PF for "
                    f"{entry.guest}: give the PF no VFs (sriov_numvfs), or dematerialize that first"
                )
            changes.append(plan(pf, pf.interface is None or pf.interface in up, item))
        except SriovError as error:
            problems.append(str(error))
    addresses = [change.pf.address for change in changes]
    problems += [
        f"PF {address} is listed twice"
        for address in sorted(set(addresses))
        if addresses.count(address) > 1
    ]
    if problems:
        raise SriovError("; ".join(problems))
    return changes


def in_use(host: Host, plan: VfCountPlan) -> list[str]:
    """Who uses or holds VFs that *plan* destroys or that no boot is going to make again."""
    doomed = [change.pf for change in plan.changes if change.destroys]
    problems = [line for used in _usage.used_vfs(host, doomed) for line in used.lines]
    return problems + _missed(host, plan)


def _missed(host: Host, plan: VfCountPlan) -> list[str]:
    """The VFs of the ledger that are not there, and that with *plan* no boot makes any more."""
    rules = counts_at_boot(host) if plan.rules is not None else {}
    # Each PF: its name here and in the ledger, its count, and the first VF unknown to `_usage`.
    lowered = [
        (change.pf.address, change.pf.mac or change.pf.address, change.numvfs, _known(change))
        for change in plan.changes
    ] + [(name, name.strip().lower(), 0, 0) for name in plan.gone]
    lowered = [
        item
        for item in lowered
        if any(item[1] in names and count > item[2] for names, count in rules.items())
    ]
    return [
        f"VF {entry.vf} of PF {pf}: materialization {mzid} {entry.has} it for "
        f"{entry.node}.{entry.nic}"
        for mzid, entries in (_ledger.vfs(_ledger.read(host)).items() if lowered else ())
        for entry in entries
        for pf, name, count, known in lowered
        if name in (entry.pf_mac, entry.pf_address) and entry.vf >= max(count, known)
    ]


def _known(change: VfCountChange) -> int:
    """How many VFs of the PF `_usage` finds in the ledger, which it looks into by MAC."""
    return len(change.pf.vfs) if change.pf.mac else 0


def refuse(problems: t.Sequence[str]) -> None:
    """Raise `SriovError` where there are *problems* of `in_use`."""
    if problems:
        raise SriovError(
            "changing the number of VFs destroys all VFs of a PF, and some are in use: "
            + "; ".join(problems)
            + ". Free them first, or set force (in the role: sriov_force)"
        )


def apply_all(host: Host, plan: VfCountPlan, used: t.Sequence[str] = ()) -> None:
    """Carry out *plan*, the rules last; *used* is what `in_use` said of it."""
    for change in plan.changes:
        apply(host, change, used)
    if plan.rules in (None, plan.rules_before):
        return
    if plan.rules:
        host.replace(UDEV_RULES, plan.rules)
    else:
        host.remove(UDEV_RULES)


def apply(host: Host, change: VfCountChange, used: t.Sequence[str] = ()) -> None:
    """Carry out the steps of *change* and wait until its VFs are there.

    Raises `SriovError` with the remedy where a step fails; *used* tells what it may wait for.
    """
    for step in change.steps:
        attribute, _space, value = step.partition(" ")
        path = f"{_pci.DEVICES}/{change.pf.address}/{attribute}"
        try:
            if attribute == "link":
                _set_up(host, change.pf)
            elif attribute == "sriov_numvfs":
                host.write(path, value, seconds=_WRITE_SECONDS)
                _await_vfs(host, change.pf, int(value))
            else:
                host.write(path, value)
        except OSError as error:
            number = error.errno or errno.EIO
            remedy = _REMEDIES.get(number, "see the kernel's log")
            if isinstance(error, BlockedError):
                remedy = _blocked(used if value == "0" else ())
            raise SriovError(
                f"PF {change.pf.address}: {step} failed: {os.strerror(number)}: {remedy}"
            ) from error


def _blocked(users: t.Sequence[str]) -> str:
    """What helps where the kernel has not ended a write, which *users* of VFs may keep it from."""
    if users:
        return (
            "the kernel waits until all have let go of the VFs: end these first: "
            f"{'; '.join(users)}"
        )
    return (
        f"the driver did not answer within {_WRITE_SECONDS} s, and the write still blocks in the "
        "kernel: see the kernel's log, and restart the host"
    )


def _set_up(host: Host, pf: _pci.PF) -> None:
    for link in host.netlink.links():
        if link.name == pf.interface:
            host.netlink.set_up(link.ifindex)


def _await_vfs(host: Host, pf: _pci.PF, count: int) -> None:
    def complete() -> bool:
        vfs = _pci.vf_addresses(host, pf.address)
        return len(vfs) == count and all(
            host.exists(f"{_pci.DEVICES}/{address}/physfn") for address in vfs
        )

    if not host.wait_for(complete, seconds=_VFS_SECONDS):
        there = len(_pci.vf_addresses(host, pf.address))
        raise SriovError(
            f"PF {pf.address}: {there} of {count} VFs appeared within {_VFS_SECONDS} s: "
            "see the kernel's log"
        )


class Rule(t.NamedTuple):
    """The udev rule that makes *numvfs* VFs of the PF with this address and permanent MAC."""

    address: str
    mac: str
    numvfs: int


def counts_at_boot(host: Host) -> dict[tuple[str, str | None], int]:
    """The numbers of VFs that the udev rules of this host make, by address and MAC of the PF."""
    text = (host.read_bytes(UDEV_RULES) or b"").decode("utf-8", "surrogateescape")
    rules = [_parse(line) for line in _lines(text)]
    return {(rule.address, rule.mac): rule.numvfs for rule in rules if rule}


def _lines(text: str) -> list[str]:
    """The lines of udev rules, each with those that continue it and with its newline."""
    lines: list[str] = []
    goes_on = False
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        if goes_on:
            lines[-1] += line
        else:
            lines.append(line)
        # udev skips a comment wherever it stands.
        if not is_comment(line):
            goes_on = line.rstrip("\n").endswith("\\")
    return lines


def _parse(line: str) -> Rule | None:
    """What *line* says where it is a rule of this module."""
    found = None if is_comment(line) else _RULE.search(line)
    return Rule(found[1], found[2], int(found[3] or found[4])) if found else None


def udev_rules(before: str, changes: t.Iterable[VfCountChange], gone: t.Iterable[str] = ()) -> str:
    """The udev rules *before*, with those of *changes* and without those of the PFs *gone*.

    All other lines stay; empty where nothing would be left. Raises `SriovError` for a PF with no
    MAC to tell it by.
    """
    names = {name.strip().lower() for name in gone}
    rules: dict[str | None, str] = {}
    for change in changes:
        names.add(change.pf.mac or change.pf.address)
        if change.numvfs:
            rules[change.pf.mac] = _rule(change.pf, change.numvfs)
    lines = []
    for line in _lines(before):
        rule = _parse(line)
        if rule and not names.isdisjoint(rule[:2]):
            line = rules.pop(rule.mac, "")
        if line and line.rstrip("\n") not in (_HEADER, _FIRST_HEADER):
            lines.append(line)
    text = "".join(lines)
    if rules and text and not text.endswith("\n"):
        text += "\n"
    if rules and text.endswith("\\\n"):
        text += "\n"
    text += "".join(rules.values())
    return f"{_HEADER}\n{text}" if any(map(_parse, _lines(text))) else text


def _rule(pf: _pci.PF, count: int) -> str:
    """The line that makes *count* VFs of *pf* at boot.

    The rule holds for one card in one slot: both the PCI address and the MAC must match, so another
    card in the slot gets no VFs. It acts when the interface appears, because the PF's driver is
    ready then. It acts again on later events, and the kernel ignores an equal count. The rule sets
    the link up last, because udev can rename an interface only while it is down. Some drivers want
    the link up first; for them the rule writes the count after that.
    """
    if pf.mac is None:
        raise SriovError(
            f"PF {pf.address} has no network interface with a permanent MAC here, so no udev "
            "rule can make its VFs at boot: set at_boot to false"
        )
    # Not "device/", which of a virtio interface is no PCI function.
    function = f"[pci/{pf.address}]"
    numvfs = f"{_pci.DEVICES}/{pf.address}/sriov_numvfs"
    up = 'RUN+="/sbin/ip link set dev $name up"'
    late = [up, f"RUN+=\"/bin/sh -c 'echo {count} > {numvfs}'\""]
    early = [f'ATTR{{{function}sriov_numvfs}}="{count}"', up]
    terms = [
        'ACTION=="add|change|move", SUBSYSTEM=="net"',
        f'KERNELS=="{pf.address}", ATTR{{address}}=="{pf.mac}"',
        f'ATTR{{{function}sriov_drivers_autoprobe}}="0"',
        *(late if pf.driver in _UP_FIRST else early),
    ]
    return ", ".join(terms) + "\n"
