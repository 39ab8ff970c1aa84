# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host remembers of its materializations: who holds which VF, and how it was before."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host

    Ledger = dict[str, list["Entry"]]

DIRECTORY = "/var/lib/mergetb-sriov"
PATH = f"{DIRECTORY}/ledger.json"
_LOCK = f"{DIRECTORY}/lock"
_LOCK_SECONDS = 120
_VERSION = 1

# What a VF of the ledger is: as recorded, read back and with its driver; on the way there; or on
# the way back to its baseline. A run that ends early leaves the last two, and the next finishes.
READY = "ready"
CHANGING = "changing"
LEAVING = "leaving"


class Entry(t.NamedTuple):
    """A VF that a materialization holds.

    *pf_mac* is the PF's permanent MAC, *pf_address* and *address* are where PF and VF were on PCI
    when the materialization got the VF. *values* are the attributes (`_netlink.VfState`) and
    *driver* the driver that it has for the guest; *baseline* and *baseline_driver* those before.
    *refused* are attributes that its NIC's driver does not support and that it may go without.
    *vlan_mode* is `vst` where the NIC tags its frames, and `trunk` where the guest must.
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


def read(host: Host) -> Ledger:
    """The entries by materialization id; raises `SriovError` for a file that is not a ledger."""
    text = host.read(PATH)
    if text is None:
        return {}
    try:
        document = json.loads(text)
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']} is not {_VERSION}")
        return {
            mzid: [_entry(entry) for entry in entries]
            for mzid, entries in document["materializations"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SriovError(
            f"the ledger {PATH} cannot be read ({error}): restore it from a backup, or move it "
            "away once no guest on this host uses a VF"
        ) from error


def _entry(fields: dict[str, t.Any]) -> Entry:
    entry = Entry(**fields)
    if not isinstance(entry.vf, int) or entry.state not in (READY, CHANGING, LEAVING):
        raise ValueError(f"VF {entry.vf!r}, state {entry.state!r}")
    return entry


def write(host: Host, ledger: Ledger) -> None:
    """Replace the ledger; raises `SriovError` with what to do where that fails."""
    document = {
        "version": _VERSION,
        "materializations": {
            mzid: [entry._asdict() for entry in entries]
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


@contextlib.contextmanager
def locked(host: Host) -> t.Iterator[None]:
    """Keep other runs on this host out; raises `SriovError` where one does not end in time."""
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
        yield
    finally:
        os.close(descriptor)


def _holder(host: Host, inode: int) -> str:
    """Which process holds the lock of the file *inode*, as the kernel tells (proc_locks(5))."""
    for line in (host.read("/proc/locks") or "").splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return f" (process {fields[4]})"
    return ""
