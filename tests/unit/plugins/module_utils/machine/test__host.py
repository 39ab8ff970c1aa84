# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import gc
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _host, _netlink
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import (
    BlockedError,
    Completed,
    Host,
    Turn,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(tmp_path))


def test_what_is_missing_reads_as_nothing(host: Host) -> None:
    assert host.read("/sys/none") is None
    assert host.read_bytes("/sys/none") is None
    assert host.names("/sys/none") == []
    assert host.target("/sys/none") is None
    assert host.link("/sys/none") is None
    assert not host.exists("/sys/none")


def test_what_is_below_a_file_reads_as_nothing(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert host.read("/file/x") is None
    assert host.names("/file/x") == []
    assert host.target("/file/x") is None


def test_what_cannot_be_read_is_an_error(host: Host, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(IsADirectoryError):
        host.read("/directory")
    with pytest.raises(OSError, match="levels of symbolic links"):
        host.target("/loop/x")


def test_reads_files_directories_and_links(host: Host, tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys/numa_node").write_bytes(b" -1\n")
    (tmp_path / "sys/bytes").write_bytes(b"a\xff\n")
    (tmp_path / "sys/driver").symlink_to("../../drivers/igb")

    assert host.read("/sys/numa_node") == "-1"
    assert host.read_bytes("/sys/numa_node") == b" -1\n"
    assert host.read("/sys/bytes") == "a\udcff"
    assert host.names("/sys") == ["bytes", "driver", "numa_node"]
    assert host.target("/sys/driver") == "../../drivers/igb"
    assert host.link("/sys/driver") == "igb"
    assert host.link("/sys/numa_node") is None
    assert host.exists("/sys/driver"), "a link counts although it leads nowhere"


def test_write_is_one_write_to_a_file_that_exists(host: Host, tmp_path: Path) -> None:
    (tmp_path / "sriov_numvfs").write_text("0")

    host.write("/sriov_numvfs", "16")

    assert (tmp_path / "sriov_numvfs").read_text() == "16"
    with pytest.raises(FileNotFoundError):
        host.write("/none", "1")
    assert not (tmp_path / "none").exists()


def test_a_write_tells_the_errno_and_the_path(host: Host) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        host.write("/none", "7")

    assert caught.value.filename == "/none"


def fifo(tmp_path: Path, name: str = "unbind") -> str:
    """A file whose writer waits for a reader, as a driver's for the guest that has the VF."""
    os.mkfifo(tmp_path / name)
    return f"/{name}"


def test_a_write_that_blocks_is_given_up_and_the_next_one_is_not(
    host: Host, tmp_path: Path
) -> None:
    path = fifo(tmp_path)
    (tmp_path / "other").write_text("")

    with pytest.raises(BlockedError) as caught:
        host.write(path, "7", seconds=0.1)
    host.write("/other", "8", seconds=30)

    assert (caught.value.errno, caught.value.filename) == (errno.ETIMEDOUT, path)
    assert (tmp_path / "other").read_text() == "8"


@pytest.mark.parametrize(
    "name", ["driver_override", "sriov_numvfs", "phys_port_name", "carrier", "speed"]
)
def test_a_read_that_waits_for_a_lock_of_the_kernel_is_given_up(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(_host, "_READ_SECONDS", 0.1)
    path = fifo(tmp_path, name)

    with pytest.raises(SriovError, match=f"{path} could not be read within 0.1 s: .*open"):
        host.read(path)


def test_many_writes_and_locked_reads_take_one_child(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "driver_override").write_text("")
    fork, forks = os.fork, []

    def count() -> int:
        forks.append(1)
        return fork()

    monkeypatch.setattr(os, "fork", count)

    for number in range(254):
        host.write("/driver_override", f"{number}\n")
    assert host.read("/driver_override") == "253"

    assert len(forks) == 1


def turn(tmp_path: Path, name: str, *, outcome: str | None = None) -> Turn:
    """A turn that writes its name to a file of that name, and whose link shows nothing."""
    if not (tmp_path / name).exists():
        (tmp_path / name).write_text("")
    return Turn(((f"/{name}", name),), f"/{name}-link", outcome)


def written(tmp_path: Path, *turns: Turn) -> list[bool]:
    return [(tmp_path / turn.writes[0][1]).read_text() != "" for turn in turns]


def test_turns_are_taken_one_after_the_other(host: Host, tmp_path: Path) -> None:
    (tmp_path / "b-link").symlink_to("../drivers/vfio-pci")
    turns = [turn(tmp_path, "a"), turn(tmp_path, "b", outcome="vfio-pci")]

    assert host.write_in_turn(turns) == (2, None)
    assert written(tmp_path, *turns) == [True, True]
    assert host.write_in_turn([]) == (0, None)


def test_no_turn_follows_one_whose_outcome_does_not_show(host: Host, tmp_path: Path) -> None:
    turns = [turn(tmp_path, "a"), turn(tmp_path, "b", outcome="vfio-pci"), turn(tmp_path, "c")]

    assert host.write_in_turn(turns) == (1, None)
    assert written(tmp_path, *turns) == [True, True, False]


def test_no_turn_follows_one_whose_write_fails(host: Host, tmp_path: Path) -> None:
    turns = [turn(tmp_path, "a"), Turn((("/none", ""),), "/link", None), turn(tmp_path, "c")]

    done, error = host.write_in_turn(turns)

    assert done == 1
    assert isinstance(error, FileNotFoundError)
    assert error.filename == "/none"
    assert written(tmp_path, turns[2]) == [False]


def test_no_turn_follows_one_that_blocks_and_the_next_call_is_served(
    host: Host, tmp_path: Path
) -> None:
    path = fifo(tmp_path)
    turns = [turn(tmp_path, "a"), Turn(((path, ""),), "/link", None), turn(tmp_path, "c")]

    done, error = host.write_in_turn(turns, seconds=0.1)

    assert done == 1
    assert isinstance(error, BlockedError)
    assert written(tmp_path, turns[0], turns[2]) == [True, False]
    assert host.write_in_turn(turns[2:], seconds=30) == (1, None)
    assert written(tmp_path, turns[2]) == [True]


def test_the_cost_of_turns_and_locked_reads_does_not_grow_with_their_number(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange with the child takes more than the writes of one VF."""
    sent = []
    send = _host._send

    def counted(connection: socket.socket, message: object) -> None:
        sent.append(message)
        send(connection, message)

    turns = [turn(tmp_path, str(number)) for number in range(127)]
    monkeypatch.setattr(_host, "_send", counted)

    assert host.write_in_turn(turns) == (127, None)
    assert host.read_all([f"/{number}" for number in range(128)]) == [*map(str, range(127)), None]
    assert len(sent) == 2


class Late:
    """The connection to a child, which is at call 1 by the time that the wait for it ends."""

    def __init__(self, helper: _host._Helper, began: float) -> None:
        self._helper, self._socket, self._began = helper, helper._socket, began
        self._waits = iter([True])

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._socket, name)

    def recv(self, size: int, *flags: int) -> bytes:
        if next(self._waits, False):
            self._helper._progress[0] = 1
            self._helper._progress[1] = int(self._began * 1e9)
            raise TimeoutError
        return self._socket.recv(size, *flags)


@pytest.mark.parametrize(("ago", "answered"), [(10, True), (31, False)])
def test_each_call_of_a_list_has_all_of_the_time(
    host: Host, monkeypatch: pytest.MonkeyPatch, ago: float, answered: bool
) -> None:
    calls = [_host._Call(path, os.getpid, ()) for path in ("/a", "/b", "/c")]
    host._helper_calls(30, calls)
    assert host._helper is not None
    child = host._helper._child
    late = Late(host._helper, time.monotonic() - ago)
    monkeypatch.setattr(host._helper, "_socket", late)

    answers, error = host._helper_calls(30, calls)

    if answered:
        assert (answers, error) == ([child] * 3, None)
    else:
        assert len(answers) == 1
        assert isinstance(error, BlockedError)
        assert error.filename == "/b"


def test_a_child_makes_no_call_behind_one_that_was_interrupted(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [Turn(((fifo(tmp_path), ""),), "/link", None), turn(tmp_path, "b")]
    host.read_all(["/none"])
    assert host._helper is not None
    child = host._helper._child
    kept = [host._helper]

    def interrupted(self: object, seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_host._Helper, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.write_in_turn(turns)

    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert written(tmp_path, turns[1]) == [False]
    del kept


def test_a_child_that_somebody_ends_is_an_error_and_the_next_one_serves(
    host: Host, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    host.write("/file", "1")
    assert host._helper is not None
    os.kill(host._helper._child, signal.SIGKILL)
    os.waitid(os.P_PID, host._helper._child, os.WEXITED | os.WNOWAIT)

    with pytest.raises(OSError, match="was ended: '/file'"):
        host.write("/file", "2")
    host.write("/file", "3")
    assert (tmp_path / "file").read_text() == "3"


def test_a_child_whose_answer_nobody_waited_for_answers_no_other_call(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a signal ends the wait."""
    for name in ("driver_override", "sriov_numvfs"):
        (tmp_path / name).write_text(name)
    assert host.read("/driver_override") == "driver_override"
    receive = _host._receive

    def interrupted(connection: object) -> object:
        monkeypatch.setattr(_host, "_receive", receive)
        raise KeyboardInterrupt

    monkeypatch.setattr(_host, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.read("/driver_override")
    assert host.read("/sriov_numvfs") == "sriov_numvfs"


def test_the_child_ends_with_its_parent(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    host.write("/file", "1")
    assert host._helper is not None
    child = os.pidfd_open(host._helper._child)
    try:
        del host._helper
        assert select.select([child], [], [], 30)[0]
    finally:
        os.close(child)


def test_what_the_parent_left_to_the_collector_closes_nothing_of_the_child(tmp_path: Path) -> None:
    """As the connection that the traceback of an error kept."""
    host = Host()
    host.netlink.links()
    assert host._helper is not None
    number = host._helper._socket.fileno()
    left: list[object] = [host._helper]
    left.append(left)
    gc.disable()
    try:
        with open(tmp_path / "lock", "w") as lock, host.lasting(lock.fileno()):
            del left
            while host._helper_call(30, "descriptors", os.dup, 0) < number - 1:
                pass
            before = host.netlink.links()
            host._helper_call(30, "collector", gc.collect)
            assert host.netlink.links() == before
    finally:
        gc.enable()


# Holds the ledger's lock and a netlink socket, and ends while a write of its blocks.
GIVING_UP = """
import os, signal, sys, {library}.machine._host as _host, {library}.observe._ledger as _ledger
host = _host.Host(sys.argv[1])
host.netlink.links()
kill = os.kill
def spare(child, number):
    # As the kernel does where a write cannot be interrupted.
    print(child, number, flush=True)
os.kill = spare
with _ledger.locked(host):
    try:
        host.write("/unbind", "7", seconds=0.1)
    except TimeoutError:
        print("given up", flush=True)
"""


@pytest.mark.parametrize("lock", [False, True], ids=["output", "lock"])
def test_a_child_that_the_kernel_does_not_let_go_keeps_neither_lock_nor_output(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: bool
) -> None:
    fifo(tmp_path)
    library = _ledger.__name__.rsplit(".", 2)[0]
    root = str(Path(_ledger.__file__).parents[6])
    done = subprocess.run(
        [sys.executable, "-c", GIVING_UP.format(library=library), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,  # The output ends only when nobody has it any more.
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    child = int(first.split()[0])
    try:
        assert first == f"{child} {int(signal.SIGKILL)}"
        assert second == "given up"
        state = Path(f"/proc/{child}/wchan").parent
        assert state.exists(), "the child is still there"
        open_files = {os.readlink(path) for path in (state / "fd").iterdir()}
        assert not [path for path in open_files if path.startswith("pipe:")]
        if lock:
            monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 0)
            with _ledger.locked(host):
                pass
    finally:
        os.kill(child, signal.SIGKILL)


KILLED = """
import sys, {library}.machine._host as _host, {library}.observe._ledger as _ledger
host = _host.Host(sys.argv[1])
host.write("/before", "1")
with _ledger.locked(host):
    print("locked", flush=True)
    turns = [_host.Turn(((f"/{{name}}", "7"),), "/link", None) for name in ("unbind", "next")]
    host.write_in_turn(turns)
"""


def test_a_run_that_is_killed_in_a_write_holds_the_lock_until_that_has_its_effect(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo(tmp_path)
    (tmp_path / "before").touch()
    (tmp_path / "next").touch()
    library = _ledger.__name__.rsplit(".", 2)[0]
    root = str(Path(_ledger.__file__).parents[6])
    with subprocess.Popen(
        [sys.executable, "-c", KILLED.format(library=library), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "locked\n"
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        assert host.wait_for(
            lambda: any(
                re.search("fifo|partner", Path(f"/proc/{child}/wchan").read_text())
                for child in children.read_text().split()
            ),
            seconds=30,
        ), "it writes"
        run.kill()
    monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 0)
    with pytest.raises(SriovError, match="has held the lock"), _ledger.locked(host):
        pytest.fail("the write is still going on")

    assert (tmp_path / "unbind").read_text() == "7"
    assert (tmp_path / "next").read_text() == "", "no other write begins"

    monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 30)
    with _ledger.locked(host):
        pass


def test_a_netlink_request_that_blocks_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while a driver hangs with the lock that all network settings share."""
    os.mkfifo(tmp_path / "rtnl")

    class Hanging:
        def links(self) -> list[object]:
            return [open(tmp_path / "rtnl", "rb")]

    monkeypatch.setattr(_netlink, "Rtnetlink", Hanging)
    monkeypatch.setattr(_host, "_NETLINK_SECONDS", 0.1)

    with pytest.raises(SriovError, match=r"netlink request \(links\) within 0.1 s: the driver of"):
        Host().netlink.links()


def test_netlink_answers_and_raises_as_without_a_child() -> None:
    host = Host()

    assert host.netlink.links() == _netlink.Rtnetlink().links()
    lo = next(link.ifindex for link in host.netlink.links() if link.name == "lo")
    assert host.netlink.vf_states(lo) == {}
    with pytest.raises(OSError, match="No such device") as caught:
        host.netlink.vf_states(2**30)
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize(
    "error", [_netlink.NoVfAttributesError("x"), SriovError("y"), OSError(errno.ENODEV, "z")]
)
def test_an_error_of_netlink_comes_through_as_it_is(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Failing:
        def links(self) -> list[object]:
            raise error

    monkeypatch.setattr(_netlink, "Rtnetlink", Failing)
    with pytest.raises(type(error)) as caught:
        Host().netlink.links()
    assert caught.value.args == error.args


def test_replace_makes_directories_and_a_file_with_its_mode(host: Host, tmp_path: Path) -> None:
    host.replace("/var/lib/x/ledger", "text \udcff\n", mode=0o600)

    file = tmp_path / "var/lib/x/ledger"
    assert file.read_bytes() == b"text \xff\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["ledger"]


def test_replace_keeps_the_mode_and_the_link(host: Host, tmp_path: Path) -> None:
    (tmp_path / "grub.real").write_text("old")
    (tmp_path / "grub.real").chmod(0o640)
    (tmp_path / "grub").symlink_to("grub.real")

    host.replace("/grub", "new", mode=0o600)

    assert (tmp_path / "grub").is_symlink()
    assert (tmp_path / "grub.real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "grub.real").stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_replace_leaves_a_device_alone(host: Host, tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "masked").symlink_to("null")

    with pytest.raises(SriovError, match="/masked is no regular file, but .*/null: "):
        host.replace("/masked", "text")

    assert (tmp_path / "null").is_char_device()
    assert (tmp_path / "masked").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_replace_that_fails_leaves_what_was_there(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        host.replace("/file", "new")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_remove(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    host.remove("/file")

    assert not (tmp_path / "file").exists()


def test_run_answers_what_the_command_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    code = (
        "import os, sys; sys.stdout.buffer.write(b'\\xff' + os.environ['LC_ALL'].encode());"
        "sys.stderr.write(repr(sys.stdin.read())); sys.exit(3)"
    )

    assert Host().run([sys.executable, "-c", code]) == Completed(3, "\ufffdC", "''")


def test_run_passes_no_shell() -> None:
    arguments = ["$(id)", "`id`", "a b", "; id"]
    code = "import sys; print(sys.argv[1:])"

    assert Host().run([sys.executable, "-c", code, *arguments]).out == f"{arguments}\n"


def test_run_names_a_command_that_is_missing() -> None:
    with pytest.raises(SriovError, match="no-such-command is not installed"):
        Host().run(["no-such-command", "-x"])


def test_run_ends_a_command_that_takes_too_long() -> None:
    code = "import signal; signal.pause()"

    with pytest.raises(SriovError, match=r"did not end within 0\.2 s"):
        Host().run([sys.executable, "-c", code], seconds=0.2)


def test_wait_for_asks_until_it_holds() -> None:
    answers = iter([False, 0, "yes"])

    assert Host().wait_for(lambda: next(answers), seconds=10)
    assert next(answers, "all asked") == "all asked"


def test_wait_for_ends_and_asks_at_least_once() -> None:
    asked = []

    assert not Host().wait_for(lambda: asked.append(1), seconds=0)
    assert asked


def test_netlink_is_opened_once_and_only_when_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.touch()

    class Counted:
        def __init__(self) -> None:
            with log.open("a") as file:
                file.write("opened ")

        def links(self) -> list[object]:
            return []

    monkeypatch.setattr(_netlink, "Rtnetlink", Counted)
    host = Host(str(tmp_path))
    host.write("/log", "")
    assert log.read_text() == ""

    assert host.netlink.links() == host.netlink.links() == []
    assert log.read_text() == "opened "


def test_has_command_finds_what_run_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    command = tmp_path / "of-ours"
    command.write_text("#!/bin/sh\nexit 0\n")
    host = Host()
    assert not host.has_command("of-ours"), "it may not be run"
    command.chmod(0o755)
    assert host.has_command("of-ours")
    assert host.run(["of-ours"]).rc == 0
    assert not host.has_command("of-nobody")
