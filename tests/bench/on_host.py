# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's side of the benchmark: make the devices, take times, count writes.

Usage: on_host.py devices | alternate | writes PROGRAM ... | phases PAYLOAD MODULE

Each answers in JSON. `alternate` reads what it is to run from its standard input.
"""

from __future__ import annotations

import glob
import importlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

VFS = 127
NETDEVSIM = Path("/sys/bus/netdevsim")
NETDEVSIM_DEBUG = Path("/sys/kernel/debug/netdevsim/netdevsim1")
PCI = Path("/sys/bus/pci/devices")
DEVICE_SECONDS = 120

# The call, the directory that its path is relative to, and the path.
_FILE_CALL = re.compile(r"^\d+ +(?P<call>\w+)\((?:[^<\"]*<(?P<base>[^>]*)>, )?\"(?P<path>[^\"]*)\"")
_OPENED_TO_WRITE = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT)\b")
_CHANGES_DIRECTORY = re.compile(r"(?:rename|unlink|mkdir|rmdir|symlink|link|mknod|ch|truncate)")
_NETLINK = re.compile(r"^\d+ +send\w+\(\d+<NETLINK:")
_NETLINK_CHANGE = re.compile(r"nlmsg_type=RTM_(?:NEW|DEL|SET)\w+")


def devices() -> dict[str, t.Any]:
    """A netdevsim interface and an NVMe controller with `VFS` VFs each, none with a driver."""
    subprocess.run(["modprobe", "--all", "netdevsim", "vfio-pci"], check=True)
    if not NETDEVSIM_DEBUG.exists():
        (NETDEVSIM / "new_device").write_text("1 1")
        (NETDEVSIM_DEBUG / "max_vfs").write_text(str(VFS))
        (NETDEVSIM / "devices/netdevsim1/sriov_numvfs").write_text(str(VFS))
    subprocess.run(["udevadm", "settle"], check=True)
    (interface,) = os.listdir(NETDEVSIM / "devices/netdevsim1/net")
    (controller,) = (
        path.parent
        for path in PCI.glob("*/sriov_totalvfs")
        if (path.parent / "class").read_text().startswith("0x0108")
    )
    (controller / "sriov_drivers_autoprobe").write_text("0")
    if int((controller / "sriov_numvfs").read_text()) != VFS:
        (controller / "sriov_numvfs").write_text(str(VFS))
    vfs = [(controller / f"virtfn{number}").resolve().name for number in range(VFS)]
    return {"interface": interface, "nvme": controller.name, "vfs": vfs}


def alternate(plan: dict[str, t.Any]) -> dict[str, list[float]]:
    """Run the steps of *plan* one after the other, `rounds` times, and return their seconds.

    A step has `argv`, and `name` where it is to be timed; `changed` is what an Ansible module must
    report. The first round only warms up.
    """
    seconds: dict[str, list[float]] = {}
    for number in range(plan["rounds"] + 1):
        for step in plan["steps"]:
            started = time.perf_counter()
            done = subprocess.run(step["argv"], capture_output=True, text=True, check=False)
            elapsed = time.perf_counter() - started
            if done.returncode:
                sys.exit(f"{step['argv']}: {done.stderr}{done.stdout[-2000:]}")
            if "changed" in step and json.loads(done.stdout)["changed"] != step["changed"]:
                sys.exit(f"{step['argv']}: changed is not {step['changed']}")
            if number and "name" in step:
                seconds.setdefault(step["name"], []).append(elapsed)
    return seconds


def writes(argv: t.Sequence[str]) -> list[str]:
    """The system calls of *argv* that change something, but for its temporary directory.

    Those are files opened for writing, changed directories, and route netlink requests other than
    queries. A program's output and its line in the system's log do not count.
    """
    with tempfile.TemporaryDirectory() as temporary, tempfile.NamedTemporaryFile("r") as trace:
        subprocess.run(
            # All messages of a batch must show.
            [
                "strace",
                "-f",
                "-qq",
                "-yy",
                "-s",
                "9999",
                "-e",
                "trace=%file,sendto,sendmsg,sendmmsg",
            ]
            + ["-o", trace.name, *argv],
            env={**os.environ, "TMPDIR": temporary},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return [change for line in trace for change in _changes(line, temporary)]


def _changes(line: str, temporary: str) -> list[str]:
    """The changes in one line of strace: a path, or the requests of a netlink message."""
    if _NETLINK.match(line):
        return _NETLINK_CHANGE.findall(line)
    call = _FILE_CALL.match(line)
    if call is None:
        return []
    if call["call"].startswith("open"):
        if not _OPENED_TO_WRITE.search(line):
            return []
    elif not _CHANGES_DIRECTORY.match(call["call"]) or call["call"] == "chdir":
        return []
    path = os.path.join(call["base"] or "/", call["path"])
    return [] if path == os.devnull or path.startswith(temporary) else [path]


def phases(payload: str, module: str) -> dict[str, float]:
    """Where the seconds of a module's *payload* go within one process, as Ansible would run it."""
    subprocess.run([sys.executable, payload, "explode"], check=True, capture_output=True)
    (directory,) = glob.glob(os.path.join(os.path.dirname(payload), "debug_dir"))
    # Ansible imports from a zip file, which keeps no compiled code.
    sys.dont_write_bytecode = True
    sys.path.insert(0, directory)
    times = [time.perf_counter()]

    basic: t.Any = importlib.import_module("ansible.module_utils.basic")
    times.append(time.perf_counter())
    ours = importlib.import_module(f"ansible_collections.mergetb.sriov.plugins.modules.{module}")
    times.append(time.perf_counter())
    basic._ANSIBLE_ARGS = Path(directory, "args").read_bytes()
    basic._ANSIBLE_PROFILE = "legacy"
    parsed = basic.AnsibleModule(argument_spec=ours.ARGUMENT_SPEC, supports_check_mode=True)
    times.append(time.perf_counter())
    ours.run(ours.Host(), parsed.params, check_mode=False)
    times.append(time.perf_counter())
    names = ("Ansible's imports", "the collection's imports", "argument check", "run")
    return {
        name: end - start
        for name, (start, end) in zip(names, itertools.pairwise(times), strict=True)
    }


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "devices":
        result: t.Any = devices()
    elif what == "alternate":
        result = alternate(json.load(sys.stdin))
    elif what == "writes":
        result = writes(arguments)
    else:
        result = phases(*arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
