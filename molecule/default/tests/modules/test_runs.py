# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed, cut off, or at once, and many runs, on a real kernel."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import PcapReader

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
TWIN = PROJECT / ".twin-molecule"

VFS = 2
RACERS = 20
CYCLES = 3
SSH = "-oControlMaster=auto -oControlPersist=60s -oServerAliveInterval=1 -oServerAliveCountMax=20"
"""What tells a connection that is silent from one that waits for a slow host."""
VLANS = (611, 612)


@pytest.fixture(scope="module")
def x0(machines: dict[str, t.Any]) -> t.Any:
    return machines["x0"]


def copied(machine: t.Any, name: str) -> str:
    """The path on *machine* of a program of this directory."""
    path = f"/run/{name}"
    text = Path(__file__).with_name(name).read_text()
    machine.check_output("printf %%s %s > %s", text, path)
    return path


def program(machine: t.Any, name: str, *arguments: object) -> t.Any:
    """What a program of this directory prints on *machine*."""
    command = ("python3", copied(machine, name), *arguments)
    return json.loads(machine.check_output(" ".join(map(str, command))))


def playbook(name: str, document: Path) -> tuple[int, dict[str, t.Any]]:
    """The exit code and the result document of a run on all hosts."""
    done = subprocess.run(
        [
            "ansible-playbook",
            f"--extra-vars=@{PROJECT}/molecule/vars.yml",
            "--extra-vars=sriov_materialization={{ experiment }}",
            f"mergetb.sriov.{name}",
        ],
        env={
            **os.environ,
            "ANSIBLE_CALLBACKS_ENABLED": "mergetb.sriov.result",
            "SRIOV_RESULT": str(document),
            "ANSIBLE_SSH_ARGS": SSH,
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(document.parent),
        },
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, json.loads(document.read_text())


def test_a_run_that_is_killed_at_any_step_is_finished_by_the_next(
    x0: t.Any, pfs: dict[str, list[dict[str, t.Any]]]
) -> None:
    points = program(x0, "kill_runs.py", VFS, *(pf["mac"] for pf in pfs["x0"]))

    assert len(points) == 5
    assert all(count >= 3 * VFS for count in points.values()), points


def test_the_next_run_finishes_what_was_cut_off(
    x0: t.Any, pfs: dict[str, list[dict[str, t.Any]]], tmp_path: Path
) -> None:
    """The connection breaks or is silent; the run ends, or goes on without anybody to tell."""
    cutter = copied(x0, "cut_runs.py")
    macs = [pf["mac"] for pf in pfs["x0"]]
    for name, moment, sign, ends in (
        ("materialize", "the ledger says what will be", "SIGKILL", False),
        ("dematerialize", "the ledger says what will be", "SIGSTOP", True),
        ("materialize", "some VFs are bound", "SIGKILL", True),
        ("dematerialize", "nothing is written", "SIGSTOP", False),
    ):
        point = f"{name}, {moment}"
        start = "systemd-run --quiet --collect --property=StandardOutput=truncate:/run/cut.json"
        x0.check_output(f"{start} python3 {cutter} %s {sign} {' '.join(macs)}", moment)

        code, document = playbook(name, tmp_path / "result.json")

        assert (code, document["outcome"]) == (4, "unreachable"), point
        assert {host: told["outcome"] for host, told in document["hosts"].items()} == {
            "x0": "unreachable",
            "x1": "ok",
        }, point
        assert document["hosts"]["x0"]["changed"] is None, point
        assert len(document["hosts"]["x0"]["changes"]) > 0, point
        assert {device["host"] for device in document["devices"]} <= {"x1"}, point
        cut = json.loads(x0.check_output("cat /run/cut.json"))
        assert cut["problems"] == [], point

        x0.check_output(f"kill -{'KILL' if ends else 'CONT'} {cut['run']}")
        if sign == "SIGSTOP":
            x0.check_output(f"kill -KILL {cut['sshd']}")
        code, document = playbook(name, tmp_path / "result.json")

        assert (code, document["outcome"]) == (0, "ok"), point
        changed = {host: told["changed"] for host, told in document["hosts"].items()}
        assert changed == {"x0": ends, "x1": False}, point


def test_of_runs_at_once_one_wins(x0: t.Any, pfs: dict[str, list[dict[str, t.Any]]]) -> None:
    race = program(x0, "race_runs.py", RACERS, pfs["x0"][0]["mac"])

    assert race["before"] == race["end"] == {}
    [(winner, held)] = race["after"].items()
    assert [(vf, state) for vf, _vlan, state in held] == [(vf, "ready") for vf in range(3)]
    assert len(race["runs"]) == RACERS
    outcomes = [outcome for mzid, outcome in race["runs"] if mzid == winner]
    assert outcomes.count("changed") == 1
    assert set(outcomes) <= {"changed", "unchanged"}
    for mzid, outcome in race["runs"]:
        if mzid != winner:
            assert outcome.startswith("refused: n.eth0: VF 0 of PF pf belongs to"), outcome
            assert winner in outcome


def test_no_frame_leaves_untagged_in_any_cycle(
    x0: t.Any, pfs: dict[str, list[dict[str, t.Any]]]
) -> None:
    pf = pfs["x0"][0]
    x0.check_output("modprobe igbvf")
    try:
        done = program(x0, "cycle_runs.py", CYCLES, pf["mac"], *VLANS)
    finally:
        x0.check_output("modprobe -r igbvf")

    seen: collections.Counter[tuple[str, str, int | None]] = collections.Counter()
    for wire in (TWIN / "wires").glob("*.pcap"):
        with PcapReader(str(wire)) as reader:
            for frame in reader:
                if frame[Ether].src in done["macs"]:
                    tag = frame[Dot1Q].vlan if Dot1Q in frame else None
                    seen[wire.stem, frame[Ether].src, tag] += 1
    vlans = dict(zip(done["macs"], VLANS, strict=True))
    assert {(mac, vlan) for _wire, mac, vlan in seen} == set(vlans.items())
    for mac, vlan in vlans.items():
        assert seen[f"x0-{pf['name']}", mac, vlan] >= CYCLES, seen
