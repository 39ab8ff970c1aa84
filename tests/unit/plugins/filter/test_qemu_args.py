# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mergetb.sriov.plugins.filter.qemu_args import FilterModule

qemu_args = FilterModule().filters()["qemu_args"]


def test_qemu_args() -> None:
    device = {"node": "alpha", "nic": "eth1", "pci_address": "0000:01:10.0"}
    assert qemu_args([device]) == ["-device", "vfio-pci,host=0000:01:10.0,id=eth1"]


def test_through_iommufd() -> None:
    device = {"node": "alpha", "nic": "eth1", "pci_address": "0000:01:10.0"}
    assert qemu_args([device], iommufd=True) == [
        "-object",
        "iommufd,id=iommufd0",
        "-device",
        "vfio-pci,host=0000:01:10.0,id=eth1,iommufd=iommufd0",
    ]
    assert qemu_args([], iommufd=True) == []


def test_error() -> None:
    with pytest.raises(AnsibleFilterError, match="^qemu_args: device .*: nic must be a string"):
        qemu_args([{"node": "alpha"}])
