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
import os
import sys
import typing as t
import uuid
from pathlib import Path

import ansible_runner

CODES = {"given": 0, "taken back": 0, "undone": 2, "failed": 2, "unreachable": 4, "refused": 10}
"""The exit codes of this program, by what became of the experiment; 1 if it was called wrongly."""


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


def say(text: str) -> None:
    """Print a line. Hosts wrote some of it, and whoever reads it may have gone."""
    try:
        print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), flush=True)
    except BrokenPipeError:
        # Python tries again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(event: dict[str, t.Any]) -> bool:
    """Say how far a run has got. True has ansible-runner keep the event."""
    data = event.get("event_data", {})
    if event["event"] == "playbook_on_task_start":
        say(f"... {data['task']}")
    elif event["event"] == "runner_on_ok" and data["res"].get("changed"):
        say(f"    {data['host']}: changed")
    return True


def map_of(directory: Path, mzid: str) -> Path:
    """The device map of an experiment. The next run reads there which hosts it was on."""
    return directory / "device_maps" / f"{mzid}.json"


def has_vfs(device_map: Path) -> bool:
    """Whether a run has given the experiment VFs, and none has taken them back."""
    return device_map.exists() and bool(json.loads(device_map.read_text("utf-8"))["devices"])


def play(action: str, directory: Path, mzid: str, materialization: Path) -> Run:
    """Run a playbook of the collection to its end."""
    ident = f"{mzid}-{uuid.uuid4().hex}"
    result = directory / "artifacts" / ident / "result.json"
    device_map = map_of(directory, mzid)
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
    for problem in run.problems:
        say(problem)
    return run


def materialize(directory: Path, mzid: str, materialization: Path) -> str:
    """Return what became of the experiment: given, refused, unreachable, undone or failed."""
    had_vfs = has_vfs(map_of(directory, mzid))
    run = play("materialize", directory, mzid, materialization)
    if run.document and run.document["mzid"] not in (None, mzid):
        say(f"{materialization} is of {run.document['mzid']}: name that, and run this again")
        return "failed"
    if run.outcome == "ok":
        return "given"
    if run.outcome == "refused":
        # Nothing was changed. A host may come back, but somebody has to mend anything else.
        return "unreachable" if run.code == CODES["unreachable"] else "refused"
    if not run.document or had_vfs:
        # The guests that had VFs may still run.
        return "failed"
    # Some hosts may have given their VFs. Without the others, these are of no use.
    undone = dematerialize(directory, mzid, materialization) == "taken back"
    return "undone" if undone else "failed"


def dematerialize(directory: Path, mzid: str, materialization: Path) -> str:
    """Return what became of the experiment: taken back, refused, unreachable or failed."""
    run = play("dematerialize", directory, mzid, materialization)
    if run.outcome == "refused":
        return "unreachable" if run.code == CODES["unreachable"] else "refused"
    return "taken back" if run.outcome == "ok" else "failed"


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    actions = {"materialize": materialize, "dematerialize": dematerialize}
    if len(arguments) != 4 or arguments[0] not in actions or not Path(arguments[1]).is_dir():
        print(__doc__, file=sys.stderr)
        return 1
    action, directory, mzid, materialization = arguments
    became = actions[action](Path(directory).resolve(), mzid, Path(materialization).resolve())
    say(f"{mzid}: {became}")
    return CODES[became]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
