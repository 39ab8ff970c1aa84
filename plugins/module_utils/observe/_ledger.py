# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host remembers of its materializations: who holds which device, and how it was before.

A device is a VF or a whole PCI function. Each kind has a type of entry, with the same questions.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    ISOLATING,
    VfState,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._text import MAC, PCI_ADDRESS

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

    Ledger = t.Mapping[str, t.Sequence["Entry"]]
    VfLedger = dict[str, list["VfEntry"]]
    _Check = t.Callable[[t.Any], object]

DIRECTORY = "/var/lib/mergetb-sriov"
PATH = f"{DIRECTORY}/ledger.json"
_LOCK = f"{DIRECTORY}/lock"
_LOCK_SECONDS = 120
_VERSION = 1

# The state of a device in the ledger. RESERVED: a run wants it and has touched nothing yet. READY:
# it was read back as recorded and has its driver. CHANGING: it is on the way there. LEAVING: it is
# on the way back to its baseline. A run that ends early leaves a state other than READY, and the
# next run of the materialization finishes.
RESERVED = "reserved"
READY = "ready"
CHANGING = "changing"
LEAVING = "leaving"

# Who tags the frames of a VF: its NIC, or the guest.
VST = "vst"
TRUNK = "trunk"

# The kinds of devices.
VF = "vf"
FUNCTION = "function"


class VfEntry(t.NamedTuple):
    """A VF that a materialization holds, or that *runs* of it have reserved.

    *pf_name* is the PF's name in the model, *pf_mac* its permanent MAC. *pf_address* and *address*
    are where PF and VF were on PCI when the materialization got the VF. *values* are the attributes
    (`_netlink.VfState`) and *driver* the driver that the VF has for the guest. *baseline* and
    *baseline_driver* are those that it had before. *refused* are attributes that the driver of its
    NIC does not support and that the VF may go without. *vlan_mode* is `vst` if the NIC tags the
    frames, and `trunk` if the guest has to.

    A run can also reserve a VF that the materialization holds, to change it.
    """

    node: str
    nic: str
    pf_name: str
    pf_mac: str
    pf_address: str
    vf: int
    address: str
    vlan: int
    vlan_mode: str
    values: dict[str, t.Any]
    refused: list[str]
    driver: str
    state: str
    baseline: dict[str, t.Any]
    baseline_driver: str | None
    runs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return VF

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the VF: the permanent MAC of its PF, and its index."""
        return self.pf_mac, self.vf

    @property
    def label(self) -> str:
        """The VF, as a person names it."""
        return f"{self.pf_name} ({self.pf_mac}) VF {self.vf}"

    @property
    def guest(self) -> str:
        """The guest and its NIC."""
        return f"{self.node}.{self.nic}"

    @property
    def held(self) -> bool:
        """Whether the materialization holds the VF already, and has not only reserved it."""
        return self.state != RESERVED

    @property
    def has(self) -> str:
        """The verb of a message about the materialization and this VF."""
        return _has(self)


class FunctionEntry(t.NamedTuple):
    """A whole PCI function that a materialization holds, or that *runs* of it have reserved.

    *nic* names it in the guest, also if it is no NIC. *address* is where it was on PCI when the
    materialization got it, and *identity* its vendor and device there, such as `8086:10d3`.
    *driver* is the driver that it has for the guest. *baseline_driver* and *baseline_override* are
    its driver and `driver_override` before. A NIC has *pf_name*, its name in the model, *pf_mac*,
    its permanent MAC, and *vlan*, the access VLAN of the leaf's port. For others these are `None`.
    """

    kind: str
    node: str
    nic: str
    address: str
    identity: str
    pf_name: str | None
    pf_mac: str | None
    vlan: int | None
    driver: str
    state: str
    baseline_driver: str | None
    baseline_override: str | None
    runs: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the function: where it is on PCI."""
        return FUNCTION, self.address

    @property
    def label(self) -> str:
        """The function, as a person names it."""
        name = f"{self.pf_name} ({self.pf_mac})" if self.pf_mac else self.identity
        return f"function {self.address} {name}"

    @property
    def guest(self) -> str:
        """The guest, and the name of the device there."""
        return f"{self.node}.{self.nic}"

    @property
    def held(self) -> bool:
        """Whether the materialization holds the function, and has not only reserved it."""
        return self.state != RESERVED

    @property
    def has(self) -> str:
        """The verb of a message about the materialization and this function."""
        return _has(self)


Entry = t.Union[VfEntry, FunctionEntry]
_KINDS: dict[str, type[t.Any]] = {VF: VfEntry, FUNCTION: FunctionEntry}


def _has(entry: Entry) -> str:
    return "holds" if entry.held else f"(run {' and '.join(entry.runs)}) has reserved"


def vfs(ledger: Ledger) -> VfLedger:
    """The VFs of *ledger*, by materialization id."""
    return {
        mzid: [entry for entry in entries if isinstance(entry, VfEntry)]
        for mzid, entries in ledger.items()
    }


def functions(ledger: Ledger) -> list[tuple[str, FunctionEntry]]:
    """The whole functions of *ledger*, each with the id of its materialization."""
    return [
        (mzid, entry)
        for mzid, entries in ledger.items()
        for entry in entries
        if isinstance(entry, FunctionEntry)
    ]


def function_at(ledger: Ledger, *names: str | None) -> tuple[str, FunctionEntry] | None:
    """Who has the function that one of *names*, PCI address or permanent MAC, is of."""
    return next(
        (
            (mzid, entry)
            for mzid, entry in functions(ledger)
            for name in names
            if name is not None and name in (entry.address, entry.pf_mac)
        ),
        None,
    )


def read(host: Host) -> Ledger:
    """The entries by materialization id; raises `SriovError` for a file that is not a ledger."""
    try:
        text = host.read(PATH)
    except PermissionError:
        raise
    except OSError as error:
        raise SriovError(
            f"the ledger {PATH} cannot be read ({os.strerror(error.errno or 0)}), and nothing was "
            "changed: see to its file system and run this again"
        ) from error
    if text is None:
        return {}
    try:
        document = json.loads(text, object_pairs_hook=_object)
        if not isinstance(document, dict) or set(document) != {"version", "materializations"}:
            raise ValueError("it is not an object with 'version' and 'materializations'")
        if not _one_of(_VERSION)(document["version"]):
            raise ValueError(f"version {_short(document['version'])} is not {_VERSION}")
        ledger = _ledger(document["materializations"])
        _check(ledger)
    except (ValueError, RecursionError) as error:
        raise SriovError(
            f"the ledger {PATH} cannot be read ({error}): restore it from a backup, or move it "
            "away once no guest on this host uses a VF"
        ) from error
    return ledger


def _object(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"one object has a key twice: {_short([key for key, _value in pairs])}")
    return found


def _ledger(materializations: t.Any) -> Ledger:
    if not isinstance(materializations, dict):
        raise ValueError("'materializations' is no object")
    ledger: dict[str, list[Entry]] = {}
    for mzid, entries in materializations.items():
        if not isinstance(entries, list):
            raise ValueError(f"{_short(mzid)} is no list")
        ledger[mzid] = [
            _entry(f"{_short(mzid)}, entry {number}", fields)
            for number, fields in enumerate(entries, 1)
        ]
    return ledger


def _entry(name: str, fields: t.Any) -> Entry:
    if not isinstance(fields, dict):
        raise ValueError(f"{name}: {_short(fields)} is no object")
    kind = fields.get("kind", VF)
    # The entry of a VF is as it was before there were other kinds.
    if not isinstance(kind, str) or kind not in _KINDS or ("kind" in fields and kind == VF):
        raise ValueError(f"{name}: kind {_short(kind)} is not possible")
    shape = _KINDS[kind]
    unknown = set(fields).difference(shape._fields)
    if unknown:
        raise ValueError(f"{name}: it has the unknown key {_short(min(unknown))}")
    missing = set(shape._fields).difference(fields, shape._field_defaults)
    if missing:
        raise ValueError(f"{name}: it has no {min(missing)}")
    entry: Entry = shape(**fields)
    return entry._replace(runs=tuple(entry.runs)) if isinstance(entry.runs, list) else entry


def _check(ledger: Ledger) -> None:
    """Raise `ValueError` if *ledger* has a value that no run writes, or a device twice."""
    seen: dict[tuple[t.Hashable, bool], str] = {}
    owners: dict[t.Hashable, str] = {}
    for mzid, entries in ledger.items():
        for number, entry in enumerate(entries, 1):
            name = f"{_short(mzid)}, entry {number}"
            for field, value in entry._asdict().items():
                if not _CHECKS[entry.kind][field](value):
                    raise ValueError(f"{name}: {field} {_short(value)} is not possible")
            _check_whole(name, entry)
            other = seen.setdefault((entry.key, entry.held), name)
            if other != name or owners.setdefault(entry.key, mzid) != mzid:
                raise ValueError(f"{name}: {other} has {_device(entry)}, too")
    _check_shared(ledger)


def _device(entry: Entry) -> str:
    if isinstance(entry, VfEntry):
        return f"VF {entry.vf} of PF {entry.pf_mac}"
    return f"function {entry.address}"


def _check_shared(ledger: Ledger) -> None:
    """Raise `ValueError` if *ledger* has a PF as a whole, and VFs of it."""
    for mzid, entries in vfs(ledger).items():
        for entry in entries:
            whole = function_at(ledger, entry.pf_mac, entry.pf_address)
            if whole:
                raise ValueError(
                    f"{_short(mzid)} has {_device(entry)}, and {_short(whole[0])} the whole PF"
                )


def _check_whole(name: str, entry: Entry) -> None:
    """Raise `ValueError` if the fields of *entry* contradict each other."""
    if bool(entry.runs) == entry.held:
        raise ValueError(f"{name}: state {entry.state} with runs {_short(list(entry.runs))}")
    if isinstance(entry, VfEntry):
        _check_vf(name, entry)
    elif len({value is None for value in (entry.pf_name, entry.pf_mac, entry.vlan)}) > 1:
        raise ValueError(f"{name}: only a NIC has pf_name, pf_mac and vlan, and it has all")


def _check_vf(name: str, entry: VfEntry) -> None:
    if entry.vlan_mode == VST:
        lacking = [key for key in ISOLATING if key not in entry.values]
        if lacking:
            raise ValueError(f"{name}: values has no {lacking[0]}, which isolates the VF")
        if (entry.values["vlan"], entry.values["spoofchk"]) != (entry.vlan, True):
            raise ValueError(f"{name}: values is not VLAN {entry.vlan} with spoofchk")
    elif entry.values:
        raise ValueError(f"{name}: values are set although its NIC keeps none")


def _short(value: t.Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: t.Any) -> bool:
    return isinstance(value, str)


def _number(low: int, high: int) -> _Check:
    # To Python, true is a number.
    return lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    )


def _one_of(*values: t.Any) -> _Check:
    return lambda value: any(type(value) is type(item) and value == item for item in values)


def _matches(pattern: re.Pattern[str]) -> _Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value)


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


_DRIVER = re.compile(r"(?!\.{1,2}$)[\w.+-]{1,255}", re.ASCII)
_RATE = _number(0, (1 << 32) - 1)

_VALUES: dict[str, _Check] = {
    "mac": _matches(MAC),
    "vlan": _number(0, 4095),
    "qos": _number(0, 7),
    "vlan_proto": _one_of("802.1Q", "802.1ad"),
    "spoofchk": _one_of(True, False),
    "trust": _one_of(True, False),
    "link_state": _one_of("auto", "enable", "disable"),
    "min_tx_rate": _RATE,
    "max_tx_rate": _RATE,
    "query_rss": _one_of(True, False),
}


def _attributes(value: t.Any, *, gaps: bool) -> bool:
    """Whether *value* has the attributes of a VF; with *gaps*, some may be null."""
    return isinstance(value, dict) and all(
        name in VfState._fields and ((gaps and kept is None) or _VALUES[name](kept))
        for name, kept in value.items()
    )


def _names_of_attributes(value: t.Any) -> bool:
    return isinstance(value, list) and all(name in VfState._fields for name in value)


_EVERY: dict[str, _Check] = {
    "node": _text,
    "nic": _text,
    "address": _matches(PCI_ADDRESS),
    "driver": _matches(_DRIVER),
    "state": _one_of(RESERVED, READY, CHANGING, LEAVING),
    "baseline_driver": _or_none(_matches(_DRIVER)),
    "runs": lambda value: isinstance(value, tuple) and all(map(_text, value)),
}
_OF_VF: dict[str, _Check] = {
    **_EVERY,
    "pf_name": _text,
    "pf_mac": _matches(MAC),
    "pf_address": _matches(PCI_ADDRESS),
    "vf": _number(0, 65535),
    "vlan": _number(1, 4094),
    "vlan_mode": _one_of(VST, TRUNK),
    "values": lambda value: _attributes(value, gaps=False),
    "refused": _names_of_attributes,
    "baseline": lambda value: _attributes(value, gaps=True),
}
_OF_FUNCTION: dict[str, _Check] = {
    **_EVERY,
    "kind": _one_of(FUNCTION),
    "identity": _matches(re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")),
    "pf_name": _or_none(_text),
    "pf_mac": _or_none(_matches(MAC)),
    "vlan": _or_none(_number(1, 4094)),
    "baseline_override": _or_none(_matches(_DRIVER)),
}
_CHECKS = {VF: _OF_VF, FUNCTION: _OF_FUNCTION}


def write(host: Host, ledger: Ledger) -> None:
    """Replace the ledger; raises `SriovError` with what to do if that fails.

    Does not write what `read` would refuse.
    """
    try:
        _check(ledger)
    except ValueError as error:
        raise SriovError(
            f"the ledger {PATH} cannot say this, so nothing was changed: {error}"
        ) from error
    document = {
        "version": _VERSION,
        "materializations": {
            mzid: [_fields(entry) for entry in entries]
            for mzid, entries in sorted(ledger.items())
            if entries
        },
    }
    try:
        host.replace(PATH, json.dumps(document, indent=2) + "\n", mode=0o600)
    except OSError as error:
        raise SriovError(
            f"the ledger {PATH} could not be written ({os.strerror(error.errno or 0)}) and is as "
            "it was: see to its file system and run this again"
        ) from error


def _fields(entry: Entry) -> dict[str, t.Any]:
    """*entry* as the file has it. Version 0.1.0, too, can read that of a VF that is held."""
    fields = entry._asdict()
    if entry.held:
        del fields["runs"]
    return fields


def described(ledger: Ledger) -> dict[str, list[dict[str, t.Any]]]:
    """*ledger* as modules return it."""
    return {mzid: [entry._asdict() for entry in entries] for mzid, entries in ledger.items()}


def exclusive(host: Host, *, check_mode: bool) -> t.ContextManager[None]:
    """`locked`, or nothing in check mode, which only reads."""
    return contextlib.nullcontext() if check_mode else locked(host)


@contextlib.contextmanager
def locked(host: Host) -> t.Iterator[None]:
    """Keep other runs on this host out; raises `SriovError` if one does not end in time."""
    try:
        os.makedirs(host.path(DIRECTORY), mode=0o700, exist_ok=True)
        descriptor = os.open(host.path(_LOCK), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise SriovError(
            f"the lock {_LOCK} could not be made ({os.strerror(error.errno or 0)}), and nothing "
            "was changed: see to its file system and run this again"
        ) from error
    try:

        def taken() -> bool:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not host.wait_for(taken, seconds=_LOCK_SECONDS):
            raise SriovError(
                f"another run{_holder(host, os.fstat(descriptor).st_ino)} has held the lock "
                f"{_LOCK} for {_LOCK_SECONDS} s: wait for it to end, and see what it waits for"
            )
        with host.lasting(descriptor):
            yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _holder(host: Host, inode: int) -> str:
    """The process that holds the lock of the file *inode*, by proc_locks(5)."""
    for line in (host.read("/proc/locks") or "").splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return f" (process {fields[4]})"
    return ""
