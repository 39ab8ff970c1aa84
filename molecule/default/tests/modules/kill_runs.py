# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill runs at every step that writes, on a real kernel, and let the next run finish them.

Usage: kill_runs.py VFS MAC...

The library is that of the restore service. VFS VFs are taken from the PFs with the MACs, by turns.
Run by run a child process is killed (SIGKILL) one step later, before a write to sysfs, before a
netlink request, and before, in and after the replacement of the ledger. Prints the number of points
by phase as JSON; ends with an AssertionError that tells the point where something is not as it
must.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import typing as t

sys.path.insert(0, "/run/library")

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import (  # noqa: E402
    _assignment,
    _found,
    _request,
    _reservation,
    _restore,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import (  # noqa: E402
    Host,
    Turn,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (  # noqa: E402
    Refusal,
    Rtnetlink,
    VfRequest,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci  # noqa: E402
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _attributes, _driver  # noqa: E402

MZID = "killed.hello.demo"

PHASES = {
    "materialize": "materialize",
    "change": "change",
    "change back": "materialize",
    "restore": "restore",
    "dematerialize": "dematerialize",
}

Vf = tuple[str, int]


class DoomedNetlink(Rtnetlink):
    def __init__(self, step: t.Callable[[], None]) -> None:
        super().__init__()
        self._step = step

    def set_vfs(self, requests: t.Sequence[VfRequest]) -> list[Refusal | None]:
        answers = []
        for request in requests:
            self._step()
            answers += super().set_vfs([request])
        return answers


class DoomedHost(Host):
    """The host of a process that is killed at its step number *limit*."""

    def __init__(self, limit: int) -> None:
        super().__init__(netlink=DoomedNetlink(self._step))
        self._left = limit

    def _step(self) -> None:
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def write(self, path: str, value: str, *, seconds: float = 60) -> None:
        self._step()
        super().write(path, value, seconds=seconds)

    def write_in_turn(
        self, turns: t.Sequence[Turn], *, seconds: float = 60
    ) -> tuple[int, Exception | None]:
        """In this process, or else only its child would be at a step."""
        for number, turn in enumerate(turns):
            for path, value in turn.writes:
                self.write(path, value, seconds=seconds)
            if self.link(turn.link) != turn.outcome:
                return number, None
        return len(turns), None

    def replace(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        rename = os.rename

        def doomed_rename(source: str, target: str) -> None:
            self._step()
            rename(source, target)
            self._step()

        self._step()
        os.rename = doomed_rename  # type: ignore[assignment]  # it takes fewer forms
        try:
            super().replace(path, content, mode=mode)
        finally:
            os.rename = rename


def claim(number: int, vf: Vf, vlan: int) -> _request.Claim:
    mac, index = vf
    return _request.Claim(
        node=f"n{number}",
        nic="eth1",
        pf_name="pf",
        pf_mac=mac,
        vf=index,
        mac=f"02:00:00:00:0b:{number:02x}",
        vlan=vlan,
        mtu=None,
    )


class Scene:
    def __init__(self, count: int, macs: t.Sequence[str]) -> None:
        self.host = Host()
        self.vfs: list[Vf] = [
            (macs[number % len(macs)], number // len(macs)) for number in range(count)
        ]
        self.addresses = {
            (mac, index): _pci.find_pf(self.host, mac).vfs[index] for mac, index in self.vfs
        }
        self.carry_out(self.host, "dematerialize")  # what an interrupted call left
        self.before = self.state()

    def state(self) -> dict[Vf, tuple[t.Any, str | None]]:
        """Attributes and driver of each VF, as the kernel has them."""
        host_pfs = _found.read_pfs(self.host, [mac for mac, _index in self.vfs])
        return {
            (mac, index): (
                (host_pfs[mac].states or {})[index],
                self.host.link(f"{_pci.DEVICES}/{self.addresses[mac, index]}/driver"),
            )
            for mac, index in self.vfs
        }

    def wanted(self, phase: str) -> dict[Vf, int]:
        """The VLANs after *phase*: of all VFs; another of the first and none of the last; none."""
        if phase == "dematerialize":
            return {}
        vlans = {vf: 100 + number for number, vf in enumerate(self.vfs)}
        if phase == "change":
            vlans[self.vfs[0]] += 400
            del vlans[self.vfs[-1]]
        return vlans

    def carry_out(self, host: Host, phase: str) -> None:
        if phase == "restore":
            outcome = _restore.run(host)
            assert outcome.problems == [], outcome.problems
            return
        vlans = self.wanted(phase)
        claims = [claim(number, vf, vlans[vf]) for number, vf in enumerate(self.vfs) if vf in vlans]
        policy, run = _request.Policy("vfio-pci"), f"{phase} of process {os.getpid()}"
        _reservation.reserve(host, MZID, claims, policy, run=run)
        _assignment.run(host, MZID, claims, policy, reserved_by=run)

    def strip(self) -> None:
        """Leave the VFs as a boot does."""
        devices = [_pci.read_device(self.host, address) for address in self.addresses.values()]
        unbound = [_driver.Binding(device.address, None) for device in devices]
        _driver.apply(self.host, _driver.plan(devices, unbound))
        blank = {"mac": "00:00:00:00:00:00", "vlan": 0}
        indexes = _attributes.resolve(self.host, {mac for mac, _index in self.vfs})
        wanted = [(_attributes.Vf(mac, indexes[mac], index), blank) for mac, index in self.vfs]
        states = _attributes.read(self.host, indexes.values())
        _attributes.apply(self.host, _attributes.plan(wanted, states))

    def check_killed(self, earlier: dict[Vf, tuple[t.Any, str | None]], point: str) -> None:
        """No VF is with a guest driver and not isolated, none changed and not remembered."""
        held = {e.key: e for e in _ledger.vfs(_ledger.read(self.host)).get(MZID, []) if e.held}
        for vf, (attributes, driver) in self.state().items():
            assert (attributes, driver) == self.before[vf] or vf in held, f"{point}: {vf} forgotten"
            if driver == "vfio-pci" and (attributes, driver) != earlier[vf]:
                wanted = held[vf].values
                found = {name: attributes._asdict()[name] for name in wanted}
                assert found == wanted, f"{point}: {vf} is bound with {found}"

    def check_finished(self, phase: str, point: str) -> None:
        vlans = self.wanted(phase)
        held = _ledger.read(self.host).get(MZID, [])
        assert {e.key: e.state for e in held} == dict.fromkeys(vlans, "ready"), point
        for vf, (attributes, driver) in self.state().items():
            if vf in vlans:
                assert (attributes.vlan, driver) == (vlans[vf], "vfio-pci"), f"{point}: {vf}"
            else:
                assert (attributes, driver) == self.before[vf], f"{point}: {vf}"


def killed(scene: Scene, phase: str, limit: int) -> bool:
    """Whether the run of *phase* was killed at its step *limit*, and did not end before."""
    child = os.fork()
    if child == 0:
        scene.carry_out(DoomedHost(limit), phase)
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"{phase} {limit}: {status}"
    return os.WIFSIGNALED(status)


def main() -> None:
    scene = Scene(int(sys.argv[1]), sys.argv[2:])
    points: dict[str, int] = {}
    going, limit = list(PHASES), 0
    while going:
        # Each phase begins with what the one before it left.
        for name, phase in PHASES.items():
            if phase == "restore":
                scene.strip()
            earlier = scene.state()
            point = f"{name}, step {limit}"
            if name in going and not killed(scene, phase, limit):
                going.remove(name)
                points[name] = limit
            scene.check_killed(earlier, point)
            scene.carry_out(scene.host, phase)
            scene.check_finished(phase, point)
        limit += 1
    print(json.dumps(points))


if __name__ == "__main__":
    main()
