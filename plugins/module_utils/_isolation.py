# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order that isolation rests on, written once.

A VF that is not yet as it must be loses its driver; then its attributes are set and read back;
only then it gets its driver. Where the attributes fail, it stays without, and the other VFs of
the run go on.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils import _driver, _pci, _vf

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils._netlink import VfState

    # The change of the VF at an address.
    _Attributes = tuple[str, _vf.Change]


class Target(t.NamedTuple):
    """VF number *vf* of the PF with interface *ifindex*: its attributes and driver to be.

    The VF may go without those attributes of *optional* that are refused.
    """

    pf: str
    ifindex: int
    vf: int
    address: str
    values: t.Mapping[str, t.Any]
    driver: str | None
    optional: t.Mapping[str, t.Any] = {}


class Step(t.NamedTuple):
    """What one VF goes through, in this order; `None` stands for what it need not."""

    target: Target
    unbind: _driver.Change | None
    attributes: _vf.Change | None
    optional: tuple[_vf.Change, ...]
    bind: _driver.Change | None


class Failures(t.NamedTuple):
    """By address, why VFs failed, and why others have to go without attributes, by these."""

    failed: dict[str, str]
    refused: dict[str, dict[str, str]]


def plan(
    targets: t.Sequence[Target],
    devices: t.Mapping[str, _pci.Device],
    states: t.Mapping[int, t.Mapping[int, VfState]],
) -> list[Step]:
    """The steps from *devices* (by address) and *states* (by interface and VF) to *targets*.

    Targets that are reached already have none.
    """

    def changes(
        wanted: t.Iterable[tuple[Target, t.Mapping[str, t.Any]]],
    ) -> dict[tuple[int, int], _vf.Change]:
        asked = [_vf.Wanted(item.pf, item.vf, values) for item, values in wanted if values]
        ifindexes = {item.pf: item.ifindex for item in targets}
        return {(item.ifindex, item.vf): item for item in _vf.plan(asked, ifindexes, states)}

    attributes = changes((item, item.values) for item in targets)
    # What the driver takes as one is refused as one, and nothing else with it.
    optional = [
        changes(
            (item, {name: item.optional[name] for name in group if name in item.optional})
            for item in targets
        )
        for group in _vf.GROUPS
    ]
    steps = []
    for item in targets:
        key = (item.ifindex, item.vf)
        dispensable = tuple(group[key] for group in optional if key in group)
        steps.append(_step(item, devices[item.address], attributes.get(key), dispensable))
    return [step for step in steps if any(step[1:])]


def _step(
    target: Target,
    device: _pci.Device,
    attributes: _vf.Change | None,
    optional: tuple[_vf.Change, ...],
) -> Step:
    unbind = None
    if device.driver is not None and (attributes or optional or device.driver != target.driver):
        unbind = _driver.change(device, None)
        device = device._replace(driver=None, driver_override=None)
    return Step(target, unbind, attributes, optional, _driver.change(device, target.driver))


def apply(host: Host, steps: t.Sequence[Step]) -> Failures:
    """Carry out *steps*.

    A VF that fails goes no further, so that one with wrong attributes stays without driver.
    """
    failed = _driver.attempt(host, [step.unbind for step in steps if step.unbind])

    def attempt(changes: t.Iterable[_Attributes]) -> t.Iterator[tuple[_Attributes, str]]:
        going = [item for item in changes if item[0] not in failed]
        problems = _vf.attempt(host, [change for _address, change in going])
        return ((item, problem) for item, problem in zip(going, problems) if problem)

    isolating = [(step.target.address, step.attributes) for step in steps if step.attributes]
    failed.update((address, problem) for (address, _change), problem in attempt(isolating))
    refused: dict[str, dict[str, str]] = {}
    for turn in range(len(_vf.GROUPS)):
        optional = [(s.target.address, s.optional[turn]) for s in steps if turn < len(s.optional)]
        for (address, change), problem in attempt(optional):
            refused.setdefault(address, {}).update(dict.fromkeys(change.after, problem))
    binding = [step.bind for step in steps if step.bind and step.target.address not in failed]
    failed.update(_driver.attempt(host, binding))
    return Failures(failed, refused)
