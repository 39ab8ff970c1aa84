# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils._ledger import Entry
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine, ledger_entry
from hypothesis import given, settings
from hypothesis import strategies as st

ENTRY = ledger_entry()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(tmp_path))


def test_no_ledger_is_an_empty_one(host: Host) -> None:
    assert _ledger.read(host) == {}


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.lists(
            st.builds(
                Entry,
                node=st.text(),
                nic=st.text(),
                pf_name=st.text(),
                pf_mac=st.text(),
                pf_address=st.text(),
                vf=st.integers(),
                address=st.text(),
                vlan=st.integers(),
                vlan_mode=st.sampled_from(["vst", "trunk"]),
                refused=st.lists(st.text()),
                values=st.dictionaries(st.text(), st.booleans() | st.integers() | st.text()),
                driver=st.text(),
                state=st.sampled_from([_ledger.READY, _ledger.CHANGING, _ledger.LEAVING]),
                baseline=st.dictionaries(st.text(), st.none() | st.booleans() | st.text()),
                baseline_driver=st.none() | st.text(),
            ),
            min_size=1,
            max_size=3,
        ),
        max_size=3,
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, ledger) -> None:
    host = Host(str(tmp_path_factory.mktemp("host")))

    _ledger.write(host, ledger)

    assert _ledger.read(host) == ledger


def test_the_ledger_is_roots_alone(host: Host) -> None:
    _ledger.write(host, {"one.hello.demo": [ENTRY]})

    mode = os.stat(host.path(_ledger.PATH)).st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_materialization_without_vfs_is_not_kept(host: Host) -> None:
    _ledger.write(host, {"a": [], "b": [ENTRY]})

    assert _ledger.read(host) == {"b": [ENTRY]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "{}",
        '{"version": 2, "materializations": {}}',
        '{"version": 1}',
        '{"version": 1, "materializations": []}',
        '{"version": 1, "materializations": {"a": 5}}',
        '{"version": 1, "materializations": {"a": [5]}}',
        '{"version": 1, "materializations": {"a": [{"node": "x"}]}}',
        json.dumps({"version": 1, "materializations": {"a": [ENTRY._replace(vf="0")._asdict()]}}),
        json.dumps({"version": 1, "materializations": {"a": [ENTRY._replace(state="")._asdict()]}}),
        "\udcff",
    ],
)
def test_what_is_no_ledger_is_an_error_with_its_remedy(host: Host, text: str) -> None:
    host.replace(_ledger.PATH, text)

    with pytest.raises(SriovError, match=f"the ledger {_ledger.PATH} cannot be read .*backup"):
        _ledger.read(host)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_ledger_that_cannot_be_written_is_an_error_with_its_remedy(
    tmp_path: Path, number: int
) -> None:
    machine = Machine(tmp_path)
    machine.faults["write", _ledger.PATH] = number

    with pytest.raises(SriovError, match=rf"could not be written \({os.strerror(number)}\) and is"):
        _ledger.write(machine, {"one.hello.demo": [ENTRY]})


def test_a_ledger_that_can_be_written_only_in_part(host: Host) -> None:
    """Unlike a fault at the port, this one comes in the middle of the new file."""
    _ledger.write(host, {"one.hello.demo": [ENTRY]})
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(SriovError, match="File too large"):
            _ledger.write(host, {"one.hello.demo": [ENTRY] * 20})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)

    assert _ledger.read(host) == {"one.hello.demo": [ENTRY]}
    assert os.listdir(host.path(_ledger.DIRECTORY)) == ["ledger.json"]


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    tmp_path.joinpath("var").touch()

    with (
        pytest.raises(SriovError, match="the lock .* could not be made .*nothing was changed"),
        _ledger.locked(host),
    ):
        pass


def test_the_lock_is_free_again_afterwards(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 0)
    with pytest.raises(ZeroDivisionError), _ledger.locked(host):
        raise ZeroDivisionError

    with _ledger.locked(host):
        assert stat.S_IMODE(os.stat(host.path(_ledger.DIRECTORY)).st_mode) == 0o700
    with _ledger.locked(host):
        pass


def test_a_lock_that_another_process_holds(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with _ledger.locked(host):
        pass
    code = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX);"
        "print('locked', flush=True); sys.stdin.read()"
    )
    path = host.path(_ledger._LOCK)
    os.mkdir(host.path("/proc"))
    os.symlink("/proc/locks", host.path("/proc/locks"))
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "locked\n"
        monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 0)
        with (
            pytest.raises(
                SriovError,
                match=rf"another run \(process {other.pid}\) has held the lock .* for 0 s",
            ),
            _ledger.locked(host),
        ):
            pytest.fail("two runs at once")
        monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 30)
        other.stdin.close()
        with _ledger.locked(host), open(path) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
