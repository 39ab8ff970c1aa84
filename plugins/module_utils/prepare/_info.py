# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has of SR-IOV, as plain data."""

from __future__ import annotations

import platform
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _iommu
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _card, _tool
from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _kernel
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    NoVfAttributesError,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import (
    _ledger,
    _lldp,
    _management,
    _pci,
    _ports,
    _usage,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _judge
from ansible_collections.mergetb.sriov.plugins.module_utils.vdpa import _state
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _driver

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _output
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
        Link,
        VfState,
    )

_BRIDGE_CLASS = "0x06"


class _Pf(t.NamedTuple):
    """A PF as read: *devices* and *states* are those of its VFs, by index."""

    facts: _judge.Facts
    numa_node: int | None
    vf_device: str | None
    devices: dict[int, _pci.Device]
    states: dict[int, VfState]
    problem: str | None


def gather(
    host: Host, selectors: t.Sequence[str] | None, *, firmware: bool = False
) -> dict[str, t.Any]:
    """What the host is and what its ports, PFs, VFs and ledger are.

    The PFs are those that *selectors* name, or all; with *firmware* their cards are asked too, and
    to all belong also those whose firmware keeps SR-IOV off. The keys are those in RETURN of
    `sriov_info`. What all parts need is read once, so that the time is linear in the number of VFs.
    """
    links = host.netlink.links()
    if selectors is None:
        found = _pci.all_pfs(host, links)
        if firmware:
            found = sorted([*found, *_without_sriov(host, found, links)])
    else:
        found = [_pci.find_pf(host, selector, links) for selector in selectors]
    indexes = {link.name: link.ifindex for link in links}
    pfs = [_read_pf(host, pf, indexes.get(pf.interface or "")) for pf in found]
    vfs = [device for pf in pfs for device in pf.devices.values()]
    users = _usage.users(host, vfs)
    mates = _group_mates(host, vfs)
    answers = _firmware(host, pfs) if firmware else {}
    neighbours = _lldp.neighbours(host)
    ledger = _ledger.read(host)
    return {
        "platform": _platform(host),
        "iommu_groups": len(host.names("/sys/kernel/iommu_groups")),
        "lldp": neighbours is not None,
        "ports": _describe_ports(host, links, neighbours or {}),
        "pfs": [_describe_pf(pf, answers, users, mates, ledger) for pf in pfs],
        "vdpa": _vdpa(host),
        "materializations": _ledger.described(ledger),
    }


def _vdpa(host: Host) -> dict[str, t.Any] | None:
    management = _state.management_devices(host)
    if management is None:
        return None
    return {
        "management_devices": [item._asdict() for item in management.values()],
        "devices": [item._asdict() for item in _state.devices(host).values()],
    }


def _platform(host: Host) -> dict[str, t.Any]:
    iommu = _iommu.platform(host)
    return {
        "arch": platform.machine(),
        "kernel": host.read("/proc/sys/kernel/osrelease"),
        "iommu": iommu.name if iommu else None,
        "iommu_effective": _iommu.effective(host),
        "iommufd": host.exists("/dev/iommu"),
        "lockdown": _kernel.lockdown(host),
    }


def _describe_ports(
    host: Host, links: t.Sequence[Link], neighbours: t.Mapping[str, _lldp.Neighbour]
) -> list[dict[str, t.Any]]:
    carriers = _management.devices(host, links)
    ports = []
    for port in _ports.read(host, links):
        neighbour = neighbours.get(port.interface or "")
        ports.append(
            {
                **port._asdict(),
                "pcie": port.pcie._asdict() if port.pcie else None,
                "management": carriers.get(port.address),
                "neighbour": neighbour._asdict() if neighbour else None,
            }
        )
    return ports


def _without_sriov(host: Host, pfs: t.Iterable[_pci.PF], links: t.Sequence[Link]) -> list[_pci.PF]:
    """The functions of cards whose firmware can be asked why the kernel offers no SR-IOV."""
    known = {pf.address for pf in pfs}
    return [
        _pci.read_pf(host, address, links)
        for address in _pci.devices(host)
        if address not in known
        and not _pci.is_vf(host, address)
        and _has_firmware(_pci.read_identity(host, address))
    ]


def _has_firmware(identity: _pci.Identity) -> bool:
    return identity.vendor == _card.VENDOR and identity.device_class.startswith(_pci.NETWORK_CLASS)


def _firmware(host: Host, pfs: t.Iterable[_Pf]) -> dict[str, dict[str, t.Any]]:
    """What the firmware of each card that has one says of SR-IOV, by the address of the card."""
    cards: dict[str, str] = {}
    for pf in pfs:
        if pf.facts.vendor == _card.VENDOR:
            cards.setdefault(_pci.card_of(pf.facts.pf.address), pf.facts.pf.address)
    if not cards:
        return {}
    try:
        tool = _tool.find(host, "auto")
    except SriovError as error:
        return {card: _answer({}, str(error)) for card in cards}
    return {card: _ask(tool, address) for card, address in cards.items()}


def _ask(tool: _tool.Tool, address: str) -> dict[str, t.Any]:
    try:
        answer, absent = tool.query(address, _card.VFS)
    except SriovError as error:
        return _answer({}, str(error))
    problem = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
    return _answer(answer.settings, problem or None)


def _answer(settings: t.Mapping[str, _output.Setting], problem: str | None) -> dict[str, t.Any]:
    enabled, numvfs = (settings[name].current if name in settings else None for name in _card.VFS)
    return {"enabled": enabled, "numvfs": numvfs, "problem": problem}


def _group_mates(host: Host, vfs: t.Iterable[_pci.Device]) -> dict[str, list[str]]:
    """The functions that keep each of *vfs* from a guest of its own, by the VF's address.

    These are the other members of its IOMMU group, except bridges, which VFIO accepts there.
    """
    members: dict[str, list[str]] = {}
    for device in vfs:
        if device.iommu_group and device.iommu_group not in members:
            found = _pci.group_members(host, device.iommu_group)
            members[device.iommu_group] = [
                address for address in found if len(found) > 1 and not _is_viable(host, address)
            ]
    return {
        device.address: [
            address
            for address in members.get(device.iommu_group or "", [])
            if address != device.address
        ]
        for device in vfs
    }


def _is_viable(host: Host, address: str) -> bool:
    """Whether the function is a bridge without a driver that could use the group's memory."""
    return (
        _pci.read_identity(host, address).device_class.startswith(_BRIDGE_CLASS)
        and host.link(f"{_pci.DEVICES}/{address}/driver") in _driver.VIABLE
    )


def _read_pf(host: Host, pf: _pci.PF, ifindex: int | None) -> _Pf:
    states: dict[int, VfState] = {}
    problem = None
    if ifindex is not None:
        try:
            states = host.netlink.vf_states(ifindex)
        except NoVfAttributesError as error:
            problem = str(error) if pf.vfs else None
        except (SriovError, OSError) as error:
            problem = str(error)
        else:
            if len(states) != len(pf.vfs):
                problem = "its VFs are just being made or destroyed: look again"
    elif pf.vfs:
        problem = "the PF has no network interface, which VF attributes are read through"
    devices = {}
    for index, address in enumerate(pf.vfs):
        try:
            devices[index] = _pci.read_device(host, address)
        except (SriovError, OSError) as error:  # its VFs are being destroyed
            problem = str(error)
    vf_device = host.read(f"{_pci.DEVICES}/{pf.address}/sriov_vf_device")
    return _Pf(
        facts=_judge.read(host, pf),
        numa_node=_pci.read_device(host, pf.address).numa_node,
        vf_device=f"0x{vf_device.strip()}" if vf_device else None,
        devices=devices,
        states=states,
        problem=problem,
    )


def _describe_pf(
    pf: _Pf,
    answers: t.Mapping[str, dict[str, t.Any]],
    users: t.Mapping[str, list[str]],
    mates: t.Mapping[str, list[str]],
    ledger: _ledger.Ledger,
) -> dict[str, t.Any]:
    facts = pf.facts
    # A PF that a guest has as a whole shows its MAC no more.
    whole = _ledger.function_at(ledger, facts.pf.address)
    return {
        "address": facts.pf.address,
        "interface": facts.pf.interface,
        "mac": facts.pf.mac or (whole[1].pf_mac if whole else None),
        "vendor": facts.vendor,
        "device": facts.device,
        "vf_device": pf.vf_device,
        "driver": facts.pf.driver,
        "iommu_group": facts.iommu_group,
        "numa_node": pf.numa_node,
        "numvfs": facts.pf.numvfs,
        "totalvfs": facts.pf.totalvfs,
        "autoprobe": facts.pf.autoprobe,
        "capabilities": facts.capabilities._asdict(),
        "acs": facts.acs,
        "group_mates": list(facts.group_mates),
        "firmware": answers.get(_pci.card_of(facts.pf.address)),
        "problem": pf.problem,
        "vfs": [
            {
                "index": index,
                "address": device.address,
                "driver": device.driver,
                "iommu_group": device.iommu_group,
                "numa_node": device.numa_node,
                **(pf.states[index]._asdict() if index in pf.states else {}),
                "users": users.get(device.address, []),
                "group_mates": mates[device.address],
            }
            for index, device in pf.devices.items()
        ],
    }
