# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _variant
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES

VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")
ALIAS = "v000015B3d0000101Esv00000000sd00000000bc02sc00i00"
RESOLVE = f"modprobe --resolve-alias vfio_pci:{ALIAS}"


@pytest.fixture
def machine(tmp_path: Path) -> BootMachine:
    machine = BootMachine(tmp_path, {})
    for address in VFS[:2]:
        machine.add_function(address)
        machine.put(f"{DEVICES}/{address}/modalias", f"pci:{ALIAS}\n")
    machine.add_function(VFS[2])
    return machine


@pytest.mark.parametrize(
    ("answer", "driver"),
    [
        (Completed(0, "vfio_pci\nmlx5_vfio_pci\n", ""), "mlx5_vfio_pci"),
        (Completed(0, "nvgrace-gpu-vfio-pci\nvfio_pci\n", ""), "nvgrace_gpu_vfio_pci"),
        (Completed(0, "vfio_pci\n", ""), "vfio-pci"),
        (Completed(1, "", "modprobe: FATAL: Module vfio_pci:v0 not found\n"), "vfio-pci"),
    ],
)
def test_a_variant_is_better_than_the_driver_for_all(
    machine: BootMachine, answer: Completed, driver: str
) -> None:
    machine.answers[RESOLVE] = answer
    assert _variant.best(machine, VFS) == {
        VFS[0]: driver,
        VFS[1]: driver,
        VFS[2]: "vfio-pci",
    }
    assert machine.calls == [RESOLVE.split()], "functions of one kind are asked for once"


def test_of_two_variants_none_is_guessed(machine: BootMachine) -> None:
    machine.answers[RESOLVE] = Completed(0, "vfio_pci\nb_vfio_pci\na_vfio_pci\n", "")
    with pytest.raises(SriovError, match="drivers a_vfio_pci, b_vfio_pci are all for functions"):
        _variant.best(machine, VFS)
