# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A card's non-volatile configuration: what is stored, what is in force, and what happens to it."""

from __future__ import annotations

import typing as t

from connectx.layouts import FUNCTION, PORT, Layout
from connectx.profiles import PROFILES, Profile
from connectx.state import Document, StateFile

COLUMNS = ("default", "current", "next")
WRITES = ("NVDA", "NVDI", "NVIA")
"""The registers that write the flash: one TLV, reset of one, reset of all."""

FAULTS = {
    "lockdown": "the kernel refuses to write the configuration space",
    "vsc_semaphore": "somebody else holds the semaphore of the vendor-specific capability",
    "icmd_semaphore": "somebody else holds the semaphore of the command interface",
    "ignore_reboot": "a warm reboot loads nothing",
    "refuse_reset": "the reset register is refused, and only a power cycle loads",
    "no_current": "the current configuration cannot be read",
    "no_default": "the default configuration cannot be read",
    "read_only": "the TLVs of the parameters in this list cannot be written",
    "unsupported": "the TLVs of the parameters in this list do not exist",
    "livefish": "the firmware does not run",
    "no_nv_access": "the registers of the non-volatile configuration are refused",
    "fail_write": "the write with this number, counted from now on, and all later ones fail",
    "fail_once": "only the write with this number fails; mstconfig 4.21 then writes it swapped",
    "max_vfs": "at most this many VFs per PF",
}


class ConnectXError(Exception):
    """What was asked of the emulator cannot be; its text tells why."""


class Columns(t.NamedTuple):
    """A parameter's value in each configuration."""

    default: int
    current: int
    next: int


class Card:
    """The card of *state* whose first function is *name* (`0000:3b:00.0`)."""

    def __init__(self, state: StateFile, name: str, layouts: t.Mapping[str, Layout]) -> None:
        self._state = state
        self._name = name
        self._layouts = layouts
        self.profile: Profile = PROFILES[self._read()["profile"]]
        self.functions: list[str] = self._read()["functions"]
        self._by_type: dict[int, tuple[Layout, str]] = {}
        for layout in self._layouts_of_profile():
            for port in range(1, self.profile.ports + 1) if layout.tlv_class == PORT else (0,):
                suffix = f"_P{port}" if port else ""
                self._by_type[layout.type(port)] = layout, suffix
        if not all(_key(tlv_type, 0) in self._read()["tlvs"] for tlv_type in self._by_type):
            with state.change() as document:
                self._install(document["cards"][name]["tlvs"])

    def fault(self, name: str) -> t.Any:
        """The value of a fault, which is false where the card has not got it."""
        return self._read()["faults"].get(name, False)

    def layout(self, tlv_type: int) -> Layout | None:
        """The TLV of this type, unless the firmware lacks it."""
        layout, _suffix = self._by_type.get(tlv_type, (None, ""))
        return None if layout is None or self._listed(layout, "unsupported") else layout

    def writable(self, layout: Layout) -> bool:
        return not layout.name.endswith("_cap") and not self._listed(layout, "read_only")

    def get(self, tlv_type: int, function: int, column: str) -> bytes:
        """The TLV in a configuration, as the function sees it; *column* is one of `COLUMNS`."""
        layout, _suffix = self._by_type[tlv_type]
        data = bytes.fromhex(self._read()["tlvs"][_key(tlv_type, function)][column])
        if layout.name == "nv_global_pci_cap" and self.fault("max_vfs"):
            data = layout.fields["max_vfs_per_pf"].put(data, self.fault("max_vfs"))
        return data

    def set(self, tlv_type: int, function: int, data: bytes) -> bool:
        """Store the TLV for the next start; false where the write fails."""
        with self._state.change() as document:
            record = document["cards"][self._name]
            record["writes"]["NVDA"] += 1
            faults = record["faults"]
            fails = 1 in (faults.get("fail_write"), faults.get("fail_once"))
            if faults.get("fail_write"):
                faults["fail_write"] = max(faults["fail_write"] - 1, 1)
            if faults.get("fail_once"):
                faults["fail_once"] -= 1
            if not fails:
                record["tlvs"][_key(tlv_type, function)]["next"] = data.hex()
        return not fails

    def reset(self, tlv_type: int, function: int) -> None:
        """Let the next start load the TLV's default."""
        with self._state.change() as document:
            record = document["cards"][self._name]
            record["writes"]["NVDI"] += 1
            tlv = record["tlvs"][_key(tlv_type, function)]
            tlv["next"] = tlv["default"]

    def reset_all(self) -> None:
        """Let the next start load all defaults."""
        with self._state.change() as document:
            record = document["cards"][self._name]
            record["writes"]["NVIA"] += 1
            for tlv in record["tlvs"].values():
                tlv["next"] = tlv["default"]

    def loads_at_reboot(self) -> bool:
        """Whether the firmware says that a warm reboot will load all that is pending."""
        record = self._read()
        return not record["faults"].get("refuse_reset") and not any(
            tlv["name"] in self.profile.power_cycle and tlv["next"] != tlv["current"]
            for tlv in record["tlvs"].values()
        )

    def settings(self, function: int) -> dict[str, Columns]:
        """All parameters, by the names that `mstconfig` gives them."""
        found = {}
        for tlv_type, (layout, suffix) in self._by_type.items():
            columns = [self.get(tlv_type, function, column) for column in COLUMNS]
            for field in layout.fields.values():
                if field.parameter:
                    found[field.parameter + suffix] = Columns(*map(field.get, columns))
        return found

    def put(self, function: int, column: str, values: t.Mapping[str, int]) -> None:
        """Change parameters in a configuration, without counting a write."""
        with self._state.change() as document:
            tlvs = document["cards"][self._name]["tlvs"]
            for name, value in values.items():
                tlv_type, field = self._find(name)
                tlv = tlvs[_key(tlv_type, function)]
                tlv[column] = field.put(bytes.fromhex(tlv[column]), value).hex()

    @property
    def vfs(self) -> int | None:
        """How many VFs each PF offers; none where SR-IOV is off."""
        layout = self._layouts["nv_global_pci_conf"]
        data = self.get(layout.type(), 0, "current")
        return layout.fields["total_vfs"].get(data) if layout.fields["sriov_en"].get(data) else None

    def _read(self) -> Document:
        return self._state.read()["cards"][self._name]

    def _layouts_of_profile(self) -> t.Iterator[Layout]:
        # An older version of mstflint knows fewer TLVs than a newer firmware has.
        return (self._layouts[name] for name in self.profile.tlvs if name in self._layouts)

    def _install(self, tlvs: Document) -> None:
        """Give the flash the TLVs that it lacks."""
        for tlv_type, (layout, _suffix) in self._by_type.items():
            functions = len(self.functions) if layout.tlv_class == FUNCTION else 1
            data = layout.encode(self.profile.tlvs[layout.name]).hex()
            for function in range(functions):
                new = {"name": layout.name, **dict.fromkeys(COLUMNS, data)}
                tlvs.setdefault(_key(tlv_type, function), new)

    def _find(self, parameter: str) -> tuple[int, t.Any]:
        for tlv_type, (layout, suffix) in self._by_type.items():
            for field in layout.fields.values():
                if field.parameter and field.parameter + suffix == parameter:
                    return tlv_type, field
        raise ConnectXError(f"{self._name}: there is no parameter {parameter}")

    def _listed(self, layout: Layout, fault: str) -> bool:
        listed = self.fault(fault) or ()
        return any(field.parameter in listed for field in layout.fields.values())


def _key(tlv_type: int, function: int) -> str:
    """Where the state file has a TLV: only some are other ones for another function."""
    return f"{tlv_type:08x}" + (f"@{function}" if tlv_type >> 24 == FUNCTION else "")


def add_card(state: StateFile, profile: str, functions: t.Sequence[str]) -> str:
    """The name of the card with these functions; a new one comes with its defaults in force.

    Raises `ConnectXError` for a profile that does not exist, or where the state has another card.
    """
    if profile not in PROFILES:
        raise ConnectXError(f"there is no profile {profile!r}, only {', '.join(PROFILES)}")
    new = {
        "profile": profile,
        "functions": list(functions),
        "writes": dict.fromkeys(WRITES, 0),
        "faults": {},
        "tlvs": {},
    }
    with state.change() as document:
        record = document["cards"].setdefault(functions[0], new)
        if any(record[key] != new[key] for key in ("profile", "functions")):
            raise ConnectXError(f"the state has another card at {functions[0]}: remove its file")
    return functions[0]


def reboot(state: StateFile, boot_id: str | None = None) -> None:
    """A warm reboot of the machine: the firmware loads what is stored, unless it does not.

    With *boot_id*, that of the running kernel, it is one only if the state has seen another.
    """
    with state.change() as document:
        seen, document["boot_id"] = document.get("boot_id"), boot_id
        if boot_id is None or seen not in (None, boot_id):
            _load(document, warm=True)


def power_cycle(state: StateFile) -> None:
    """The machine was without power: the firmware loads what is stored."""
    with state.change() as document:
        _load(document, warm=False)


def _load(document: Document, *, warm: bool) -> None:
    for record in document["cards"].values():
        faults = record["faults"]
        if warm and (faults.get("ignore_reboot") or faults.get("refuse_reset")):
            continue
        for tlv in record["tlvs"].values():
            if not (warm and tlv["name"] in PROFILES[record["profile"]].power_cycle):
                tlv["current"] = tlv["next"]


def set_faults(state: StateFile, faults: t.Mapping[str, t.Any], card: str | None = None) -> None:
    """Give faults to one card or to all; a false value ends a fault."""
    for name in faults:
        if name not in FAULTS:
            raise ConnectXError(f"there is no fault {name!r}, only {', '.join(FAULTS)}")
    with state.change() as document:
        if card not in (None, *document["cards"]):
            raise ConnectXError(f"there is no card {card}, only {', '.join(document['cards'])}")
        for name, record in document["cards"].items():
            if card in (None, name):
                record["faults"].update(faults)


def heal(state: StateFile) -> None:
    """End all faults."""
    with state.change() as document:
        for record in document["cards"].values():
            record["faults"] = {}
