# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")


def refused(path: Path) -> str:
    """Return why a file cannot be written."""
    with pytest.raises(InputError) as error:
        _files.require_writable(str(path))
    return str(error.value)


def in_namespace(mounts: str, path: Path) -> str:
    """Return what `require_writable` says of a file after *mounts*, shell commands."""
    program = (
        "import sys\n"
        "from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _errors\n"
        "from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files\n"
        "try:\n"
        "    _files.require_writable(sys.argv[1])\n"
        "except _errors.InputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{mounts}\nexec "$@"', "sh"]
        + [sys.executable, "-c", program, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(_files.__file__).parents[6])},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_relative_paths_begin_in_the_directory_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", "/elsewhere")
    monkeypatch.setenv("HOME", "/home-of-somebody")
    assert _files.absolute("out.json") == f"{tmp_path}/out.json"
    assert _files.absolute("/srv/../out.json") == "/out.json"
    assert _files.absolute("~/out.json") == "/home-of-somebody/out.json"
    (tmp_path / "link").symlink_to("deeper/out.json")
    assert _files.absolute("link") == f"{tmp_path}/deeper/out.json"


def test_paths_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is no path: .*embedded null "):
        _files.absolute("out\0.json")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="out.json: the directory .* is gone; start it in another"):
        _files.absolute("out.json")
    assert _files.absolute("/out.json") == "/out.json"


def test_a_file_is_written_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    assert _files.read(str(path)) is None
    previous = os.umask(0o077)
    try:
        for content in (b"first", b"second\n"):
            _files.require_writable(str(path))
            _files.write(str(path), content)
            assert _files.read(str(path)) == content
            assert path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(previous)
    assert list(tmp_path.iterdir()) == [path]
    _files.remove(str(path))
    _files.remove(str(path))
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_bytes(b"former")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="out.json: cannot be written: No space left on device"):
        _files.write(str(path), b"half")
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    assert refused(tmp_path / "directory") == f"{tmp_path}/directory is a directory; name a file"
    assert refused(tmp_path / "fifo") == f"{tmp_path}/fifo is not a regular file; name another"
    assert refused(Path("/dev/null")) == "/dev/null is not a regular file; name another"
    assert "Not a directory" in refused(tmp_path / "file" / "out")
    assert refused(tmp_path / "nowhere" / "out") == (
        f"{tmp_path}/nowhere/out: cannot be written: the directory {tmp_path}/nowhere does not"
        " exist; make it, or name another file"
    )
    assert "File name too long" in refused(tmp_path / ("n" * 300))
    assert {path.name for path in tmp_path.iterdir()} == {"directory", "fifo", "file"}


@root
def test_directory_that_is_read_only(tmp_path: Path) -> None:
    mounts = f"mount --bind {tmp_path} {tmp_path}; mount -o remount,ro,bind {tmp_path}"
    told = in_namespace(mounts, tmp_path / "out")
    assert told.startswith(f"{tmp_path}/out: cannot be written: Read-only file system; mend that")
    (tmp_path / "out").touch()
    assert "Read-only file system" in in_namespace(mounts, tmp_path / "out")


@root
@pytest.mark.parametrize("options", ["size=512k", "nr_inodes=1"])
def test_file_system_that_is_full(tmp_path: Path, options: str) -> None:
    told = in_namespace(f"mount -t tmpfs -o {options} none {tmp_path}", tmp_path / "out")
    assert re.search("cannot be written: No space left on device; mend that", told)


@root
@pytest.mark.parametrize("source", ["/proc/version", "of the same file system"])
def test_file_that_is_mounted(tmp_path: Path, source: str) -> None:
    path = tmp_path / "the out"
    path.touch()
    (tmp_path / "of the same file system").touch()
    told = in_namespace(f"cd {tmp_path}; mount --bind '{source}' 'the out'; cd /", path)
    assert told == f"{path} is mounted there, so it cannot be replaced; name another\n"


@root
def test_who_may_not_write(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o755)
    for name in ("root's", "anybody's"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "out").touch()
    (tmp_path / "anybody's").chmod(0o777)
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    (tmp_path / "sticky" / "out").touch()
    (tmp_path / "sticky" / "out").chmod(0o666)
    os.seteuid(65534)
    try:
        assert "Permission denied" in refused(tmp_path / "root's" / "new")
        assert "Permission denied" in refused(tmp_path / "anybody's" / "out")
        _files.require_writable(str(tmp_path / "anybody's" / "new"))
        assert "in a directory where only the owner may replace a file" in refused(
            tmp_path / "sticky" / "out"
        )
        (tmp_path / "sticky" / "own").touch()
        _files.require_writable(str(tmp_path / "sticky" / "own"))
    finally:
        os.seteuid(0)
