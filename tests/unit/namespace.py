# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A network namespace of the real kernel, whose veth interfaces stand for NICs on PCI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _management, _pci

_COLLECTIONS = Path(__file__).parents[2] / ".ansible/collections"
# Processes outside are in no one's way: the tests themselves may run in an SSH session.
_UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
_KEEP = "mount -t sysfs sysfs /sys; echo ready; exec sleep infinity"


def _not_here(reason: str) -> t.NoReturn:
    """Skip the test; in CI, where nobody would notice that, it fails."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Namespace:
    """Namespaces of network, mounts and processes that last until `close` is called.

    `environment` is what its commands find in theirs; `nics` are the PCI addresses of `add_nic`.
    """

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.nics: dict[str, str] = {}
        if os.geteuid():
            _not_here("only root makes network namespaces")
        self._keeper = subprocess.Popen(
            [*_UNSHARE, "sh", "-ec", _KEEP],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._keeper.stdout
        assert self._keeper.stderr
        if not self._keeper.stdout.readline():
            _not_here(f"no network namespace here: {self._keeper.stderr.read().strip()}")
        self.ip("link set lo up")

    def close(self) -> None:
        self._keeper.kill()
        self._keeper.communicate()

    def argv(self, *command: str) -> list[str]:
        """What runs *command* in it."""
        pid = self._keeper.pid
        processes = f"--pid=/proc/{pid}/ns/pid_for_children"
        return ["nsenter", f"--target={pid}", "--root", "--net", "--mount", processes, *command]

    def run(
        self, *command: str, check: bool = True, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment}
        if "SSH_CONNECTION" not in self.environment:
            environment.pop("SSH_CONNECTION", None)
        return subprocess.run(
            self.argv(*command),
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def ip(self, *commands: str) -> None:
        """Give `ip` each of *commands*; skips the test where the kernel has no such interface."""
        done = self.run("ip", "-batch", "-", check=False, text="\n".join(commands))
        if "Unknown device type" in done.stderr:
            number = int(done.stderr.rpartition(":")[2])
            pytest.skip(f"this kernel has no such interface: ip {commands[number - 1]}")
        assert done.returncode == 0, f"ip {commands}: {done.stderr}"

    def add_nic(self, name: str, *addresses: str) -> str:
        """An interface whose cable is plugged in; returns the PCI address that it is shown with."""
        number = len(self.nics) + 1
        self.ip(
            f"link add {name} type veth peer name far{number}",
            f"link set far{number} up",
            f"link set {name} up",
            *(
                f"address add {address} dev {name}" + (" nodad" if ":" in address else "")
                for address in addresses
            ),
        )
        self.nics[name] = f"0000:{number:02x}:00.0"
        return self.nics[name]

    def program(self) -> list[str]:
        """What prints the answer of `_management.devices` as JSON."""
        return [sys.executable, __file__, json.dumps(self.nics)]

    def devices(self, *wrapper: str) -> dict[str, str]:
        """What `_management.devices` answers in it, called by the command *wrapper*."""
        self.environment["PYTHONPATH"] = str(_COLLECTIONS)
        done = self.run(*wrapper, *self.program(), check=False)
        assert done.returncode == 0, done.stderr
        answer: dict[str, t.Any] = json.loads(done.stdout)
        if "error" in answer:
            raise SriovError(answer["error"])
        return answer["devices"]


class _HostWithNics(Host):
    """This machine, with *nics* on its PCI bus, whose directory is *bus*.

    Those that this network namespace has are shown as the interfaces of their functions.
    """

    def __init__(self, nics: t.Mapping[str, str], bus: str) -> None:
        super().__init__()
        self._nics = nics
        self._bus = Path(bus)
        for name, address in nics.items():
            (self._bus / address / "net").mkdir(parents=True)
            (self._bus / address / "class").write_text("0x020000")
            (self._bus / address / "driver_override").write_text("(null)")
            (self._bus / address / "driver").symlink_to("../drivers/igb")
            if self.exists(f"/sys/class/net/{name}"):
                (self._bus / address / "net" / name).mkdir()

    def path(self, path: str) -> str:
        inside = path.partition(f"{_pci.DEVICES}/")[2]
        if path == _pci.DEVICES or inside:
            return str(self._bus / inside)
        return super().path(path)

    def target(self, path: str) -> str | None:
        name = path.rpartition("/")[2]
        if path == f"/sys/class/net/{name}" and name in self._nics:
            return f"../../devices/pci0000:00/{self._nics[name]}/net/{name}"
        return super().target(path)


def main() -> None:
    answer: dict[str, t.Any]
    with tempfile.TemporaryDirectory() as bus:
        try:
            answer = {"devices": _management.devices(_HostWithNics(json.loads(sys.argv[1]), bus))}
        except SriovError as error:
            answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
