# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _command_line, _iommu
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host


def host_with(root: Path, *paths: str) -> Host:
    for path in paths:
        (root / path.lstrip("/")).mkdir(parents=True)
    return Host(str(root))


@pytest.mark.parametrize(
    ("table", "name", "present"),
    [
        ("DMAR", "Intel VT-d", ("intel_iommu=on",)),
        ("IVRS", "AMD-Vi", ()),
        ("IORT", "Arm SMMU", ()),
    ],
)
def test_the_acpi_table_decides(
    tmp_path: Path, table: str, name: str, present: tuple[str, ...]
) -> None:
    platform = _iommu.platform(host_with(tmp_path, f"/sys/firmware/acpi/tables/{table}"))
    assert platform is not None
    assert platform.name == name
    wanted = _iommu.arguments(platform)
    assert wanted.present == present
    assert "amd_iommu=on" in wanted.absent


def test_no_table_no_platform(tmp_path: Path) -> None:
    assert _iommu.platform(host_with(tmp_path, "/sys/firmware/acpi/tables/FACP")) is None
    assert _command_line.complete("amd_iommu=on", _iommu.arguments(None)) == ""


@pytest.mark.parametrize(
    ("paths", "effective"),
    [
        ([], False),
        (["/sys/class/iommu", "/sys/kernel/iommu_groups"], False),
        (["/sys/class/iommu/dmar0", "/sys/kernel/iommu_groups"], False),
        # vfio's no-IOMMU mode makes groups without an IOMMU.
        (["/sys/class/iommu", "/sys/kernel/iommu_groups/0"], False),
        (["/sys/class/iommu/dmar0", "/sys/kernel/iommu_groups/0"], True),
    ],
)
def test_effective(tmp_path: Path, paths: list[str], effective: bool) -> None:
    assert _iommu.effective(host_with(tmp_path, *paths)) is effective


def platform_of(root: Path, table: str) -> _iommu.Platform | None:
    return _iommu.platform(host_with(root, f"/sys/firmware/acpi/tables/{table}"))


def test_hindrance_without_a_platform() -> None:
    cause, remedy = _iommu.hindrance(None, False, "") or ("", "")
    assert "DMAR for Intel VT-d" in cause
    assert "firmware setup" in remedy


@pytest.mark.parametrize(
    ("table", "running", "hindered"),
    [
        ("DMAR", "ro", False),
        ("DMAR", "ro intel_iommu=on iommu=off", False),
        ("DMAR", "ro intel_iommu=on,sm_on", True),
        ("IVRS", "ro", True),
        ("IVRS", "ro amd_iommu=off", False),
    ],
)
def test_only_a_kernel_rightly_started_is_hindered(
    tmp_path: Path, table: str, running: str, hindered: bool
) -> None:
    found = _iommu.hindrance(platform_of(tmp_path, table), False, running)
    assert (found is not None) is hindered


def test_an_effective_iommu_needs_no_arguments(tmp_path: Path) -> None:
    assert _iommu.hindrance(None, True, "iommu=off") is None
