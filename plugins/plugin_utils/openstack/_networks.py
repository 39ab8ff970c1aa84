# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which PFs belong to which physical network, as the operator says it. PRIVATE.

A mapping can be this collection's, Kolla-Ansible's (physical network to device) or that of Kayobe's
document (device to physical network). The second is a short form of the first.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

OWN, KOLLA, KAYOBE = (
    "sriov_physical_networks",
    "neutron_sriov_physnet_mappings",
    "sriov_physnet_mappings",
)
"""The variables that have a mapping. The first that a host has counts."""

Function = t.Mapping[str, t.Any]
"""A PF, or a port of a NIC, as ``sriov_info`` tells it."""

# No colon, comma, quote, dollar sign or brace: these mean something to Neutron, to INI files of
# OpenStack or to Kolla-Ansible, which takes the files for templates.
PHYSICAL_NETWORK = _names.NameRule("A-Za-z0-9_", ".-", 64)
INTERFACE = _names.NameRule("A-Za-z0-9_", ".-", 15)

_TAGS = {
    "trusted": ("false", "true"),
    "remote_managed": ("false", "true"),
    "managed": ("no", "yes"),
    "live_migratable": ("no", "yes"),
}
"""Nova's words for false and true, by tag."""
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}|(?:[0-9a-f]{2}:){1,5}\*")
_ID = re.compile(r"(?:0x)?([0-9a-f]{4})")


@dataclasses.dataclass(frozen=True)
class Selector:
    """What chooses functions: a property of theirs (or ``nic_model``) and its value, as told."""

    kind: str
    value: str
    device: str = ""

    def __str__(self) -> str:
        device = f", device {self.device}" if self.device else ""
        return f"{self.kind.replace('_', ' ')} {self.value}{device}"

    def chooses(self, function: Function, models: t.Mapping[str, str]) -> bool:
        """Return whether it chooses a function.

        :param models: the NIC models of the facility by MAC
        """
        mac = function["mac"] or ""
        if self.kind == "MAC":
            prefix = self.value.removesuffix("*")
            return mac.startswith(prefix) if prefix != self.value else mac == self.value
        if self.kind == "vendor":
            ids = (function["vendor"], function["device"])
            return ids == (f"0x{self.value}", f"0x{self.device}" if self.device else ids[1])
        if self.kind == "nic_model":
            return models.get(mac) == self.value
        return bool(function[self.kind] == self.value)


@dataclasses.dataclass(frozen=True)
class Network:
    """A physical network: what chooses its PFs, whether guests get whole PFs, and Nova's tags."""

    name: str
    selectors: tuple[Selector, ...]
    whole: bool = False
    tags: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def read(variables: t.Mapping[str, t.Any]) -> list[Network]:
    """Return the physical networks of a host.

    :param variables: the values of ``OWN``, ``KOLLA`` and ``KAYOBE``, None for what is not set
    :raises InputError: none is set, or one says something that cannot be
    """
    for name in (OWN, KOLLA, KAYOBE):
        value = variables.get(name)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise InputError(f"{name} must be a dictionary")
        try:
            if name == KAYOBE:
                return _inverted(value)
            return [_network(*item) for item in value.items()]
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    raise InputError(
        f"it has no mapping of physical networks: set {OWN} in the inventory or with -e; use {{}}"
        " for a host without any"
    )


def _inverted(devices: t.Mapping[t.Any, t.Any]) -> list[Network]:
    found: dict[str, list[Selector]] = {}
    for device, network in devices.items():
        found.setdefault(_name(network), []).append(_selector(device))
    return [Network(name, tuple(selectors)) for name, selectors in found.items()]


def _network(key: t.Any, value: t.Any) -> Network:
    name = _name(key)
    options = dict(value) if isinstance(value, dict) and "pfs" in value else {"pfs": value}
    selectors = options.pop("pfs")
    whole = options.pop("whole", False)
    if not isinstance(whole, bool):
        raise InputError(f"physical network {name}: whole must be true or false")
    tags = {}
    for tag, wanted in options.items():
        if tag not in _TAGS:
            raise InputError(
                f"physical network {name}: {_names.quoted(str(tag))} is no option; there are pfs,"
                f" whole, {', '.join(_TAGS)}"
            )
        if not isinstance(wanted, bool):
            raise InputError(f"physical network {name}: {tag} must be true or false")
        tags[tag] = _TAGS[tag][wanted]
    if whole and tags.get("remote_managed") == "true":
        raise InputError(
            f"physical network {name}: remote_managed is for VFs; Nova refuses it for whole PFs"
        )
    listed = selectors if isinstance(selectors, list) else [selectors]
    if not listed:
        raise InputError(f"physical network {name} has no PF; name one, or leave the network out")
    return Network(name, tuple(map(_selector, listed)), whole, tags)


def _name(value: t.Any) -> str:
    return PHYSICAL_NETWORK.check(str(value), "physical network")


def _selector(value: t.Any) -> Selector:
    if isinstance(value, dict):
        return _selector_of_kind(value)
    if not isinstance(value, str):
        raise InputError(
            f"PF {_names.quoted(str(value))} must be a text; put it into quotes: YAML takes it for"
            " something else"
        )
    lower = value.lower()
    if _ADDRESS.fullmatch(lower):
        return Selector("address", lower)
    if _MAC.fullmatch(lower):
        return Selector("MAC", lower)
    return Selector("interface", INTERFACE.check(value, "interface"))


def _selector_of_kind(value: t.Mapping[t.Any, t.Any]) -> Selector:
    if value.keys() == {"nic_model"}:
        return Selector("nic_model", _names.text(str(value["nic_model"]), "nic_model"))
    if value.keys() in ({"vendor"}, {"vendor", "device"}):
        ids = {key: pci_id(told, str(key)) for key, told in value.items()}
        return Selector("vendor", ids["vendor"], ids.get("device", ""))
    raise InputError(
        f"PF {_names.quoted(str(dict(value)))} must have vendor, vendor and device, or nic_model"
    )


def pci_id(value: t.Any, what: str) -> str:
    """Return a PCI id as Nova writes it.

    :raises InputError: it is none
    """
    found = _ID.fullmatch(value.lower()) if isinstance(value, str) else None
    if not found:
        raise InputError(
            f"{what} {_names.quoted(str(value))} must be four hexadecimal digits, in quotes"
        )
    return found[1]
