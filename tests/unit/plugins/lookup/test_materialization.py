# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import command_line, models

PFS = {
    f"x{host}": [
        {"name": f"ens1f{index}", "mac": f"04:72:00:00:1{host}:0{index}", "max_vfs": 7}
        for index in range(2)
    ]
    for host in range(2)
}

PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    names: "{{ ansible_play_hosts_all }}"
    pfs: "{{ dict(names | zip(names | map('extract', hostvars, 'sriov_pfs'))) }}"
    experiment: "{{ lookup('mergetb.sriov.materialization', 'experiment.pb64', pfs=pfs) }}"
  tasks:
    - ansible.builtin.debug:
        msg: "{{ experiment.mzid }} {{ mine | map(attribute='nic') | join(' ') }}"
      vars:
        mine: "{{ experiment.hosts[inventory_hostname] }}"
"""


def lookup(*paths: str, **options: t.Any) -> list[dict[str, t.Any]]:
    """Return what the lookup finds."""
    return lookup_loader.get("mergetb.sriov.materialization").run(list(paths), {}, **options)


def test_materializations() -> None:
    path = str(PHOBOS / "experiment.pb64")
    first, second = lookup(path, path, pfs=PFS)
    assert first == second
    assert first["mzid"] == "one.hello.demo"
    assert [vf["vlan"] for vf in first["hosts"]["x0"]] == [100, 200, 300]


def test_problems_name_the_file() -> None:
    path = str(PHOBOS / "experiment.pb64")
    with pytest.raises(AnsibleLookupError) as caught:
        lookup(path, pfs={})
    assert str(caught.value).startswith(
        f"{path}: materialization one.hello.demo is refused, 6 problems:\n- 'alpha' 'eth1': host"
    )


def test_file_that_is_no_materialization() -> None:
    path = str(PHOBOS / "phobos.xir")
    with pytest.raises(AnsibleLookupError, match=f"^{path}: this is a facility model"):
        lookup(path, pfs=PFS)


def test_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "experiment.json").write_text(models.EXPERIMENT.to_json(), encoding="utf-8")
    assert lookup("~/experiment.json", pfs=PFS)[0]["mzid"] == "one.hello.demo"


def test_in_a_play(tmp_path: Path) -> None:
    for name in ("phobos.xir", "experiment.pb64"):
        (tmp_path / name).write_bytes((PHOBOS / name).read_bytes())
    (tmp_path / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
    result = command_line.run(tmp_path, "playbook", "-i", "phobos.xir", "play.yml")
    assert result.stdout.count('"msg": "one.hello.demo eth1 eth2 eth3"') == 2
    limited = command_line.run(
        tmp_path, "playbook", "-i", "phobos.xir", "play.yml", "--limit", "x0", check=False
    )
    assert limited.returncode
    assert "'beta' 'eth1': host 'x1' is none of the inventory's here" in limited.stdout
