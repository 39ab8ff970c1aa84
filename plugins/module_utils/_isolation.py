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


class Target(t.NamedTuple):
    """VF number *vf* of the PF with interface *ifindex*: its attributes and driver to be."""

    pf: str
    ifindex: int
    vf: int
    address: str
    values: t.Mapping[str, t.Any]
    driver: str | None


class Step(t.NamedTuple):
    """What one VF goes through, in this order; `None` stands for what it need not."""

    target: Target
    unbind: _driver.Change | None
    attributes: _vf.Change | None
    bind: _driver.Change | None


def plan(
    targets: t.Sequence[Target],
    devices: t.Mapping[str, _pci.Device],
    states: t.Mapping[int, t.Mapping[int, VfState]],
) -> list[Step]:
    """The steps from *devices* (by address) and *states* (by interface and VF) to *targets*.

    Targets that are reached already have none.
    """
    changes = {
        (change.ifindex, change.vf): change
        for change in _vf.plan(
            [_vf.Wanted(item.pf, item.vf, item.values) for item in targets],
            {item.pf: item.ifindex for item in targets},
            states,
        )
    }
    steps = (
        _step(item, devices[item.address], changes.get((item.ifindex, item.vf))) for item in targets
    )
    return [step for step in steps if any(step[1:])]


def _step(target: Target, device: _pci.Device, attributes: _vf.Change | None) -> Step:
    unbind = None
    if device.driver is not None and (attributes or device.driver != target.driver):
        unbind = _driver.change(device, None)
        device = device._replace(driver=None, driver_override=None)
    return Step(target, unbind, attributes, _driver.change(device, target.driver))


def apply(host: Host, steps: t.Sequence[Step]) -> dict[str, str]:
    """Carry out *steps* and return why VFs failed, by address.

    A VF that fails goes no further, so that one with wrong attributes stays without driver.
    """
    failed = _driver.attempt(host, [step.unbind for step in steps if step.unbind])
    isolating = [
        (step.target.address, step.attributes)
        for step in steps
        if step.attributes and step.target.address not in failed
    ]
    problems = _vf.attempt(host, [change for _address, change in isolating])
    failed.update(
        (address, problem) for (address, _change), problem in zip(isolating, problems) if problem
    )
    binding = [step.bind for step in steps if step.bind and step.target.address not in failed]
    return {**failed, **_driver.attempt(host, binding)}
