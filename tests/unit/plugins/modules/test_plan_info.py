# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.modules import plan_info
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CONFIG, Hypervisor
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

PF = "0000:01:00.0"
MAC = "04:70:00:00:00:10"
PREPARE = {
    "pfs": [{"name": "ens1f0", "mac": MAC, "max_vfs": 4}],
    "kernel_arguments": ["iommu=pt"],
    "kernel_modules": ["vfio-pci"],
}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    host = Hypervisor(tmp_path)
    host.add_pf(PF, "ens1f0", MAC, config=CONFIG)
    host.log.clear()
    return Runner(plan_info, host, monkeypatch, capsys)


def test_the_preparation_is_planned(run: Runner) -> None:
    plan = run(prepare=PREPARE)
    assert not plan["changed"]
    assert (plan["state"], plan["restart"]) == ("reboot", "reboot")
    assert plan["steps"][0] == {
        "role": "iommu",
        "element": "/etc/default/grub.d/zz-mergetb-sriov.cfg",
        "action": "write",
    }
    roles = list(dict.fromkeys(step["role"] for step in plan["steps"]))
    assert roles == ["iommu", "reboot", "vfs", "vfio", "restore"]
    assert plan["blockers"] == plan["disturbed"] == []
    assert "no Advanced Error Reporting" not in " ".join(plan["notes"])


def test_a_materialization_is_planned_and_its_options_are_checked(run: Runner) -> None:
    nic = {"node": "alpha", "nic": "eth1", "pf": {"name": "ens1f0", "mac": MAC}}
    vf = {**nic, "vf_index": 0, "mac": "02:00:00:00:01:01", "vlan": 100}
    plan = run(materialize={"mzid": "one.hello.demo", "vfs": [vf]})
    assert plan["state"] == "blocked"
    assert plan["blockers"][0]["role"] == "materialize"
    assert "VF 0 of PF ens1f0 is not there" in plan["blockers"][0]["message"]

    failed = run(materialize={"mzid": "one.hello.demo", "vfs": [{**vf, "vlan": "x"}]})
    assert failed["failed"]
    assert "materialize: " in failed["msg"]


def test_it_takes_root(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "takes root" in run(prepare=PREPARE)["msg"]


def test_one_of_both_is_planned(run: Runner) -> None:
    assert "one of the following is required" in run()["msg"]
    assert "mutually exclusive" in run(prepare=PREPARE, materialize={"mzid": "a.b.c"})["msg"]
