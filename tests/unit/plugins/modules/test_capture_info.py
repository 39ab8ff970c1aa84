# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.modules import capture_info
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

FRAME = b"\xff" * 6 + bytes.fromhex("020000000101") + struct.pack(">HH", 0x8100, 100) + b"\0" * 8


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runner:
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    record = struct.pack("<IIII", 0, 0, len(FRAME), len(FRAME)) + FRAME
    (tmp_path / "wire.pcap").write_bytes(header + record)
    (tmp_path / "text").write_bytes(b"no capture")
    return Runner(capture_info, Host(str(tmp_path)), monkeypatch, capsys)


def test_the_frames_of_each_file_are_counted(run: Runner) -> None:
    done = run(paths=["/wire.pcap", "/wire.pcap"])
    flow = {"source": "02:00:00:00:01:01", "vlan": 100, "priority": 0, "protocol": "802.1Q"}
    assert not done["changed"]
    assert done["captures"] == [{"path": "/wire.pcap", "flows": [{**flow, "frames": 1}]}] * 2


def test_the_file_that_is_wrong_is_named(run: Runner) -> None:
    assert "no capture /none.pcap: boot the twin" in run(paths=["/none.pcap"])["msg"]
    assert run(paths=["/text"])["msg"].startswith("/text: not a capture file")
