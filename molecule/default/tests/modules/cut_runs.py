# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cut the SSH connection of the next run on this host, and stop the run there.

Usage: cut_runs.py MOMENT SIGNAL MAC...

The run is stopped (SIGSTOP) as soon as it holds the lock and MOMENT, one of MOMENTS, has come. Then
the process of sshd(8) that it was started by gets SIGNAL: after SIGKILL the connection is closed,
after SIGSTOP it is silent, as that of a host that hangs. Prints, as JSON, the ids of the stopped
run and of its sshd, and what is wrong with the VFs of the PFs with the MACs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import typing as t

sys.path.insert(0, "/run/library")

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _found  # noqa: E402
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host  # noqa: E402
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci  # noqa: E402

SECONDS = 60


def entries(host: Host) -> dict[tuple[str, int], _ledger.VfEntry]:
    """What is held, by PF and VF; what is only reserved is as it was."""
    known = [entry for entries in _ledger.vfs(_ledger.read(host)).values() for entry in entries]
    return {entry.key: entry for entry in known if entry.held}


def driver(host: Host, address: str) -> str | None:
    return host.link(f"{_pci.DEVICES}/{address}/driver")


MOMENTS: dict[str, t.Callable[[Host], bool]] = {
    "nothing is written": lambda host: True,
    "the VFs are reserved": lambda host: any(
        not entry.held for entries in _ledger.vfs(_ledger.read(host)).values() for entry in entries
    ),
    "the ledger says what will be": lambda host: any(
        entry.state != _ledger.READY for entry in entries(host).values()
    ),
    "some VFs are bound": lambda host: any(
        entry.state == _ledger.CHANGING and driver(host, entry.address)
        for entry in entries(host).values()
    ),
}


def lock_holder(host: Host) -> int | None:
    """The process that holds the lock (proc_locks(5))."""
    inode = os.stat(_ledger._LOCK).st_ino
    for line in (host.read("/proc/locks") or "").splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return None


def stopped_run(host: Host, moment: t.Callable[[Host], bool]) -> int:
    """Stop the next run when *moment* has come, and return its process."""
    pids: list[int] = []

    def there() -> bool:
        pid = lock_holder(host)
        if pid is None:
            return False
        # It goes on in slices, so that no moment is missed.
        os.kill(pid, signal.SIGSTOP)
        pids.append(pid)
        if moment(host):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    assert host.wait_for(there, seconds=SECONDS, every=0.001), "no run came to this moment"
    return pids[-1]


def session(host: Host, pid: int) -> int:
    """The process of sshd that *pid* descends from."""
    while not (host.read(f"/proc/{pid}/comm") or "").startswith("sshd"):
        fields = (host.read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
        pid = int(fields[1])
    return pid


def problems(host: Host, macs: t.Sequence[str]) -> t.Iterator[str]:
    """VFs that are with a driver and not isolated, or changed and not remembered."""
    held = entries(host)
    for mac, host_pf in _found.read_pfs(host, macs).items():
        for index, address in enumerate(host_pf.pf.vfs):
            found = (host_pf.states or {})[index]._asdict()
            entry = held.get((mac, index))
            if entry is None and (found["vlan"] or driver(host, address)):
                yield f"{address} is forgotten"
            elif entry and driver(host, address) and entry.values.items() - found.items():
                yield f"{address} is bound with {found}"


def main() -> None:
    moment, sign, *macs = sys.argv[1:]
    host = Host()
    pid = stopped_run(host, MOMENTS[moment])
    sshd = session(host, pid)
    print(json.dumps({"run": pid, "sshd": sshd, "problems": list(problems(host, macs))}))
    sys.stdout.flush()
    os.kill(sshd, signal.Signals[sign])


if __name__ == "__main__":
    main()
