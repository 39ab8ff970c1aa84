# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans of hosts in many states; tests/unit/roles/test_prepare.py compares them with runs."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _tool
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _stages
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare._stages import Step
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs
from ansible_collections.mergetb.sriov.plugins.modules import materialization
from ansible_collections.mergetb.sriov.tests.unit import preparing
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CARD, Hypervisor
from ansible_collections.mergetb.sriov.tests.unit.preparing import (
    BOTH,
    GIVEN_UP,
    MAC,
    OTHER,
    PF,
    STATES,
    VF,
    WANTED,
    WITH_CARD,
    State,
    carry_out,
    prepared,
)

CHECKOUT = Path(__file__).parents[5]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hypervisor:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return preparing.bare(tmp_path)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_plan_writes_nothing(host: Hypervisor, state: State) -> None:
    state.make(host)
    before = host.files()
    host.log.clear()

    plan = _stages.prepare(host, state.wanted)

    assert host.files() == before
    assert not host.writes
    assert (plan.state, plan.restart) == (state.state, state.restart)
    assert bool(plan.steps) == (plan.state in ("change", "reboot"))


def test_a_pf_that_is_not_named_keeps_its_vfs_at_every_boot(host: Hypervisor) -> None:
    preparing.pf_given_up(host)

    assert _stages.prepare(host, WANTED).state == "ready"
    host.restart()

    assert [len(_pci.read_pf(host, pf).vfs) for pf in (PF, OTHER)] == [4, 3]
    assert _stages.prepare(host, GIVEN_UP).steps[0] == Step("vfs", OTHER, "sriov_numvfs 0")
    carry_out(host, GIVEN_UP)
    host.restart()
    assert [len(_pci.read_pf(host, pf).vfs) for pf in (PF, OTHER)] == [4, 0]


def test_a_lost_pf_is_given_up(host: Hypervisor) -> None:
    preparing.lost_pf_given_up(host)
    assert _stages.prepare(host, BOTH).state == "blocked"

    plan = _stages.prepare(host, GIVEN_UP)
    assert plan.steps == [Step("vfs", _numvfs.UDEV_RULES, "write")]
    assert "it is given up, as asked for" in plan.notes[0]
    carry_out(host, GIVEN_UP)
    assert _numvfs.counts_at_boot(host) == {(PF, MAC): 4}


def test_a_pf_in_a_bond_is_noted(host: Hypervisor) -> None:
    prepared(host)
    host.put("/sys/class/net/ens1f0/upper_bond0", "")
    host.add_interface("bond0", mac=MAC)
    host.put("/sys/class/net/bond0/bonding/mode", "active-backup 1")
    plan = _stages.prepare(host, WANTED)
    assert plan.state == "ready"
    assert "its interface ens1f0 is part of the bond bond0" in plan.notes[0]


def test_a_card_that_needs_a_power_cycle_blocks(host: Hypervisor) -> None:
    preparing.power_cycle_pending(host)
    plan = _stages.prepare(host, WITH_CARD)
    assert (plan.state, plan.restart) == ("blocked", "power cycle")
    assert "Switch the host off and on" in plan.blockers[0].message


def test_firmware_is_lowered_where_that_is_asked_for(host: Hypervisor) -> None:
    host.add_card()
    host.firmware.columns["SRIOV_EN"][2] = "True(1)"
    host.firmware.columns["NUM_OF_VFS"][2] = "64"
    carry_out(host, WITH_CARD._replace(numvfs={"p0": 7}))
    assert host.firmware.columns["NUM_OF_VFS"] == ["0", "64", "64"], "64 suffice"

    lower = WITH_CARD._replace(mlx_lower_numvfs=["p0"])
    plan = _stages.prepare(host, lower)
    assert plan.state == "blocked"
    assert f"would offer 5, but {CARD} has 7 VFs" in plan.blockers[0].message

    carry_out(host, WITH_CARD)
    plan = _stages.prepare(host, lower)
    assert (plan.restart, plan.blockers) == ("reboot", [])
    assert plan.steps[0] == Step("mlx_firmware", CARD, "NUM_OF_VFS=5")


def test_a_firmware_reset_is_told(host: Hypervisor) -> None:
    preparing.card_off_in_a_prepared_host(host)
    plan = _stages.prepare(host, WITH_CARD._replace(mlx_reset=True))
    assert (plan.state, plan.restart) == ("reboot", "firmware reset")
    assert Step("mlx_firmware", CARD, "reset") in plan.steps
    assert Step("vfs", CARD, "sriov_numvfs 5") in plan.steps


def test_without_the_tool_a_card_is_not_judged(host: Hypervisor) -> None:
    preparing.card_without_tool(host)
    plan = _stages.prepare(host, WITH_CARD)
    assert plan.steps == [Step("mlx_firmware", "mstflint", "install")]
    assert plan.notes[-1].endswith("without mstflint nobody can read what the cards need")
    assert (plan.state, plan.complete) == ("change", False)


def test_nvidias_own_tool_does_as_well(host: Hypervisor) -> None:
    """The role installed mstflint beside it, which the plan did not tell."""
    preparing.card_with_nvidias_tool(host)
    plan = _stages.prepare(host, WITH_CARD)
    assert plan.complete
    assert (plan.preflight or {})["firmware_tool"] == "mlxconfig"
    assert _tool.find(host, "auto").command == "mlxconfig"


def test_all_that_blocks_is_told_at_once(host: Hypervisor) -> None:
    """A bad setting of the firmware was only named after GRUB had been written."""
    host.add_card()
    preparing.pf_without_driver(host)
    preparing.unknown_module(host)
    wanted = WITH_CARD._replace(
        kernel_arguments=["a b"],
        mlx_settings={"NO_SUCH": 1},
        restore_before=["no unit"],
    )
    plan = _stages.prepare(host, wanted)
    assert plan.steps == []
    assert [blocker.role for blocker in plan.blockers] == [
        "preflight",
        "iommu",
        "mlx_firmware",
        "vfio",
        "restore",
    ]
    for blocker, text in zip(
        plan.blockers,
        ("it has no driver", "not a kernel argument", "NO_SUCH", "vfio-pci", "'no unit'"),
        strict=True,
    ):
        assert text in blocker.message


def test_what_blocks_is_told_once(host: Hypervisor) -> None:
    preparing.no_iommu(host)
    plan = _stages.prepare(host, WANTED)
    (blocker,) = plan.blockers
    assert blocker.role == "preflight"
    assert "the firmware announces no IOMMU" in blocker.message


def test_the_card_of_a_pf_that_is_given_up_is_left_alone(host: Hypervisor) -> None:
    preparing.card_off_in_a_prepared_host(host)
    assert _stages.prepare(host, WITH_CARD._replace(numvfs={"p0": 0})).state == "ready"


def tasks(path: str) -> list[dict[str, t.Any]]:
    return yaml.safe_load((CHECKOUT / path).read_text(encoding="utf-8"))


def test_the_role_prepare_has_the_stages_in_their_order() -> None:
    """The preflight is part of the plan that it begins with."""
    ways = tasks("roles/prepare/tasks/carry_out.yml")
    (restart,) = [
        number
        for number, task in enumerate(ways)
        if task.get("ansible.builtin.include_tasks") == "restart.yml"
    ]
    ways[restart : restart + 1] = tasks("roles/prepare/tasks/restart.yml")
    called = [task for task in ways if "ansible.builtin.include_role" in task]

    roles = [stage.role for stage in _stages.STAGES if stage.role != "preflight"]
    assert [task["ansible.builtin.include_role"]["name"] for task in called] == [
        f"mergetb.sriov.{role}" for role in roles
    ]
    assert all(
        f"'{role}' in _sriov_roles" in task["when"]
        for role, task in zip(roles, called, strict=True)
    )


@pytest.mark.parametrize("stage", _stages.STAGES, ids=lambda stage: stage.role)
def test_each_role_calls_the_module_of_its_stage(stage: _stages.Stage) -> None:
    called = {
        action
        for path in (CHECKOUT / f"roles/{stage.role}/tasks").glob("*.yml")
        for task in tasks(str(path))
        for action in task
        if action.startswith("mergetb.sriov.")
    }
    assert called == {f"mergetb.sriov.{stage.module}"}
    assert f"_Preparing.{stage.role}" in stage.plan.__qualname__


def test_vfs_that_are_destroyed_and_their_users_are_named(host: Hypervisor) -> None:
    preparing.count_to_change_with_a_guest(host)
    plan = _stages.prepare(host, WANTED)
    assert [(vf.by, vf.pf, vf.vf, bool(vf.users)) for vf in plan.disturbed] == [
        ("destroyed", PF, 0, True),
        ("destroyed", PF, 1, False),
    ]
    assert "4711 (qemu-system-x86) has /dev/vfio/" in plan.disturbed[0].users[0]
    assert "4711" in plan.blockers[0].message

    forced = _stages.prepare(host, WANTED._replace(force=True))
    assert forced.state == "change"
    assert forced.disturbed == plan.disturbed


def test_users_that_a_reboot_interrupts_are_named(host: Hypervisor) -> None:
    preparing.claims_and_lost_iommu(host)
    plan = _stages.prepare(host, WANTED)
    assert [(vf.by, vf.address) for vf in plan.disturbed] == [("reboot", VF)]
    assert plan.disturbed[0].users == ["materialization one.hello.demo holds it for alpha.eth1"]


def test_input_that_is_none_blocks(host: Hypervisor) -> None:
    plan = _stages.prepare(host, WANTED._replace(numvfs={"ens9": 1}))
    assert plan.state == "blocked"
    assert "names ens9, which is no PF" in plan.blockers[0].message


def test_a_materialization_is_planned_by_its_module(host: Hypervisor) -> None:
    prepared(host)
    host.add_driver("vfio-pci")
    params: dict[str, t.Any] = {
        "mzid": "one.hello.demo",
        "vfs": [
            {
                "node": "alpha",
                "nic": "eth1",
                "pf": {"name": "ens1f0", "mac": MAC},
                "vf_index": 1,
                "mac": "02:00:00:00:01:01",
                "vlan": 100,
            }
        ],
    }
    given = ArgumentSpecValidator(materialization.ARGUMENT_SPEC).validate(params)
    plan = _stages.materialize(host, given.validated_parameters)
    assert plan.state == "change"
    assert [(step.role, step.action) for step in plan.steps] == [
        ("materialize", "mac 02:00:00:00:01:01 vlan 100 qos 0 vlan_proto 802.1Q"),
        ("materialize", "driver vfio-pci"),
    ]

    done = materialization.run(host, given.validated_parameters, check_mode=False)

    assert _stages._steps("materialize", done["steps"]) == plan.steps
    assert _stages.materialize(host, given.validated_parameters).state == "ready"
    params["vfs"][0]["vlan"] = 0
    given = ArgumentSpecValidator(materialization.ARGUMENT_SPEC).validate(params)
    plan = _stages.materialize(host, given.validated_parameters)
    assert plan.state == "blocked"
    assert "it has no VLAN" in plan.blockers[0].message


def test_the_plan_tells_what_comes_behind_a_restart(host: Hypervisor) -> None:
    plan = _stages.prepare(host, WANTED)
    assert plan.restart == "reboot"
    assert plan.roles == ["iommu", "reboot", "vfs", "vfio", "restore"]
    assert plan.roles_now == ["iommu"]
    assert plan.behind == plan.steps[plan.steps.index(Step("reboot", "host", "reboot")) + 1 :]

    prepared(host)
    preparing.old_restore_program(host)
    plan = _stages.prepare(host, WANTED)
    assert plan.roles == plan.roles_now == ["restore"]
    assert plan.behind == []
