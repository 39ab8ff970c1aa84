# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The request of a caller of the module `materialization`. `plan_info` takes the same request."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger

_DISPENSABLE = ("trust", "link_state", "min_tx_rate", "max_tx_rate", "query_rss")

# What a device is to its guest.
_GUEST: dict[str, t.Any] = {
    "node": {"type": "str", "required": True},
    "nic": {"type": "str", "required": True},
    "link": {"type": "str"},
    "mtu": {"type": "int"},
    "addresses": {"type": "list", "elements": "str"},
}

ARGUMENT_SPEC: dict[str, t.Any] = {
    "mzid": {"type": "str", "required": True},
    "state": {
        "type": "str",
        "choices": ["reserved", "present", "withdrawn", "absent"],
        "default": "present",
    },
    "run": {"type": "str"},
    "driver": {"type": "str", "default": "vfio-pci"},
    "attributes": {
        "type": "dict",
        "options": {
            "qos": {"type": "int"},
            "vlan_proto": {"type": "str", "choices": ["802.1Q", "802.1ad"]},
            "trust": {"type": "bool"},
            "link_state": {"type": "str", "choices": ["auto", "enable", "disable"]},
            "min_tx_rate": {"type": "int"},
            "max_tx_rate": {"type": "int"},
            "query_rss": {"type": "bool"},
        },
    },
    "unsupported": {
        "type": "dict",
        "options": {name: {"type": "str", "choices": ["fail", "warn"]} for name in _DISPENSABLE},
    },
    "without_vst": {"type": "str", "choices": ["refuse", "trunk"], "default": "refuse"},
    "force": {"type": "bool", "default": False},
    "vfs": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            **_GUEST,
            "pf": {
                "type": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "mac": {"type": "str", "required": True},
                },
            },
            "vf_index": {"type": "int", "required": True},
            "mac": {"type": "str", "required": True},
            "vlan": {"type": "int", "required": True},
        },
    },
    "functions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            **_GUEST,
            "function": {"type": "str", "required": True},
            "pf": {"type": "str"},
            "driver": {"type": "str"},
            "console": {"type": "bool", "default": False},
            "vlan": {"type": "int"},
        },
    },
}


class Claim(t.NamedTuple):
    """A guest NIC, and the VF that it asks for. *mtu* is in bytes, or `None`."""

    node: str
    nic: str
    pf_name: str
    pf_mac: str
    vf: int
    mac: str
    vlan: int
    mtu: int | None

    @property
    def kind(self) -> str:
        return _ledger.VF


class FunctionClaim(t.NamedTuple):
    """A guest's device, and the whole PCI function that it asks for.

    *function* selects it: a permanent MAC, a PCI address, `vendor:device` or the beginning of a
    class, such as `0x0302`. A NIC of the model is selected by its MAC, and has *pf_name* and
    *vlan*. *console* permits to take the GPU of the host's console. *driver* is `None` for that of
    the run.
    """

    node: str
    nic: str
    function: str
    pf_name: str | None
    vlan: int | None
    mtu: int | None
    driver: str | None
    console: bool

    @property
    def kind(self) -> str:
        return _ledger.FUNCTION


AnyClaim = t.Union[Claim, FunctionClaim]


class Policy(t.NamedTuple):
    """What holds for all devices of a run.

    Each VF gets *attributes* (fields of `_netlink.VfState`) beside those that isolate it. If the
    driver of its NIC refuses some of *dispensable*, the VF goes without them. *trunk* permits VFs
    of NICs that tag no VLANs. The guests of these VFs then have to tag.
    """

    driver: str
    attributes: t.Mapping[str, t.Any] = {}
    dispensable: t.Container[str] = ()
    trunk: bool = False


def claims(params: t.Mapping[str, t.Any]) -> list[AnyClaim]:
    """The claims in *params*; none if the call frees devices or withdraws reservations."""
    if params["state"] not in ("reserved", "present"):
        return []
    return [*map(_claim, params["vfs"]), *map(_function_claim, params["functions"])]


def _claim(item: t.Mapping[str, t.Any]) -> Claim:
    return Claim(
        node=item["node"],
        nic=item["nic"],
        pf_name=item["pf"]["name"],
        pf_mac=item["pf"]["mac"].lower(),
        vf=item["vf_index"],
        mac=item["mac"].lower(),
        vlan=item["vlan"],
        mtu=item["mtu"],
    )


def _function_claim(item: t.Mapping[str, t.Any]) -> FunctionClaim:
    return FunctionClaim(
        node=item["node"],
        nic=item["nic"],
        function=item["function"].strip().lower(),
        pf_name=item["pf"],
        vlan=item["vlan"],
        mtu=item["mtu"],
        driver=item["driver"],
        console=item["console"],
    )


def policy(params: t.Mapping[str, t.Any]) -> Policy:
    attributes = params["attributes"] or {}
    return Policy(
        driver=params["driver"],
        attributes={name: value for name, value in attributes.items() if value is not None},
        dispensable={name for name, way in (params["unsupported"] or {}).items() if way == "warn"},
        trunk=params["without_vst"] == "trunk",
    )
