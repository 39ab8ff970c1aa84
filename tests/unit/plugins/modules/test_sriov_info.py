# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.modules import sriov_info
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf("0000:01:00.0", "ens1f0", "04:70:00:00:00:10", numvfs=2)
    machine.add_pf("0000:01:00.1", "ens1f1", "04:70:00:00:00:11")
    machine.log.clear()
    return machine


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(sriov_info, machine, monkeypatch, capsys)


@pytest.mark.parametrize("check_mode", [False, True])
def test_it_reads_and_writes_nothing(machine: Machine, run: Runner, check_mode: bool) -> None:
    before = machine.files()

    answer = run(check_mode=check_mode)

    assert not answer["changed"]
    assert answer["iommu_groups"] == 4
    assert [(pf["interface"], len(pf["vfs"])) for pf in answer["pfs"]] == [
        ("ens1f0", 2),
        ("ens1f1", 0),
    ]
    assert answer["pfs"][0]["vfs"][1]["address"] == "0000:01:10.2"
    assert machine.files() == before
    assert machine.writes == []


def test_one_pf(run: Runner) -> None:
    [pf] = run(pfs=["04:70:00:00:00:11"])["pfs"]

    assert pf["address"] == "0000:01:00.1"


def test_firmware_is_asked_where_that_is_wished(
    machine: Machine, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.put("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x15b3")
    monkeypatch.setattr(machine, "has_command", lambda name: False)

    assert run()["pfs"][0]["firmware"] is None
    firmware = run(firmware=True)["pfs"][0]["firmware"]
    assert "install the package mstflint" in firmware["problem"]


def test_an_error_is_one_message(run: Runner) -> None:
    answer = run(pfs=["0000:01:10.0"])

    assert answer["failed"]
    assert "is a VF" in answer["msg"]
