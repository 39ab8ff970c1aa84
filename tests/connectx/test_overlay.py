# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A function that is really there looks like that of a card, but for what the card decides."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import typing as t

import pytest
from connectx import card as cards
from connectx.layouts import DATABASE, read_layouts
from connectx.machine import mstflint_root
from connectx.state import StateFile

ADDRESS = "0000:01:00.0"
SRIOV, ARI, AER = 0x10, 0x0E, 0x01
POWER, MSI_X, EXPRESS = 0x01, 0x11, 0x10


def real_config() -> bytes:
    """The configuration space of an SR-IOV NIC: three capabilities and three extended ones."""
    space = bytearray(4096)
    struct.pack_into("<HH", space, 0, 0x8086, 0x10C9)
    space[0x34] = 0x40
    for position, kind, following in ((0x40, POWER, 0x58), (0x58, MSI_X, 0xA0), (0xA0, EXPRESS, 0)):
        space[position : position + 2] = bytes([kind, following])
    for position, kind, following in ((0x100, AER, 0x160), (0x160, SRIOV, 0x200), (0x200, ARI, 0)):
        struct.pack_into("<I", space, position, kind | 1 << 16 | following << 20)
    struct.pack_into("<HH", space, 0x160 + 0x0C, 8, 8)
    return bytes(space)


def extended(space: bytes) -> list[int]:
    """The extended capabilities in *space*, in their order."""
    found, position = [], 0x100
    while position:
        (header,) = struct.unpack_from("<I", space, position)
        found.append(header & 0xFFFF)
        position = header >> 20
    return found


def standard(space: bytes) -> dict[int, int]:
    found, position = {}, space[0x34]
    while position:
        found[space[position]] = position
        position = space[position + 1]
    return found


class Function(t.NamedTuple):
    """A directory like that of a function in sysfs, with a card over it."""

    directory: pathlib.Path
    state: StateFile
    below: int

    def put(self, column: str, **values: int) -> None:
        database = mstflint_root("trixie") + DATABASE
        layouts = read_layouts(database)
        cards.Card(self.state, ADDRESS, layouts).put(0, column, values)

    def real(self, name: str) -> str:
        """What is really in an attribute."""
        with open(os.open(name, os.O_RDONLY, dir_fd=self.below), encoding="ascii") as file:
            return file.read()


@pytest.fixture
def function(tmp_path: pathlib.Path) -> t.Iterator[Function]:
    directory = tmp_path / "devices" / ADDRESS
    (directory / "net" / "eth0").mkdir(parents=True)
    (directory / "net" / "eth0" / "address").write_text("02:00:00:00:00:01\n")
    (directory / "driver").symlink_to("../drivers/igb")
    for name, text in (
        ("vendor", "0x8086\n"),
        ("device", "0x10c9\n"),
        ("sriov_totalvfs", "8\n"),
        ("sriov_numvfs", "0\n"),
    ):
        (directory / name).write_text(text)
    (directory / "config").write_bytes(real_config())
    below = os.open(directory, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(f"\0connectx-overlay-{os.getpid()}")
        ready.settimeout(30)
        emulator = subprocess.Popen(
            [
                *("/usr/bin/python3", "-m", "connectx", "overlay", "ConnectX-6 Dx", ADDRESS),
                *("--state", tmp_path / "flash.json", "--directory", directory),
                *("--database", mstflint_root("trixie") + DATABASE),
            ],
            env={
                "PYTHONPATH": str(pathlib.Path(cards.__file__).parents[1]),
                "NOTIFY_SOCKET": f"@connectx-overlay-{os.getpid()}",
            },
        )
        try:
            ready.recv(16)
            yield Function(directory, StateFile(str(tmp_path / "flash.json")), below)
        finally:
            emulator.terminate()
            emulator.wait(30)
            os.close(below)


def test_what_the_card_does_not_decide_is_real(function: Function) -> None:
    assert (function.directory / "net/eth0/address").read_text() == "02:00:00:00:00:01\n"
    assert os.readlink(function.directory / "driver") == "../drivers/igb"
    assert (function.directory / "vendor").read_text() == "0x15b3\n"
    assert (function.directory / "device").read_text() == "0x101d\n"
    assert function.real("vendor") == "0x8086\n"


def test_without_sriov_there_is_none(function: Function) -> None:
    assert not [name for name in os.listdir(function.directory) if name.startswith("sriov_")]
    assert not (function.directory / "sriov_numvfs").exists()
    assert extended((function.directory / "config").read_bytes()) == [AER, ARI]


def test_the_card_limits_the_vfs(function: Function) -> None:
    function.put("current", SRIOV_EN=1, NUM_OF_VFS=4)
    assert (function.directory / "sriov_totalvfs").read_text() == "4\n"
    space = (function.directory / "config").read_bytes()
    assert extended(space) == [AER, SRIOV, ARI]
    assert struct.unpack_from("<HH", space, 0x160 + 0x0C) == (4, 4)
    (function.directory / "sriov_numvfs").write_text("4")
    assert function.real("sriov_numvfs").startswith("4")
    with pytest.raises(OSError) as refused:
        (function.directory / "sriov_numvfs").write_text("5")
    assert refused.value.errno == errno.ERANGE
    function.put("current", NUM_OF_VFS=127)
    assert (function.directory / "sriov_totalvfs").read_text() == "8\n"


def test_the_capability_of_the_tools_lies_where_no_other_is(function: Function) -> None:
    space = (function.directory / "config").read_bytes()
    assert struct.unpack_from("<HH", space) == (0x15B3, 0x101D)
    found = standard(space)
    assert set(found) == {0x09, POWER, MSI_X, EXPRESS}
    begin, end = found[0x09], found[0x09] + 0x18
    assert end <= 0x100
    for kind, length in ((POWER, 8), (MSI_X, 12), (EXPRESS, 60)):
        assert end <= found[kind] or begin >= found[kind] + length


def test_the_tool_reaches_the_card_through_it(function: Function) -> None:
    function.put("current", SRIOV_EN=1)
    script = """
        for path in /dev /proc /sys; do mount --rbind $path $ROOT$path; done
        mount --rbind "$DEVICES" $ROOT/sys/bus/pci/devices
        exec chroot "$ROOT" /usr/bin/mstconfig -e -d "$ADDRESS" q SRIOV_EN
    """
    devices = str(function.directory.parent)
    environment = {"ROOT": mstflint_root("trixie"), "DEVICES": devices, "ADDRESS": ADDRESS}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "ConnectX6DX" in done.stdout
    assert ["SRIOV_EN", "False(0)", "True(1)", "False(0)"] in [
        line.lstrip("* ").split() for line in done.stdout.splitlines()
    ]


def test_another_boot_of_the_host_is_a_warm_reboot(tmp_path: pathlib.Path) -> None:
    state = StateFile(str(tmp_path / "flash.json"))
    cards.add_card(state, "ConnectX-5", [ADDRESS])
    layouts = read_layouts(mstflint_root("bookworm") + DATABASE)
    card = cards.Card(state, ADDRESS, layouts)
    cards.reboot(state, "first boot")
    card.put(0, "next", {"NUM_OF_VFS": 8})
    cards.reboot(state, "first boot")
    assert card.settings(0)["NUM_OF_VFS"] == (0, 0, 8)
    cards.reboot(state, "second boot")
    assert card.settings(0)["NUM_OF_VFS"] == (0, 8, 8)


def test_the_command_line_changes_the_card(tmp_path: pathlib.Path) -> None:
    state = tmp_path / "flash.json"
    database = mstflint_root("bookworm") + DATABASE
    cards.add_card(StateFile(str(state)), "ConnectX-5", [ADDRESS])

    def connectx(*arguments: str) -> str:
        command = [sys.executable, "-m", "connectx", arguments[0], "--state", str(state)]
        package_parent = pathlib.Path(cards.__file__).parents[1]
        return subprocess.run(
            [*command, *arguments[1:]], cwd=package_parent, stdout=subprocess.PIPE, check=True
        ).stdout.decode()

    connectx("put", "--database", database, ADDRESS, '{"next": {"NUM_OF_VFS": 8}}')
    connectx("fault", '{"ignore_reboot": true}')
    connectx("reboot")
    found = json.loads(connectx("status", "--database", database))[ADDRESS]
    assert found["faults"] == {"ignore_reboot": True}
    assert found["settings"][ADDRESS]["NUM_OF_VFS"] == {"default": 0, "current": 0, "next": 8}
    connectx("power-cycle")
    connectx("heal")
    found = json.loads(connectx("status", "--database", database))[ADDRESS]
    assert found["settings"][ADDRESS]["NUM_OF_VFS"]["current"] == 8
    assert found["faults"] == {}
