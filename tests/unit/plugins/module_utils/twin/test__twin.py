# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.twin import _twin

IMAGE = _twin.Image("/cache/1/disk.img", "/cache/1/grub")


def pf(number: int, leaf: str | None, **fields: t.Any) -> dict[str, t.Any]:
    return {
        "name": f"ens{number}",
        "mac": f"04:70:00:00:00:{number:02x}",
        "leaf": {"host": leaf, "port": f"swp{number}"} if leaf else None,
        "max_vfs": 7,
        **fields,
    }


FACILITY = (
    {"name": "x1", "pfs": [pf(3, "xleaf0"), pf(4, "xleaf1"), pf(5, None)]},
    {"name": "x0", "pfs": [pf(1, "xleaf0"), pf(2, "xleaf1")]},
)


def hosts(
    facility: t.Sequence[dict[str, t.Any]] = FACILITY, **fields: t.Any
) -> list[_twin.TwinHost]:
    return _twin.twin_hosts(
        facility, **{"first_port": 2000, "memory_mib": 512, "uefi": [], "qemu_args": {}, **fields}
    )


def wanted(directory: str = "/twin", **fields: t.Any) -> _twin.WantedTwin:
    return _twin.wanted_twin(hosts(**fields), IMAGE, directory, kvm=False)


def option_values(command: t.Sequence[str], option: str) -> list[dict[str, str]]:
    """The values of each *option*, parsed as QEMU does: `first,key=value,…`."""
    values = [value for key, value in zip(command, command[1:], strict=False) if key == option]
    return [
        dict(part.partition("=")[::2] for part in value.split(",")) | {"": value.split(",")[0]}
        for value in values
    ]


def test_each_host_has_ports_of_its_own_in_the_order_of_names() -> None:
    x0, x1 = hosts()

    assert (x0.name, x0.ssh_port) == ("x0", 2000)
    assert (x1.name, x1.ssh_port) == ("x1", 2001)
    ends = [end for host in (x0, x1) for pf in host.pfs for end in (pf.host_end, pf.leaf_end)]
    assert ends == list(range(2000, 2010))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x0", "a/b", "-x", ".x", "x\n", "x,y=z", "x 0", "ä", "x" * 65]
)
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(SriovError, match="host"):
        hosts([{"name": name, "pfs": []}])
    with pytest.raises(SriovError, match="host 'x0', PF"):
        hosts([{"name": "x0", "pfs": [pf(1, None, name=name)]}])


@pytest.mark.parametrize(
    ("facility", "message"),
    [
        ([], "no hypervisors"),
        ([{"name": "wires", "pfs": []}], "host 'wires': the twin needs this name"),
        ([{"name": "x0", "pfs": []}, {"name": "x0", "pfs": []}], "two hosts have the name 'x0'"),
        ([{"name": "x0", "pfs": [pf(1, None, mac="04:70")]}], "PF 'ens1': '04:70' is not a MAC"),
        ([{"name": "x0", "pfs": [pf(1, None, mac=None)]}], "is not a MAC"),
        ([{"name": "x0", "pfs": [{}]}], "host 'x0', PF 0"),
        (
            [{"name": "x0", "pfs": [pf(1, None)]}, {"name": "x1", "pfs": [pf(1, None)]}],
            "host 'x1', PF 'ens1': host 'x0', PF 'ens1' has 04:70:00:00:00:01, too",
        ),
        (
            [
                {"name": "a", "pfs": [pf(1, None, name="b-c")]},
                {"name": "a-b", "pfs": [pf(2, None, name="c")]},
            ],
            "host 'a', PF 'b-c' has a-b-c, too",
        ),
    ],
)
def test_what_cannot_be_emulated_is_refused(facility: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(SriovError, match=re.escape(message)):
        hosts(facility)


def test_ports_beyond_the_last_are_refused() -> None:
    assert hosts(first_port=65526)
    with pytest.raises(SriovError, match="65527 to 65536: set twin_ssh_port lower"):
        hosts(first_port=65527)


def test_arguments_for_an_unknown_host_are_refused() -> None:
    assert hosts(qemu_args={"x1": ["-s"]})[1].qemu_args == ("-s",)
    with pytest.raises(SriovError, match="twin_qemu_args: there is no host 'x2'"):
        hosts(qemu_args={"x2": ["-s"]})
    with pytest.raises(SriovError, match="twin_uefi: there is no host 'x2'"):
        hosts(uefi=["x2"])


def test_a_host_starts_by_uefi_or_with_grub() -> None:
    x0, x1 = (_twin.host_command(host, IMAGE, kvm=False) for host in hosts(uefi=["x1"]))

    assert x0[x0.index("-kernel") + 1] == IMAGE.grub
    assert "-bios" not in x0
    assert x1[x1.index("-bios") + 1] == _twin.UEFI
    assert "-kernel" not in x1


def test_each_pf_is_a_nic_with_its_mac_behind_a_root_port_of_its_own() -> None:
    pfs = [pf(number, None) for number in range(1, 11)]
    (host,) = hosts([{"name": "x0", "pfs": pfs}])

    devices = option_values(_twin.host_command(host, IMAGE, kvm=False), "-device")

    nics = [device for device in devices if device[""] == "igb"]
    assert [nic["mac"] for nic in nics] == [pf["mac"] for pf in pfs]
    ports = {device["id"]: device for device in devices if device[""] == "pcie-root-port"}
    assert [nic["bus"] for nic in nics] == list(ports)
    assert len({port["addr"] for port in ports.values()}) == len(pfs)
    assert len({port["chassis"] for port in ports.values()}) == len(pfs)


def test_the_two_ends_of_a_wire_are_each_others() -> None:
    host_ends = [
        netdev
        for host in hosts()
        for netdev in option_values(_twin.host_command(host, IMAGE, kvm=False), "-netdev")
        if netdev[""] == "dgram"
    ]
    leaf_ends = [
        netdev
        for netdev in option_values(_twin.leafs_command(hosts()), "-netdev")
        if netdev[""] == "dgram"
    ]

    assert len(host_ends) == 5
    for host_end, leaf_end in zip(host_ends, leaf_ends, strict=True):
        assert host_end["local.port"] == leaf_end["remote.port"]
        assert host_end["remote.port"] == leaf_end["local.port"]


def test_pfs_of_one_leaf_hear_each_other_and_no_others() -> None:
    command = _twin.leafs_command(hosts())

    hub_of = {
        netdev["netdev"]: netdev["hubid"]
        for netdev in option_values(command, "-netdev")
        if netdev[""] == "hubport"
    }
    hubs: dict[str, list[str]] = {}
    for dump in option_values(command, "-object"):
        hubs.setdefault(hub_of[dump["netdev"]], []).append(dump["file"])
    assert list(hubs.values()) == [
        ["wires/x0-ens1.pcap", "wires/x1-ens3.pcap"],
        ["wires/x0-ens2.pcap", "wires/x1-ens4.pcap"],
        ["wires/x1-ens5.pcap"],
    ]


def test_nothing_listens_beyond_this_machine() -> None:
    for command in wanted().commands.values():
        for netdev in option_values(command, "-netdev"):
            if netdev[""] == "user":
                assert netdev["hostfwd"].startswith("tcp:127.0.0.1:")
                assert netdev["restrict"] == "on"
            elif netdev[""] == "dgram":
                assert netdev["local.host"] == netdev["remote.host"] == "127.0.0.1"
            else:
                assert netdev[""] == "hubport"
        assert not {"-qmp", "-monitor", "-gdb", "-vnc"} & set(command)


@pytest.mark.parametrize(("kvm", "accelerator"), [(True, "kvm"), (False, "tcg")])
def test_kvm_is_used_where_it_works(kvm: bool, accelerator: str) -> None:
    command = _twin.host_command(hosts()[0], IMAGE, kvm=kvm)
    assert option_values(command, "-accel")[0][""] == accelerator


def test_the_inventory_leads_to_the_twin_wherever_it_is() -> None:
    twins = json.loads(_twin.inventory(hosts(), "/my home/twin"))["twin"]["hosts"]

    assert {name: twin["ansible_port"] for name, twin in twins.items()} == {"x0": 2000, "x1": 2001}
    for twin in twins.values():
        # Of the host and not of its group, since the facility's model says of the host, too.
        assert twin["ansible_host"] == "127.0.0.1"
        assert twin["ansible_ssh_private_key_file"] == "/my home/twin/ssh/id_ed25519"
        options = shlex.split(twin["ansible_ssh_common_args"])
        assert "-oUserKnownHostsFile=/my home/twin/ssh/known_hosts" in options
        # A host that hangs is told within two minutes.
        assert {"-oServerAliveInterval=30", "-oServerAliveCountMax=4"} <= set(options)


def found(twin: _twin.WantedTwin) -> _twin.FoundTwin:
    disks = {name: twin.disk for name in twin.commands if name != _twin.LEAFS}
    return _twin.FoundTwin(dict(twin.commands), disks, twin.inventory)


EMPTY = _twin.FoundTwin({}, {}, "")
ALL = ("leafs", "x0", "x1")


def test_plan_makes_all_of_nothing() -> None:
    assert _twin.plan(wanted(), EMPTY) == _twin.TwinPlan((), (), ("x0", "x1"), ALL, True, False)


def test_plan_has_no_step_where_all_is_right() -> None:
    assert not any(_twin.plan(wanted(), found(wanted())))


def test_plan_starts_what_is_off_with_the_disk_it_has() -> None:
    twin = found(wanted())
    running = {name: command for name, command in twin.commands.items() if name != "x1"}
    twin = twin._replace(commands=running)

    assert _twin.plan(wanted(), twin) == _twin.TwinPlan((), (), (), ("x1",), False, False)


def test_plan_restarts_what_is_defined_otherwise() -> None:
    steps = _twin.plan(wanted(qemu_args={"x0": ["-s"]}), found(wanted()))

    assert steps == _twin.TwinPlan(("x0",), (), (), ("x0",), False, False)


def test_plan_gives_hosts_of_another_image_a_new_disk() -> None:
    old = _twin.wanted_twin(hosts(), _twin.Image("/old", IMAGE.grub), "/twin", kvm=False)

    steps = _twin.plan(wanted(), found(old))

    assert steps == _twin.TwinPlan(("x0", "x1"), (), ("x0", "x1"), ("x0", "x1"), False, False)


def test_plan_removes_a_host_that_is_no_longer_there() -> None:
    steps = _twin.plan(wanted(facility=FACILITY[1:]), found(wanted()))

    assert steps == _twin.TwinPlan(("leafs", "x1"), ("x1",), (), ("leafs",), True, False)


def test_plan_ends_all() -> None:
    steps = _twin.plan(_twin.NOTHING, found(wanted()))

    assert steps == _twin.TwinPlan(ALL, ("x0", "x1"), (), (), True, True)


# What a QEMU is to its twin: a daemon that holds a lock in its folder until it is told to end.
DAEMON = """
import fcntl, os, signal, sys
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
ready, tell = os.pipe()
if os.fork():
    os.close(tell)
    os._exit(not os.read(ready, 1))
file = open(sys.argv[1] + "/qemu.pid", "w")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.write(tell, b"!")
for descriptor in (tell, 1, 2):
    os.close(descriptor)
while True:
    signal.pause()
"""


def processes(*arguments: str) -> _twin.WantedTwin:
    command = [sys.executable, "-c", DAEMON, _twin.LEAFS, *arguments]
    return _twin.WantedTwin({_twin.LEAFS: command}, "", "inventory\n")


class Runner:
    """Converges the twin in a directory as the module does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, twin_wanted: _twin.WantedTwin) -> _twin.TwinPlan:
        twin = _twin.Twin(str(self.directory))
        with twin.held():
            steps = _twin.plan(twin_wanted, twin.read())
            if any(steps):
                twin.apply(steps, twin_wanted)
        return steps

    def pid(self) -> int | None:
        return _twin.Twin(str(self.directory))._process(_twin.LEAFS)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Runner]:
    # These processes have no NIC, so Debian 12's own QEMU will do.
    monkeypatch.setattr(_twin, "_OLDEST_QEMU", (7, 2))
    if not shutil.which("ssh-keygen"):
        pytest.skip("a twin needs ssh-keygen")
    runner = Runner(tmp_path / "home" / ".twin")
    yield runner
    runner(_twin.NOTHING)


def test_a_twin_starts_stays_and_ends(run: Runner) -> None:
    assert run(processes()).start == (_twin.LEAFS,)
    pid = run.pid()
    assert (run.directory / "hosts.yml").read_text() == "inventory\n"

    assert not any(run(processes()))
    assert run.pid() == pid

    assert run(processes("other")) == _twin.TwinPlan(
        (_twin.LEAFS,), (), (), (_twin.LEAFS,), False, False
    )
    assert run.pid() != pid

    assert run(_twin.NOTHING).end == (_twin.LEAFS,)
    assert not run.directory.exists()


def test_a_process_that_was_killed_is_started_again(run: Runner) -> None:
    run(processes())
    pid = run.pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    while run.pid():
        pass

    assert run(processes()) == _twin.TwinPlan((), (), (), (_twin.LEAFS,), False, False)
    assert run.pid() != pid


def test_a_process_that_does_not_end_is_killed(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(processes("stubborn"))
    monkeypatch.setattr(_twin, "_END_SECONDS", 0.2)

    run(_twin.NOTHING)

    assert not run.directory.exists()
    assert not run.pid()


def test_a_process_that_does_not_start_says_why(run: Runner) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such device')"]

    with pytest.raises(SriovError, match="QEMU does not run leafs: no such device"):
        run(_twin.WantedTwin({_twin.LEAFS: command}, "", ""))

    assert run(processes()).start == (_twin.LEAFS,)


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
def test_a_qemu_without_igb_is_refused(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_twin, "_OLDEST_QEMU", (99, 0))

    with pytest.raises(SriovError, match=r"QEMU \d+\.\d+ is too old.*: let the role twin install"):
        run(processes())


def test_a_host_has_an_overlay_of_the_image(run: Runner, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    command = [sys.executable, "-c", DAEMON, "x0"]
    host = _twin.WantedTwin({"x0": command}, str(image), "")

    assert run(host).create == ("x0",)
    assert _twin.Twin(str(run.directory)).read().disks == {"x0": str(image)}
    assert not any(run(host))

    assert run(processes()).remove == ("x0",)
    assert not (run.directory / "x0").exists()


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[socket.socket]:
    """A port of 127.0.0.1 that accepts connections whether or not somebody answers there."""
    monkeypatch.setattr(_twin, "_ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def booting(server: socket.socket) -> list[_twin.TwinHost]:
    """The process of the runner as if it were a host with its SSH server behind *server*."""
    return [hosts()[0]._replace(name=_twin.LEAFS, ssh_port=server.getsockname()[1])]


def test_a_host_has_booted_when_its_ssh_server_answers(run: Runner, ssh: socket.socket) -> None:
    run(processes())
    connections = []

    def be_silent_twice() -> None:
        # Ends when the test shuts the port down.
        with contextlib.suppress(OSError):
            while True:
                connections.append(ssh.accept()[0])
                if len(connections) > 2:
                    connections[-1].sendall(b"SSH-2.0-OpenSSH_10.0\r\n")

    server = threading.Thread(target=be_silent_twice)
    server.start()
    try:
        _twin.Twin(str(run.directory)).wait(booting(ssh), 60)
    finally:
        ssh.shutdown(socket.SHUT_RDWR)
        server.join()
        for connection in connections:
            connection.close()

    assert len(connections) > 2


def test_a_host_that_does_not_boot_is_named(run: Runner, ssh: socket.socket) -> None:
    run(processes())

    with pytest.raises(SriovError, match="leafs did not boot in 0 s, see .*/leafs/console.log"):
        _twin.Twin(str(run.directory)).wait(booting(ssh), 0)


def test_a_host_that_ends_while_it_boots_is_not_waited_for(
    tmp_path: Path, ssh: socket.socket
) -> None:
    with pytest.raises(SriovError, match="leafs has ended while it booted, see .*console.log"):
        _twin.Twin(str(tmp_path)).wait(booting(ssh), 60)


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(SriovError, match="files that are not a twin's"):
        _twin.Twin(str(tmp_path))


def test_one_run_waits_for_the_other(tmp_path: Path) -> None:
    other = "import sys; from fcntl import *; flock(open(sys.argv[1]), LOCK_EX | LOCK_NB)"
    command = [sys.executable, "-c", other, str(tmp_path / ".lock")]

    with _twin.Twin(str(tmp_path)).held():
        assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode
    assert not subprocess.run(command, check=False).returncode


@pytest.mark.parametrize(
    ("kind", "name"), [(socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")]
)
def test_a_port_that_is_taken_is_named(tmp_path: Path, kind: socket.SocketKind, name: str) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        twin = _twin.Twin(str(tmp_path))
        twin_hosts = hosts([{"name": "x0", "pfs": [pf(1, None)]}], first_port=port)
        steps = _twin.plan(_twin.wanted_twin(twin_hosts, IMAGE, "/twin", kvm=False), EMPTY)

        with pytest.raises(SriovError, match=f"{name} port {port} .*: set twin_ssh_port"):
            twin.check(steps, twin_hosts, EMPTY)


def test_too_little_space_is_named(tmp_path: Path) -> None:
    _twin.check_space(str(tmp_path / "not" / "yet"), 1, "twin_dir")
    with pytest.raises(SriovError, match="needs 1000000000.0 GB .* or set twin_dir"):
        _twin.check_space(str(tmp_path / "not" / "yet"), 10**18, "twin_dir")
