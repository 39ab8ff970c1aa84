# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils._ledger import Entry
from ansible_collections.mergetb.sriov.tests.unit.fabricated import NEW_VF
from hypothesis import given, settings
from hypothesis import strategies as st

ENTRY = Entry("alpha", "eth1", "04:70:00:00:00:10", 3, NEW_VF._asdict(), "igbvf")


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
                pf_mac=st.text(),
                vf=st.integers(),
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
        "\udcff",
    ],
)
def test_what_is_no_ledger_is_an_error_with_its_remedy(host: Host, text: str) -> None:
    host.replace(_ledger.PATH, text)

    with pytest.raises(SriovError, match=f"the ledger {_ledger.PATH} cannot be read .*backup"):
        _ledger.read(host)


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
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "locked\n"
        monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 0)
        with (
            pytest.raises(SriovError, match="another run has held the lock .* for 0 s"),
            _ledger.locked(host),
        ):
            pytest.fail("two runs at once")
        monkeypatch.setattr(_ledger, "_LOCK_SECONDS", 30)
        other.stdin.close()
        with _ledger.locked(host), open(path) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
