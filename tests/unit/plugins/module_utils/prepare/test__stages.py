# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans of hosts in many states, each compared with the run that follows.

The run is that of the modules that the roles of `prepare` call, in that order.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _reboot
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _service
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _card, _tool
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _stages
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare._stages import Preparation, Step
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs
from ansible_collections.mergetb.sriov.plugins.modules import (
    kernel_cmdline,
    kernel_modules,
    materialization,
    mlx_config,
    numvfs,
    preflight,
    reboot_marker,
    restore_service,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, ledger_entry
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CARD, CONFIG, Hypervisor

PF = "0000:01:00.0"
VF = "0000:01:10.0"
MAC = "04:70:00:00:00:10"
CARD_MAC = "04:70:00:00:00:3b"

WANTED = Preparation(
    pfs=[{"name": "ens1f0", "mac": MAC, "max_vfs": 4}],
    numvfs={},
    kernel_arguments=["iommu=pt"],
    mlx_firmware=True,
    mlx_settings={},
    mlx_card_settings={},
    mlx_lower_numvfs=[],
    mlx_largest_numvfs=False,
    mlx_reset=False,
    kernel_modules=["vfio-pci"],
    restore_before=["libvirtd.service"],
    force=False,
)
WITH_CARD = WANTED._replace(pfs=[*WANTED.pfs, {"name": "p0", "mac": CARD_MAC, "max_vfs": 5}])


CHECKOUT = Path(__file__).parents[5]
PREFLIGHT = {"numvfs": {}, "firmware": True}


def tasks(role: str, name: str) -> list[dict[str, t.Any]]:
    return yaml.safe_load((CHECKOUT / f"roles/{role}/tasks/{name}.yml").read_text())


class Run(t.NamedTuple):
    """What a run did: its steps, what stopped it, and how often it restarted the host."""

    steps: list[Step]
    stopped_by: str | None
    restarts: int


def prepare(host: Hypervisor, wanted: Preparation) -> Run:
    """Do to *host* what the playbook does, with permission to restart it."""
    steps: list[Step] = []
    boots = host.boots

    def do(role: str, module: t.Any, **params: t.Any) -> dict[str, t.Any]:
        try:
            result = module.run(host, params, check_mode=False)
        except SriovError:
            raise _Stopped(role) from None
        for element, actions in result.get("steps", {}).items():
            steps.extend(Step(role, element, action) for action in actions)
        return result

    def iommu() -> dict[str, t.Any]:
        return do("iommu", kernel_cmdline, iommu=True, present=wanted.kernel_arguments, absent=[])

    def firmware(cards: list[dict[str, t.Any]]) -> dict[str, t.Any]:
        if not cards:
            return {"reboot_cause": None}
        return do(
            "mlx_firmware",
            mlx_config,
            devices=cards,
            settings=wanted.mlx_settings,
            card_settings=wanted.mlx_card_settings,
            lower_numvfs=wanted.mlx_lower_numvfs,
            tool="auto",
            largest_numvfs=wanted.mlx_largest_numvfs,
            reset=wanted.mlx_reset,
        )

    try:
        seen = do(
            "preflight",
            preflight,
            pfs=wanted.pfs,
            numvfs=wanted.numvfs,
            firmware=wanted.mlx_firmware,
        )
        if any(problem["severity"] == "error" for problem in seen["problems"]):
            raise _Stopped("preflight")
        cards = seen["firmware"]["mlx_firmware"]
        causes = list(filter(None, [iommu()["reboot_cause"], firmware(cards)["reboot_cause"]]))
        do("reboot", reboot_marker, causes=causes, reboot=True)
        if causes:
            steps.append(Step("reboot", "host", "reboot"))
            host.restart()
            assert iommu()["reboot_cause"] is None
            assert firmware(cards)["reboot_cause"] is None
            do("reboot", reboot_marker, causes=[], reboot=False)
        do("vfs", numvfs, pfs=seen["wanted"], at_boot=True, force=wanted.force)
        do("vfio", kernel_modules, modules=wanted.kernel_modules, name="mergetb-sriov")
        do("restore", restore_service, before=wanted.restore_before)
    except _Stopped as stop:
        return Run(steps, str(stop), host.boots - boots)
    return Run(steps, None, host.boots - boots)


class _Stopped(Exception):
    """A role that goes no further."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hypervisor:
    for module in (_card, preflight):
        monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    host = Hypervisor(tmp_path)
    host.add_pf(PF, "ens1f0", MAC, autoprobe=True, up=False, config=CONFIG)
    return host


def prepared(host: Hypervisor, wanted: Preparation = WANTED) -> None:
    assert prepare(host, wanted).stopped_by is None


def claim(host: Hypervisor) -> None:
    _ledger.write(host, {"one.hello.demo": [ledger_entry(address=VF)]})


def leave_firmware_pending(host: Hypervisor) -> None:
    prepared(host)
    host.add_card()
    for name, value in (("SRIOV_EN", "True(1)"), ("NUM_OF_VFS", "5")):
        host.firmware.columns[name][2] = value


def lost_iommu(host: Hypervisor) -> None:
    """Somebody has started a host that was ready with other arguments."""
    prepared(host)
    host.start_without_iommu()


def bare(host: Hypervisor) -> None:
    pass


def restart_was_refused(host: Hypervisor) -> None:
    kernel_cmdline.run(
        host, {"iommu": True, "present": ["iommu=pt"], "absent": []}, check_mode=False
    )


def restart_did_not_help(host: Hypervisor) -> None:
    _reboot.write(host, {"iommu": "boot 0"})


def no_iommu(host: Hypervisor) -> None:
    host.remove("/sys/firmware/acpi/tables/DMAR")


def pf_without_driver(host: Hypervisor) -> None:
    host.remove(f"{DEVICES}/{PF}/driver")


def lost_rules(host: Hypervisor) -> None:
    prepared(host)
    host.remove(_numvfs.UDEV_RULES)
    host.restart()


def count_to_change(host: Hypervisor) -> None:
    prepared(host, WANTED._replace(numvfs={"ens1f0": 2}))


def count_to_change_with_a_guest(host: Hypervisor) -> None:
    count_to_change(host)
    host.bind(VF, "vfio-pci")
    group = host.link(f"{DEVICES}/{VF}/iommu_group")
    host.add_process(4711, "qemu-system-x86", f"/dev/vfio/{group}")


def count_to_change_with_a_claim(host: Hypervisor) -> None:
    count_to_change(host)
    claim(host)


def count_to_change_and_lost_iommu(host: Hypervisor) -> None:
    count_to_change(host)
    host.start_without_iommu()


def claims_and_lost_iommu(host: Hypervisor) -> None:
    lost_iommu(host)
    claim(host)


def claims_to_lose_and_lost_iommu(host: Hypervisor) -> None:
    count_to_change_and_lost_iommu(host)
    claim(host)


def unknown_module(host: Hypervisor) -> None:
    host.answers["modprobe --dry-run vfio-pci"] = Completed(1, "", "FATAL: not found\n")


def old_restore_program(host: Hypervisor) -> None:
    prepared(host)
    host.put(_service.PROGRAM, b"old")


def card_off(host: Hypervisor) -> None:
    host.add_card()


def card_refuses(host: Hypervisor) -> None:
    host.add_card()
    host.firmware.fails["query"] = "Failed to open the device"


STATES: dict[t.Callable[[Hypervisor], None], tuple[str, str | None]] = {
    bare: ("reboot", "reboot"),
    restart_was_refused: ("reboot", "reboot"),
    restart_did_not_help: ("blocked", None),
    no_iommu: ("blocked", None),
    pf_without_driver: ("blocked", None),
    prepared: ("ready", None),
    lost_rules: ("change", None),
    count_to_change: ("change", None),
    count_to_change_with_a_guest: ("blocked", None),
    count_to_change_with_a_claim: ("blocked", None),
    lost_iommu: ("reboot", "reboot"),
    count_to_change_and_lost_iommu: ("reboot", "reboot"),
    claims_and_lost_iommu: ("reboot", "reboot"),
    claims_to_lose_and_lost_iommu: ("blocked", "reboot"),
    unknown_module: ("blocked", "reboot"),
    old_restore_program: ("change", None),
    card_off: ("reboot", "reboot"),
    card_refuses: ("blocked", None),
    leave_firmware_pending: ("reboot", "reboot"),
}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_the_run_does_what_was_planned(
    host: Hypervisor, state: t.Callable[[Hypervisor], None]
) -> None:
    state(host)
    wanted = WITH_CARD if host.exists(f"{DEVICES}/{CARD}") else WANTED
    before = host.files()
    host.log.clear()

    plan = _stages.prepare(host, wanted)

    assert host.files() == before
    assert not host.writes
    assert (plan.state, plan.restart) == STATES[state]
    run = prepare(host, wanted)
    assert run.steps == plan.steps
    assert run.stopped_by == (plan.blockers[0].role if plan.blockers else None)
    assert run.restarts == (plan.restart == "reboot")
    if run.stopped_by is None:
        assert _stages.prepare(host, wanted).state == "ready"


OTHER = "0000:02:00.0"
OTHER_PF: dict[str, t.Any] = {"name": "ens2f0", "mac": "04:70:00:00:00:20", "max_vfs": 3}
BOTH = WANTED._replace(pfs=[*WANTED.pfs, OTHER_PF])


def test_a_pf_that_is_not_named_keeps_its_vfs_at_every_boot(host: Hypervisor) -> None:
    host.add_pf(OTHER, "ens2f0", OTHER_PF["mac"], config=CONFIG)
    prepared(host, BOTH)

    assert _stages.prepare(host, WANTED).state == "ready"
    prepared(host, WANTED)
    host.restart()

    assert [len(_pci.read_pf(host, pf).vfs) for pf in (PF, OTHER)] == [4, 3]
    given_up = BOTH._replace(numvfs={"ens2f0": 0})
    plan = _stages.prepare(host, given_up)
    assert prepare(host, given_up).steps == plan.steps
    assert plan.steps[0] == Step("vfs", OTHER, "sriov_numvfs 0")
    host.restart()
    assert [len(_pci.read_pf(host, pf).vfs) for pf in (PF, OTHER)] == [4, 0]


def test_a_lost_pf_is_given_up(host: Hypervisor) -> None:
    prepared(host)
    text = (host.read_bytes(_numvfs.UDEV_RULES) or b"").decode()
    host.put(_numvfs.UDEV_RULES, text + text.replace(MAC, OTHER_PF["mac"]).replace(PF, OTHER))
    assert _stages.prepare(host, BOTH).state == "blocked"

    given_up = BOTH._replace(numvfs={"ens2f0": 0})
    plan = _stages.prepare(host, given_up)
    assert prepare(host, given_up).steps == plan.steps
    assert plan.steps == [Step("vfs", _numvfs.UDEV_RULES, "write")]
    assert "it is given up, as asked for" in plan.notes[0]
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
    prepared(host)
    host.add_card()
    _reboot.write(host, {"mlx_firmware": _reboot.POWER_CYCLE})
    plan = _stages.prepare(host, WITH_CARD)
    assert (plan.state, plan.restart) == ("blocked", "power cycle")
    assert "Switch the host off and on" in plan.blockers[0].message


def test_firmware_is_lowered_where_that_is_asked_for(host: Hypervisor) -> None:
    host.add_card()
    host.firmware.columns["SRIOV_EN"][2] = "True(1)"
    host.firmware.columns["NUM_OF_VFS"][2] = "64"
    prepared(host, WITH_CARD._replace(numvfs={"p0": 7}))
    assert host.firmware.columns["NUM_OF_VFS"] == ["0", "64", "64"], "64 suffice"

    lower = WITH_CARD._replace(mlx_lower_numvfs=["p0"])
    plan = _stages.prepare(host, lower)
    assert plan.state == "blocked"
    assert f"would offer 5, but {CARD} has 7 VFs" in plan.blockers[0].message
    assert prepare(host, lower).stopped_by == "mlx_firmware"

    prepared(host, WITH_CARD)
    plan = _stages.prepare(host, lower)
    assert (plan.restart, plan.blockers) == ("reboot", [])
    assert plan.steps[0] == Step("mlx_firmware", CARD, "NUM_OF_VFS=5")
    assert prepare(host, lower).steps == plan.steps


def test_a_firmware_reset_is_told(host: Hypervisor) -> None:
    prepared(host)
    host.add_card()
    host.answers["ip"] = Completed(0, "[]", "")
    plan = _stages.prepare(host, WITH_CARD._replace(mlx_reset=True))
    assert (plan.state, plan.restart) == ("reboot", "firmware reset")
    assert Step("mlx_firmware", CARD, "reset") in plan.steps
    assert Step("vfs", CARD, "sriov_numvfs 5") in plan.steps


def test_without_the_tool_a_card_is_not_judged(host: Hypervisor) -> None:
    prepared(host)
    host.add_card()
    host.has_command = lambda name: False
    plan = _stages.prepare(host, WITH_CARD)
    assert plan.steps == [Step("mlx_firmware", "mstflint", "install")]
    assert plan.notes[-1].endswith("and what follows, is known once mstflint is installed")
    assert plan.state == "change"


def test_nvidias_own_tool_does_as_well(host: Hypervisor) -> None:
    """The role installed mstflint beside it, which the plan did not tell."""
    prepared(host)
    host.add_card()
    host.has_command = lambda name: name == "mlxconfig"

    seen = preflight.run(host, {**PREFLIGHT, "pfs": WITH_CARD.pfs}, check_mode=True)

    assert seen["firmware_tool"] == "mlxconfig"
    assert _tool.find(host, "auto").command == "mlxconfig"
    (task,) = [task for task in tasks("mlx_firmware", "cards") if "ansible.builtin.package" in task]
    assert task["when"] == "sriov_preflight.firmware_tool is none"


def test_the_playbook_has_the_stages_in_their_order() -> None:
    (play,) = yaml.safe_load((CHECKOUT / "playbooks/prepare.yml").read_text())

    assert play["roles"] == [f"mergetb.sriov.{stage.__name__}" for stage in _stages.STAGES]


def test_vfs_that_are_destroyed_and_their_users_are_named(host: Hypervisor) -> None:
    count_to_change_with_a_guest(host)
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
    claims_and_lost_iommu(host)
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
