# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed, cut off, or at once, and many runs, on a real kernel."""

from __future__ import annotations

import collections
import json
import os
import shutil
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


@pytest.fixture(scope="module", autouse=True)
def _library(x0: t.Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The host library, for the programs of this directory."""
    archive = shutil.make_archive(
        str(tmp_path_factory.mktemp("library") / "library"),
        "gztar",
        PROJECT / ".ansible/collections",
        "ansible_collections/mergetb/sriov/plugins/module_utils",
    )
    x0.check_output("mkdir -p /run/library")
    arguments = f"src={archive} dest=/run/library"
    assert "failed" not in x0.ansible("ansible.builtin.unarchive", arguments, check=False)


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


def start(
    name: str, document: Path, experiment: str = "{{ experiment }}"
) -> subprocess.Popen[bytes]:
    """Start a run on all hosts, which leaves its result in *document*."""
    return subprocess.Popen(
        [
            "ansible-playbook",
            f"--extra-vars=@{PROJECT}/molecule/vars.yml",
            f"--extra-vars=sriov_materialization={experiment}",
            f"--extra-vars=sriov_device_map={document.with_suffix('.map')}",
            f"mergetb.sriov.{name}",
        ],
        env={
            **os.environ,
            "ANSIBLE_CALLBACKS_ENABLED": "mergetb.sriov.result",
            "SRIOV_RESULT": str(document),
            "ANSIBLE_SSH_ARGS": SSH,
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(document.parent),
            "ANSIBLE_TIMEOUT": "120",
        },
        stdout=subprocess.DEVNULL,
    )


def playbook(name: str, document: Path) -> tuple[int, dict[str, t.Any]]:
    """The exit code and the result document of a run on all hosts."""
    code = start(name, document).wait()
    return code, json.loads(document.read_text())


def ledger(machine: t.Any) -> dict[str, list[dict[str, t.Any]]]:
    """What the ledger of *machine* says, by materialization."""
    return json.loads(machine.file("/var/lib/mergetb-sriov/ledger.json").content_string)[
        "materializations"
    ]


def vfs(machine: t.Any, mac: str) -> list[dict[str, t.Any]]:
    """The VFs of the PF with *mac* as the kernel of *machine* has them, by ip-link(8)."""
    links = json.loads(machine.check_output("ip -d -j link show"))
    return next(
        link["vfinfo_list"] for link in links if link.get("permaddr", link["address"]) == mac
    )


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


def test_a_run_that_is_cut_off_while_it_reserves_has_no_host_changed(
    machines: dict[str, t.Any], pfs: dict[str, list[dict[str, t.Any]]], tmp_path: Path
) -> None:
    x0, x1 = machines["x0"], machines["x1"]
    before = {host: vfs(machines[host], pfs[host][0]["mac"]) for host in machines}
    macs = " ".join(pf["mac"] for pf in pfs["x0"])
    start_unit = "systemd-run --quiet --collect --property=StandardOutput=truncate:/run/cut.json"
    cutter = copied(x0, "cut_runs.py")
    x0.check_output(f"{start_unit} python3 {cutter} %s SIGKILL {macs}", "the VFs are reserved")

    code, document = playbook("materialize", tmp_path / "result.json")

    assert (code, document["outcome"]) == (4, "refused")
    assert {host: told["outcome"] for host, told in document["hosts"].items()} == {
        "x0": "unreachable",
        "x1": "untouched",
    }
    assert ledger(x1) == {}, "the reservation is taken back where the host is there"
    [(mzid, reserved)] = ledger(x0).items()
    assert {entry["state"] for entry in reserved} == {"reserved"}
    assert {host: vfs(machines[host], pfs[host][0]["mac"]) for host in machines} == before
    x0.check_output(f"kill -KILL {json.loads(x0.check_output('cat /run/cut.json'))['run']}")

    for name in ("materialize", "dematerialize"):
        code, document = playbook(name, tmp_path / "result.json")
        assert (code, document["outcome"], document["mzid"]) == (0, "ok", mzid)
    assert ledger(x0) == ledger(x1) == {}


EXPERIMENTS = int(os.environ.get("RACE_EXPERIMENTS", "2"))
"""A run keeps an emulated host busy for some ten seconds: 10 experiments take nine minutes."""
RUNS_EACH = 2
CONTESTED_VFS = 4


def contested(number: int, pfs: dict[str, list[dict[str, t.Any]]]) -> dict[str, t.Any]:
    """An experiment of two VFs on each host, each of which two others want, too."""
    endpoints = [
        {
            "host": host,
            "node": f"n{number}-{host}",
            "vf": {
                "virtif": {
                    "name": f"eth{nic}",
                    "mac": f"02:72:{number:02x}:00:0{nic}:0{host[1:]}",
                },
                "parent": {
                    "pf": {"name": pfs[host][0]["name"], "mac": pfs[host][0]["mac"]},
                    "vfIndex": (number + nic) % CONTESTED_VFS,
                },
                "vid": 700 + number,
            },
        }
        for host in ("x0", "x1")
        for nic in range(2)
    ]
    segment = {"vid": 700 + number, "endpoints": endpoints}
    link = {"realization": {"link": {"id": "lan"}, "segments": {"1": segment}}}
    return {"rid": f"race{number}", "eid": "hello", "pid": "demo", "links": [link]}


def test_of_experiments_at_once_each_is_given_on_all_hosts_or_on_none(
    machines: dict[str, t.Any], pfs: dict[str, list[dict[str, t.Any]]], tmp_path: Path
) -> None:
    before = {host: vfs(machines[host], pfs[host][0]["mac"]) for host in machines}
    runs: dict[str, list[tuple[Path, subprocess.Popen[bytes]]]] = {}
    for number in range(EXPERIMENTS):
        model = tmp_path / f"race{number}.json"
        model.write_text(json.dumps(contested(number, pfs)))
        runs[f"race{number}.hello.demo"] = [
            (document, start("materialize", document, str(model)))
            for document in (tmp_path / f"{number}-{turn}.json" for turn in range(RUNS_EACH))
        ]
    outcomes = {}
    for mzid, started in runs.items():
        for _document, process in started:
            process.wait()
        outcomes[mzid] = [
            json.loads(document.read_text())["outcome"] for document, _process in started
        ]
    ledgers = {host: ledger(machine) for host, machine in machines.items()}
    print(outcomes, ledgers)

    assert {outcome for told in outcomes.values() for outcome in told} <= {"ok", "refused"}
    given = {mzid for mzid, told in outcomes.items() if "ok" in told}
    assert given, "the oldest run waits for the others, and gets what it wants"
    assert set(ledgers["x0"]) == set(ledgers["x1"]) == given
    for host, held in ledgers.items():
        after = vfs(machines[host], pfs[host][0]["mac"])
        taken = {entry["vf"]: entry for entries in held.values() for entry in entries}
        assert len(taken) == 2 * len(given)
        for vf, found in enumerate(after):
            if vf in taken:
                assert taken[vf]["state"] == "ready"
                assert (found["address"], found["vlan_list"][0]["vlan"]) == (
                    taken[vf]["values"]["mac"],
                    taken[vf]["vlan"],
                )
            else:
                assert found == before[host][vf]
    for mzid in given:
        document = tmp_path / "end.json"
        model = tmp_path / f"{mzid.partition('.')[0]}.json"
        assert start("dematerialize", document, str(model)).wait() == 0
    assert {host: vfs(machines[host], pfs[host][0]["mac"]) for host in machines} == before


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
