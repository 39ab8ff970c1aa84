# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _restore, _service
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host


def test_the_program_runs_without_ansible_and_without_the_collection(tmp_path: Path) -> None:
    program = tmp_path / "restore.pyz"
    program.write_bytes(_service.program())

    done = subprocess.run(
        [sys.executable, "-I", str(program), "--check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "0 VFs are as the ledger says\n"), done.stderr
    assert all("ansible.module_utils" not in text for text in sources(program).values())


def sources(program: Path) -> dict[str, str]:
    with zipfile.ZipFile(program) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_program_is_the_library_itself(tmp_path: Path) -> None:
    program = tmp_path / "restore.pyz"
    program.write_bytes(_service.program())

    library = Path(_service.__file__).parents[1]
    modules = {Path(name): text for name, text in sources(program).items() if "/_" in name}
    for name, text in modules.items():
        if name.name != "__init__.py":
            assert text == (library / name.parent.name / name.name).read_text()
    assert Path(f"{_restore.__name__.replace('.', '/')}.py") in modules


def test_equal_programs_are_equal_bytes() -> None:
    assert _service.program() == _service.program()


def test_the_unit_comes_before_all_that_starts_guests(tmp_path: Path) -> None:
    text = _service.unit("/usr/bin/python3", ["libvirtd.service", "vm@a\\x2db.service"])

    lines = text.splitlines()
    assert "Before=libvirtd.service vm@a\\x2db.service" in lines
    assert f"ExecStart=/usr/bin/python3 {_service.PROGRAM}" in lines
    unit = tmp_path / _service.NAME
    unit.write_text(text.replace(_service.PROGRAM, "/dev/null"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_failure_that_a_try_can_mend_is_tried_again_a_few_times() -> None:
    lines = _service.unit("/usr/bin/python3", []).splitlines()

    service = lines[lines.index("[Service]") : lines.index("[Install]")]
    assert {
        "Type=oneshot",
        "Restart=on-failure",
        "RestartPreventExitStatus=1",
        "RestartSec=30",
        "TimeoutStartSec=15min",
    } <= set(service)
    unit = lines[: lines.index("[Service]")]
    assert {"StartLimitIntervalSec=30min", "StartLimitBurst=6"} <= set(unit)


def test_the_python_of_the_distribution_runs_the_program_and_not_that_of_this_process() -> None:
    """This process may be in a virtual environment."""
    python = _service.interpreter(Host())

    assert python == ("/usr/bin/python3", None)


def python_at(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "script",
    [
        # The version that RHEL 8 has, as far as the program sees it.
        f"exec {sys.executable} -c 'import runpy, sys; sys.version_info = (3, 6, 8); "
        'sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__")\' $2 $3',
        # A Python without all of its standard library.
        f'exec {sys.executable} -c \'import runpy, sys; sys.modules["zipfile"] = None; '
        'sys.modules["argparse"] = None; '
        'runpy.run_path(sys.argv[1], run_name="__main__")\' $2 $3',
        "exit 127",
    ],
    ids=["too old", "incomplete", "broken"],
)
def test_a_python_that_does_not_run_the_program_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    bad = python_at(tmp_path / "python3", script)
    good = python_at(tmp_path / "platform-python", f'exec {sys.executable} "$@"')

    monkeypatch.setattr(_service, "_PYTHONS", (bad, good))
    assert _service.interpreter(Host()) == (good, None)

    monkeypatch.setattr(_service, "_PYTHONS", (bad, str(tmp_path / "none")))
    path, warning = _service.interpreter(Host())
    assert path == sys.executable
    assert warning is not None
    assert f"{sys.executable}, which an upgrade of the distribution may remove" in warning
    assert "Install the distribution's python3" in warning


@pytest.mark.parametrize("name", ["", "libvirtd", "a.service\nExecStart=/bin/sh", "a b.service"])
def test_what_is_no_unit_is_refused(name: str) -> None:
    with pytest.raises(SriovError, match="not a name of a systemd unit"):
        _service.unit("/usr/bin/python3", ["libvirtd.service", name])
