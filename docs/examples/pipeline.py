# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give an experiment its VFs, or take them back, by ansible-runner's Python interface.

Usage: pipeline.py materialize|dematerialize DIRECTORY MZID MATERIALIZATION

DIRECTORY is the private data directory of ansible-runner. Its `inventory` has the facility model,
and its `project` has ansible.cfg. Each run leaves its events, its output and its result document
below `artifacts`. The device maps of all experiments are in `device_maps`.
"""

from __future__ import annotations

import json
import sys
import typing as t
import uuid
from pathlib import Path

import ansible_runner

CODES = {"given": 0, "taken back": 0, "undone": 2, "failed": 2, "unreachable": 4, "refused": 10}
"""The exit codes of this program, by what became of the experiment."""


class Run(t.NamedTuple):
    """A run that has ended: the exit code of Ansible, and the result document if it left one."""

    code: int
    document: dict[str, t.Any] | None

    @property
    def outcome(self) -> str:
        """As the document says. A run without one was killed, or did not begin."""
        return self.document["outcome"] if self.document else "failed"

    @property
    def problems(self) -> list[str]:
        """What is wrong with the run as a whole, and with each host."""
        if not self.document:
            return [f"Ansible ended with {self.code} and left no document; see its output"]
        of_hosts = {name: host["message"] for name, host in self.document["hosts"].items()}
        told = [f"{name}: {message}" for name, message in of_hosts.items() if message]
        return [self.document["message"], *told] if self.document["message"] else told


def show(event: dict[str, t.Any]) -> bool:
    """Print how far a run has got. True has ansible-runner keep the event."""
    data = event.get("event_data", {})
    if event["event"] == "playbook_on_task_start":
        print(f"... {data['task']}", flush=True)
    elif event["event"] == "runner_on_ok" and data["res"].get("changed"):
        print(f"    {data['host']}: changed", flush=True)
    return True


def play(action: str, directory: Path, mzid: str, materialization: Path) -> Run:
    """Run a playbook of the collection to its end."""
    ident = f"{mzid}-{uuid.uuid4().hex}"
    result = directory / "artifacts" / ident / "result.json"
    # The next run of the experiment reads which hosts it was on. So this file stays.
    device_map = directory / "device_maps" / f"{mzid}.json"
    device_map.parent.mkdir(exist_ok=True)
    done = ansible_runner.run(
        private_data_dir=str(directory),
        ident=ident,
        playbook=f"mergetb.sriov.{action}",
        extravars={
            "sriov_materialization": str(materialization),
            "sriov_device_map": str(device_map),
        },
        envvars={
            "ANSIBLE_CALLBACKS_ENABLED": "mergetb.sriov.result",
            "SRIOV_RESULT": str(result),
        },
        # Or else ansible-runner keeps these variables in DIRECTORY, and uses them for all runs.
        suppress_env_files=True,
        event_handler=show,
        quiet=True,
    )
    document = json.loads(result.read_text(encoding="utf-8")) if result.exists() else None
    run = Run(done.rc, document)
    print("\n".join(run.problems), end="\n" if run.problems else "")
    return run


def materialize(directory: Path, mzid: str, materialization: Path) -> str:
    """Return what became of the experiment: given, refused, unreachable, undone or failed."""
    run = play("materialize", directory, mzid, materialization)
    if run.outcome == "ok":
        return "given"
    if run.outcome == "refused":
        # Nothing was changed. A host may come back, but somebody has to mend anything else.
        return "unreachable" if run.code == CODES["unreachable"] else "refused"
    if not run.document:
        return "failed"
    # Some hosts may have given their VFs. Without the others, these are of no use.
    undone = dematerialize(directory, mzid, materialization) == "taken back"
    return "undone" if undone else "failed"


def dematerialize(directory: Path, mzid: str, materialization: Path) -> str:
    """Return what became of the experiment: taken back, refused, unreachable or failed."""
    run = play("dematerialize", directory, mzid, materialization)
    if run.outcome == "refused" and run.code == CODES["unreachable"]:
        return "unreachable"
    return "taken back" if run.outcome == "ok" else run.outcome


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    actions = {"materialize": materialize, "dematerialize": dematerialize}
    if len(arguments) != 4 or arguments[0] not in actions:
        print(__doc__, file=sys.stderr)
        return 1
    action, directory, mzid, materialization = arguments
    became = actions[action](Path(directory).resolve(), mzid, Path(materialization).resolve())
    print(f"{mzid}: {became}")
    return CODES[became]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
