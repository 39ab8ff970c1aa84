# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Nova and Neutron must be told of a host's functions. PRIVATE to the collection.

Nova's ``device_spec`` names each VF by its own address. The address or the interface of a PF would
stand for the PF as well as for its VFs, and for those that a materialization holds.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import (
    InputError,
    Problems,
    listed,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.openstack import _networks

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.openstack._networks import (
        Function,
        Network,
    )

FILTERS = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
)
"""The filters of Nova's scheduler that are on if nobody chooses others."""
PCI_FILTER = "PciPassthroughFilter"
MECHANISM_DRIVER = "sriovnicswitch"

_NAME = _names.NameRule("A-Za-z_", "0-9.", 128)
_ALIAS = _names.NameRule("A-Za-z0-9_", ".-", 64)
# Nova stores a domain in four digits.
_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_VF, _PF = "type-VF", "type-PF"
_CHOICES = {
    "device_type": (_PF, _VF, "type-PCI"),
    "numa_policy": ("legacy", "preferred", "required", "socket"),
}
_REQUIRED = ("name", "device_type", "vendor_id", "product_id")


def settings(
    answer: t.Mapping[str, t.Any],
    networks: t.Iterable[Network],
    offered: t.Iterable[t.Mapping[str, t.Any]] = (),
) -> dict[str, t.Any]:
    """Return what Nova and Neutron must be told of a host.

    :param answer: what ``sriov_info`` tells of it
    :param offered: its ``sriov_pfs``, which have the NIC models
    :raises InputError: the answer does not fit the networks
    """
    problems = Problems()
    models = {
        str(pf["mac"]).lower(): str(pf["nic_model"])
        for pf in offered or ()
        if pf.get("nic_model") and pf.get("mac")
    }
    held = _held(answer)
    specs: list[dict[str, str]] = []
    mappings: dict[str, str] = {}
    excluded: dict[str, list[str]] = {}
    networks = list(networks)
    for network, function in _chosen(answer, networks, models, problems):
        wanted = [function] if network.whole else function["vfs"]
        problems.extend(
            f"physical network {network.name}: {problem}"
            for problem in _objections(network, function, answer)
        )
        tags = {"physical_network": network.name, **network.tags}
        addresses = [each["address"] for each in wanted if each["address"] not in held]
        specs += [{"address": address, **tags} for address in addresses]
        if not network.whole:
            mappings[function["interface"]] = network.name
            taken = [vf["address"] for vf in wanted if vf["address"] in held]
            if taken:
                excluded[function["interface"]] = taken
    if problems:
        raise problems.refusal("the mapping of physical networks")
    devices = {network: device for device, network in mappings.items()}
    return {
        "device_spec": specs,
        "physical_device_mappings": [f"{name}:{device}" for device, name in mappings.items()],
        "exclude_devices": [f"{device}:{';'.join(vfs)}" for device, vfs in excluded.items()],
        _networks.KOLLA: devices if len(devices) == len(mappings) else None,
        _networks.KAYOBE: mappings,
    }


def _held(answer: t.Mapping[str, t.Any]) -> set[str]:
    """Return the addresses of what materializations hold, or runs have reserved.

    The ledger has the address of a VF as it was when the materialization got it. PCI can have
    numbered its buses anew since then, so the MAC of the PF and the index count as well.
    """
    entries = [entry for each in answer["materializations"].values() for entry in each]
    keys = {(entry["pf_mac"], entry.get("vf")) for entry in entries}
    return {entry["address"] for entry in entries} | {
        vf["address"]
        for pf in answer["pfs"]
        for vf in pf["vfs"]
        if (pf["mac"], vf["index"]) in keys
    }


def _chosen(
    answer: t.Mapping[str, t.Any],
    networks: t.Iterable[Network],
    models: t.Mapping[str, str],
    problems: Problems,
) -> list[tuple[Network, Function]]:
    """Return each function that a network has, in the order of the networks and of addresses."""
    owners: dict[str, Network] = {}
    chosen: list[tuple[Network, Function]] = []
    for network in networks:
        candidates = answer["ports"] if network.whole else answer["pfs"]
        for selector in network.selectors:
            found = [each for each in candidates if selector.chooses(each, models)]
            if not found:
                there = listed([_described(each) for each in candidates])
                problems.append(
                    f"physical network {network.name}: {selector} matches no PF; name one of the"
                    f" host's: {there or 'there is none'}"
                )
            for function in found:
                owner = owners.setdefault(function["address"], network)
                if owner is not network:
                    problems.append(
                        f"PF {_described(function)} is in the physical networks {owner.name} and"
                        f" {network.name}; leave it in one"
                    )
                elif (network, function) not in chosen:
                    chosen.append((network, function))
    return chosen


def _described(function: Function) -> str:
    name = function["interface"] or "without interface"
    return _names.text(f"{name} ({function['address']}, MAC {function['mac'] or 'unknown'})", "PF")


def _objections(
    network: Network, function: Function, answer: t.Mapping[str, t.Any]
) -> t.Iterator[str]:
    described = f"PF {_described(function)}"
    if network.whole:
        addresses = [function["address"]]
        yield from (
            f"{described} cannot be given to a guest: {port['management']}"
            for port in answer["ports"]
            if port["address"] == function["address"] and port["management"]
        )
        # A port has no number of VFs; it is a PF, too, if it can have any.
        if any(pf["numvfs"] for pf in answer["pfs"] if pf["address"] == function["address"]):
            yield f"{described} has VFs, which a guest would get, too; set its number of VFs to 0"
    else:
        addresses = [vf["address"] for vf in function["vfs"]]
        if not function["interface"]:
            yield f"{described} is unknown to Neutron, which names it by interface; load its driver"
        else:
            try:
                _networks.INTERFACE.check(function["interface"], f"{described}: interface")
            except InputError as error:
                yield f"{error}; rename it"
        if not addresses:
            yield f"{described} has no VFs; run mergetb.sriov.prepare"
        elif len(addresses) != function["numvfs"]:
            yield f"{described} is just getting or losing VFs; run this again"
    yield from (
        f"{described}: Nova takes no PCI address such as {_names.quoted(address)}; leave it out"
        for address in addresses
        if not _ADDRESS.fullmatch(address)
    )


def alias(told: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return an alias of Nova, checked.

    :raises InputError: it is none
    """
    name = _ALIAS.check(str(told.get("name") or ""), "alias")
    known = {*_REQUIRED, "numa_policy", "live_migratable"}
    wrong = sorted(str(key) for key in told.keys() - known)
    missing = [key for key in _REQUIRED if not told.get(key)]
    if wrong or missing:
        raise InputError(
            f"alias {name} must have {', '.join(_REQUIRED)}, and may have numa_policy and"
            f" live_migratable: {listed([*wrong, *missing])} is not so"
        )
    made = {"name": name}
    for key in ("vendor_id", "product_id"):
        made[key] = _networks.pci_id(told[key], f"alias {name}: {key}")
    for key, choices in _CHOICES.items():
        if key in told:
            if told[key] not in choices:
                raise InputError(f"alias {name}: {key} must be one of {', '.join(choices)}")
            made[key] = told[key]
    if "live_migratable" in told:
        if not isinstance(told["live_migratable"], bool):
            raise InputError(f"alias {name}: live_migratable must be true or false")
        made["live_migratable"] = "yes" if told["live_migratable"] else "no"
    return made


def alias_problems(
    aliases: t.Iterable[t.Mapping[str, str]], answers: t.Mapping[str, t.Mapping[str, t.Any]]
) -> t.Iterator[str]:
    """Return what shows that an alias for VFs has the id of their PF, or the other way round."""
    for each in aliases:
        ids = (f"0x{each['vendor_id']}", f"0x{each['product_id']}")
        for host, answer in answers.items():
            for pf in answer["pfs"]:
                of_pf, of_vfs = (pf["vendor"], pf["device"]), (pf["vendor"], pf.get("vf_device"))
                wrong, kind, right = {
                    _VF: (of_pf, "the PF", of_vfs[1]),
                    _PF: (of_vfs, "the VFs of PF", of_pf[1]),
                }.get(each["device_type"], (None, "", None))
                if ids == wrong and of_pf != of_vfs:
                    remedy = right or "another, as lspci -nn shows"
                    yield (
                        f"alias {each['name']}: host {host}: {each['product_id']} is the product id"
                        f" of {kind} {_described(pf)}, so no {each['device_type']} has it; theirs"
                        f" is {remedy}"
                    )
                    break


def filters(told: t.Iterable[str]) -> list[str]:
    """Return the filters of Nova's scheduler: those that were told, and the one for PCI."""
    return _with(told, PCI_FILTER, "filter")


def mechanism_drivers(told: t.Iterable[str]) -> list[str]:
    """Return the mechanism drivers of Neutron: those that were told, and the one for SR-IOV."""
    return _with(told, MECHANISM_DRIVER, "mechanism driver")


def _with(told: t.Iterable[str], needed: str, what: str) -> list[str]:
    return list(dict.fromkeys([*(_NAME.check(name, what) for name in told), needed]))
