# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.modules import preflight
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine
from ansible_collections.mergetb.sriov.tests.unit.fabricated import config_space
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

PF = "0000:01:00.0"
MAC = "04:70:00:00:00:10"
PFS = [{"name": "p0", "mac": MAC, "max_vfs": 16, "leaf": {"host": "leaf0", "port": "swp1"}}]


@pytest.fixture
def machine(tmp_path: Path) -> BootMachine:
    machine = BootMachine(
        tmp_path, {"/sys/firmware/acpi/tables/DMAR": "", "/proc/cmdline": "intel_iommu=off"}
    )
    config = config_space((0x01, b""), (0x10, b"\0" * 60))
    machine.add_pf(PF, "ens1f0", MAC, numvfs=2, config=config)
    machine.log.clear()
    return machine


@pytest.fixture
def run(
    machine: BootMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Runner(preflight, machine, monkeypatch, capsys)


def test_facts_and_problems(machine: BootMachine, run: Runner) -> None:
    before = machine.files()
    seen = run(pfs=PFS)
    assert not seen["changed"]
    assert machine.files() == before
    assert seen["platform"]["iommu"] == "Intel VT-d"
    assert seen["platform"]["iommu_effective"] is False
    assert seen["platform"]["lockdown"] is None
    assert seen["wanted"] == [{"pf": MAC, "numvfs": 16}]
    (pf,) = seen["pfs"]
    assert pf == {
        "name": "p0",
        "address": PF,
        "interface": "ens1f0",
        "mac": MAC,
        "vendor": "0x8086",
        "device": "0x10c9",
        "driver": "igb",
        "numvfs": 2,
        "totalvfs": 7,
        "sriov": True,
        "aer": True,
        "ari": False,
        "acs": None,
        "iommu_group": "1",
        "isolated": True,
    }
    (problem,) = seen["problems"]
    assert problem["severity"] == "error"
    assert problem["element"] == f"p0 ({PF})"
    assert problem["cause"] == "the model declares 16 VFs, the NIC offers 7"
    assert problem["text"] == f"p0 ({PF}): {problem['cause']}; {problem['remedy']}"


def test_a_count_of_the_operator_goes_before_the_models(run: Runner) -> None:
    seen = run(pfs=PFS, numvfs={"p0": 7})
    assert seen["wanted"] == [{"pf": MAC, "numvfs": 7}]
    assert [problem["severity"] for problem in seen["problems"]] == ["warning"]


def test_the_firmware_that_another_role_sets(machine: BootMachine, run: Runner) -> None:
    assert run(pfs=PFS)["firmware"] == {"mlx_firmware": []}
    machine.put(f"/sys/bus/pci/devices/{PF}/vendor", "0x15b3")
    names = ["p0", "ens1f0", MAC]
    device = {"address": PF, "names": names, "settings": {"SRIOV_EN": True, "NUM_OF_VFS": 16}}
    for firmware, severity in ((True, "warning"), (False, "error")):
        seen = run(pfs=PFS, firmware=firmware)
        assert seen["firmware"] == {"mlx_firmware": [device]}
        assert [problem["severity"] for problem in seen["problems"]] == [severity]


def test_an_iommu_that_cannot_be_had_is_an_error(machine: BootMachine, run: Runner) -> None:
    machine.remove("/sys/firmware/acpi/tables/DMAR")
    elements = [problem["element"] for problem in run(pfs=PFS)["problems"]]
    assert elements == ["IOMMU", f"p0 ({PF})"]


def test_input_that_says_nothing_is_refused(run: Runner) -> None:
    assert "has no name" in run(pfs=[{}])["msg"]


def test_it_takes_root(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "takes root" in run(pfs=PFS)["msg"]
