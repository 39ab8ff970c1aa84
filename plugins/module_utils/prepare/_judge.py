# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a host can give the VFs that its model promises, and what is in the way."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _iommu
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _vendors
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _management, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _leftovers

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

ERROR = "error"
WARNING = "warning"

IOMMU = "IOMMU"
"""The element of a problem of the whole host."""

# What a device of stackhpc.linux says, and how that is said here.
_OF_STACKHPC = {
    "numvfs": "write max_vfs in place of numvfs",
    "numvfs_required_by": "name the units of numvfs_required_by in sriov_restore_before",
    "numvfs_driver": "leave numvfs_driver out",
    "on_boot_configuration_enabled": "leave a PF without VFs at a boot out of sriov_pfs",
}

# A severity, a cause and a remedy.
_Finding = tuple[str, str, str]

_NETWORK_CLASS = "0x02"

# What lies over a PF does not know of its VFs, which are ports of the NIC's own switch.
_UPPER_REMEDIES = {
    "bond": "its VFs do not change over with the bond, and lose the network where this link fails; "
    "use a PF that is in none, or expect that",
    "bridge": "what is behind it is unknown to the NIC's switch, so VFs may not reach it; use a PF "
    "that is in none, or tell the NIC (bridge fdb add MAC dev PF self)",
    "Open vSwitch": "what is behind it is unknown to the NIC's switch, so VFs may not reach it; "
    "use a PF that is in none, or tell the NIC (bridge fdb add MAC dev PF self)",
    "": "a VF on the same VLAN is beside it on one network; see that this is meant",
}


class Problem(t.NamedTuple):
    """Something about *element* that prevents (`error`) or endangers (`warning`) VFs."""

    severity: str
    element: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.element}: {self.cause}; {self.remedy}"


class WantedPf(t.NamedTuple):
    """A PF of the model: its *name*, what it is found by, the model's count and the one to make."""

    name: str
    pf: str
    max_vfs: int
    numvfs: int


class Facts(t.NamedTuple):
    """What the host shows of a PF.

    *acs* tells whether all ports above it have Access Control Services, which keep its VFs in
    groups of their own; `None` where there is no such port or its configuration cannot be read.
    *group_mates* are the other devices in its IOMMU group. *uppers* are the interfaces that its own
    are part of.
    """

    pf: _pci.PF
    vendor: str
    device: str
    capabilities: _pci.Capabilities
    acs: bool | None
    iommu_group: str | None
    group_mates: tuple[str, ...]
    uppers: tuple[_pci.Upper, ...] = ()


def wanted(pfs: t.Sequence[t.Mapping[str, t.Any]], numvfs: object) -> list[WantedPf]:
    """The PFs of the host variable `sriov_pfs`, with the counts of the variable `sriov_numvfs`.

    *numvfs* is one count for all PFs, or has counts by name. A PF is found by its MAC, and where
    the model has none by its name. Raises `SriovError` for an entry without the keys that are
    needed and for a count that is none.
    """
    if isinstance(numvfs, str) and numvfs.lstrip().startswith("{"):
        # As ansible-playbook -e sriov_numvfs={"ens1f0":8} leaves it.
        with contextlib.suppress(ValueError):
            numvfs = json.loads(numvfs)
    if not isinstance(numvfs, t.Mapping):
        count = _count(numvfs, "sriov_numvfs")
        numvfs = {pf["name"]: count for pf in pfs if isinstance(pf.get("name"), str)}
    result = []
    for index, pf in enumerate(pfs):
        element = f"sriov_pfs[{index}]"
        name = pf.get("name")
        if not isinstance(name, str) or not name:
            raise SriovError(f"{element} has no name: give each PF a name")
        foreign = [remedy for key, remedy in _OF_STACKHPC.items() if key in pf]
        if foreign:
            raise SriovError(
                f"{element} ({name}) is a device as stackhpc.linux has it: {'; '.join(foreign)}"
            )
        max_vfs = _count(pf.get("max_vfs"), f"{element} ({name}): max_vfs")
        result.append(
            WantedPf(
                name=name,
                pf=pf.get("mac") or name,
                max_vfs=max_vfs,
                numvfs=_count(numvfs.get(name, max_vfs), f"sriov_numvfs: {name}"),
            )
        )
    unknown = sorted(set(numvfs) - {pf.name for pf in result})
    if unknown:
        raise SriovError(
            f"sriov_numvfs names {', '.join(unknown)}, which is no PF of sriov_pfs "
            f"({', '.join(pf.name for pf in result) or 'empty'})"
        )
    return result


def _count(value: object, element: str) -> int:
    text = "" if isinstance(value, bool) else str(value)
    if not re.fullmatch("[0-9]{1,9}", text):
        raise SriovError(f"{element} is {repr(value)[:100]}, not a number of VFs")
    return int(text)


def read(host: Host, pf: _pci.PF) -> Facts:
    ports = []
    port = _pci.upstream(host, pf.address)
    while port is not None:
        ports.append(_pci.read_capabilities(host, port))
        port = _pci.upstream(host, port)
    identity = _pci.read_identity(host, pf.address)
    group = _pci.read_device(host, pf.address).iommu_group
    members = _pci.group_members(host, group) if group else []
    return Facts(
        pf=pf,
        vendor=identity.vendor,
        device=identity.device,
        capabilities=_pci.read_capabilities(host, pf.address),
        acs=all(port.acs for port in ports) if ports and all(p.extended for p in ports) else None,
        iommu_group=group,
        group_mates=tuple(address for address in members if address != pf.address),
        uppers=tuple(_pci.uppers(host, pf.address)),
    )


def judge(wanted: WantedPf, facts: Facts, carries: str | None, *, firmware: bool) -> list[Problem]:
    """What is wrong with a PF; *carries* tells what management traffic goes through it, if any.

    *firmware* tells whether the roles of `FIRMWARE` are going to run.
    """
    # A PF that is given up needs nothing.
    prevents = ERROR if wanted.numvfs or carries else WARNING
    findings = (
        *_of_use(facts, carries, prevents),
        *_of_count(wanted, facts, prevents, firmware=firmware),
        *_of_bus(facts),
        *_of_uppers(wanted, facts),
    )
    element = f"{wanted.name} ({facts.pf.address})"
    return [Problem(severity, element, cause, remedy) for severity, cause, remedy in findings]


def _of_use(facts: Facts, carries: str | None, prevents: str) -> t.Iterator[_Finding]:
    """Whether the PF is free for VFs, and has a driver that can make them."""
    if carries:
        yield (
            prevents,
            f"it is the management NIC: {carries}",
            "manage the host through another NIC, or take this PF out of sriov_pfs",
        )
    if facts.pf.driver is None:
        yield prevents, "it has no driver", "load the driver of the card"


def _of_count(
    wanted: WantedPf, facts: Facts, prevents: str, *, firmware: bool
) -> t.Iterator[_Finding]:
    """Whether the PF offers as many VFs as are wanted."""
    totalvfs = facts.pf.totalvfs
    tool = _vendors.FIRMWARE.get(facts.vendor) if firmware else None
    if totalvfs is None and facts.capabilities.sriov:
        yield (
            prevents,
            "it has the SR-IOV capability, but the kernel offers no VFs",
            "enable SR-IOV in the firmware setup, and see the kernel's log",
        )
    elif tool and wanted.numvfs > (totalvfs or 0):
        yield (
            WARNING,
            f"{wanted.numvfs} VFs are wanted, the NIC offers {totalvfs or 'none'}",
            f"the role {tool.role} sets {tool.enable} and {tool.numvfs} in its firmware",
        )
    elif totalvfs is None:
        yield (
            prevents,
            "it shows no SR-IOV capability",
            "enable SR-IOV in the card's firmware (SRIOV_EN on ConnectX) and in the firmware "
            "setup, or use another card",
        )
    elif wanted.numvfs > totalvfs:
        source = "the model declares"
        if wanted.numvfs != wanted.max_vfs:
            source = "sriov_numvfs asks for"
        yield (
            prevents,
            f"{source} {wanted.numvfs} VFs, the NIC offers {totalvfs}",
            "raise the number in the card's firmware, correct the model, or lower the count in "
            "sriov_numvfs",
        )
    elif wanted.max_vfs > totalvfs:
        yield (
            WARNING,
            f"the model declares {wanted.max_vfs} VFs, the NIC offers {totalvfs}",
            "correct the model, or it will promise VFs that are not there",
        )


def _of_bus(facts: Facts) -> t.Iterator[_Finding]:
    """Whether PCI keeps the VFs from each other, and tells of errors."""
    if not facts.capabilities.extended:
        yield (
            WARNING,
            "its extended configuration space cannot be read",
            "its capabilities remain unchecked; see whether kernel lockdown or a hypervisor "
            "hides it",
        )
    elif not facts.capabilities.aer:
        yield (
            WARNING,
            "it has no Advanced Error Reporting",
            "an error on the bus may go unnoticed; see whether the firmware setup can enable it",
        )
    if facts.acs is False:
        yield (
            WARNING,
            "a port above it has no Access Control Services",
            "its VFs may share an IOMMU group; enable ACS in the firmware setup, or use another "
            "slot",
        )
    if facts.group_mates:
        yield (
            WARNING,
            f"it shares its IOMMU group with {', '.join(facts.group_mates)}",
            "devices of one group can only go to one guest; use a slot with ACS above it",
        )


def _of_uppers(wanted: WantedPf, facts: Facts) -> t.Iterator[_Finding]:
    """What the PF's interface is part of, which knows nothing of VFs."""
    for upper in facts.uppers if wanted.numvfs else ():
        cause = f"its interface {upper.interface} is part of {upper}"
        yield WARNING, cause, _UPPER_REMEDIES[upper.kind]


def look(
    host: Host, wanted: t.Iterable[WantedPf], *, firmware: bool
) -> tuple[dict[str, Facts], list[Problem]]:
    """Like `judge_all`, with the problems of the whole host before those of the PFs."""
    running = host.read("/proc/cmdline") or ""
    problems = iommu_problems(_iommu.platform(host), _iommu.effective(host), running)
    problems += [Problem(WARNING, *left) for left in _leftovers.find(host, running)]
    found, of_pfs = judge_all(host, wanted, firmware=firmware)
    return found, problems + of_pfs


def judge_all(
    host: Host, wanted: t.Iterable[WantedPf], *, firmware: bool
) -> tuple[dict[str, Facts], list[Problem]]:
    """The PFs that were found, by name, and the problems of all PFs; *firmware* as in `judge`."""
    carriers = _management.devices(host)
    found: dict[str, Facts] = {}
    problems: list[Problem] = []
    for each in wanted:
        try:
            facts = read(host, _pci.find_pf(host, each.pf))
        except SriovError as error:
            if not each.numvfs and each.pf != each.name:
                remedy = "it is given up, as asked for; take it out of the model"
                problems.append(Problem(WARNING, each.name, str(error), remedy))
                continue
            problems.append(Problem(ERROR, each.name, str(error), _where_to_look(host)))
            continue
        twin = [name for name, other in found.items() if other.pf.address == facts.pf.address]
        if twin:
            problems.append(
                Problem(
                    ERROR,
                    each.name,
                    f"it is the same device as {twin[0]} ({facts.pf.address})",
                    "correct the MACs in the model",
                )
            )
            continue
        found[each.name] = facts
        problems += judge(each, facts, carriers.get(facts.pf.address), firmware=firmware)
    return found, problems


def firmware_settings(
    wanted: t.Iterable[WantedPf], found: t.Mapping[str, Facts]
) -> dict[str, list[dict[str, t.Any]]]:
    """What each role of `FIRMWARE` is to set in which PFs; nothing for a PF without VFs.

    The PFs of a card have one number there. So a count of the operator that is smaller than that of
    another PF of the card asks for no other number, since the larger one suffices.
    """
    settings: dict[str, list[dict[str, t.Any]]] = {
        tool.role: [] for tool in _vendors.FIRMWARE.values()
    }
    having_vfs = [pf for pf in wanted if pf.numvfs and pf.name in found]
    cards = {pf.name: _pci.card_of(found[pf.name].pf.address) for pf in having_vfs}
    for pf in having_vfs:
        facts = found[pf.name].pf
        tool = _vendors.FIRMWARE.get(found[pf.name].vendor)
        if tool:
            count = pf.numvfs
            if count != pf.max_vfs:
                mates = [other for other in having_vfs if cards[other.name] == cards[pf.name]]
                count = max(other.numvfs for other in mates)
            names = dict.fromkeys([pf.name, facts.interface, facts.mac])
            settings[tool.role].append(
                {
                    "address": facts.address,
                    "names": [name for name in names if name],
                    "settings": {tool.enable: True, tool.numvfs: count},
                }
            )
    return settings


def _where_to_look(host: Host) -> str:
    """The remedy for a missing PF: a NIC without a driver has no interface and no MAC."""
    idle = [
        f"{address} [{identity.vendor[2:]}:{identity.device[2:]}]"
        for address in _pci.devices(host)
        for identity in [_pci.read_identity(host, address)]
        if identity.device_class.startswith(_NETWORK_CLASS)
        and _pci.read_device(host, address).driver is None
        and not _pci.is_vf(host, address)
    ]
    if idle:
        return f"load the driver of {', '.join(idle)}, or correct the MAC in the model"
    return "see that the card is plugged in, or correct the MAC in the model"


def iommu_problems(
    platform: _iommu.Platform | None, effective: bool, running: str
) -> list[Problem]:
    hindrance = _iommu.hindrance(platform, effective, running)
    return [Problem(ERROR, IOMMU, *hindrance)] if hindrance else []
