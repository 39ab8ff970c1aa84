# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run is going to do to a host, in the order of time, as the functions of the run plan it.

A restart in the middle changes what the steps behind it find; these are planned for the host as it
comes back: with the VFs that the udev rules make, and as many as firmware then offers. What else
there is then is up to the host's own configuration: links are taken to be up as now, and guests to
be back.
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
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _judge
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

REBOOT = "reboot"
FIRMWARE_RESET = "firmware reset"
POWER_CYCLE = "power cycle"

_RESET = "reset"
_MODULES_FILE = "mergetb-sriov"


class Step(t.NamedTuple):
    """What *role* does to *element*, a file, device or service."""

    role: str
    element: str
    action: str


class Blocker(t.NamedTuple):
    """Where a run goes no further, and why; *message* ends with what helps."""

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


class Plan(t.NamedTuple):
    """What a run does.

    *restart* is what it takes of `REBOOT`, `FIRMWARE_RESET` and `POWER_CYCLE`; `None` for none.
    """

    steps: list[Step]
    restart: str | None
    blockers: list[Blocker]
    notes: list[str]
    disturbed: list[Disturbed]

    @property
    def state(self) -> str:
        """`blocked`, `reboot` (of any kind), `change` or `ready`, the first that is true."""
        if self.blockers:
            return "blocked"
        if self.restart:
            return "reboot"
        return "change" if self.steps else "ready"


class Preparation(t.NamedTuple):
    """What the playbook `prepare` is called with: the variables of its roles."""

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
    restore_before: t.Sequence[str]
    force: bool


def materialize(host: Host, params: t.Mapping[str, t.Any]) -> Plan:
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
        return Plan([], None, [Blocker("materialize", str(error))], [], [])
    return Plan(_steps("materialize", outcome["steps"]), None, [], outcome["warnings"], [])


def prepare(host: Host, wanted: Preparation) -> Plan:
    """The plan of the playbook `prepare`, which is allowed to restart the host."""
    preparing = _Preparing(host, wanted)
    for stage in STAGES:
        role = stage.__name__
        try:
            steps = stage(preparing)
        except SriovError as error:
            preparing.blockers.append(Blocker(role, str(error)))
        else:
            preparing.steps += _steps(role, steps)
        if preparing.is_at_end(role):
            break
    return Plan(
        preparing.steps,
        preparing.restart,
        preparing.blockers,
        preparing.notes,
        preparing.disturbed,
    )


def _steps(role: str, steps: t.Mapping[str, t.Iterable[str]]) -> list[Step]:
    return [Step(role, element, action) for element, actions in steps.items() for action in actions]


class _Preparing:
    """The roles of `prepare`, each a method that answers what it does, by element."""

    def __init__(self, host: Host, wanted: Preparation) -> None:
        self.steps: list[Step] = []
        self.restart: str | None = None
        self.blockers: list[Blocker] = []
        self.notes: list[str] = []
        self.disturbed: list[Disturbed] = []
        self._host = host
        self._wanted = wanted
        self._pfs: list[_judge.Wanted] = []
        self._found: dict[str, _judge.Facts] = {}
        self._causes: list[_reboot.Cause] = []
        self._offered: dict[str, int] = {}
        self._lacks_tool = False

    def is_at_end(self, role: str) -> bool:
        """Whether nothing is known of what comes after *role*."""
        return bool(self.blockers) or (self._lacks_tool and role == "reboot")

    def preflight(self) -> dict[str, list[str]]:
        wanted = self._wanted
        self._pfs = _judge.wanted(wanted.pfs, wanted.numvfs)
        self._found, problems = _judge.look(self._host, self._pfs, firmware=wanted.mlx_firmware)
        for problem in problems:
            if problem.severity == _judge.ERROR:
                self.blockers.append(Blocker("preflight", str(problem)))
            else:
                self.notes.append(str(problem))
        return {}

    def iommu(self) -> dict[str, list[str]]:
        arguments = _loaders.plan_host(
            self._host, iommu=True, present=self._wanted.kernel_arguments
        )
        self._take(arguments.reboot_cause)
        return arguments.steps

    def mlx_firmware(self) -> dict[str, list[str]]:
        wanted = self._wanted
        settings = _judge.firmware_settings(self._pfs, self._found)["mlx_firmware"]
        if not (wanted.mlx_firmware and settings):
            return {}
        if _tool.installed(self._host) is None:
            self.notes.append(
                "what the firmware of the cards needs, and what follows, is known once mstflint is "
                "installed"
            )
            self._lacks_tool = True
            return {"mstflint": ["install"]}
        tool = _tool.find(self._host, "auto")
        cards = _card.cards(
            [_card.Device(**item) for item in settings],
            settings=wanted.mlx_settings,
            card_settings=wanted.mlx_card_settings,
            lower_numvfs=wanted.mlx_lower_numvfs,
            largest_numvfs=wanted.mlx_largest_numvfs,
        )
        changes = _card.plan_all(self._host, tool, cards)
        outcomes = [_card.predict(self._host, change, reset=wanted.mlx_reset) for change in changes]
        self.notes += [warning for outcome in outcomes for warning in outcome.warnings]
        self._take(_card.reboot_cause(cards, outcomes))
        if any(_RESET in outcome.steps for outcome in outcomes):
            self.restart = FIRMWARE_RESET
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
            self.restart = POWER_CYCLE
        _reboot.refuse(after, self._causes, boot_id)
        if not self._causes:
            return {}
        self.restart = REBOOT
        users = _usage.holders(
            self._host, [vf for facts in self._found.values() for vf in facts.pf.vfs]
        )
        self.disturbed += [
            Disturbed(facts.pf.address, index, address, "reboot", users[address])
            for facts in self._found.values()
            for index, address in enumerate(facts.pf.vfs)
            if address in users
        ]
        return {"host": [REBOOT]}

    def vfs(self) -> dict[str, list[str]]:
        host = self._host
        wanted = [_numvfs.VfCount(pf.pf, pf.numvfs) for pf in self._pfs]
        plan = _numvfs.plan_host(
            host, wanted, read=self._read_after_restart if self.restart else _pci.find_pf
        )
        doomed = [change.pf for change in plan.changes if "sriov_numvfs 0" in change.steps]
        users = _usage.holders(host, [vf for pf in doomed for vf in pf.vfs])
        self.disturbed += [
            Disturbed(pf.address, index, address, "destroyed", users.get(address, []))
            for pf in doomed
            for index, address in enumerate(pf.vfs)
        ]
        if not self._wanted.force:
            _numvfs.refuse(_numvfs.in_use(host, plan))
        return plan.steps

    def vfio(self) -> dict[str, list[str]]:
        return _modules.plan(self._host, self._wanted.kernel_modules, _MODULES_FILE).steps

    def restore(self) -> dict[str, list[str]]:
        unit = _service.unit(_service.interpreter(self._host).path, self._wanted.restore_before)
        return _service.plan(self._host, unit).steps

    def _take(self, cause: _reboot.Cause | None) -> None:
        if cause is not None:
            self._causes.append(cause)

    def _read_after_restart(self, host: Host, selector: str) -> _pci.PF:
        """The PF as its driver finds it anew."""
        pf = _pci.find_pf(host, selector)
        totalvfs = self._offered.get(pf.address, pf.totalvfs)
        count = _numvfs.counts_at_boot(host).get((pf.address, pf.mac))
        numvfs = min(count or 0, totalvfs or 0)
        return pf._replace(
            totalvfs=totalvfs,
            numvfs=numvfs,
            autoprobe=count is None,
            vfs=pf.vfs[:numvfs],
        )


STAGES = (
    _Preparing.preflight,
    _Preparing.iommu,
    _Preparing.mlx_firmware,
    _Preparing.reboot,
    _Preparing.vfs,
    _Preparing.vfio,
    _Preparing.restore,
)
"""What the playbook `prepare` does, each stage by the role of its name, in this order."""
