# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import sys
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _netlink
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils._host import Completed, Host


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


def test_write_within_writes(host: Host, tmp_path: Path) -> None:
    (tmp_path / "sriov_numvfs").write_text("0")

    host.write_within("/sriov_numvfs", "7", seconds=10)

    assert (tmp_path / "sriov_numvfs").read_text() == "7"


def test_write_within_tells_the_errno_and_the_path(host: Host) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        host.write_within("/none", "7", seconds=10)

    assert caught.value.filename == "/none"


def test_write_within_abandons_a_write_that_blocks(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "blocks")
    reading, writing = os.pipe()
    output = os.dup(1)
    killed = []
    # As in a kernel that does not let go of the child.
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    os.dup2(writing, 1)
    os.close(writing)
    try:
        with pytest.raises(TimeoutError) as caught:
            host.write_within("/blocks", "7", seconds=0)
    finally:
        os.dup2(output, 1)
        os.close(output)
    monkeypatch.undo()
    [(child, number)] = killed
    try:
        assert caught.value.errno == errno.ETIMEDOUT
        assert caught.value.filename == "/blocks"
        assert number == signal.SIGKILL
        # The child must not keep open what was the output of its parent.
        assert select.select([reading], [], [], 10)[0]
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


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


def test_netlink_is_opened_once_and_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(_netlink, "Rtnetlink", lambda: opened.append(1) or object())
    host = Host()
    assert not opened

    assert host.netlink is host.netlink
    assert opened == [1]


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
