# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

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
