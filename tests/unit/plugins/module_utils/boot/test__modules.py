# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _modules
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine

FILES = {
    "/proc/sys/kernel/osrelease": "6.12.1\n",
    "/lib/modules/6.12.1/modules.builtin": "kernel/drivers/base/built-in_one.ko\n",
    "/sys/module/vfio_pci/refcnt": "0",
}


def test_hyphen_and_underscore_are_the_same(tmp_path: Path) -> None:
    host = BootMachine(tmp_path, FILES)
    modules = ["vfio-pci", "vfio_pci", "built_in_one", "vfio"]
    assert _modules.not_loaded(host, modules) == ["vfio"]


def test_modprobe_is_not_believed(tmp_path: Path) -> None:
    host = BootMachine(tmp_path, FILES)
    plan = _modules.plan(host, ["vfio-pci", "vfio"], "test")
    with pytest.raises(SriovError, match=r"no module vfio: .*blacklist"):
        _modules.apply(host, plan)
    assert host.calls == [["modprobe", "--dry-run", "vfio"], ["modprobe", "vfio"]]
    assert not host.writes


def test_an_unknown_module_is_told_before_anything_is_done(tmp_path: Path) -> None:
    host = BootMachine(tmp_path, FILES)
    host.answers["modprobe --dry-run nonsense"] = Completed(1, "", "FATAL: not found\n")
    with pytest.raises(SriovError, match="nonsense cannot be loaded: FATAL: not found"):
        _modules.refuse_unknown(host, ["vfio", "nonsense"])


@pytest.mark.parametrize("name", ["", "-r", "a b", "../x", "a\nb", "a/b"])
def test_refuses_what_is_no_name(name: str) -> None:
    with pytest.raises(SriovError, match="is not the name of a kernel module"):
        _modules.checked(["vfio", name])
    with pytest.raises(SriovError, match="is not a file name"):
        _modules.file_of(name)


def test_the_file_names_each_module_once() -> None:
    modules = _modules.checked(["vfio-pci", "mlx5-vfio-pci", "vfio-pci"])
    lines = _modules.file_text(modules).splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["vfio-pci", "mlx5-vfio-pci"]
