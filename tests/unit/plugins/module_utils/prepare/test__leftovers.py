# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _judge, _leftovers
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine

UNITS = "/etc/systemd/system"
SETS_VFS = "ExecStart=/usr/bin/sh -c 'echo 8 > /sys/class/net/p4p1/device/sriov_numvfs'\n"


@pytest.fixture
def host(tmp_path: Path) -> BootMachine:
    return BootMachine(tmp_path, {})


def found(host: BootMachine, running: str = "") -> list[str]:
    return [element for element, _cause, _remedy in _leftovers.find(host, running)]


def test_nothing_was_left(host: BootMachine) -> None:
    host.put(_numvfs.UDEV_RULES, 'ATTR{device/sriov_numvfs}="7"\n')
    host.put("/etc/udev/rules.d/71-other.rules", '# echo 8 > sriov_numvfs\nKERNEL=="p4p1"\n')
    host.put("/etc/udev/rules.d/README", "sriov_numvfs\n")
    host.put(f"{UNITS}/other.service", "ExecStart=/bin/true\n")
    host.put(f"{UNITS}/mergetb-sriov-restore.service", "ExecStart=python3 restore.pyz\n")
    assert found(host, "quiet iommu=pt intel_iommu=on intel_iommu=on") == []


def test_what_stackhpc_linux_leaves(host: BootMachine) -> None:
    rule = 'ACTION=="add", KERNEL=="p4p1", RUN+="/usr/bin/sh -c \'echo 8 > x/sriov_numvfs\'"\n'
    host.put("/etc/udev/rules.d/70-sriov.rules", rule)
    host.put(f"{UNITS}/sriov-p4p1-virtual-functions.service", SETS_VFS)
    host.put("/etc/rc.local", "#!/bin/sh\necho 8 > /sys/class/net/p3p1/device/sriov_numvfs\n")
    assert found(host, "intel_iommu=off intel_iommu=on") == [
        "/etc/udev/rules.d/70-sriov.rules",
        f"{UNITS}/sriov-p4p1-virtual-functions.service",
        "/etc/rc.local",
        _leftovers.COMMAND_LINE,
    ]


def test_what_one_deploy_leaves(host: BootMachine) -> None:
    host.put(f"{UNITS}/sriov-enable@.service", "ExecStart=/usr/local/sbin/sriov-manage %i\n")
    host.put(f"{UNITS}/multi-user.target.wants/sriov-enable@0000-07-00.0-8.service", "")
    unit, arguments = _leftovers.find(host, "intel_iommu=off intel_iommu=on")
    assert unit[0] == f"{UNITS}/sriov-enable@.service"
    assert unit[2].startswith("run systemctl disable sriov-enable@0000-07-00.0-8.service if")
    assert arguments[0] == _leftovers.COMMAND_LINE
    assert arguments[1].startswith("it has intel_iommu=off and intel_iommu=on, ")


def test_what_os_net_config_leaves(host: BootMachine) -> None:
    host.put(f"{UNITS}/sriov_config.service", "ExecStart=/usr/bin/os-net-config-sriov\n")
    host.put(f"{UNITS}/sriov_bind.service", "ExecStart=/usr/bin/os-net-config-sriov-bind\n")
    rule = 'KERNEL=="p4p1", RUN+="/bin/os-net-config-sriov -n p4p1:8"\n'
    host.put("/etc/udev/rules.d/80-persistent-os-net-config.rules", rule)
    assert found(host) == [
        "/etc/udev/rules.d/80-persistent-os-net-config.rules",
        f"{UNITS}/sriov_bind.service",
        f"{UNITS}/sriov_config.service",
    ]


def test_they_are_warnings_of_the_preflight(host: BootMachine) -> None:
    host.put("/proc/cmdline", "intel_iommu=off intel_iommu=on\n")
    host.put(f"{UNITS}/sriov_config.service", "")
    _found, problems = _judge.look(host, [], firmware=False)
    told = {(p.severity, p.element) for p in problems if p.element != _judge.IOMMU}
    assert told == {
        (_judge.WARNING, f"{UNITS}/sriov_config.service"),
        (_judge.WARNING, _leftovers.COMMAND_LINE),
    }


def test_what_is_masked_or_no_file_is_not_told(host: BootMachine) -> None:
    host.put(f"{UNITS}/x", "")
    os.symlink("/dev/null", host.path(f"{UNITS}/sriov_config.service"))
    os.symlink("loop.service", host.path(f"{UNITS}/loop.service"))
    os.makedirs(host.path(f"{UNITS}/dir.service"))
    os.makedirs(host.path("/etc/udev/rules.d/dir.rules"))
    assert found(host) == []


@pytest.mark.parametrize(
    "running",
    [
        "intel_iommu=on intel_iommu=sm_on",
        "intel_iommu=on intel_iommu=igfx_off",
        "iommu=on iommu=pt",
    ],
)
def test_arguments_that_add_to_each_other_are_not_told(host: BootMachine, running: str) -> None:
    assert found(host, running) == []


def test_a_part_of_a_unit_is_told(host: BootMachine) -> None:
    path = f"{UNITS}/docker.service.d/10-vfs.conf"
    host.put(path, SETS_VFS.replace("ExecStart", "ExecStartPre"))
    assert found(host) == [path]
