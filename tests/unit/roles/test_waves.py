# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`prepare` goes over its hosts in waves, stops if too many fail, and takes no VF by a restart."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.unit import preparing
from ansible_collections.mergetb.sriov.tests.unit.fabricated_facility import Facility, Played
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import Hypervisor
from ansible_collections.mergetb.sriov.tests.unit.preparing import WANTED

PREPARE = "mergetb.sriov.prepare"
PLAN_INFO = "mergetb.sriov.plan_info"
REBOOT = "ansible.builtin.reboot"
WAVES = ("-e", "sriov_reboot=true", "-e", '{"sriov_serial": [1, 2]}')
HELD = "VF 0 (0000:01:10.0) of PF 0000:01:00.0: materialization one.hello.demo "


@pytest.fixture
def facility(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facility:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Facility(tmp_path)


def add(facility: Facility, name: str, alter: t.Callable[[Hypervisor], None]) -> None:
    def make(directory: Path) -> Hypervisor:
        host = preparing.bare(directory)
        alter(host)
        return host

    variables = WANTED._asdict()
    for name_of_run in ("reboot", "reboot_held"):
        del variables[name_of_run]
    facility.add(name, make, **{f"sriov_{key}": value for key, value in variables.items()})


def progress(run: Played) -> list[str]:
    """What the callback plugin `progress` printed, from its first line on."""
    lines = run.output.splitlines()
    begins = ("Wave ", "  x", "The run stopped")
    return [line for line in lines if line.startswith(begins)]


def test_waves_go_on_behind_a_host_that_is_refused(facility: Facility) -> None:
    add(facility, "x0", preparing.nothing_done)
    add(facility, "x1", preparing.no_iommu)
    add(facility, "x2", preparing.prepared)
    add(facility, "x3", preparing.nothing_done)

    run = facility.play(PREPARE, *WAVES)

    assert run.code == 2
    first, second, refused, third = progress(run)
    assert first == "Wave 1, 1 host: 1 ready, 1 of these was restarted; 3 left"
    assert second == "Wave 2, 2 hosts: 1 ready, 1 refused; 1 left"
    assert refused.startswith("  x1: refused: ") and "IOMMU" in refused
    assert third == "Wave 3, 1 host: 1 ready, 1 of these was restarted; 0 left"


def test_a_run_that_stopped_is_run_again(facility: Facility) -> None:
    add(facility, "x0", preparing.nothing_done)
    add(facility, "x1", preparing.no_iommu)
    add(facility, "x2", preparing.nothing_done)
    add(facility, "x3", preparing.nothing_done)

    run = facility.play(PREPARE, *WAVES, "-e", "sriov_max_fail_percentage=49")

    assert run.code != 0
    first, second, refused, other, stopped = progress(run)
    assert first == "Wave 1, 1 host: 1 ready, 1 of these was restarted; 3 left"
    assert second == (
        "Wave 2, 2 hosts: 0 ready, 1 refused, 1 stopped, since other hosts failed; 1 left"
    )
    assert refused.startswith("  x1: refused: ")
    assert other == "  x2: stopped, since other hosts failed"
    assert stopped.startswith("The run stopped with 1 left, because too many hosts failed")
    assert run.calls("x2") == [PLAN_INFO], "it was left before anything was written"
    assert run.on("x3") == []

    again = facility.play(PREPARE, *WAVES, "--limit", "!x1")

    assert again.code == 0
    assert again.calls("x0") == [PLAN_INFO]
    assert progress(again) == [
        "Wave 1, 1 host: 1 ready; 2 left",
        "Wave 2, 2 hosts: 2 ready, 2 of these were restarted; 0 left",
    ]


def test_one_wave_that_waits_for_its_restart(facility: Facility) -> None:
    add(facility, "x0", preparing.nothing_done)
    add(facility, "x1", preparing.prepared)

    run = facility.play(PREPARE)

    assert run.code == 0
    assert progress(run) == [
        "Wave 1, 2 hosts: 1 ready, 1 waiting for a restart; 0 left",
        "  x0: waiting for a restart",
    ]


def test_a_host_whose_vfs_are_held_is_not_restarted(facility: Facility) -> None:
    add(facility, "x0", preparing.claims_and_lost_iommu)

    run = facility.play(PREPARE, "-e", "sriov_reboot=true")
    assert run.code == 2
    assert run.calls("x0") == [PLAN_INFO], "nothing is written"
    assert HELD in str(run.failure("x0")) and "sriov_reboot_held=true" in str(run.failure("x0"))
    assert "  x0: refused: a reboot is pending, and would take VFs that are in use" in run.output

    asked = facility.play(PREPARE, "-e", "sriov_reboot=true", "-e", "sriov_reboot_held=true")
    assert asked.code == 0
    assert asked.calls("x0").count(REBOOT) == 1


def test_the_role_reboot_refuses_it_too(facility: Facility) -> None:
    add(facility, "x0", preparing.claims_and_lost_iommu)
    roles = ["mergetb.sriov.iommu", "mergetb.sriov.reboot"]
    play = [{"hosts": "all", "gather_facts": False, "roles": roles}]

    for check in (["--check"], []):
        run = facility.play(play, "-e", "sriov_reboot=true", *check)
        assert HELD in str(run.failure("x0"))
        assert REBOOT not in run.calls("x0")
    asked = facility.play(play, "-e", "sriov_reboot=true", "-e", "sriov_reboot_held=true")
    assert asked.calls("x0").count(REBOOT) == 1
