# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hosts told stays in Ansible's own fact cache: in files, and on a real Redis server."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import mergexp
import pytest
from ansible_collections.mergetb.sriov.tests.tools import community_general
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import facts, models, played

MZID = "one.hello.demo"
SECONDS = 30


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played.collections(tmp_path_factory.mktemp("collections"), "sriov_info")


@contextlib.contextmanager
def redis(directory: Path) -> t.Iterator[str]:
    """Start a server of the Debian package redis-server, and return its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""],
        cwd=directory,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert time.monotonic() < deadline and server.poll() is None, "no Redis server"
        yield f"127.0.0.1:{port}:0"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(params=["jsonfile", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[dict[str, str]]:
    """Return the settings of a fact cache that works."""
    settings = {"ANSIBLE_CACHE_PLUGIN_TIMEOUT": "0"}
    if request.param == "jsonfile":
        yield settings | {
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "facts"),
        }
        return
    with redis(tmp_path) as address:
        yield settings | {
            "ANSIBLE_CACHE_PLUGIN": "community.general.redis",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": address,
        }


class Facility:
    """The example facility, whose runs share a fact cache."""

    def __init__(self, directory: Path, collections: Path, cache: dict[str, str]) -> None:
        self.directory = directory
        self._collections = collections
        self._environment = cache | {
            "ANSIBLE_COLLECTIONS_PATH": f"{collections}:{community_general.DIRECTORY}"
        }
        self.told = facts.truth(models.PHOBOS, "x0", "x1", vfs=7)
        shutil.copy(PHOBOS / "phobos.xir", directory)
        played.tell(directory, self.told)

    def lose(self, host: str) -> None:
        """Let a host be out of reach."""
        self.told |= {host: None}  # type: ignore[dict-item]  # None is out of reach
        played.tell(self.directory, self.told)

    def run(self, playbook: str, *arguments: str, code: int = 0) -> str:
        """Run a playbook that must end with an exit code, and return what it printed."""
        done = played.run(
            self._collections,
            self.directory,
            playbook,
            *arguments,
            check=False,
            **self._environment,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def calls(self) -> list[str]:
        """Return the hosts that were asked since this was called last."""
        calls = played.calls(self.directory)
        (self.directory / "calls").unlink(missing_ok=True)
        return sorted(calls)

    @property
    def page(self) -> str:
        """The report."""
        return (self.directory / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def facility(tmp_path: Path, collections: Path, cache: dict[str, str]) -> Facility:
    return Facility(tmp_path, collections, cache)


def test_a_host_that_is_down_is_shown_as_it_was(facility: Facility) -> None:
    facility.told["x1"]["pfs"][0]["vfs"][0]["users"] = ["{{ 1 + 1 }}"]
    played.tell(facility.directory, facility.told)
    facility.run("report")
    assert facility.calls() == ["x0", "x1"]
    facility.lose("x1")

    shown = facility.run("report", "-e", "sriov_from_cache=missing")
    assert facility.calls() == ["x0", "x1"]
    assert "hosts: 1 of 2 answered, not x1" in shown
    assert "from the fact cache: 1 of 2 hosts, by age x1 " in shown
    assert "VFs: 28 of 28 in the model" in shown
    assert "{{ 1 + 1 }}" in facility.page
    facility.run("audit", code=2)
    shown = facility.run("audit", "-e", "sriov_from_cache=missing")
    assert "no route to host; what follows is what it told at 20" in shown
    facility.calls()

    shown = facility.run("report", "-e", "sriov_from_cache=all")
    assert facility.calls() == []
    assert "hosts: 0 of 2 answered" in shown
    assert "of these 27 free, 0 driver, 0 held, 1 foreign, 0 error" in shown
    facility.run("audit", "-e", "sriov_from_cache=all")
    assert facility.calls() == []
    document = json.loads((facility.directory / "audit.json").read_text(encoding="utf-8"))
    assert all(host["asked"] and not host["error"] for host in document["hosts"].values())


def test_the_answer_of_one_host_is_not_that_of_another(facility: Facility) -> None:
    """A task with run_once gives the facts of one host to all."""
    once = {"mergetb.sriov.sriov_info": {"firmware": True}, "run_once": True}
    play = {"hosts": "hypervisors", "gather_facts": False, "tasks": [once]}
    (facility.directory / "own.yml").write_text(json.dumps([play]), encoding="utf-8")
    facility.run("own.yml")
    assert facility.calls() == ["x0"]
    shown = facility.run("report", "-e", "sriov_from_cache=all")
    assert "hosts: 0 of 2 answered, not x1" in shown
    assert "from the fact cache: 1 of 2 hosts, by age x0 " in shown


def test_a_host_that_was_never_seen(facility: Facility) -> None:
    facility.lose("x1")
    shown = facility.run("audit", "-e", "sriov_from_cache=missing", code=2)
    assert "no route to host; the fact cache has nothing of it" in shown
    shown = facility.run("report", "-e", "sriov_from_cache=all")
    assert "hosts: 0 of 2 answered, not x1" in shown
    assert "run mergetb.sriov.audit or mergetb.sriov.report with this cache" in facility.page


def test_an_experiment_is_placed_beside_a_host_that_is_down(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(facility.directory)
    network = mergexp.Network("hello")
    network.connect_sockets(
        [network.node(name).socket(mergexp.port.vf == models.WANTED) for name in ("alpha", "beta")]
    )
    network.save_xir()
    experiment = (
        *("-e", "sriov_experiment=hello.pb64", "-e", f"sriov_mzid={MZID}"),
        *("-e", "sriov_materialization=out.json"),
    )
    facility.told["x1"]["pfs"][0]["vfs"][0] |= {"driver": "vfio-pci", "vlan": 2}
    played.tell(facility.directory, facility.told)
    facility.run("allocate", *experiment)
    (facility.directory / "out.json").unlink()
    facility.lose("x1")

    shown = facility.run("allocate", *experiment, code=2)
    assert "no answer from x1 (" in shown
    assert "no route to host), so nobody knows what is in use there" in shown
    assert not (facility.directory / "out.json").exists()
    shown = facility.run("allocate", *experiment, "-e", "sriov_from_cache=missing")
    assert "from the fact cache: 1 of 2 hosts, by age x1 " in shown
    assert "alpha eth1: x0 ens1f0 VF 0, VLAN 3, MAC " in shown
    assert " x1 ens1f" not in shown
    facility.calls()
    shown = facility.run(
        "allocate", *experiment, "-e", "sriov_from_cache=all", "-e", "sriov_placement=pack"
    )
    assert facility.calls() == []
    assert "alpha eth1: x1 ens1f" in shown, "nobody knows that it is down"
