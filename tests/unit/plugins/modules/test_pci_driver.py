# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.modules import pci_driver
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine
from ansible_collections.mergetb.sriov.tests.unit.counted import Counted
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, Machine, ledger_entry
from ansible_collections.mergetb.sriov.tests.unit.interleaving import overtaken
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

PF = "0000:01:00.0"
VFS = ("0000:01:10.0", "0000:01:10.2")
WANTED = [{"pf": "ens1f0", "vf": 1, "driver": "vfio-pci"}, {"address": VFS[0]}]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", "04:70:00:00:00:10", numvfs=2)
    machine.add_driver("vfio-pci")
    machine.bind(VFS[0], "igbvf")
    machine.log.clear()
    return machine


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(pci_driver, machine, monkeypatch, capsys)


def test_auto_takes_the_variant_of_the_vendor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = BootMachine(tmp_path, {})
    machine.add_pf(PF, "ens1f0", "04:70:00:00:00:10", numvfs=2)
    for driver in ("vfio-pci", "mlx5_vfio_pci"):
        machine.add_driver(driver)
    machine.put(f"{DEVICES}/{VFS[1]}/modalias", "pci:v000015B3d0000101E\n")
    machine.answers["modprobe --resolve-alias vfio_pci:v000015B3d0000101E"] = Completed(
        0, "vfio_pci\nmlx5_vfio_pci\n", ""
    )
    wanted = [{"address": address, "driver": "auto"} for address in VFS]
    run = Runner(pci_driver, machine, monkeypatch, capsys)

    done = run(devices=wanted)

    assert [device["driver"] for device in done["devices"]] == ["vfio-pci", "mlx5_vfio_pci"]
    assert [machine.driver(address) for address in VFS] == ["vfio-pci", "mlx5_vfio_pci"]
    assert not run(devices=wanted)["changed"]


def test_check_mode_writes_nothing_and_predicts_the_run(machine: Machine, run: Runner) -> None:
    before = machine.files()

    predicted = run(check_mode=True, devices=WANTED)

    assert machine.files() == before
    assert machine.log == []
    done = run(devices=WANTED)
    assert predicted == done
    assert done["changed"]
    assert done["devices"] == [
        {"address": VFS[1], "driver": "vfio-pci", "iommu_group": "3", "numa_node": None},
        {"address": VFS[0], "driver": None, "iommu_group": "2", "numa_node": None},
    ]
    assert done["diff"] == {
        "before": {VFS[1]: None, VFS[0]: "igbvf"},
        "after": {VFS[1]: "vfio-pci", VFS[0]: None},
    }
    assert [machine.driver(address) for address in VFS] == [None, "vfio-pci"]


def test_a_second_run_writes_nothing(machine: Machine, run: Runner) -> None:
    run(devices=WANTED)
    machine.log.clear()

    assert not run(devices=WANTED)["changed"]
    assert machine.log == []


def test_a_vf_costs_nine_accesses_and_no_exchange_with_the_child(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one VF costs counts up to 127 times."""
    machine.add_pf("0000:03:00.0", "ens3f0", "04:70:00:00:00:30", numvfs=7)
    counted = Counted(machine, monkeypatch)
    accesses = []
    for vfs in ([0], [1, 2, 3, 4, 5, 6]):
        counted.accesses.clear()
        counted.exchanges.clear()
        devices = [{"pf": "0000:03:00.0", "vf": vf, "driver": "vfio-pci"} for vf in vfs]
        pci_driver.run(machine, {"devices": devices, "force": False}, check_mode=False)
        accesses.append(len(counted.accesses))
        # The override of the PF, those of all VFs, and all changes.
        assert counted.exchanges == ["read_all", "read_all", "write_in_turn"]

    one, six = accesses
    # For the plan its override, node, driver and group, the members of that and its first VF, which
    # it has none of; then two writes, and its driver again.
    assert six - one == 5 * 9


def test_a_function_in_use_is_taken_only_by_force(machine: Machine, run: Runner) -> None:
    machine.alter_link("eth1", up=True)

    for check_mode in (True, False):
        answer = run(check_mode=check_mode, devices=WANTED)
        assert answer["msg"].startswith(f"in use: {VFS[0]}: interface eth1 is up.")
    assert machine.log == []
    assert run(devices=WANTED, force=True)["changed"]
    assert machine.driver(VFS[0]) is None


def test_a_group_that_is_not_viable_is_refused_even_by_force(machine: Machine, run: Runner) -> None:
    group = machine.link(f"{DEVICES}/{VFS[1]}/iommu_group")
    machine.add_function("0000:01:11.0", group=group, driver="nvme")

    answer = run(devices=WANTED, force=True)

    assert (
        "0000:01:11.0 (nvme, network controller 8086:10c9) in the same IOMMU group" in answer["msg"]
    )
    assert machine.log == []


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ({"address": "0000:09:00.0"}, "there is no PCI device 0000:09:00.0"),
        ({"address": "../../../class/net/ens1f0/device"}, "there is no PCI device ../../.."),
        ({"pf": PF, "vf": 2}, "has no VF 2"),
        ({"pf": PF}, "missing parameter(s) required by 'pf': vf"),
        ({"address": VFS[0], "vf": 0}, "missing parameter(s) required by 'vf': pf"),
        ({"address": VFS[0], "pf": PF, "vf": 0}, "mutually exclusive: address|pf"),
        ({"driver": "vfio-pci"}, "one of the following is required: address, pf"),
    ],
)
def test_what_names_no_function(
    machine: Machine, run: Runner, device: dict[str, object], text: str
) -> None:
    answer = run(devices=[*WANTED, device])

    assert answer["failed"]
    assert text in answer["msg"]
    assert machine.log == []


def test_a_vf_that_is_claimed_meanwhile_keeps_its_driver(machine: Machine) -> None:
    """It was asked who uses the VF, and then its driver was taken, without the lock."""
    entry = ledger_entry(vf=0, address=VFS[0], driver="igbvf")
    devices = [{"address": VFS[0], "driver": None}]

    with pytest.raises(SriovError, match=f"in use: {VFS[0]}: materialization one.hello.demo holds"):
        overtaken(
            machine,
            lambda: pci_driver.run(machine, {"devices": devices, "force": False}, check_mode=False),
            lambda: _ledger.write(machine, {"one.hello.demo": [entry]}),
        )

    assert machine.driver(VFS[0]) == "igbvf"


def test_a_held_vf_without_driver_gets_none_by_this_module(machine: Machine, run: Runner) -> None:
    """A run that is ended leaves it so as long as its attributes are not right."""
    entry = ledger_entry(vf=1, address=VFS[1], state=_ledger.CHANGING)
    _ledger.write(machine, {"one.hello.demo": [entry]})

    answer = run(devices=[{"address": VFS[1], "driver": "vfio-pci"}])

    assert answer["msg"].startswith(f"in use: {VFS[1]}: materialization one.hello.demo holds it")
    assert machine.driver(VFS[1]) is None


def test_a_pf_keeps_its_driver_while_its_vfs_are_held(machine: Machine, run: Runner) -> None:
    """They would go with it."""
    _ledger.write(machine, {"one.hello.demo": [ledger_entry(vf=1, address=VFS[1])]})
    machine.alter_link("ens1f0", up=False)

    answer = run(devices=[{"address": "0000:01:00.0", "driver": None}])

    assert answer["msg"].startswith(
        f"in use: 0000:01:00.0: its VF {VFS[1]}: materialization one.hello.demo holds it"
    )
    assert machine.driver("0000:01:00.0") == "igb"
