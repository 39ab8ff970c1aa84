# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service that runs `_restore` at every boot, without Ansible and without the controller.

Its program is a zip file of this very library, so that a boot and a module cannot differ.
"""

from __future__ import annotations

import io
import re
import typing as t
import zipfile

from ansible_collections.mergetb.sriov.plugins.module_utils import (
    _driver,
    _errors,
    _host,
    _isolation,
    _ledger,
    _materialization,
    _netlink,
    _pci,
    _restore,
    _usage,
    _vf,
)

PROGRAM = "/usr/local/lib/mergetb-sriov/restore.pyz"
NAME = "mergetb-sriov-restore.service"
UNIT = f"/etc/systemd/system/{NAME}"
_WANTS = f"/etc/systemd/system/multi-user.target.wants/{NAME}"

_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+\.[a-z]+")

_LIBRARY = (
    _driver,
    _errors,
    _host,
    _isolation,
    _ledger,
    _materialization,
    _netlink,
    _pci,
    _restore,
    _usage,
    _vf,
)
_MAIN = f"import sys\nfrom {_restore.__name__} import main\nsys.exit(main())\n"
# The earliest time that a zip file can have; equal programs must be equal bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

_UNIT = """\
# Written by mergetb.sriov.restore_service.
[Unit]
Description=SR-IOV VFs of the materializations in the ledger
ConditionPathExists={ledger}
After=local-fs.target systemd-modules-load.service systemd-udev-trigger.service
Before={before}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={python} {program}

[Install]
WantedBy=multi-user.target
"""


def program() -> bytes:
    """The zip file that Python runs: the library as it is in this process."""
    files = {"__main__.py": _MAIN}
    for module in _LIBRARY:
        parts = module.__name__.split(".")
        for depth in range(1, len(parts)):
            files["/".join([*parts[:depth], "__init__.py"])] = ""
        files["/".join(parts) + ".py"] = module.__spec__.loader.get_source(module.__name__)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), text)
    return buffer.getvalue()


def unit(python: str, before: t.Iterable[str]) -> str:
    """The unit that runs the program with the interpreter *python*, ahead of the units *before*.

    Raises `SriovError` for what is no name of a unit.
    """
    before = list(before)
    wrong = [name for name in before if not _UNIT_NAME.fullmatch(name)]
    if wrong:
        raise _errors.SriovError(f"not a name of a systemd unit: {', '.join(map(repr, wrong))}")
    return _UNIT.format(
        ledger=_ledger.PATH, before=" ".join(before), python=python, program=PROGRAM
    )


class Plan(t.NamedTuple):
    """What gives a host the service: the files, contents by path, that it does not have so."""

    files: dict[str, bytes]
    enabled: bool

    @property
    def steps(self) -> dict[str, list[str]]:
        """What is done, by the file or service that it is done to."""
        enabling = {} if self.enabled else {NAME: ["enable"]}
        return {**{path: ["write"] for path in self.files}, **enabling}


def plan(host: _host.Host, unit: str) -> Plan:
    """The plan for the program and its *unit*."""
    files = {PROGRAM: program(), UNIT: unit.encode()}
    return Plan(
        {path: content for path, content in files.items() if host.read_bytes(path) != content},
        enabled=host.exists(_WANTS),
    )


def apply(host: _host.Host, plan: Plan) -> None:
    """Carry out *plan* and let systemd know; raises `SriovError` where it refuses."""
    for path, content in plan.files.items():
        host.replace(path, content)
    # Enabling reloads systemd, too.
    verb = ["daemon-reload"] if plan.enabled else ["enable", NAME]
    done = host.run(["systemctl", *verb])
    if done.rc:
        raise _errors.SriovError(f"systemctl {' '.join(verb)} failed: {done.err.strip()}")
