# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`prepare` goes over its hosts in waves, stops if too many fail, and takes no VF by a restart."""

from __future__ import annotations

import os
import textwrap
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.tests.unit import preparing
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, ledger_entry
from ansible_collections.mergetb.sriov.tests.unit.fabricated_facility import Facility, Played
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import Hypervisor
from ansible_collections.mergetb.sriov.tests.unit.preparing import WANTED

PREPARE = "mergetb.sriov.prepare"
PLAN_INFO = "mergetb.sriov.plan_info"
REBOOT = "ansible.builtin.reboot"
WAVES = ("-e", "sriov_reboot=true", "-e", '{"sriov_serial": [1, 2]}')
PERMITTED = ("-e", "sriov_reboot=true")
PLAY: dict[str, t.Any] = {"hosts": "all", "gather_facts": False, "roles": [PREPARE]}
REBOOTING = {**PLAY, "roles": ["mergetb.sriov.iommu", "mergetb.sriov.reboot"]}
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
    assert first == "Wave 1, 1 host: 1 ready, 1 of these restarted; 3 left"
    assert second == "Wave 2, 2 hosts: 1 ready, 1 refused; 1 left"
    assert refused.startswith("  x1: refused: ") and "IOMMU" in refused
    assert third == "Wave 3, 1 host: 1 ready, 1 of these restarted; 0 left"


def test_a_run_that_stopped_is_run_again(facility: Facility) -> None:
    add(facility, "x0", preparing.nothing_done)
    add(facility, "x1", preparing.no_iommu)
    add(facility, "x2", preparing.nothing_done)
    add(facility, "x3", preparing.nothing_done)

    run = facility.play(PREPARE, *WAVES, "-e", "sriov_max_fail_percentage=49")

    assert run.code != 0
    first, second, refused, other, stopped = progress(run)
    assert first == "Wave 1, 1 host: 1 ready, 1 of these restarted; 3 left"
    assert second == ("Wave 2, 2 hosts: 0 ready, 1 refused, 1 not prepared to the end; 1 left")
    assert refused.startswith("  x1: refused: ")
    assert other == "  x2: not prepared to the end"
    assert stopped.startswith("The run stopped with 1 left, because too many hosts failed")
    assert run.calls("x2") == [PLAN_INFO], "it was left before anything was written"
    assert run.on("x3") == []

    again = facility.play(PREPARE, *WAVES, "--limit", "!x1")

    assert again.code == 0
    assert again.calls("x0") == [PLAN_INFO]
    assert progress(again) == [
        "Wave 1, 1 host: 1 ready; 2 left",
        "Wave 2, 2 hosts: 2 ready, 2 of these restarted; 0 left",
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
    for check in (["--check"], []):
        run = facility.play([REBOOTING], *PERMITTED, *check)
        assert HELD in str(run.failure("x0"))
        assert REBOOT not in run.calls("x0")
    asked = facility.play([REBOOTING], *PERMITTED, "-e", "sriov_reboot_held=true")
    assert asked.calls("x0").count(REBOOT) == 1


def meddle(directory: Path, body: str) -> None:
    """Do *body* when a task starts; it knows the task's *name* and the directory *here*."""
    plugins = directory / "callback_plugins"
    plugins.mkdir()
    (plugins / "meddle.py").write_text(
        "import pathlib, shutil\n"
        "from ansible.plugins.callback import CallbackBase\n"
        f"here = pathlib.Path({str(directory)!r})\n"
        "class CallbackModule(CallbackBase):\n"
        "    CALLBACK_VERSION, CALLBACK_NAME = 2.0, 'meddle'\n"
        "    def v2_playbook_on_task_start(self, task, is_conditional):\n"
        "        name = task.name\n" + textwrap.indent(textwrap.dedent(body), " " * 8),
        encoding="utf-8",
    )


def held_on_a_pf_of_no_model(host: Hypervisor) -> None:
    host.add_pf(preparing.OTHER, "ens2f0", preparing.OTHER_PF["mac"], numvfs=1)
    entry = ledger_entry(
        pf_name="ens2f0",
        pf_mac=preparing.OTHER_PF["mac"],
        pf_address=preparing.OTHER,
        address="0000:02:10.0",
    )
    _ledger.write(host, {"one.hello.demo": [entry]})


def vf_on_its_way_out(host: Hypervisor) -> None:
    """The kernel has taken the link of the PF away, and waits until the guest lets go of the VF."""
    preparing.lost_iommu(host)
    host.bind(preparing.VF, "vfio-pci")
    group = host.link(f"{DEVICES}/{preparing.VF}/iommu_group")
    host.add_process(4711, "qemu-system-x86", f"/dev/vfio/{group}")
    host.remove(f"{DEVICES}/{preparing.PF}/virtfn0")


def accelerator(host: Hypervisor) -> None:
    """A function with a VF that is no NIC, and that a driver of its own has."""
    host.add_pf(preparing.OTHER, "ens2f0", preparing.OTHER_PF["mac"], numvfs=1)
    for address in (preparing.OTHER, "0000:02:10.0"):
        host.put(f"{DEVICES}/{address}/class", "0x0b4000")
    host.bind("0000:02:10.0", "c6xxvf")


def test_no_vf_is_overlooked_and_no_other_device_counts(facility: Facility) -> None:
    add(facility, "x0", held_on_a_pf_of_no_model)
    add(facility, "x1", vf_on_its_way_out)
    add(facility, "x2", accelerator)

    run = facility.play(PREPARE, *PERMITTED)

    for host in ("x0", "x1"):
        assert run.calls(host) == [PLAN_INFO], "nothing is written"
        assert f"  {host}: refused: a reboot is pending" in run.output
    assert run.calls("x2").count(REBOOT) == 1
    for host in ("x0", "x1"):
        assert REBOOT not in facility.play([REBOOTING], *PERMITTED).calls(host)


def test_a_play_that_ignores_errors_reboots_nobody_who_was_refused(
    facility: Facility, tmp_path: Path
) -> None:
    add(facility, "x0", preparing.claims_and_lost_iommu)
    ignoring = facility.play([{**REBOOTING, "ignore_errors": True}], *PERMITTED)
    assert REBOOT not in ignoring.calls("x0")
    # Without a directory for its files, Ansible takes the host for out of reach.
    meddle(
        tmp_path,
        """
        tmp = here / "x0" / "tmp"
        if name.startswith("Compare what is pending"):
            shutil.rmtree(tmp, ignore_errors=True)
            tmp.write_text("")
        elif name == "Say what is pending" and tmp.is_file():
            tmp.unlink()
        """,
    )
    play = {**REBOOTING, "ignore_unreachable": True}
    assert REBOOT not in facility.play([play], *PERMITTED).calls("x0")


def test_a_host_that_was_restarted_does_not_wait_for_that(
    facility: Facility, tmp_path: Path
) -> None:
    for name in ("x0", "x1"):
        add(facility, name, preparing.nothing_done)
    meddle(
        tmp_path,
        """
        if name == "Plan again after the restart":
            (here / "x1" / "python").write_text("#!/bin/sh\\nexit 1\\n")
        """,
    )
    run = facility.play([{**PLAY, "max_fail_percentage": 0}], *PERMITTED)
    assert run.calls("x0").count(REBOOT) == 1
    assert "  x0: not prepared to the end" in progress(run)


def test_what_other_plays_do_to_a_host(facility: Facility) -> None:
    """One that failed before, one that a condition leaves out, a play of nobody, other failures."""
    add(facility, "x0", preparing.no_iommu)
    add(facility, "x1", preparing.prepared)
    refused = facility.play([PLAY, {**PLAY, "hosts": "none"}, PLAY])
    first, second = "Wave 1, 2 hosts: 1 ready, 1 refused; 0 left", "  x0: refused: "
    assert [line[: len(first)] for line in progress(refused)[::2]] == [first, first]
    assert all(line.startswith(second) for line in progress(refused)[1::2])

    role = {"role": PREPARE, "when": "inventory_hostname == 'x1'"}
    look = {"name": "mergetb.sriov.plan", "tasks_from": "preparation"}
    play = {
        **PLAY,
        "pre_tasks": [{"ansible.builtin.include_role": look, "vars": {"sriov_numvfs": 99}}],
        "roles": [role],
        "tasks": [
            {"ansible.builtin.fail": {"msg": "disk is full"}, "when": "inventory_hostname == 'x1'"}
        ],
    }
    assert progress(facility.play([play])) == [
        "Wave 1, 2 hosts: 0 ready, 1 failed, 1 not prepared to the end; 0 left",
        "  x1: failed: disk is full",
        "  x0: not prepared to the end",
    ]
