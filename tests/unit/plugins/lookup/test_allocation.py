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
from ansible_collections.mergetb.sriov.tests.unit import models

PFS = {
    f"x{host}": [
        {"name": f"ens1f{index}", "mac": f"04:72:00:00:1{host}:0{index}", "max_vfs": 7}
        for index in range(2)
    ]
    for host in range(2)
}


def lookup(*paths: str, **options: t.Any) -> list[dict[str, t.Any]]:
    """Return what the lookup finds."""
    options = {"mzid": "one.hello.demo", "pfs": PFS} | options
    return lookup_loader.get("mergetb.sriov.allocation").run(list(paths), {}, **options)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with the experiment as mergexp saves it."""
    monkeypatch.chdir(tmp_path)
    models.hello().save_xir()
    monkeypatch.undo()
    return tmp_path


def test_allocation(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(directory))
    pfs = {
        host: [pf | {"capacity": 10**9, "leaf": {"host": "xleaf0", "port": None}} for pf in offered]
        for host, offered in PFS.items()
    }
    [found] = lookup("~/hello.pb64", pfs=pfs, vlans="100-199", facility="phobos")
    assert found["materialization"]["rid"] == "one"
    assert found["materialization"]["vms"][0]["vmAlloc"]["facility"] == "phobos"
    assert len(found["choices"]) == 5
    assert all("VLAN 10" in choice for choice in found["choices"])
    [packed] = lookup("~/hello.pb64", pfs=pfs, placement="pack")
    assert packed != found


def test_problems_name_the_file(directory: Path) -> None:
    path = str(directory / "hello.pb64")
    with pytest.raises(AnsibleLookupError) as caught:
        lookup(path)
    assert str(caught.value).startswith(
        f"{path}: the allocation for one.hello.demo is refused, 2 problems:\n- alpha eth2: 6000"
    )
    with pytest.raises(AnsibleLookupError, match=f"^{path}: VLANs '9-1' must be ranges of"):
        lookup(path, vlans="9-1")


def test_file_that_is_no_experiment() -> None:
    path = str(PHOBOS / "experiment.pb64")
    with pytest.raises(AnsibleLookupError, match=f"^{path}: this is a materialization"):
        lookup(path)
