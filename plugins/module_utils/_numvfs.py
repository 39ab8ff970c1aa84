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

from ansible_collections.mergetb.sriov.plugins.module_utils import _pci, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host

UDEV_RULES = "/etc/udev/rules.d/70-mergetb-sriov.rules"

# A driver may take seconds per hundred VFs, and i40e has been seen to block for ever.
_WRITE_SECONDS = 120
_VFS_SECONDS = 120

# What `udev_rules` writes: the PF, and its count in one of two ways.
_RULE = re.compile(r'KERNELS=="([^"]+)".*?(?:sriov_numvfs\}="(\d+)"|echo (\d+) >)')

# Drivers that make no VFs while the link is down (systemd issue 40739).
_UP_FIRST = ("bnxt_en",)

_REMEDIES = {
    errno.EBUSY: "the device is busy: another program changes its VFs or uses one; run again when "
    "it has ended",
    errno.ENOMEM: "there is no address space for so many VFs: enable 'Above 4G decoding' and "
    "SR-IOV in the firmware setup, or add the kernel argument pci=realloc",
    errno.ERANGE: "the device has fewer VFs than that: lower the count, or raise the number in "
    "the card's firmware",
    errno.ENOENT: "its driver offers no SR-IOV: load the vendor's PF driver",
    errno.ENOSYS: "its driver does not create VFs through sysfs: set them in the driver's module "
    "parameters",
    errno.EOPNOTSUPP: "its driver refuses VFs in the present mode: see the kernel's log",
    errno.ETIMEDOUT: "the driver did not answer; the write still blocks in the kernel: see the "
    "kernel's log, and restart the host",
    errno.EIO: "the device or its firmware failed: see the kernel's log",
    errno.EACCES: "root is needed",
    errno.EPERM: "root is needed, and CAP_NET_ADMIN inside a container",
}


class Wanted(t.NamedTuple):
    """*numvfs* VFs of the PF that *pf* names (PCI address, permanent MAC or interface)."""

    pf: str
    numvfs: int


class Change(t.NamedTuple):
    """What has to be done to one PF; it is nothing where *steps* is empty."""

    pf: _pci.PF
    numvfs: int
    steps: tuple[str, ...]


def plan(pf: _pci.PF, up: bool, wanted: Wanted) -> Change:
    """The steps from the state of *pf* to *wanted*; raises `SriovError` where there are none.

    *up* tells whether the link of the PF is set up, or there is none: some drivers (bnxt_en) want
    it before VFs can be created, and a VF has no carrier without it.
    """
    name = f"PF {wanted.pf} ({pf.address})"
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
    return Change(pf, wanted.numvfs, tuple(steps))


class Plan(t.NamedTuple):
    """The changes of PFs, and the udev rules before and after; `None` for rules that stay."""

    changes: list[Change]
    rules_before: str
    rules: str | None

    @property
    def steps(self) -> dict[str, list[str]]:
        """What is done, by the PF or file that it is done to."""
        steps = {change.pf.address: list(change.steps) for change in self.changes if change.steps}
        if self.rules not in (None, self.rules_before):
            steps[UDEV_RULES] = ["write"]
        return steps


def plan_host(
    host: Host,
    wanted: t.Sequence[Wanted],
    *,
    at_boot: bool = True,
    read: t.Callable[[Host, str], _pci.PF] = _pci.find_pf,
) -> Plan:
    """Plan the PFs of *wanted*, and with *at_boot* that every boot makes their VFs.

    *read* tells how a PF is, which is not as it is now where that is to change before.
    """
    changes = plan_all(host, wanted, read)
    rules = udev_rules((change.pf, change.numvfs) for change in changes) if at_boot else None
    return Plan(changes, (host.read_bytes(UDEV_RULES) or b"").decode("utf-8", "replace"), rules)


def plan_all(
    host: Host,
    wanted: t.Sequence[Wanted],
    read: t.Callable[[Host, str], _pci.PF] = _pci.find_pf,
) -> list[Change]:
    """Read the PFs of *wanted* and plan each; raises `SriovError` with all that is wrong."""
    up = {link.name for link in host.netlink.links() if link.up}
    problems = []
    changes = []
    for item in wanted:
        try:
            pf = read(host, item.pf)
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


def refuse_used(host: Host, changes: t.Iterable[Change]) -> None:
    """Raise `SriovError` where one of *changes* would destroy a VF that somebody uses."""
    destroyed = {
        address: f"VF {vf} ({address}) of PF {change.pf.address}"
        for change in changes
        if "sriov_numvfs 0" in change.steps
        for vf, address in enumerate(change.pf.vfs)
    }
    problems = [
        f"{destroyed[address]}: {text}"
        for address, texts in _usage.holders(host, destroyed).items()
        for text in texts
    ]
    if problems:
        raise SriovError(
            "changing the number of VFs destroys all VFs of a PF, and some are in use: "
            + "; ".join(problems)
            + ". Free them first, or set force"
        )


def apply_all(host: Host, plan: Plan) -> None:
    """Carry out *plan*, the rules last."""
    for change in plan.changes:
        apply(host, change)
    if plan.rules not in (None, plan.rules_before):
        host.replace(UDEV_RULES, plan.rules)


def apply(host: Host, change: Change) -> None:
    """Carry out the steps of *change* and wait until its VFs are there.

    Raises `SriovError` with the remedy where a step fails.
    """
    for step in change.steps:
        attribute, _space, value = step.partition(" ")
        path = f"{_pci.DEVICES}/{change.pf.address}/{attribute}"
        try:
            if attribute == "link":
                _set_up(host, change.pf)
            elif attribute == "sriov_numvfs":
                host.write_within(path, value, seconds=_WRITE_SECONDS)
                _await_vfs(host, change.pf, int(value))
            else:
                host.write(path, value)
        except OSError as error:
            number = error.errno or errno.EIO
            remedy = _REMEDIES.get(number, "see the kernel's log")
            raise SriovError(
                f"PF {change.pf.address}: {step} failed: {os.strerror(number)}: {remedy}"
            ) from error


def _set_up(host: Host, pf: _pci.PF) -> None:
    for link in host.netlink.links():
        if link.name == pf.interface:
            host.netlink.set_up(link.index)


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


def counts_at_boot(host: Host) -> dict[str, int]:
    """The numbers of VFs that the udev rules of this host make, by the address of the PF."""
    text = (host.read_bytes(UDEV_RULES) or b"").decode("utf-8", "replace")
    return {address: int(early or late) for address, early, late in _RULE.findall(text)}


def udev_rules(pfs: t.Iterable[tuple[_pci.PF, int]]) -> str:
    """The udev rules that make the VFs of each PF at boot.

    A rule holds for one card in one slot: both the PCI address and the MAC must be right, so that
    another card in the slot gets no VFs. It acts when the interface appears, which is when the
    PF's driver is ready, and again on what may follow that; the kernel takes an equal count for
    nothing to do. The link comes last, since udev can rename an interface only while it is down;
    for the drivers that want it first the count is written after it.
    Raises `SriovError` for a PF with no MAC to tell it by.
    """
    lines = ["# Made by mergetb.sriov.numvfs; changes are lost at its next run."]
    for pf, count in pfs:
        if count and pf.mac is None:
            raise SriovError(
                f"PF {pf.address} has no network interface with a permanent MAC here, so no udev "
                "rule can make its VFs at boot: set at_boot to false"
            )
        if count:
            # Not "device/", which of a virtio interface is no PCI function.
            function = f"[pci/{pf.address}]"
            numvfs = f"{_pci.DEVICES}/{pf.address}/sriov_numvfs"
            up = 'RUN+="/sbin/ip link set dev $name up"'
            late = [up, f"RUN+=\"/bin/sh -c 'echo {count} > {numvfs}'\""]
            early = [f'ATTR{{{function}sriov_numvfs}}="{count}"', up]
            lines.append(
                ", ".join(
                    [
                        'ACTION=="add|change|move", SUBSYSTEM=="net"',
                        f'KERNELS=="{pf.address}", ATTR{{address}}=="{pf.mac}"',
                        f'ATTR{{{function}sriov_drivers_autoprobe}}="0"',
                        *(late if pf.driver in _UP_FIRST else early),
                    ]
                )
            )
    return "\n".join(lines) + "\n"
