# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a run: what it is going to do to a host, in the order of time.

The functions of the run itself make the plan. A restart changes what later steps find, so they are
planned for the host as it comes back. It then has the VFs that its udev rules make, and its
firmware offers the new number of VFs. The plan assumes that links are up as now and that guests are
back.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _loaders, _modules, _reboot
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import (
    _assignment,
    _request,
    _service,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _card, _tool
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci, _usage
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _judge, _preflight
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

REBOOT = "reboot"
FIRMWARE_RESET = "firmware reset"
POWER_CYCLE = "power cycle"

_RESET = "reset"
_MODULES_FILE = "mergetb-sriov"
# The last stage that can be planned without the tool for the firmware.
_UNTIL = "reboot"


class Step(t.NamedTuple):
    """What *role* does to *element*, a file, device or service."""

    role: str
    element: str
    action: str


class Blocker(t.NamedTuple):
    """What keeps a run from the part of *role*. *message* is the cause, and what to do about it."""

    role: str
    message: str


class Disturbed(t.NamedTuple):
    """A VF that is `destroyed`, or one in use that a `reboot` takes from its *users* for a while.

    *pf* and *address* are PCI addresses.
    """

    pf: str
    vf: int
    address: str
    by: str
    users: list[str]


class RunPlan(t.NamedTuple):
    """What a run does; nothing where there are *blockers*.

    *restart* is `REBOOT`, `FIRMWARE_RESET`, `POWER_CYCLE`, or `None` if the steps take no restart.
    *causes* are those of a reboot or a power cycle. *complete* tells whether the steps are all that
    the run is going to do. *preflight* is what `_preflight` tells of the host.
    """

    steps: list[Step]
    restart: str | None
    blockers: list[Blocker]
    notes: list[str]
    disturbed: list[Disturbed]
    causes: t.Sequence[_reboot.Cause] = ()
    complete: bool = True
    preflight: dict[str, t.Any] | None = None

    @property
    def state(self) -> str:
        """The first that is true: `blocked`, `reboot` (for any restart), `change`, `ready`."""
        if self.blockers:
            return "blocked"
        if self.restart:
            return "reboot"
        return "change" if self.steps else "ready"

    @property
    def behind(self) -> list[Step]:
        """The steps that come behind a restart: they are done to the host as it comes back."""
        if self.restart is None:
            return []
        early = {stage.role for stage in STAGES if stage.before_restart}
        return [step for step in self.steps if step.role not in early and step.action != REBOOT]

    @property
    def roles(self) -> list[str]:
        """The roles of all steps."""
        return list(dict.fromkeys(step.role for step in self.steps))

    @property
    def roles_now(self) -> list[str]:
        """The roles that have nothing to do behind a restart."""
        later = {step.role for step in self.behind}
        return [role for role in self.roles if role not in later]


class Preparation(t.NamedTuple):
    """The variables that the role `prepare` passes to its stages."""

    pfs: t.Sequence[t.Mapping[str, t.Any]]
    numvfs: object
    kernel_arguments: t.Sequence[str]
    mlx_firmware: bool
    mlx_settings: t.Mapping[str, t.Any]
    mlx_card_settings: t.Mapping[str, t.Any]
    mlx_lower_numvfs: t.Sequence[str]
    mlx_largest_numvfs: bool
    mlx_reset: bool
    kernel_modules: t.Sequence[str]
    restore_before: t.Sequence[str] | None
    force: bool
    reboot: bool = False
    reboot_held: bool = False

    @property
    def mlx_config(self) -> dict[str, t.Any]:
        """The options of the module `mlx_config` for all cards, as `_card.cards` takes them."""
        return {
            "settings": self.mlx_settings,
            "card_settings": self.mlx_card_settings,
            "lower_numvfs": self.mlx_lower_numvfs,
            "largest_numvfs": self.mlx_largest_numvfs,
        }


def materialize(host: Host, params: t.Mapping[str, t.Any]) -> RunPlan:
    """The plan of the module `materialization` for its *params*."""
    try:
        outcome = _assignment.run(
            host,
            params["mzid"],
            _request.claims(params),
            _request.policy(params),
            force=params["force"],
            check_mode=True,
        )
    except SriovError as error:
        return RunPlan([], None, [Blocker("materialize", str(error))], [], [])
    return RunPlan(_steps("materialize", outcome["steps"]), None, [], outcome["warnings"], [])


def prepare(host: Host, wanted: Preparation) -> RunPlan:
    """The plan of the role `prepare`. It assumes that the run may restart the host.

    If *wanted* has `reboot`, VFs in use block the run, unless it also has `reboot_held`.
    """
    preparing = _Preparing(host, wanted)
    for stage in STAGES:
        if preparing.blockers and stage.rests_on_others:
            continue
        try:
            steps = stage.plan(preparing)
        except SriovError as error:
            preparing.blockers.append(Blocker(stage.role, str(error)))
        else:
            preparing.steps += _steps(stage.role, steps)
        if stage.role == _UNTIL and not preparing.complete:
            break
    return preparing.outcome()


def _steps(role: str, steps: t.Mapping[str, t.Iterable[str]]) -> list[Step]:
    return [Step(role, element, action) for element, actions in steps.items() for action in actions]


class _Preparing:
    """The stages of `prepare`. The method of a stage returns its steps by element."""

    def __init__(self, host: Host, wanted: Preparation) -> None:
        self.steps: list[Step] = []
        self.blockers: list[Blocker] = []
        self.complete = True
        self._restart: str | None = None
        self._notes: list[str] = []
        self._disturbed: list[Disturbed] = []
        self._host = host
        self._wanted = wanted
        self._seen = _preflight.Seen([], {}, [])
        self._causes: list[_reboot.Cause] = []
        self._offered: dict[str, int] = {}
        self._reset: list[str] = []

    def outcome(self) -> RunPlan:
        steps, restart = self.steps, self._restart
        if self.blockers:
            steps, restart = [], restart if restart == POWER_CYCLE else None
        return RunPlan(
            steps=steps,
            restart=restart,
            blockers=self.blockers,
            notes=self._notes,
            disturbed=self._disturbed,
            causes=self._causes,
            complete=self.complete,
            preflight=_preflight.described(self._host, self._seen),
        )

    def preflight(self) -> dict[str, list[str]]:
        wanted = self._wanted
        self._seen = _preflight.look(
            self._host, wanted.pfs, wanted.numvfs, firmware=wanted.mlx_firmware
        )
        for problem in self._seen.problems:
            if problem.severity == _judge.ERROR:
                self.blockers.append(Blocker("preflight", str(problem)))
            else:
                self._notes.append(str(problem))
        return {}

    def iommu(self) -> dict[str, list[str]]:
        # The preflight has told it if no kernel argument helps.
        helps = not any(problem.element == _judge.IOMMU for problem in self._seen.problems)
        arguments = _loaders.plan_host(
            self._host, iommu=helps, present=self._wanted.kernel_arguments
        )
        self._take(arguments.reboot_cause)
        return arguments.steps

    def mlx_firmware(self) -> dict[str, list[str]]:
        wanted = self._wanted
        settings = self._seen.firmware["mlx_firmware"]
        if not (wanted.mlx_firmware and settings):
            return {}
        if _tool.installed(self._host) is None:
            self._notes.append(
                "the plan ends here: without mstflint nobody can read what the cards need"
            )
            self.complete = False
            return {"mstflint": ["install"]}
        tool = _tool.find(self._host, "auto")
        cards = _card.cards([_card.CardDevice(**item) for item in settings], **wanted.mlx_config)
        changes = _card.plan_all(self._host, tool, cards)
        outcomes = [_card.predict(self._host, change, reset=wanted.mlx_reset) for change in changes]
        self._notes += [warning for outcome in outcomes for warning in outcome.warnings]
        self._take(_card.reboot_cause(cards, outcomes))
        self._reset = [
            _pci.card_of(card.address)
            for card, outcome in zip(cards, outcomes)
            if _RESET in outcome.steps
        ]
        if self._reset:
            self._restart = FIRMWARE_RESET
        for change in changes:
            offered = _card.offered(_card.planned_settings(change))
            if offered is not None:
                self._offered.update(dict.fromkeys(change.card.addresses, offered))
        return {
            card.address: list(outcome.steps)
            for card, outcome in zip(cards, outcomes)
            if outcome.steps
        }

    def reboot(self) -> dict[str, list[str]]:
        markers, boot_id = _reboot.read(self._host), _reboot.boot_id(self._host)
        after = _reboot.plan(markers, self._causes, boot_id, reboot=True)
        if _reboot.POWER_CYCLE in after.values():
            self._restart = POWER_CYCLE
        _reboot.refuse(after, self._causes, boot_id)
        if not self._causes:
            return _reboot.steps(markers, after)
        self._restart = REBOOT
        used = _usage.used_nic_vfs(self._host)
        self._disturbed += [
            Disturbed(each.pf, each.vf, each.address, "reboot", each.users)
            for each in used
            if each.vf is not None
        ]
        if self._wanted.reboot and not self._wanted.reboot_held:
            _reboot.refuse_used(used)
        # After the reboot, the run looks at the host again and removes the markers.
        return {"host": [REBOOT], **_reboot.steps(after, {})}

    def vfs(self) -> dict[str, list[str]]:
        host = self._host
        wanted = [_numvfs.VfCount(pf.pf, pf.numvfs) for pf in self._seen.wanted]
        plan = _numvfs.plan_host(host, wanted, read=self._read)
        doomed = [change.pf for change in plan.changes if change.destroys]
        users = _usage.holders(host, [vf for pf in doomed for vf in pf.vfs])
        self._disturbed += [
            Disturbed(pf.address, index, address, "destroyed", users.get(address, []))
            for pf in doomed
            for index, address in enumerate(pf.vfs)
        ]
        if not self._wanted.force:
            _numvfs.refuse(_numvfs.in_use(host, plan))
        return plan.steps

    def vfio(self) -> dict[str, list[str]]:
        return _modules.plan(
            self._host,
            self._wanted.kernel_modules,
            _MODULES_FILE,
            after_restart=self._restart == REBOOT,
        ).steps

    def restore(self) -> dict[str, list[str]]:
        before = self._wanted.restore_before
        unit = _service.unit(
            _service.interpreter(self._host).path, _service.GUESTS if before is None else before
        )
        return _service.plan(self._host, unit).steps

    def _take(self, cause: _reboot.Cause | None) -> None:
        if cause is not None:
            self._causes.append(cause)

    def _read(self, host: Host, selector: str) -> _pci.PF:
        """The PF as the stage `vfs` finds it. A restart before that makes its VFs anew."""
        pf = _pci.find_pf(host, selector)
        if self._restart != REBOOT and _pci.card_of(pf.address) not in self._reset:
            return pf
        totalvfs = self._offered.get(pf.address, pf.totalvfs)
        count = _numvfs.counts_at_boot(host).get((pf.address, pf.mac))
        numvfs = min(count or 0, totalvfs or 0)
        return pf._replace(
            totalvfs=totalvfs,
            numvfs=numvfs,
            autoprobe=count is None,
            vfs=pf.vfs[:numvfs],
        )


class Stage(t.NamedTuple):
    """A stage of `prepare`.

    *role* calls *module*, and *plan* returns what the module is going to do. If *rests_on_others*,
    nobody can plan the stage while an earlier one is blocked. *before_restart* tells
    whether the stage changes the host as it is, however it comes back.
    """

    role: str
    module: str
    plan: t.Callable[[_Preparing], t.Mapping[str, t.Iterable[str]]]
    rests_on_others: bool = False
    before_restart: bool = False


STAGES = (
    Stage("preflight", "preflight", _Preparing.preflight),
    Stage("iommu", "kernel_cmdline", _Preparing.iommu, before_restart=True),
    Stage("mlx_firmware", "mlx_config", _Preparing.mlx_firmware, before_restart=True),
    Stage("reboot", "reboot_marker", _Preparing.reboot, rests_on_others=True),
    Stage("vfs", "numvfs", _Preparing.vfs, rests_on_others=True),
    Stage("vfio", "kernel_modules", _Preparing.vfio),
    Stage("restore", "restore_service", _Preparing.restore),
)
"""What the role `prepare` does, in this order."""
