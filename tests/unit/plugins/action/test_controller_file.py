# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import yaml
from ansible_collections.mergetb.sriov.plugins.action import controller_file as action
from ansible_collections.mergetb.sriov.plugins.modules import controller_file as stub
from ansible_collections.mergetb.sriov.tests.unit import command_line


def run(directory: Path, *arguments: str, **options: t.Any) -> tuple[int, str]:
    """Run a task with `controller_file` on a host that is out of reach."""
    play = {
        "hosts": "x0",
        "gather_facts": False,
        "tasks": [{"mergetb.sriov.controller_file": options}],
    }
    (directory / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    host = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = {"all": {"hosts": {"x0": host}}}
    (directory / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")
    done = command_line.run(
        directory,
        *("playbook", "-i", "hosts.yml", "play.yml", *arguments),
        check=False,
        ANSIBLE_INVENTORY_ENABLED="ansible.builtin.yaml",
    )
    return done.returncode, done.stdout + done.stderr


def test_content_is_written_once(tmp_path: Path) -> None:
    wanted = {"path": "out", "content": "{{ '{' }}{ 1 + 1 }}\n\u00fc\n"}
    code, told = run(tmp_path, "--check", "--diff", **wanted)
    assert (code, "changed=1" in told, "+{{ 1 + 1 }}" in told) == (0, True, True)
    assert not (tmp_path / "out").exists()
    code, told = run(tmp_path, **wanted)
    assert (code, "changed=1" in told, "+{{ 1 + 1 }}" in told) == (0, True, False)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "{{ 1 + 1 }}\n\u00fc\n"
    before = (tmp_path / "out").stat()
    code, told = run(tmp_path, "--diff", **wanted)
    assert (code, "changed=0" in told) == (0, True)
    assert (tmp_path / "out").stat() == before


def test_without_content_nothing_is_written(tmp_path: Path) -> None:
    code, told = run(tmp_path, path="out")
    assert (code, "changed=0" in told) == (0, True)
    assert not (tmp_path / "out").exists()


def test_check_mode_fails_as_the_run_does(tmp_path: Path) -> None:
    for arguments in ([], ["--check"]):
        code, told = run(tmp_path, *arguments, path="nowhere/out", content="text")
        assert code == 2
        assert f"the directory {tmp_path}/nowhere does not exist" in told


def test_arguments_are_checked(tmp_path: Path) -> None:
    code, told = run(tmp_path, content="text", mode="0600")
    assert code == 2
    assert "missing required arguments: path" in told
    code, told = run(tmp_path, path="out", mode="0600")
    assert code == 2
    assert "mode. Supported parameters include: content, path" in told


def test_documentation_is_of_the_arguments() -> None:
    options = yaml.safe_load(stub.DOCUMENTATION)["options"]
    documented = {
        name: {key: value for key, value in option.items() if key != "description"}
        for name, option in options.items()
    }
    assert documented == action.ARGUMENT_SPEC
