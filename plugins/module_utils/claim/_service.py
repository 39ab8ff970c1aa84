# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service that runs `_restore` at every boot, without Ansible and without the controller.

Its program is a zip file of this very library, so that a boot and a module cannot differ.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
import typing as t
import zipfile

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import (
    _found,
    _function,
    _request,
    _restore,
    _whole,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine import (
    _errors,
    _host,
    _netlink,
    _text,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import (
    _ledger,
    _management,
    _nodes,
    _pci,
    _ssh,
    _usage,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import (
    _attributes,
    _driver,
    _isolation,
)

PROGRAM = "/usr/local/lib/mergetb-sriov/restore.pyz"
NAME = "mergetb-sriov-restore.service"
UNIT = f"/etc/systemd/system/{NAME}"
_WANTS = f"/etc/systemd/system/multi-user.target.wants/{NAME}"

GUESTS = (
    "libvirtd.service",
    "virtqemud.service",
    "libvirt-guests.service",
    "mariner.service",
    "machines.target",
    "nova-compute.service",
    "openstack-nova-compute.service",
    "edpm_nova_compute.service",
    "tripleo_nova_compute.service",
    "neutron-sriov-agent.service",
    "neutron-sriov-nic-agent.service",
    "kolla-nova_compute-container.service",
    "kolla-neutron_sriov_agent-container.service",
    "docker.service",
    "containerd.service",
    "crio.service",
    "podman.service",
    "podman-restart.service",
    "kubelet.service",
)
"""The units that may start guests, unless the operator names others."""

# RHEL keeps the second for its own tools.
_PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python")

_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+\.[a-z]+")

_LIBRARY = (
    _driver,
    _errors,
    _host,
    _isolation,
    _ledger,
    _found,
    _function,
    _management,
    _netlink,
    _nodes,
    _pci,
    _request,
    _restore,
    _ssh,
    _text,
    _usage,
    _attributes,
    _whole,
)
_MAIN = f"""\
import sys
if sys.version_info < (3, 9):
    sys.exit("Python 3.9 or later is needed")
from {_restore.__name__} import main
sys.exit(main())
"""
# The earliest time that a zip file can have; equal programs must be equal bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

_UNIT = """\
# Written by mergetb.sriov.restore_service.
[Unit]
Description=SR-IOV VFs of the materializations in the ledger
ConditionPathExists={ledger}
After=local-fs.target systemd-modules-load.service systemd-udev-trigger.service
Before={before}
StartLimitIntervalSec=30min
StartLimitBurst=6

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={python} {program}
# Guests of other VFs start meanwhile; a VF in doubt has no driver, and 1 is what no try changes.
Restart=on-failure
RestartPreventExitStatus=1
RestartSec=30
TimeoutStartSec=15min

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
        # Whatever has loaded it has its source, which the type of a loader does not say.
        loader: t.Any = module.__spec__.loader if module.__spec__ else None
        files["/".join(parts) + ".py"] = loader.get_source(module.__name__)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), text)
    return buffer.getvalue()


class Interpreter(t.NamedTuple):
    """The Python of the boot program, and why it may not last, if so."""

    path: str
    warning: str | None


def interpreter(host: _host.Host) -> Interpreter:
    """The first Python that runs the program and that an upgrade of the distribution replaces.

    That of this process may be of one version, which an upgrade removes, or of a virtual
    environment, which needs that one.
    """
    with tempfile.NamedTemporaryFile(suffix=".pyz") as file:
        file.write(program())
        file.flush()
        for path in _PYTHONS:
            if host.exists(path) and host.run([path, "-I", file.name, "--help"]).rc == 0:
                return Interpreter(path, None)
    return Interpreter(
        sys.executable,
        f"the boot program runs with {sys.executable}, which an upgrade of the distribution may "
        f"remove: no other of {', '.join(_PYTHONS)} is Python 3.9 or later with its standard "
        "library. Install the distribution's python3, or run mergetb.sriov.restore again after an "
        "upgrade; without its Python, a boot gives no guest its VFs",
    )


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


class ServicePlan(t.NamedTuple):
    """What gives a host the service: the files, contents by path, that it does not have so."""

    files: dict[str, bytes]
    enabled: bool

    @property
    def steps(self) -> dict[str, list[str]]:
        """What is done, by the file or service that it is done to."""
        enabling = {} if self.enabled else {NAME: ["enable"]}
        return {**{path: ["write"] for path in self.files}, **enabling}


def plan(host: _host.Host, unit: str) -> ServicePlan:
    """The plan for the program and its *unit*; raises `SriovError` where the unit is masked."""
    files = {PROGRAM: program(), UNIT: unit.encode()}
    plan = ServicePlan(
        {path: content for path, content in files.items() if host.read_bytes(path) != content},
        enabled=host.exists(_WANTS),
    )
    for path in plan.files:
        host.require_replaceable(path)
    return plan


def apply(host: _host.Host, plan: ServicePlan) -> None:
    """Carry out *plan* and let systemd know; raises `SriovError` where it refuses."""
    for path, content in plan.files.items():
        host.replace(path, content)
    # Enabling reloads systemd, too.
    verb = ["daemon-reload"] if plan.enabled else ["enable", NAME]
    done = host.run(["systemctl", *verb])
    if done.rc:
        raise _errors.SriovError(f"systemctl {' '.join(verb)} failed: {done.err.strip()}")
