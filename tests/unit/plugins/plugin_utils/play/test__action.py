# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play._action import Play
from ansible_collections.mergetb.sriov.tests.unit import acting

HOSTVARS = {"x0": {"sriov_pfs": [], "found": {"changed": False}}, "x1": {}}


def play() -> Play:
    return Play(
        {
            "ansible_play_hosts_all": ["x0", "x1"],
            "ansible_play_hosts": ["x0"],
            "hostvars": HOSTVARS,
        }
    )


def test_hosts_of_the_play() -> None:
    assert play().hosts == ["x0", "x1"]
    assert play().left == ["x0"]


def test_variables_of_hosts() -> None:
    assert play().pfs(["x0"]) == {"x0": []}
    assert play().results(["x0"], "found") == {"x0": {"changed": False}}
    assert play().variable("x1", "found", {}) == {}
    assert play().variable("x1", "found") is None


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda: play().pfs(["x0", "x1"]), "^host x1 has no variable sriov_pfs: use the inv"),
        (lambda: play().results(["x1"], "found"), "^host x1 has no variable found: all hosts must"),
        (lambda: play().pfs(["x2"]), "^host x2 is not in the inventory; add it there"),
    ],
)
def test_what_a_host_lacks_is_named(read: t.Callable[[], t.Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        read()


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(AnsibleError, match="missing required arguments: path"):
        acting.run("controller_file", {"content": "text"}, HOSTVARS)
    with pytest.raises(AnsibleError, match="mode. Supported parameters include: content, path"):
        acting.run("controller_file", {"path": str(tmp_path / "out"), "mode": "0600"}, HOSTVARS)


def test_unusable_input_fails_the_task() -> None:
    result = acting.run("controller_file", {"path": "/"}, HOSTVARS)
    assert result == {"changed": False, "failed": True, "msg": "/ is a directory; name a file"}


def test_files_are_written_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    arguments = {"path": str(path), "content": "{{ 1 + 1 }}\n\u00fc\n"}
    header = {"before_header": str(path), "after_header": str(path)}
    predicted = acting.run("controller_file", arguments, HOSTVARS, check=True, diff=True)
    assert predicted == {
        "changed": True,
        "path": str(path),
        "diff": {"before": "", "after": arguments["content"], **header},
    }
    assert not path.exists()
    result = acting.run("controller_file", arguments, HOSTVARS)
    assert result == {"changed": True, "path": str(path)}
    assert path.read_text(encoding="utf-8") == arguments["content"]
    before = path.stat()
    assert acting.run("controller_file", arguments, HOSTVARS, diff=True) == {
        "changed": False,
        "path": str(path),
    }
    assert path.stat() == before


def test_check_mode_fails_as_the_run_does(tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path / "nowhere" / "out"), "content": "text"}
    for check in (False, True):
        result = acting.run("controller_file", arguments, HOSTVARS, check=check)
        assert result["failed"]
        assert f"the directory {tmp_path}/nowhere does not exist" in result["msg"]
