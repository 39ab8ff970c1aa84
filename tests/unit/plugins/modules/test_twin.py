# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import socket
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.twin import _twin
from ansible_collections.mergetb.sriov.plugins.modules import twin

PF = {"name": "ens1f0", "mac": "04:70:00:00:00:10", "leaf": None, "max_vfs": 128}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PORT = free_port()


def params(directory: Path, **fields: t.Any) -> dict[str, t.Any]:
    return {
        "state": "present",
        "directory": str(directory),
        "hosts": [{"name": "x0", "pfs": [PF]}],
        "image": "/cache/1",
        "ssh_port": PORT,
        "boot_timeout": 300,
        "memory": 1536,
        "uefi": [],
        "qemu_args": {},
        **fields,
    }


def test_check_mode_tells_what_would_run_and_makes_nothing(tmp_path: Path) -> None:
    result = twin.run(params(tmp_path / "twin"), check_mode=True)

    assert result["changed"]
    assert result["hosts"] == [{"name": "x0", "ssh_port": PORT}]
    assert result["diff"]["before"] == {}
    assert list(result["diff"]["after"]) == ["leafs", "x0"]
    assert "/cache/1/grub" in result["diff"]["after"]["x0"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_end_of_a_twin_that_is_not_there_changes_nothing(
    tmp_path: Path, check_mode: bool
) -> None:
    result = twin.run(params(tmp_path / "twin", state="absent"), check_mode=check_mode)

    assert not result["changed"]
    assert not (tmp_path / "twin").exists()


def test_what_an_interrupted_run_left_is_removed(tmp_path: Path) -> None:
    directory = tmp_path / "twin"
    directory.mkdir()
    (directory / ".lock").touch()

    assert twin.run(params(directory, state="absent"), check_mode=True)["changed"]
    assert directory.exists()
    assert twin.run(params(directory, state="absent"), check_mode=False)["changed"]
    assert not directory.exists()


def test_other_runs_need_not_wait_for_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def wait(found: _twin.Twin, hosts: t.Sequence[_twin.TwinHost], seconds: int) -> None:
        with open(Path(found.directory) / ".lock", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        waited.append(([host.name for host in hosts], seconds))

    monkeypatch.setattr(_twin.Twin, "apply", lambda *_arguments: None)
    monkeypatch.setattr(_twin.Twin, "wait", wait)
    twin.run(params(tmp_path / "twin"), check_mode=True)
    assert waited == []
    twin.run(params(tmp_path / "twin"), check_mode=False)
    assert waited == [(["x0"], 300)]


def test_bad_input_changes_nothing(tmp_path: Path) -> None:
    hosts = [{"name": "../x0", "pfs": [PF]}]

    with pytest.raises(SriovError, match="host '../x0'"):
        twin.run(params(tmp_path / "twin", hosts=hosts), check_mode=False)

    assert list(tmp_path.iterdir()) == []
