# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts in the states that `prepare` meets, and what it is asked for there."""

from __future__ import annotations

import importlib
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _reboot
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _service
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _stages
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare._stages import Preparation
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, ledger_entry
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import CONFIG, Hypervisor

if t.TYPE_CHECKING:
    from pathlib import Path

PF = "0000:01:00.0"
VF = "0000:01:10.0"
MAC = "04:70:00:00:00:10"
CARD_MAC = "04:70:00:00:00:3b"
OTHER = "0000:02:00.0"
OTHER_PF: dict[str, t.Any] = {"name": "ens2f0", "mac": "04:70:00:00:00:20", "max_vfs": 3}

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
BOTH = WANTED._replace(pfs=[*WANTED.pfs, OTHER_PF])
GIVEN_UP = BOTH._replace(numvfs={"ens2f0": 0})

_COLLECTION = "ansible_collections.mergetb.sriov.plugins.modules"


def bare(directory: Path) -> Hypervisor:
    """A host with one PF, which nobody has prepared."""
    host = Hypervisor(directory)
    host.add_pf(PF, "ens1f0", MAC, autoprobe=True, up=False, config=CONFIG)
    return host


def carry_out(host: Hypervisor, wanted: Preparation = WANTED) -> None:
    """Prepare *host* in this process, by the modules of the stages that have something to do."""
    plan = _stages.prepare(host, wanted)
    assert not plan.blockers
    seen = plan.preflight or {}
    causes = [cause._asdict() for cause in plan.causes]
    options: dict[str, dict[str, t.Any]] = {
        "iommu": {"iommu": True, "present": wanted.kernel_arguments},
        "mlx_firmware": {
            "devices": seen["firmware"]["mlx_firmware"],
            **wanted.mlx_config,
            "reset": wanted.mlx_reset,
        },
        "reboot": {"causes": causes, "reboot": True},
        "vfs": {"pfs": seen["wanted"], "force": wanted.force},
        "vfio": {"modules": wanted.kernel_modules},
        "restore": {"before": wanted.restore_before},
    }
    roles = {step.role for step in plan.steps}
    for stage in _stages.STAGES:
        if stage.role in roles:
            module = importlib.import_module(f"{_COLLECTION}.{stage.module}")
            given = ArgumentSpecValidator(module.ARGUMENT_SPEC).validate(options[stage.role])
            assert not given.error_messages
            module.run(host, given.validated_parameters, check_mode=False)
        if stage.role == "reboot" and causes:
            host.restart()
            carry_out(host, wanted)
            return


def claim(host: Hypervisor) -> None:
    _ledger.write(host, {"one.hello.demo": [ledger_entry(address=VF)]})


def nothing_done(host: Hypervisor) -> None:
    """As it comes from `bare`."""


def prepared(host: Hypervisor) -> None:
    carry_out(host)


def restart_was_refused(host: Hypervisor) -> None:
    """A run without permission to restart the host."""
    module = importlib.import_module(f"{_COLLECTION}.kernel_cmdline")
    options = {"iommu": True, "present": ["iommu=pt"], "absent": []}
    module.run(host, options, check_mode=False)


def restart_did_not_help(host: Hypervisor) -> None:
    _reboot.write(host, {"iommu": "boot 0"})


def restart_helped_and_the_run_ended(host: Hypervisor) -> None:
    prepared(host)
    _reboot.write(host, {"iommu": "boot 0"})


def lost_iommu(host: Hypervisor) -> None:
    """Somebody has started a host that was ready with other arguments."""
    prepared(host)
    host.start_without_iommu()


def no_iommu(host: Hypervisor) -> None:
    host.remove("/sys/firmware/acpi/tables/DMAR")


def pf_without_driver(host: Hypervisor) -> None:
    host.remove(f"{DEVICES}/{PF}/driver")


def lost_rules(host: Hypervisor) -> None:
    prepared(host)
    host.remove(_numvfs.UDEV_RULES)
    host.restart()


def count_to_change(host: Hypervisor) -> None:
    carry_out(host, WANTED._replace(numvfs={"ens1f0": 2}))


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


def module_unloaded_and_lost_iommu(host: Hypervisor) -> None:
    """The boot loads the module again."""
    lost_iommu(host)
    host.unload("vfio-pci")


def old_restore_program(host: Hypervisor) -> None:
    prepared(host)
    host.put(_service.PROGRAM, b"old")


def pf_given_up(host: Hypervisor) -> None:
    host.add_pf(OTHER, "ens2f0", OTHER_PF["mac"], config=CONFIG)
    carry_out(host, BOTH)


def lost_pf_given_up(host: Hypervisor) -> None:
    """Only its udev rule is left."""
    prepared(host)
    text = (host.read_bytes(_numvfs.UDEV_RULES) or b"").decode()
    host.put(_numvfs.UDEV_RULES, text + text.replace(MAC, OTHER_PF["mac"]).replace(PF, OTHER))


def card_off(host: Hypervisor) -> None:
    host.add_card()


def card_off_and_lost_iommu(host: Hypervisor) -> None:
    lost_iommu(host)
    host.add_card()


def card_off_in_a_prepared_host(host: Hypervisor) -> None:
    prepared(host)
    host.add_card()
    host.answers["ip"] = Completed(0, "[]", "")


def card_off_that_is_not_reset(host: Hypervisor) -> None:
    """The reset fails, which no plan can know."""
    card_off_in_a_prepared_host(host)
    host.firmware.fails["reset"] = "Cannot reset"


def card_without_tool(host: Hypervisor) -> None:
    card_off_in_a_prepared_host(host)
    host.tools.clear()


def card_with_nvidias_tool(host: Hypervisor) -> None:
    card_off_in_a_prepared_host(host)
    host.tools = {"mlxconfig"}


def card_refuses(host: Hypervisor) -> None:
    host.add_card()
    host.firmware.fails["query"] = "Failed to open the device"


def card_to_lower(host: Hypervisor) -> None:
    card_off_in_a_prepared_host(host)
    host.firmware.columns["SRIOV_EN"] = ["False(0)", "True(1)", "True(1)"]
    host.firmware.columns["NUM_OF_VFS"] = ["0", "64", "64"]
    host.restart()
    carry_out(host, WITH_CARD)


def firmware_pending(host: Hypervisor) -> None:
    """A run without permission to restart the host has set the firmware."""
    card_off_in_a_prepared_host(host)
    for name, value in (("SRIOV_EN", "True(1)"), ("NUM_OF_VFS", "5")):
        host.firmware.columns[name][2] = value


def power_cycle_pending(host: Hypervisor) -> None:
    card_off_in_a_prepared_host(host)
    _reboot.write(host, {"mlx_firmware": _reboot.POWER_CYCLE})


class State(t.NamedTuple):
    """How a host is, what is asked for, and the state and the restart that the plan has."""

    make: t.Callable[[Hypervisor], None]
    wanted: Preparation
    state: str
    restart: str | None = None

    @property
    def name(self) -> str:
        return self.make.__name__


STATES = [
    State(nothing_done, WANTED, "reboot", "reboot"),
    State(restart_was_refused, WANTED, "reboot", "reboot"),
    State(restart_did_not_help, WANTED, "blocked"),
    State(restart_helped_and_the_run_ended, WANTED, "change"),
    State(no_iommu, WANTED, "blocked"),
    State(pf_without_driver, WANTED, "blocked"),
    State(prepared, WANTED, "ready"),
    State(lost_rules, WANTED, "change"),
    State(count_to_change, WANTED, "change"),
    State(count_to_change_with_a_guest, WANTED, "blocked"),
    State(count_to_change_with_a_claim, WANTED, "blocked"),
    State(lost_iommu, WANTED, "reboot", "reboot"),
    State(count_to_change_and_lost_iommu, WANTED, "reboot", "reboot"),
    State(claims_and_lost_iommu, WANTED._replace(reboot_held=True), "reboot", "reboot"),
    State(claims_to_lose_and_lost_iommu, WANTED, "blocked"),
    State(unknown_module, WANTED, "blocked"),
    State(module_unloaded_and_lost_iommu, WANTED, "reboot", "reboot"),
    State(old_restore_program, WANTED, "change"),
    State(pf_given_up, GIVEN_UP, "change"),
    State(lost_pf_given_up, GIVEN_UP, "change"),
    State(card_off, WITH_CARD, "reboot", "reboot"),
    State(card_off_and_lost_iommu, WITH_CARD, "reboot", "reboot"),
    State(
        card_off_in_a_prepared_host,
        WITH_CARD._replace(mlx_reset=True),
        "reboot",
        "firmware reset",
    ),
    State(card_with_nvidias_tool, WITH_CARD, "reboot", "reboot"),
    State(card_refuses, WITH_CARD, "blocked"),
    State(card_to_lower, WITH_CARD._replace(mlx_lower_numvfs=["p0"]), "reboot", "reboot"),
    State(firmware_pending, WITH_CARD, "reboot", "reboot"),
    State(power_cycle_pending, WITH_CARD, "blocked", "power cycle"),
]
"""Those that a plan knows all about."""
