# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What other tools left on a host that sets numbers of VFs, or the IOMMU, against this collection.

Known are stackhpc.linux (a udev rule or a unit for each PF), OpenNebula's one-deploy (instances of
a unit `sriov-enable@`, and arguments of the kernel that stand beside others) and os-net-config
(`sriov_config.service`, `sriov_bind.service` and udev rules).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _command_line
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

COMMAND_LINE = "kernel command line"
"""The element of a problem of the kernel's arguments."""

_RULES = "/etc/udev/rules.d"
_UNITS = "/etc/systemd/system"
_SCRIPTS = ("/etc/rc.local", "/etc/rc.d/rc.local")

_SETS_VFS = re.compile(r"sriov_numvfs|/os-net-config-sriov\b")
_UNIT = re.compile(r"(sriov-enable@|sriov_config|sriov_bind)\.service")
_IOMMU = re.compile(r"(iommu|intel_iommu|amd_iommu)=")


def find(host: Host, running: str) -> t.Iterator[tuple[str, str, str]]:
    """What was left: where it is, what it does and the remedy.

    *running* is the command line of the running kernel.
    """
    for name in host.names(_RULES):
        path = f"{_RULES}/{name}"
        if name.endswith(".rules") and path != _numvfs.UDEV_RULES and _sets_vfs(host, path):
            yield (
                path,
                "a udev rule of somebody else sets numbers of VFs, also at a boot",
                "remove it if nothing else needs it, and run udevadm control --reload",
            )
    for name in host.names(_UNITS):
        path = f"{_UNITS}/{name}"
        if host.target(path) == "/dev/null":  # masked
            continue
        if name.endswith(".service") and (_UNIT.fullmatch(name) or _sets_vfs(host, path)):
            instances = _instances(host, name) or [name]
            yield (
                path,
                "a unit of somebody else sets numbers of VFs, or their drivers, at a boot",
                f"run systemctl disable {' '.join(instances)} if nothing else needs it (without"
                " --now, which would stop the units that require it), and remove the file",
            )
    for name in host.names(_UNITS):
        for part in host.names(f"{_UNITS}/{name}") if name.endswith(".service.d") else ():
            path = f"{_UNITS}/{name}/{part}"
            if part.endswith(".conf") and _sets_vfs(host, path):
                yield (
                    path,
                    "a part of a unit, of somebody else, sets numbers of VFs when the unit starts",
                    "take these lines out if nothing else needs them, and run systemctl "
                    "daemon-reload",
                )
    for path in _SCRIPTS:
        if _sets_vfs(host, path):
            yield (
                path,
                "a script sets numbers of VFs at a boot",
                "take these lines out if nothing else needs them",
            )
    yield from _repeated(running)


def _sets_vfs(host: Host, path: str) -> bool:
    try:
        text = host.read(path) or ""
    except OSError:  # a directory, or a link that leads nowhere
        return False
    return any(
        _SETS_VFS.search(line)
        for line in text.splitlines()
        if not line.lstrip().startswith(("#", ";"))
    )


def _instances(host: Host, template: str) -> list[str]:
    """The instances of a template of units that are enabled; nothing for a plain unit."""
    name, at, _suffix = template.partition("@.")
    if not at:
        return []
    wants = [f"{_UNITS}/{each}" for each in host.names(_UNITS) if each.endswith(".wants")]
    return sorted(
        {each for path in wants for each in host.names(path) if each.startswith(f"{name}@")}
    )


def _repeated(running: str) -> t.Iterator[tuple[str, str, str]]:
    values: dict[str, list[str]] = {}
    for argument in _command_line.arguments(running):
        if found := _IOMMU.match(argument):
            values.setdefault(found[1], []).append(argument)
    for arguments in values.values():
        if {"off", "on"} <= {each.split("=")[1].split(",")[0] for each in arguments}:
            yield (
                COMMAND_LINE,
                f"it has {' and '.join(arguments)}, which contradict each other",
                "keep the one that is meant in the configuration of the boot loader",
            )
