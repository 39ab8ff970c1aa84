# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _reboot
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._reboot import POWER_CYCLE, Cause
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine

IOMMU = Cause("iommu", "the IOMMU is off", "look into the boot menu")
FIRMWARE = Cause("mlx_firmware", "NUM_OF_VFS is not yet 16", "switch the host off and on")
COLD = FIRMWARE._replace(power_cycle=True)


@pytest.mark.parametrize(
    ("markers", "causes", "reboot", "after"),
    [
        ({}, [], False, {}),
        ({}, [IOMMU], False, {}),
        ({}, [IOMMU, FIRMWARE], True, {"iommu": "now", "mlx_firmware": "now"}),
        # The reboot that was meant did not happen, so it may still be made.
        ({"iommu": "now"}, [IOMMU], True, {"iommu": "now"}),
        ({"iommu": "now"}, [IOMMU], False, {"iommu": "now"}),
        # A cured cause is forgotten, and may get a reboot again some day.
        ({"iommu": "then"}, [], False, {}),
        ({"iommu": "then"}, [], True, {}),
        ({"iommu": "then"}, [FIRMWARE], True, {"mlx_firmware": "now"}),
        # No reboot is made where one of the causes has outlived it.
        ({"iommu": "then"}, [IOMMU, FIRMWARE], True, {"iommu": "then"}),
        # A power cycle is remembered whether or not it is told again, and prevents the reboot.
        ({}, [COLD], False, {"mlx_firmware": POWER_CYCLE}),
        ({}, [IOMMU, COLD], True, {"mlx_firmware": POWER_CYCLE}),
        ({"mlx_firmware": "now"}, [COLD], False, {"mlx_firmware": POWER_CYCLE}),
        ({"mlx_firmware": POWER_CYCLE}, [FIRMWARE], True, {"mlx_firmware": POWER_CYCLE}),
        ({"mlx_firmware": POWER_CYCLE}, [IOMMU], True, {"iommu": "now"}),
        ({"mlx_firmware": POWER_CYCLE}, [], False, {}),
    ],
)
def test_plan(
    markers: dict[str, str], causes: list[Cause], reboot: bool, after: dict[str, str]
) -> None:
    assert _reboot.plan(markers, causes, "now", reboot=reboot) == after


@pytest.mark.parametrize(
    ("markers", "causes"),
    [({}, [IOMMU]), ({"iommu": "now"}, [IOMMU]), ({"iommu": "now", "mlx_firmware": "now"}, [])],
)
def test_a_reboot_may_cure(markers: dict[str, str], causes: list[Cause]) -> None:
    _reboot.refuse(markers, causes, "now")


def test_a_cause_that_outlived_its_reboot_is_an_error() -> None:
    with pytest.raises(SriovError) as caught:
        _reboot.refuse({"iommu": "then"}, [FIRMWARE, IOMMU], "now")
    assert "the IOMMU is off; look into the boot menu" in str(caught.value)
    assert "NUM_OF_VFS" not in str(caught.value)
    assert "power cycle" not in str(caught.value)


def test_a_cause_that_takes_a_power_cycle_is_an_error() -> None:
    with pytest.raises(SriovError) as caught:
        _reboot.refuse({"mlx_firmware": POWER_CYCLE}, [FIRMWARE, IOMMU], "now")
    assert "so the run does not reboot the host: mlx_firmware: NUM_OF_VFS is not yet 16" in str(
        caught.value
    )
    assert "IOMMU" not in str(caught.value)


def test_both_are_told() -> None:
    with pytest.raises(
        SriovError, match="reboot the host: mlx_firmware.*; the reboot did not .*: iommu: "
    ):
        _reboot.refuse({"iommu": "then", "mlx_firmware": POWER_CYCLE}, [IOMMU, FIRMWARE], "now")


def test_markers_are_for_root_only_and_leave_no_file_behind(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert _reboot.read(machine) == {}
    _reboot.write(machine, {"iommu": "now"})
    mode = Path(machine.path(_reboot.PATH)).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert _reboot.read(machine) == {"iommu": "now"}
    _reboot.write(machine, {})
    assert not machine.exists(_reboot.PATH)


@pytest.mark.parametrize("text", ["", "{", "[]", '"iommu"'])
def test_a_file_without_markers_is_an_error(tmp_path: Path, text: str) -> None:
    machine = Machine(tmp_path)
    machine.put(_reboot.PATH, text)
    with pytest.raises(SriovError, match=r"reboots\.json is not .*remove it"):
        _reboot.read(machine)
