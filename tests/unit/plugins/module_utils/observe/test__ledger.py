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
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import VfEntry
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine, ledger_entry
from hypothesis import given, settings
from hypothesis import strategies as st

ENTRY = ledger_entry()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(tmp_path))


def test_no_ledger_is_an_empty_one(host: Host) -> None:
    assert _ledger.read(host) == {}


MACS = st.from_regex("[0-9a-f]{2}(:[0-9a-f]{2}){5}", fullmatch=True)
ADDRESSES = st.from_regex(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", fullmatch=True)
DRIVERS = st.sampled_from(["vfio-pci", "mlx5_vfio_pci", "igbvf"])
STATES = st.sampled_from([_ledger.READY, _ledger.CHANGING, _ledger.LEAVING, _ledger.RESERVED])


@st.composite
def entries(draw: st.DrawFn) -> VfEntry:
    vlan = draw(st.integers(1, 4094))
    trunk = draw(st.booleans())
    values = {**ENTRY.values, "mac": draw(MACS), "vlan": vlan, "qos": draw(st.integers(0, 7))}
    state = draw(STATES)
    reserved = state == _ledger.RESERVED
    return VfEntry(
        node=draw(st.text()),
        nic=draw(st.text()),
        pf_name=draw(st.text()),
        pf_mac=draw(MACS),
        pf_address=draw(ADDRESSES),
        vf=draw(st.integers(0, 65535)),
        address=draw(ADDRESSES),
        vlan=vlan,
        vlan_mode="trunk" if trunk else "vst",
        values={} if trunk else values,
        refused=draw(st.lists(st.sampled_from(["trust", "link_state"]), unique=True)),
        driver=draw(DRIVERS),
        state=state,
        baseline=draw(st.sampled_from([{}, ENTRY.baseline, {"trust": None, "vlan": 4095}])),
        baseline_driver=draw(st.none() | DRIVERS),
        runs=tuple(draw(st.lists(st.text(), min_size=reserved, max_size=3 * reserved))),
    )


LEDGERS = st.lists(
    st.tuples(st.sampled_from("abc"), entries()), unique_by=lambda item: item[1].key, max_size=6
)


@settings(deadline=None)
@given(LEDGERS)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, held: list[tuple[str, VfEntry]]
) -> None:
    host = Host(str(tmp_path_factory.mktemp("host")))
    ledger: dict[str, list[VfEntry]] = {}
    for mzid, entry in held:
        ledger.setdefault(mzid, []).append(entry)

    _ledger.write(host, ledger)

    assert _ledger.read(host) == ledger


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.sampled_from([*VfEntry._fields, "new"]), JSON)
def test_no_value_of_a_field_is_taken_that_would_not_be_written(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: object
) -> None:
    host = Host(str(tmp_path_factory.mktemp("host")))
    fields = {**ENTRY._asdict(), "runs": [], field: value}
    host.replace(
        _ledger.PATH, json.dumps({"version": 1, "materializations": {"one.hello.demo": [fields]}})
    )

    try:
        ledger = _ledger.read(host)
    except SriovError as error:
        assert f"the ledger {_ledger.PATH} cannot be read ('one.hello.demo', entry 1: " in str(
            error
        )
        assert len(str(error)) < 400
    else:
        _ledger.write(host, ledger)
        assert _ledger.read(host) == ledger


def test_a_ledger_of_the_first_release_is_read(host: Host) -> None:
    fields = ENTRY._asdict()
    del fields["runs"]
    host.replace(_ledger.PATH, json.dumps({"version": 1, "materializations": {"a": [fields]}}))

    assert _ledger.read(host) == {"a": [ENTRY]}
    _ledger.write(host, {"a": [ENTRY]})
    assert json.loads(host.read(_ledger.PATH) or "")["materializations"] == {"a": [fields]}


def test_the_ledger_is_roots_alone(host: Host) -> None:
    _ledger.write(host, {"one.hello.demo": [ENTRY]})

    mode = os.stat(host.path(_ledger.PATH)).st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_materialization_without_vfs_is_not_kept(host: Host) -> None:
    _ledger.write(host, {"a": [], "b": [ENTRY]})

    assert _ledger.read(host) == {"b": [ENTRY]}


def ledger_of(*entries: dict[str, object]) -> str:
    return json.dumps({"version": 1, "materializations": {"a": list(entries)}})


def changed(**fields: object) -> str:
    return ledger_of({**ENTRY._asdict(), **fields})


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("[]", "it is not an object with 'version' and 'materializations'"),
        ("null", "it is not an object"),
        ("{}", "it is not an object"),
        ("[" * 100_000, "recursion"),
        ('{"version": 2, "materializations": {}}', "version 2 is not 1"),
        ('{"version": 1}', "it is not an object"),
        ('{"version": 1, "materializations": {}, "more": 1}', "it is not an object"),
        ('{"version": 1, "materializations": []}', "'materializations' is no object"),
        ('{"version": 1, "materializations": {"a": 5}}', "'a' is no list"),
        ('{"version": 1, "materializations": {"a": [], "a": []}}', "has a key twice"),
        ('{"version": 1, "materializations": {"a": [5]}}', "'a', entry 1: 5 is no object"),
        ('{"version": 1, "materializations": {"a": [{"node": "x"}]}}', "it has no"),
        ('{"version": NaN, "materializations": {}}', "version nan is not 1"),
        ('{"version": true, "materializations": {}}', "version True is not 1"),
        ('{"version": 1.0, "materializations": {}}', "version 1.0 is not 1"),
        (changed(vf="0"), "vf '0' is not possible"),
        (changed(vf=-1), "vf -1 is not possible"),
        (changed(vf=True), "vf True is not possible"),
        (changed(state=""), "state '' is not possible"),
        (changed(values=None), "values None is not possible"),
        (changed(values={}), "values has no mac, which isolates the VF"),
        (
            changed(values={**ENTRY.values, "vlan": 101}),
            "values is not VLAN 100 with spoofchk",
        ),
        (
            changed(values={**ENTRY.values, "spoofchk": False}),
            "values is not VLAN 100 with spoofchk",
        ),
        (changed(values={**ENTRY.values, "vlan": None}), "values .* is not possible"),
        (changed(vlan=0), "vlan 0 is not possible"),
        (changed(vlan_mode="trunk"), "values are set although its NIC keeps none"),
        (changed(driver="../vfio-pci"), "driver '../vfio-pci' is not possible"),
        (changed(driver="vfio-pci\n"), r"driver 'vfio-pci\\n' is not possible"),
        (changed(address="0000:01:10.0/../x"), "address .* is not possible"),
        (changed(pf_mac="04:70:00:00:00:1\u0660"), "pf_mac .* is not possible"),
        (changed(new=1), "it has the unknown key 'new'"),
        (changed(state="reserved"), r"state reserved with runs \[\]"),
        (changed(runs=["a"]), "state ready with runs"),
        (ledger_of(ENTRY._asdict(), ENTRY._asdict()), "'a', entry 1 has VF 0 of PF .*, too"),
        (
            json.dumps({"version": 1, "materializations": dict.fromkeys("ab", [ENTRY._asdict()])}),
            "'b', entry 1: 'a', entry 1 has VF 0",
        ),
        ("\udcff", "Expecting value"),
    ],
)
def test_what_is_no_ledger_is_an_error_with_its_cause_and_remedy(
    host: Host, text: str, cause: str
) -> None:
    host.replace(_ledger.PATH, text)

    with pytest.raises(
        SriovError, match=rf"the ledger {_ledger.PATH} cannot be read \(.*{cause}.*\): .*backup"
    ):
        _ledger.read(host)


def test_a_ledger_that_the_disk_does_not_give_is_an_error_with_its_remedy(host: Host) -> None:
    """It was a traceback."""
    os.makedirs(host.path(_ledger.PATH))

    with pytest.raises(SriovError, match=r"cannot be read \(Is a directory\), .*its file system"):
        _ledger.read(host)


def test_what_could_not_be_read_is_not_written(host: Host) -> None:
    _ledger.write(host, {"one.hello.demo": [ENTRY]})

    with pytest.raises(SriovError, match="cannot say this, so nothing was changed: .* vlan 0"):
        _ledger.write(host, {"one.hello.demo": [ENTRY._replace(vlan=0)]})

    assert _ledger.read(host) == {"one.hello.demo": [ENTRY]}


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
            _ledger.write(host, {"one.hello.demo": [ENTRY._replace(vf=vf) for vf in range(20)]})
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
