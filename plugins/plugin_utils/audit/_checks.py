# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong about a host, a NIC or a port of a facility model. PRIVATE.

docs/audit.md lists the checks. Each is a function that yields findings.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._vendors import FIRMWARE
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit._correction import Fix
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit._paired import (
    ERROR,
    INFO,
    WARNING,
    Facts,
    Finding,
    PairedFacility,
    PairedHost,
    PairedNic,
    PairedPort,
    called,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names, _schema, _xir

# By PCI vendor, the device ids of each value of xir.NICModel, by their names in pci.ids (PCI ID
# Project, https://pci-ids.ucw.cz, 2023-04-10). Names that are no NICModel are families that it
# lacks.
_NIC_MODELS = {
    "0x15b3": {
        "ConnectX-3": "1003 1007",
        "ConnectX4": "1013 1015",
        "ConnectX5": "1017 1019",
        "ConnectX6": "101b 101d 101f",
        "ConnectX-7": "1021",
        "ConnectX-8": "1023",
    },
    "0x8086": {
        "82576": "10c9 10e6 10e7 10e8 150a 150d 1518 1526",
        "Intel200": "1533 1536 1537 1538 1539 157b 157c 15f6",
        "Intel300": "1521 1522 1523 1524",
        "Intel500": "10f7 10f8 10f9 10fb 10fc 1507 1514 1517 151c 1528 1529 152a 154a 154d 1557"
        " 1558 1560 1563 15aa 15ab 15ac 15ad 15ae 15d1",
        "Intel700": "101f 104e 104f 1572 1580 1581 1583 1584 1585 1586 1587 1588 1589 158a 158b"
        " 15ff 37ce 37cf 37d0 37d1 37d2 37d3",
        "Intel800": "1591 1592 1593 1599 159a 159b",
        "E1000": "100e 100f",
        "E1000E": "10d3 10f6",
    },
    "0x14e4": {
        "NetXtreme2": "1639 163a 163b 163c 163d 163e 164a 164c 164e 164f 1650 1662 1663 168a 168d"
        " 168e 16a1 16a2 16a4 16a5 16aa 16ab 16ac 16ae",
    },
    "0x1af4": {"Virtio": "1000 1041"},
}
_NIC_MODEL = {
    (vendor, f"0x{device}"): model
    for vendor, models in _NIC_MODELS.items()
    for model, devices in models.items()
    for device in devices.split()
}
_NIC_MODEL_NUMBERS = {name: number for number, name in _schema.ENUMS["NICModel"].items()}
_VENDORS = {model: vendor for vendor, models in _NIC_MODELS.items() for model in models}


def of_host(host: PairedHost, model: PairedFacility) -> t.Iterator[Finding]:
    """Yield what is wrong about a host, in the order of the model."""
    yield from _iommu(host)
    yield from _role(host)
    yield from _lldp(host)
    for nic in host.nics:
        yield from _nic_model(nic)
        for port in nic.ports:
            yield from _of_port(port, host, model)
    for unknown in host.unknown:
        yield from _unknown_port(unknown, host, model)


def _of_port(port: PairedPort, host: PairedHost, model: PairedFacility) -> t.Iterator[Finding]:
    yield from _mac_address(port, host, model)
    found, pf = port.found, port.pf
    if found is None or port.is_vf:
        return
    yield from _max_vfs(port, found)
    yield from _capacity(port, found)
    yield from _link(port, found)
    yield from _leaf(port, found, host, model)
    yield from _pcie(port, found)
    if port.offered:
        yield from _management(port, found)
    if port.offered and pf:
        yield from _numa(port, found, host)
        yield from _acs(port, pf)
        yield from _iommu_group(port, pf)


def _iommu(host: PairedHost) -> t.Iterator[Finding]:
    platform = host.facts["platform"]
    if not _xir.is_hypervisor(host.resource) or platform["iommu_effective"]:
        return
    declared = {"field": "roles", "declared": "Hypervisor"}
    if platform["iommu"]:
        yield host.finding(
            WARNING,
            "iommu",
            f"its {platform['iommu']} is off, so it can give no VF to a guest",
            "prepare it: the role iommu switches it on",
            **declared,
        )
    else:
        yield host.finding(
            ERROR,
            "iommu",
            "it is a hypervisor, but its firmware announces no IOMMU",
            "enable VT-d, AMD-Vi or SMMU in the firmware setup, or correct the role in the model",
            **declared,
        )


def _role(host: PairedHost) -> t.Iterator[Finding]:
    pfs = {pf["address"] for pf in host.facts["pfs"] if pf["totalvfs"]}
    declares = any(port.max_vfs for port in host.ports)
    has = any(port["address"] in pfs for port in host.facts["ports"])
    if _xir.is_hypervisor(host.resource) and not declares and not has:
        yield host.finding(
            WARNING,
            "role",
            "it is a hypervisor, but has no NIC with SR-IOV",
            "enable SR-IOV in the firmware setup and in the NIC's firmware, or correct the"
            " role in the model",
            field="roles",
            declared="Hypervisor",
        )


def _lldp(host: PairedHost) -> t.Iterator[Finding]:
    if not host.facts["lldp"] and any(port.leaf for port in host.ports if port.offered):
        yield host.finding(
            INFO,
            "lldp",
            "no lldpd answers on it, so the audit did not check its cabling",
            "install lldpd on it",
        )


def _nic_model(nic: PairedNic) -> t.Iterator[Finding]:
    found = {(p.found["vendor"], p.found["device"]) for p in nic.ports if p.found and not p.is_vf}
    if not found:
        return
    declared = _schema.ENUMS["NICModel"].get(nic.nic.model, nic.nic.model)
    models = {_NIC_MODEL.get(ids) for ids in found}
    model = models.pop() if len(models) == 1 else None
    ids = " and ".join(sorted(f"[{vendor[2:]}:{device[2:]}]" for vendor, device in found))
    number = _NIC_MODEL_NUMBERS.get(model or "")
    fix = None if number is None else Fix((*nic.path, "model"), number)
    values: dict[str, t.Any] = {"field": "NIC.model", "actual": model or ids}
    if fix:
        values |= {"right": model, "fix": fix}
    if not nic.nic.model:
        # Intel200 is the zero value, which nobody can tell from unset.
        if fix and model != declared:
            yield Finding(
                INFO,
                "nic_model",
                nic.host,
                nic.element,
                f"the model does not say that this NIC is a {model}",
                "correct the model: a NIC without model reads as Intel200",
                **values,
            )
        return
    vendors = {vendor for vendor, _device in found}
    if declared in (model, *models) or (
        model is None and _VENDORS.get(declared) in (None, *vendors)
    ):
        return
    yield Finding(
        WARNING,
        "nic_model",
        nic.host,
        nic.element,
        f"the model declares a {declared}, the NIC is {model or 'another'} {ids}",
        "correct the model, or experiments get another NIC than they ask for",
        declared=declared,
        **values,
    )


def _mac_address(port: PairedPort, host: PairedHost, model: PairedFacility) -> t.Iterator[Finding]:
    declared, actual = port.port.mac, port.found["mac"] if port.found else None
    values = {"field": "Port.mac", "declared": declared or None, "actual": actual}
    if port.is_vf:
        if port.found:
            yield port.finding(
                WARNING,
                "mac",
                f"the model has it as a VF, but it is the port {called(port.found)}",
                "correct the model",
                **values,
            )
        return
    if (port.found and actual == port.mac) or port.is_bmc:
        return
    if actual:
        values |= {"right": actual, "fix": port.fix("mac", value=actual)}
        remedy = "correct the model: an interface of that name has another, which the model lacks"
    else:
        remedy = _where_to_look(host)
    if port.mac:
        elsewhere = model.host_macs.get(port.mac)
        message = "no port of the host has this MAC address"
        message += f", which {elsewhere} has" if elsewhere else ""
        yield port.finding(port.grave, "mac", message, remedy, **values)
    elif declared:
        yield port.finding(port.grave, "mac", "this is no MAC address", remedy, **values)
    elif actual:
        yield port.finding(
            INFO,
            "mac",
            "the model gives it no MAC address, so only its name identifies it",
            "correct the model",
            **values,
        )
    elif port.offered:
        yield port.finding(
            ERROR,
            "mac",
            "the model gives it no MAC address, and no interface has its name",
            remedy,
            **values,
        )


def _where_to_look(host: PairedHost) -> str:
    """What helps if a port is missing: one without a driver has no interface and no MAC."""
    # As the host itself says it (prepare/_judge), from what it told: the controller has no sysfs.
    idle = [
        f"{port['address']} [{port['vendor'][2:]}:{port['device'][2:]}]"
        for port in host.facts["ports"]
        if port["driver"] is None
    ]
    if idle:
        return f"load the driver of {', '.join(idle)}, or correct the model"
    return "see that the card is plugged in, or correct the model"


def _unknown_port(found: Facts, host: PairedHost, model: PairedFacility) -> t.Iterator[Finding]:
    is_pf = any(pf["address"] == found["address"] and pf["totalvfs"] for pf in host.facts["pfs"])
    owner = model.model_macs.get(found["mac"] or "")
    message = "the model lacks this PF" if is_pf else "the model lacks this port"
    if owner:
        message += f" here, and gives its MAC address to {owner}"
    elif found["mac"] is None:
        message = "it has no MAC address to compare" + (
            ", because it has no driver" if found["driver"] is None else ""
        )
    yield Finding(
        WARNING if is_pf else INFO,
        "unknown_pf" if is_pf else "unknown_port",
        host.name,
        f"{host.name} {called(found)}",
        message,
        "correct the model, or see which card was plugged in there",
        field="Port.mac",
        actual=found["mac"],
    )


def _max_vfs(port: PairedPort, found: Facts) -> t.Iterator[Finding]:
    offers = (port.pf and port.pf["totalvfs"]) or 0
    declares = f"the model declares {_count(port.max_vfs)}, the NIC offers {_count(offers)}"
    values = {"field": "sriov.Pf.MaxVFs", "declared": port.max_vfs, "actual": offers}
    if port.max_vfs > offers:
        yield _too_many(port, found, offers, declares, values)
    elif port.max_vfs < offers and (port.max_vfs or port.for_vfs):
        remedy = "raise the number in the model to use more"
        yield port.finding(INFO, "max_vfs", declares, remedy, **values)


def _too_many(
    port: PairedPort, found: Facts, offers: int, declares: str, values: dict[str, t.Any]
) -> Finding:
    tool = FIRMWARE.get(found["vendor"])
    if tool is None and offers:
        remedy = "correct the model, or raise the number in the NIC's firmware"
        fix = port.fix("sriov", "Pf", "MaxVFs", value=offers)
        return port.finding(
            port.grave, "max_vfs", declares, remedy, **values, right=offers, fix=fix
        )
    if tool is None:
        remedy = (
            "enable SR-IOV in the firmware setup and in the NIC's firmware, or correct the model"
        )
        return port.finding(port.grave, "max_vfs", declares, remedy, **values)

    firmware = (port.pf and port.pf["firmware"]) or {"numvfs": None, "problem": None}
    prepare = f"prepare it: the role {tool.role} sets its firmware, if the card can do as many"
    if firmware["problem"] or firmware["numvfs"] is None:
        why = firmware["problem"] or f"its {tool.numvfs} is not known"
        return port.finding(WARNING, "max_vfs", f"{declares} ({why})", prepare, **values)
    has = firmware["numvfs"] if firmware["enabled"] else 0
    if has < port.max_vfs:
        why = f"{tool.numvfs} is {has}" if firmware["enabled"] else f"{tool.enable} is off"
        values |= {"actual": has}
        return port.finding(
            WARNING, "firmware", f"{declares}, as {why} in its firmware", prepare, **values
        )
    message = f"{declares}, although {tool.numvfs} is {has} in its firmware"
    remedy = "enable SR-IOV in the firmware setup, and see the kernel's log"
    return port.finding(port.grave, "max_vfs", message, remedy, **values)


def _capacity(port: PairedPort, found: Facts) -> t.Iterator[Finding]:
    declared, speed = port.port.capacity, found["speed"]
    if declared and speed and declared != speed:
        yield port.finding(
            WARNING,
            "capacity",
            f"the model declares {_rate(declared)}, the link has {_rate(speed)}",
            "correct the model, or check the cable and the port at its other end",
            field="Port.capacity",
            declared=declared,
            actual=speed,
            right=speed,
            fix=port.fix("capacity", value=speed),
        )


def _link(port: PairedPort, found: Facts) -> t.Iterator[Finding]:
    if not port.port.connector.element:
        return
    values = {"field": "Port.connector", "declared": port.port.connector.element}
    if not found["up"]:
        if port.offered:
            yield port.finding(
                INFO,
                "link",
                "the interface is down, so the audit did not check speed and neighbour",
                "prepare the host, which sets the interface up, and audit it again",
                **values,
            )
    elif found["carrier"] is False:
        yield port.finding(
            WARNING,
            "link",
            "the model has a cable at it, but there is no carrier",
            "check the cable and the port at its other end, or correct the model",
            **values,
        )


def _leaf(
    port: PairedPort, found: Facts, host: PairedHost, model: PairedFacility
) -> t.Iterator[Finding]:
    neighbour = found["neighbour"]
    if neighbour is not None:
        yield from _told_leaf(port, neighbour, host, model)
    elif port.leaf and port.offered and found["carrier"] and host.facts["lldp"]:
        yield port.finding(
            INFO,
            "leaf",
            "no neighbour tells its name here, so the audit did not check the cabling",
            "enable LLDP on the switch",
            field="Port.connector",
            declared=_declared_leaf(port),
        )


def _told_leaf(
    port: PairedPort, neighbour: Facts, host: PairedHost, model: PairedFacility
) -> t.Iterator[Finding]:
    declared = _declared_leaf(port)
    actual = f"{neighbour['system'] or ''} {neighbour['port'] or ''}".strip()
    seen = model.resource_named(neighbour["system"] or "")
    told = f"LLDP names {_names.quoted(actual)}"
    if port.leaf is None:
        if seen is None or seen.id == host.name:
            return
        severity, remedy = WARNING, "correct the model"
        message = f"the model cables it to no known switch, {told}"
    elif seen is None:
        severity, remedy = WARNING, "correct the model, or the name of the switch"
        message = f"the model cables it to {declared}, {told}, which the model lacks"
    elif _is_leaf(port.leaf, seen, neighbour):
        return
    else:
        severity, message = port.grave, f"the model cables it to {declared}, {told}"
        remedy = (
            "correct the model, or plug the cable in there: the switch would carry the VLANs at"
            " another port"
        )
    yield port.finding(
        severity,
        "leaf",
        message,
        remedy,
        field="Port.connector",
        declared=declared,
        actual=actual,
        right=None if seen is None else actual,
    )


def _declared_leaf(port: PairedPort) -> str | None:
    return f"{port.leaf.resource.id} {port.leaf.port.name}".strip() if port.leaf else None


def _is_leaf(leaf: _xir.End, seen: t.Any, neighbour: Facts) -> bool:
    """Whether the neighbour, which is the resource *seen*, is *leaf*, as far as it tells."""
    # Some switches send a number for the port, and its name in the description.
    description = (neighbour["description"] or "").lower()
    names = {"", (neighbour["port"] or "").lower(), description, *description.split()}
    return bool(seen.id == leaf.resource.id and leaf.port.name.lower() in names)


def _pcie(port: PairedPort, found: Facts) -> t.Iterator[Finding]:
    pcie = found["pcie"]
    if pcie is None:
        return
    now = f"{pcie['speed']:g} GT/s x{pcie['width']}"
    most = f"{pcie['max_speed']:g} GT/s x{pcie['max_width']}"
    if pcie["speed"] < pcie["max_speed"] or pcie["width"] < pcie["max_width"]:
        yield port.finding(
            WARNING if port.max_vfs else INFO,
            "pcie",
            f"its PCIe link has {now}, the card can do {most}",
            "use a slot with more lanes or of a newer generation, or check the seat of the card",
            actual=now,
        )


def _management(port: PairedPort, found: Facts) -> t.Iterator[Finding]:
    if found["management"]:
        yield port.finding(
            ERROR,
            "management",
            f"the model offers it for VFs, but {found['management']}",
            "manage the host through another NIC, or take the PF out of the model",
            field="sriov.Pf.MaxVFs",
            declared=port.max_vfs,
        )


def _numa(port: PairedPort, found: Facts, host: PairedHost) -> t.Iterator[Finding]:
    nodes = sorted({p["numa_node"] for p in host.facts["ports"] if p["numa_node"] is not None})
    if found["numa_node"] is None and nodes:
        yield port.finding(
            WARNING,
            "numa",
            "the firmware names no NUMA node for it, but names one for other ports",
            "update the firmware of the host, or use another slot: its guests may run far from it",
        )


def _acs(port: PairedPort, pf: Facts) -> t.Iterator[Finding]:
    if pf["acs"] is False:
        yield port.finding(
            WARNING,
            "acs",
            "a port above it has no Access Control Services",
            "enable ACS in the firmware setup, or use another slot: VFs may share an IOMMU group",
        )


def _iommu_group(port: PairedPort, pf: Facts) -> t.Iterator[Finding]:
    vfs = {vf["address"]: vf for vf in pf["vfs"]}
    shared = [vf for vf in vfs.values() if vf["group_mates"]]
    remedy = "use a slot with ACS above it: all devices of one group must go to one guest"
    if shared:
        mates = sorted({mate for vf in shared for mate in vf["group_mates"]})
        yield port.finding(
            ERROR,
            "iommu_group",
            f"{len(shared)} of its {_count(len(vfs))} share their IOMMU groups with {_some(mates)}",
            remedy,
            actual=len(shared),
        )
        return
    mates = [mate for mate in pf["group_mates"] if mate not in vfs]
    if mates:
        yield port.finding(
            WARNING, "iommu_group", f"it shares its IOMMU group with {_some(mates)}", remedy
        )


def _count(vfs: int) -> str:
    return f"{vfs or 'no'} VF{'' if vfs == 1 else 's'}"


def _some(addresses: t.Sequence[str]) -> str:
    more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
    return ", ".join(addresses[:3]) + more


def _rate(bits: int) -> str:
    for unit, size in (("Gbit/s", 10**9), ("Mbit/s", 10**6)):
        if bits >= size:
            return f"{bits / size:g} {unit}"
    return f"{bits} bit/s"
