# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import attributes
from ansible_collections.mergetb.sriov.plugins.module_utils.vdpa import _state
from ansible_collections.mergetb.sriov.tests.unit.vdpa_machine import FEATURES, VdpaMachine

# What Linux 6.12 answered for a device of vdpa_sim_net.
DEVICE = bytes.fromhex(
    "1000020076647061"
    "73696d5f6e657400"
    "0800040076643000"
    "0800050001000000"
    "0800060000000000"
    "0800070003000000"
    "0600080000010000"
    "0600090001000000"
)
CONFIGURATION = bytes.fromhex(
    "0800040076643000"
    "0800050001000000"
    "0c00140028008308"
    "03000000"
    "06000d0078050000"
    "0a000a0002000000"
    "000a0000"
    "06000b0001000000"
)


def test_a_device_as_the_kernel_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = VdpaMachine(tmp_path)
    machine.put("/sys/bus/vdpa/devices/vd0/vhost-vdpa-7/dev", "")
    answers = {5: [dict(attributes(DEVICE))], 6: [dict(attributes(CONFIGURATION))]}
    monkeypatch.setattr(machine, "generic_dump", lambda family, command: answers[command])

    assert _state.devices(machine) == {
        "vd0": _state.VdpaDevice(
            name="vd0",
            management_device="vdpasim_net",
            device_class="net",
            vendor_id=0,
            max_vqs=3,
            max_vq_size=256,
            mac="02:00:00:00:00:0a",
            mtu=1400,
            max_vqp=None,
            features=FEATURES,
            negotiated_features=None,
            driver=None,
            path="/dev/vhost-vdpa-7",
        )
    }


def test_management_devices(tmp_path: Path) -> None:
    machine = VdpaMachine(tmp_path)
    machine.add_management("0000:01:00.1")

    found = _state.management_devices(machine)

    assert found is not None
    assert found["vdpasim_net"] == _state.ManagementDevice("vdpasim_net", ("net",), 3, FEATURES)
    assert [item.pci_address for item in found.values()] == [None, "0000:01:00.1"]


def test_a_kernel_without_vdpa(tmp_path: Path) -> None:
    machine = VdpaMachine(tmp_path)
    machine.loaded = False
    assert _state.management_devices(machine) is None
    assert _state.devices(machine) == {}


def test_the_request_for_a_device() -> None:
    values = {"mac": "02:00:00:00:00:0a", "mtu": 1400, "max_vqp": 2, "features": 1 << 33}
    request = _state.new_request("vd0", "pci/0000:01:00.1", values)

    assert dict(attributes(request.body)) == {
        1: b"pci\0",
        2: b"0000:01:00.1\0",
        4: b"vd0\0",
        10: bytes.fromhex("02000000000a"),
        12: (2).to_bytes(2, "little"),
        13: (1400).to_bytes(2, "little"),
        20: (1 << 33).to_bytes(8, "little"),
    }
