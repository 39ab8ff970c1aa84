# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that playbooks leave on the controller, on made-up hosts."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import facts, models, played
from ansible_collections.mergetb.sriov.tests.unit.plans import READY

HOSTS = ("x0", "x1")
MODULES = ("materialization", "plan_info", "sriov_info")


class Writer(t.NamedTuple):
    """A playbook that writes: the variable that names its file, and what else it is run with."""

    playbook: str
    variable: str
    arguments: tuple[str, ...] = ()


MATERIALIZE = Writer(
    "materialize", "sriov_device_map", ("-e", "sriov_materialization=one.hello.demo.pb64")
)
ALLOCATE = Writer(
    *("allocate", "sriov_materialization"),
    ("-e", "sriov_experiment=hello.pb64", "-e", "sriov_mzid=one.hello.demo"),
)
WRITERS = (
    MATERIALIZE,
    ALLOCATE,
    Writer("plan", "sriov_plan"),
    Writer("audit", "sriov_audit"),
    Writer("audit", "sriov_fix"),
    Writer("report", "sriov_report"),
)
writers = pytest.mark.parametrize(
    "writer", WRITERS, ids=lambda writer: f"{writer.playbook}-{writer.variable}"
)


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a path of collections with a copy of this one, whose modules are played."""
    return played.collections(tmp_path_factory.mktemp("collections"), *MODULES)


def facility(directory: Path, model: t.Any = None) -> None:
    """Fill a directory with a facility, an experiment, and what its hosts tell of themselves."""
    model = model or models.phobos()
    directory.mkdir(exist_ok=True)
    (directory / "phobos.xir").write_bytes(bytes(model))
    shutil.copy(PHOBOS / "one.hello.demo.pb64", directory)
    told = {
        name: {
            **READY,
            **told,
            "changed": False,
            "devices": [],
            "diff": {"before": {}, "after": {}},
        }
        for name, told in facts.truth(model, *(r.id for r in hypervisors(model)), vfs=7).items()
    }
    played.tell(directory, told)
    former = Path.cwd()
    os.chdir(directory)
    try:
        models.hello().save_xir()
    finally:
        os.chdir(former)


def hypervisors(model: t.Any) -> list[t.Any]:
    return [r for r in model.resources if r.id in (*HOSTS, "localhost")]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the directory that runs are started in."""
    facility(tmp_path / "here")
    return tmp_path / "here"


def run(
    collections: Path,
    directory: Path,
    writer: Writer,
    target: str,
    *arguments: str,
    **options: t.Any,
) -> subprocess.CompletedProcess[str]:
    """Run a playbook that writes to a target."""
    return played.run(
        collections,
        directory,
        writer.playbook,
        *(*writer.arguments, "-e", f"{writer.variable}={target}", *arguments),
        **options,
    )


@writers
def test_files_go_where_the_run_was_started_as_who_started_it(
    collections: Path, directory: Path, writer: Writer
) -> None:
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    broken = ("-b", "--become-user", "nobody")
    run(
        *(collections, directory, writer, "out", *broken),
        PWD=str(elsewhere),
        ANSIBLE_BECOME_EXE="/bin/false",
    )
    assert (directory / "out").stat().st_size
    assert list(elsewhere.iterdir()) == []


def test_the_environment_need_not_know_where_that_is(collections: Path, directory: Path) -> None:
    (directory / "deeper").mkdir()
    run(collections, directory, MATERIALIZE, "deeper/../out")
    run(collections, directory, MATERIALIZE, "~/deeper/out")
    assert (directory / "out").read_bytes() == (directory / "deeper" / "out").read_bytes() != b""


@pytest.mark.parametrize("writer", WRITERS[:2], ids=lambda writer: writer.playbook)
def test_a_host_named_localhost_gets_no_file(
    collections: Path, directory: Path, writer: Writer
) -> None:
    model = models.phobos()
    models.resource(model, "x0").id = "localhost"
    facility(directory, model)
    (directory / "host_vars").mkdir()
    unreachable = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    (directory / "host_vars" / "localhost.json").write_text(json.dumps(unreachable))
    arguments = []
    if writer is MATERIALIZE:
        (directory / "none.json").write_text('{"rid": "one", "eid": "hello", "pid": "demo"}')
        arguments = ["-e", "sriov_materialization=none.json"]
    run(collections, directory, writer, "out", *arguments)
    assert (directory / "out").stat().st_size


def test_nothing_is_delegated_to_a_name_that_a_host_can_have() -> None:
    for path in (played.ROOT / "roles").glob("*/tasks/*.yml"):
        for task in yaml.safe_load(path.read_text(encoding="utf-8")):
            if "delegate_to" in task:
                assert task["vars"]["ansible_connection"] == "local", f"{path}: {task['name']}"
                assert task["vars"]["ansible_become"] is False, f"{path}: {task['name']}"


def refused(
    collections: Path, directory: Path, writer: Writer, target: str, *arguments: str
) -> str:
    """Run a playbook, which must fail before it has asked a host anything; return what it says."""
    done = run(collections, directory, writer, target, *arguments, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert played.calls(directory) == []
    return done.stdout + done.stderr


@writers
def test_what_cannot_be_written_is_told_before_a_host_is_asked(
    collections: Path, directory: Path, writer: Writer
) -> None:
    told = refused(collections, directory, writer, "nowhere/out")
    assert f"the directory {directory}/nowhere does not exist" in told


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_directory_in_the_way_is_told_before_a_host_is_asked(
    collections: Path, directory: Path, arguments: list[str]
) -> None:
    told = refused(collections, directory, MATERIALIZE, str(directory), *arguments)
    assert f"{directory} is a directory; name a file" in told


def test_a_file_for_both_results_is_refused(collections: Path, directory: Path) -> None:
    both = Writer("audit", "sriov_audit", ("-e", "sriov_fix=./out"))
    done = run(collections, directory, both, "out", check=False)
    assert "which is never changed; name another" in done.stdout + done.stderr
    assert not (directory / "out").exists()


def test_runs_at_once_leave_a_whole_file(collections: Path, directory: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as runs:
        done = [runs.submit(run, collections, directory, MATERIALIZE, "out") for _run in range(4)]
        assert all("failed=0" in each.result().stdout for each in done)
    assert json.loads((directory / "out").read_text(encoding="utf-8"))["mzid"] == "one.hello.demo"
    assert not list(directory.glob(".mergetb-sriov-*"))
