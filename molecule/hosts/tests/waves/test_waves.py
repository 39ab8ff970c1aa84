# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bare hosts in two waves. One host of the second cannot be prepared before it is mended."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
BROKEN = "GRUB_CMDLINE_LINUX=${UNSET:?is not set}"


def prepare(*arguments: str) -> tuple[int, list[str]]:
    """The exit code of a run in two waves, one host first, and the lines that tell of the waves."""
    done = subprocess.run(
        [
            "ansible-playbook",
            f"--extra-vars=@{PROJECT}/molecule/vars.yml",
            '--extra-vars={"sriov_serial": [1, 2]}',
            *arguments,
            str(PROJECT / "molecule/hosts/converge.yml"),
        ],
        env={**os.environ, "ANSIBLE_CALLBACKS_ENABLED": "mergetb.sriov.progress"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(done.stdout)
    lines = done.stdout.splitlines()
    told = [
        line for line in lines if line.startswith(("Wave ", "  bond: ", "  ovs: ", "  sdboot: "))
    ]
    return done.returncode, told


def boots(machines: dict[str, t.Any]) -> dict[str, str]:
    """What names the present boot of each host."""
    return {
        name: machine.host.check_output("cat /proc/sys/kernel/random/boot_id")
        for name, machine in machines.items()
    }


@pytest.fixture
def broken(machines: dict[str, t.Any]) -> t.Iterator[t.Any]:
    """A host whose configuration of the boot loader no shell can read."""
    host = machines["ovs"].host
    host.check_output(
        "cp --preserve /etc/default/grub /run/grub && echo %s >> /etc/default/grub", BROKEN
    )
    yield host
    host.check_output("cp --preserve /run/grub /etc/default/grub")


def test_the_wave_with_a_host_that_fails_has_the_others_ready(
    machines: dict[str, t.Any], broken: t.Any
) -> None:
    before = boots(machines)
    grub = broken.file("/etc/default/grub").content

    code, told = prepare()

    assert code == 2
    first, second, lost = told
    assert first == "Wave 1, 1 host: 1 ready, 1 of these restarted; 2 left"
    assert second == "Wave 2, 2 hosts: 1 ready, 1 refused, 1 of these restarted; 0 left"
    assert lost.startswith("  ovs: refused: "), lost
    assert "UNSET" in lost, lost
    after = boots(machines)
    assert {name for name in after if after[name] != before[name]} == {"sdboot", "bond"}
    assert broken.file("/etc/default/grub").content == grub


def test_the_same_run_goes_on_where_the_host_was_mended(machines: dict[str, t.Any]) -> None:
    before = boots(machines)

    code, told = prepare()

    assert code == 0
    assert told == [
        "Wave 1, 1 host: 1 ready; 2 left",
        "Wave 2, 2 hosts: 2 ready, 1 of these restarted; 0 left",
    ]
    after = boots(machines)
    assert {name for name in after if after[name] != before[name]} == {"ovs"}
