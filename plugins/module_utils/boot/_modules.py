# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel modules: loaded now and at every boot."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

DIRECTORY = "/etc/modules-load.d"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class ModulesPlan(t.NamedTuple):
    """The modules to load, and the file for the boot before and after."""

    load: list[str]
    file: str
    before: str
    after: str

    @property
    def steps(self) -> dict[str, list[str]]:
        """What the plan does, by the module or file that it changes."""
        written = {self.file: ["write"]} if self.after != self.before else {}
        return {**{module: ["load"] for module in self.load}, **written}


def plan(
    host: Host, modules: t.Iterable[str], name: str, *, after_restart: bool = False
) -> ModulesPlan:
    """The plan to load *modules* now, and at boot by the file for *name*.

    With *after_restart*, the host has restarted before, so that the file has done its part. Raises
    `SriovError` for a module that the running kernel does not have.
    """
    modules = checked(modules)
    file = file_of(name)
    load = not_loaded(host, modules)
    refuse_unknown(host, load)
    before = (host.read_bytes(file) or b"").decode("utf-8", "replace")
    if after_restart:
        load = [module for module in load if module not in before.splitlines()]
    plan = ModulesPlan(load, file, before, file_text(modules))
    if file in plan.steps:
        host.require_replaceable(file)
    return plan


def checked(modules: t.Iterable[str]) -> list[str]:
    """*modules* without repetition; raises `SriovError` for what is no name of a module."""
    modules = list(dict.fromkeys(modules))
    for module in modules:
        if not _NAME.fullmatch(module):
            raise SriovError(f"{module!r} is not the name of a kernel module")
    return modules


def file_of(name: str) -> str:
    """The file that systemd-modules-load reads for *name*; raises `SriovError` for a path."""
    if not _NAME.fullmatch(name):
        raise SriovError(f"{name!r} is not a file name of letters, digits, hyphen and underscore")
    return f"{DIRECTORY}/{name}.conf"


def file_text(modules: t.Iterable[str]) -> str:
    lines = ["# Made by mergetb.sriov.kernel_modules; changes are lost at its next run.", *modules]
    return "\n".join(lines) + "\n"


def not_loaded(host: Host, modules: t.Iterable[str]) -> list[str]:
    """Those of *modules* that the kernel does not have, neither loaded nor built in."""
    release = host.read("/proc/sys/kernel/osrelease")
    built_in = host.read(f"/lib/modules/{release}/modules.builtin") or ""
    have = {line.rpartition("/")[2].partition(".ko")[0] for line in built_in.splitlines()}
    have |= set(host.names("/sys/module"))
    have = {_canonical(name) for name in have}
    return [module for module in modules if _canonical(module) not in have]


def refuse_unknown(host: Host, modules: t.Iterable[str]) -> None:
    """Raise `SriovError` if the running kernel has no such module to load."""
    for module in modules:
        _modprobe(host, "--dry-run", module)


def apply(host: Host, plan: ModulesPlan) -> None:
    """Load the modules, see that they are there, and write the file."""
    for module in plan.load:
        _modprobe(host, module)
    failed = not_loaded(host, plan.load)
    if failed:
        raise SriovError(
            f"modprobe reported success, but the kernel has no module {', '.join(failed)}: look "
            "for a blacklist or install line in /etc/modprobe.d"
        )
    if plan.after != plan.before:
        host.replace(plan.file, plan.after)


def _canonical(module: str) -> str:
    return module.replace("-", "_")


def _modprobe(host: Host, *arguments: str) -> None:
    done = host.run(["modprobe", *arguments])
    if done.rc:
        raise SriovError(
            f"the kernel module {arguments[-1]} cannot be loaded: {done.err.strip()}. Install the "
            "package with the modules of the running kernel, or reboot if the kernel was upgraded"
        )
