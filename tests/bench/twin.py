# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the modules against the bare interfaces of the kernel, on a twin of its own.

What is compared runs on the same host, in turns. The host runs each module as Ansible does, from
the payload that Ansible itself makes (AnsiballZ). Its own work is what it does once it has its
arguments; all that it takes beyond Python's start stands beside it, with the share of the imports
and of the check of the arguments. Seconds are those of the clock, since the host is a guest.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from rows import CHECKOUT, Row, tell

HERE = Path(__file__).resolve().parent
TWIN = CHECKOUT / ".twin-bench"
FACILITY = HERE / "facility.yml"
LOOP = str(HERE / "loop.yml")
HOST = "bench0"
ON_HOST = "/root/bench"

VFS = 127
ROUNDS = 7
CALLS = 3
LOOPED = 5


class Twin:
    """The emulated host, reached as Ansible reaches it."""

    def start(self) -> None:
        self.end()  # of a run that was interrupted
        self.play("mergetb.sriov.twin")
        variables = json.loads(self._ansible("ansible-inventory", "--host", HOST))
        self._ssh = [
            "ssh",
            *("-p", str(variables["ansible_port"])),
            *("-i", variables["ansible_ssh_private_key_file"]),
            *shlex.split(variables["ansible_ssh_common_args"]),
            f"{variables['ansible_user']}@{variables['ansible_host']}",
        ]
        self.run(["mkdir", ON_HOST])
        self.run(["tee", f"{ON_HOST}/on_host.py"], (HERE / "on_host.py").read_text())

    def end(self) -> None:
        self.play("mergetb.sriov.twin", "-e", "twin_state=absent")

    def play(self, playbook: str, *arguments: str) -> str:
        return self._ansible("ansible-playbook", playbook, *arguments)

    def call(self, module: str, arguments: t.Mapping[str, t.Any], *options: str, **env: str) -> str:
        words = ["-m", module, *(["-a", json.dumps(arguments)] if arguments else []), *options]
        return self._ansible("ansible", HOST, *words, **env)

    def payload(self, module: str, arguments: t.Mapping[str, t.Any]) -> list[str]:
        """The command that runs *module* on the host as Ansible does, which leaves it there."""
        directory = f"{ON_HOST}/{module}"
        self.call(
            module,
            arguments,
            *("-e", f"ansible_remote_tmp={directory}"),
            ANSIBLE_KEEP_REMOTE_FILES="1",
            ANSIBLE_PIPELINING="0",
        )
        (path,) = self.run(["sh", "-c", f"ls {directory}/*/AnsiballZ_*.py"]).split()
        return ["python3", path]

    def script(self, *arguments: str, plan: t.Any = None) -> t.Any:
        """The answer of `on_host.py`."""
        return json.loads(
            self.run(["python3", f"{ON_HOST}/on_host.py", *arguments], json.dumps(plan))
        )

    def file(self, name: str, lines: t.Iterable[str]) -> str:
        path = f"{ON_HOST}/{name}"
        self.run(["tee", path], "".join(f"{line}\n" for line in lines))
        return path

    def run(self, argv: t.Sequence[str], text: str = "") -> str:
        return _run([*self._ssh, shlex.join(argv)], text=text)

    def _ansible(self, command: str, *arguments: str, **env: str) -> str:
        inventories = [FACILITY, *TWIN.glob("hosts.yml")]
        return _run(
            [
                str(Path(sys.executable).with_name(command)),
                *(f"--inventory={path}" for path in inventories),
                *arguments,
                *(() if command == "ansible-inventory" else ("-e", f"twin_dir={TWIN}")),
            ],
            env=env,
        )


def _run(argv: t.Sequence[str], *, text: str = "", env: t.Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        argv,
        input=text,
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "NO_COLOR": "1", **(env or {})},
        check=False,
    )
    if done.returncode:
        said = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        sys.exit(f"{shlex.join(argv)[:400]}\nended with {done.returncode}:\n{said}")
    return done.stdout


def timed(action: t.Callable[[], t.Any]) -> tuple[float, t.Any]:
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def prepare(twin: Twin) -> list[Row]:
    """The playbook `prepare` on a bare host and on one that is as it must be."""

    def run() -> str:
        return twin.play("mergetb.sriov.prepare")

    tell("prepare a bare host, with a reboot")
    first, _recap = timed(run)
    tell("prepare it again")
    again = [timed(run) for _call in range(CALLS)]
    recap = again[-1][1]
    tasks, changed = (re.findall(rf"\b{word}=(\d+)", recap)[-1] for word in ("ok", "changed"))
    if changed != "0":
        sys.exit(f"a second run of prepare changed something:\n{recap}")
    return [
        Row("prepare a bare host, with its reboot", [first]),
        # A tenth of what the best other collection took on such a host.
        Row(
            "prepare it again",
            [seconds for seconds, _recap in again],
            goal=10,
            remark=f"{tasks} tasks",
        ),
    ]


def attributes(interface: str, variant: int) -> list[dict[str, t.Any]]:
    """Attributes for all VFs; no value is the same in both variants, 0 and 1."""
    return [
        {
            "pf": interface,
            "vf": number,
            "mac": f"02:00:00:00:{variant:02x}:{number:02x}",
            "vlan": 100 + 1000 * variant + number,
            "qos": 1 + variant,
            "spoofchk": bool(variant),
            "trust": bool(variant),
            "link_state": ("enable", "disable")[variant],
            "min_tx_rate": 10 + variant,
            "max_tx_rate": 100 + variant,
        }
        for number in range(VFS)
    ]


def ip_arguments(vf: t.Mapping[str, t.Any]) -> list[str]:
    """What `ip` is told for the attributes of one VF."""
    words = ["link", "set", "dev", vf["pf"], "vf", str(vf["vf"])]
    for name in ("mac", "vlan", "qos", "min_tx_rate", "max_tx_rate"):
        words += [name, str(vf[name])]
    for name in ("spoofchk", "trust"):
        words += [name, "on" if vf[name] else "off"]
    return [*words, "state", vf["link_state"]]


class OnHost:
    """What runs on the host: the modules, and the bare interfaces that they are held against."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        found = twin.script("devices")
        self.interface = found["interface"]
        theirs, ours = (attributes(self.interface, variant) for variant in (0, 1))
        addresses = found["vfs"]
        self.nothing = ["python3", "-c", "pass"]
        self.ip = ["ip", "-batch", twin.file("ip", (shlex.join(ip_arguments(x)) for x in theirs))]
        self.bind = self._writes_of(
            "bind",
            ((f"devices/{x}/driver_override", "vfio-pci") for x in addresses),
            (("drivers_probe", x) for x in addresses),
        )
        self.unbind = self._writes_of(
            "unbind",
            (("drivers/vfio-pci/unbind", x) for x in addresses),
            ((f"devices/{x}/driver_override", "") for x in addresses),
        )
        self.ping = twin.payload("ansible.builtin.ping", {})
        self.vf = twin.payload("mergetb.sriov.vf", {"vfs": ours})
        self.pci_driver = twin.payload(
            "mergetb.sriov.pci_driver",
            {"devices": [{"address": x, "driver": "vfio-pci"} for x in addresses]},
        )

    def _writes_of(self, name: str, *writes: t.Iterable[tuple[str, str]]) -> list[str]:
        """A shell script that makes *writes* to sysfs, a VF's one after the other."""
        lines = (
            f"echo {text} > /sys/bus/pci/{path}"
            for vf in zip(*writes, strict=True)
            for path, text in vf
        )
        return ["sh", "-e", self._twin.file(name, lines)]

    def rows(self) -> list[Row]:
        tell("on the host: ip -batch and vf, writes to sysfs and pci_driver, in turns")
        seconds = self._twin.script(
            "alternate",
            plan={
                "rounds": ROUNDS,
                "steps": [
                    {"argv": self.nothing, "name": "python"},
                    {"argv": self.ping, "name": "ping"},
                    {"argv": self.ip, "name": "ip"},
                    {"argv": self.vf, "name": "vf", "changed": True},
                    {"argv": self.vf, "name": "vf again", "changed": False},
                    {"argv": self.unbind},
                    {"argv": self.bind, "name": "sysfs"},
                    {"argv": self.unbind},
                    {"argv": self.pci_driver, "name": "pci_driver", "changed": True},
                    {"argv": self.pci_driver, "name": "pci_driver again", "changed": False},
                ],
            },
        )

        beyond = {
            name: [one - start for one, start in zip(spent, seconds["python"], strict=True)]
            for name, spent in seconds.items()
        }
        rows = [
            Row("Python's start", seconds["python"]),
            Row("an empty module beyond Python's start", beyond["ping"]),
        ]
        for module, payload, undo, bare, against, goal in (
            ("vf", self.vf, self.ip, seconds["ip"], "ip -batch", 1.5),
            ("pci_driver", self.pci_driver, self.unbind, seconds["sysfs"], "echo > /sys", 1.3),
        ):
            tell(f"on the host: system calls and phases of {module}")
            name = f"{module}, {VFS} VFs"
            writes, spent = self._looked_into(module, payload, undo)
            own = Row(f"{name}, its own work", spent["run"], "s", bare, against, goal, writes)
            name = f"{name}, beyond Python's start"
            rows += [own, Row(name, beyond[module], "s", bare, against, goal, _phases(spent))]

            name = f"{module}, no change"
            writes, spent = self._looked_into(module, payload)
            own = Row(f"{name}, its own work", spent["run"], goal=0.15, remark=writes)
            name, whole = f"{name}, beyond Python's start", beyond[f"{module} again"]
            rows += [own, Row(name, whole, goal=0.15, remark=_phases(spent))]
        return rows

    def _looked_into(
        self, module: str, payload: t.Sequence[str], undo: t.Sequence[str] = ()
    ) -> tuple[str, dict[str, list[float]]]:
        """How many writes *payload* makes and the seconds of its phases; it changes something
        after *undo*."""

        def script(*arguments: str) -> t.Any:
            if undo:
                self._twin.run(undo)
            return self._twin.script(*arguments)

        writes = script("writes", *payload)
        if bool(writes) != bool(undo):
            sys.exit(
                f"{module} made the writes {writes[:10]}, {'some' if undo else 'none'} are due"
            )
        rounds = [script("phases", payload[-1], module) for _round in range(CALLS)]
        phases = {name: [spent[name] for spent in rounds] for name in rounds[0]}
        return f"{len(writes)} writes", phases


def _phases(spent: t.Mapping[str, t.Sequence[float]]) -> str:
    return ", ".join(f"{name} {statistics.median(seconds):.2f}" for name, seconds in spent.items())


def calls(twin: Twin, interface: str) -> list[Row]:
    """Whole calls of Ansible: the module, and a loop over `ip`."""
    tell("whole calls: vf, and a loop of one ip per VF, in turns")
    variants = [attributes(interface, variant) for variant in (0, 1)]
    ours: list[float] = []
    one: list[float] = []
    several: list[float] = []
    for number in range(CALLS):
        vfs = variants[number % 2]
        ours.append(timed(functools.partial(twin.call, "mergetb.sriov.vf", {"vfs": vfs}))[0])
        for seconds, count in ((one, 1), (several, 1 + LOOPED)):
            commands = [["ip", *ip_arguments(vf)] for vf in variants[1 - number % 2][:count]]
            extra = json.dumps({"bench_commands": commands})
            seconds.append(timed(functools.partial(twin.play, LOOP, "-e", extra))[0])
    item = (statistics.median(several) - statistics.median(one)) / LOOPED
    whole = statistics.median(one) + (VFS - 1) * item
    return [
        Row(
            f"ansible -m vf, {VFS} VFs, the whole call",
            ours,
            "s",
            [whole],
            "a loop of ip",
            1 / 20,
            f"loop extrapolated from {LOOPED} items of {item:.2f} s each",
        )
    ]


def rows() -> t.Iterator[Row]:
    tell("boot a twin")
    twin = Twin()
    try:
        twin.start()
        yield from prepare(twin)
        host = OnHost(twin)
        yield from host.rows()
        yield from calls(twin, host.interface)
    finally:
        twin.end()
