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


class Entry(t.NamedTuple):
    """A VF that a materialization holds.

    *pf_mac* is the PF's permanent MAC; *baseline* are the attributes (`_netlink.VfState`) and
    *baseline_driver* the driver that the VF had before.
    """

    node: str
    nic: str
    pf_mac: str
    vf: int
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
            mzid: [Entry(**entry) for entry in entries]
            for mzid, entries in document["materializations"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SriovError(
            f"the ledger {PATH} cannot be read ({error}): restore it from a backup, or move it "
            "away once no guest on this host uses a VF"
        ) from error


def write(host: Host, ledger: Ledger) -> None:
    document = {
        "version": _VERSION,
        "materializations": {
            mzid: [entry._asdict() for entry in entries]
            for mzid, entries in sorted(ledger.items())
            if entries
        },
    }
    host.replace(PATH, json.dumps(document, indent=2) + "\n", mode=0o600)


@contextlib.contextmanager
def locked(host: Host) -> t.Iterator[None]:
    """Keep other runs on this host out; raises `SriovError` where one does not end in time."""
    os.makedirs(host.path(DIRECTORY), mode=0o700, exist_ok=True)
    descriptor = os.open(host.path(_LOCK), os.O_CREAT | os.O_RDWR, 0o600)
    try:

        def taken() -> bool:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not host.wait_for(taken, seconds=_LOCK_SECONDS):
            raise SriovError(
                f"another run has held the lock {_LOCK} for {_LOCK_SECONDS} s: wait for it to end"
            )
        yield
    finally:
        os.close(descriptor)
