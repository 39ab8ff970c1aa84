# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a playbook over the slices of a facility, each by a worker of ansible-runner, as AWX does.

`transmit` sends the private data directory of a slice to a `worker`, which knows nothing else, and
`process` writes what the worker sends back.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

_IDENT = "run"


class Slice(t.NamedTuple):
    """A slice whose worker has ended: the exit code of Ansible, and what the worker sent back.

    *left* is what the worker left in its temporary directory.
    """

    code: int
    artifacts: Path
    left: list[str]

    @property
    def output(self) -> str:
        """What Ansible printed."""
        return (self.artifacts / "stdout").read_text(encoding="utf-8")

    def document(self, name: str) -> t.Any:
        """A document that the playbook has left."""
        return json.loads((self.artifacts / name).read_text(encoding="utf-8"))


class Facility(t.NamedTuple):
    """A facility: its inventory, and what the workers need beside that.

    They share *cache*, the directory of Ansible's fact cache.
    """

    inventory: t.Sequence[Path]
    collections: str
    environment: t.Mapping[str, str]
    cache: Path


def limits(hosts: int, slices: int) -> list[str]:
    """The patterns of the slices of so many hosts."""
    bounds = [hosts * number // slices for number in range(slices + 1)]
    return [f"hypervisors[{bounds[it]}:{bounds[it + 1] - 1}]" for it in range(slices)]


def run(
    directory: Path,
    facility: Facility,
    playbook: str,
    slices: t.Sequence[str],
    **variables: str,
) -> list[Slice]:
    """Run a playbook over all *slices*, which are patterns of hosts, at once.

    *variables* are those of the playbook. A file among them becomes an artifact.
    """
    running = []
    for number, limit in enumerate(slices):
        private = directory / f"slice{number}"
        # A worker sends nothing else back. It starts Ansible in the directory `project`.
        values = {
            key: f"../artifacts/{_IDENT}/{value}" if "." in value else value
            for key, value in variables.items()
        }
        _make(private, facility, values)
        # The path of the test is too long for the sockets that Ansible makes there.
        temporary = tempfile.mkdtemp(prefix="worker")
        processes = _start(private, temporary, playbook, limit)
        running.append((private / "artifacts" / _IDENT, temporary, processes))
    done = []
    for artifacts, temporary, processes in running:
        for process in processes:
            process.wait()
        code = int((artifacts / "rc").read_text(encoding="utf-8"))
        done.append(Slice(code, artifacts, os.listdir(temporary)))
        shutil.rmtree(temporary)
    return done


def _make(private: Path, facility: Facility, variables: t.Mapping[str, str]) -> None:
    shutil.rmtree(private, ignore_errors=True)
    for name in ("inventory", "project", "env"):
        (private / name).mkdir(parents=True)
    for source in facility.inventory:
        shutil.copy(source, private / "inventory")
    (private / "project/ansible.cfg").write_text(
        f"[defaults]\ncollections_path = {facility.collections}\n"
        "[inventory]\nenable_plugins = mergetb.sriov.xir, ansible.builtin.yaml\n",
        encoding="utf-8",
    )
    for name, values in (
        ("envvars", facility.environment),
        ("extravars", variables),
        # Each run has a cache of its own, unless this is an absolute path.
        ("settings", {"fact_cache": str(facility.cache)}),
    ):
        (private / "env" / name).write_text(json.dumps(values), encoding="utf-8")


def _start(
    private: Path, temporary: str, playbook: str, limit: str
) -> list[subprocess.Popen[bytes]]:
    programs = Path(sys.executable).parent
    environment = {
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "HOME": str(private),
        "LC_ALL": "C.UTF-8",
        "TMPDIR": temporary,
    }
    processes: list[subprocess.Popen[bytes]] = []
    for arguments in (
        ["transmit", private, "--ident", _IDENT, "--playbook", playbook, "--limit", limit],
        ["worker"],
        ["process", private, "--ident", _IDENT],
    ):
        processes.append(
            subprocess.Popen(
                [programs / "ansible-runner", *arguments],
                env=environment,
                stdin=processes[-1].stdout if processes else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if arguments[0] == "process" else subprocess.PIPE,
            )
        )
    for process in processes[:-1]:
        assert process.stdout
        process.stdout.close()
    return processes
