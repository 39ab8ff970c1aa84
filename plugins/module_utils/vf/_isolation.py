# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of steps in which a guest gets a device, written once.

A device that is not as it must be loses its driver. Then a run sets the attributes of a VF and
reads them back. Last, it reads all attributes of all VFs once more. A VF whose attributes are all
right gets its driver. Any other stays without one, and the other devices of the run go on. A whole
function has no attributes, so nothing comes between its drivers.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    ISOLATING,
    NoVfAttributesError,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _attributes, _driver

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import VfState

    # The change of the VF at an address.
    _Attributes = tuple[str, _attributes.AttributeChange]


class Target(t.NamedTuple):
    """A device, where it is on PCI, and its attributes and driver to be.

    *vf* is `None` for a whole function, which has no attributes. *name* is what a person calls the
    device. A VF may go without those attributes of *optional* that are refused. *override* is the
    `driver_override` that the device keeps; `None` for the one that gives it its driver.
    """

    vf: _attributes.Vf | None
    address: str
    values: t.Mapping[str, t.Any]
    driver: str | None
    optional: t.Mapping[str, t.Any] = {}
    name: str = ""
    override: str | None = None


class IsolationStep(t.NamedTuple):
    """What a run does to one device, in this order; `None` for what it need not do.

    *expected* is what the attributes must be when the VF gets its driver. It is `None` if the PF
    must keep no attributes for its VFs, or if the device is no VF.
    """

    target: Target
    unbind: _driver.DriverChange | None
    attributes: _attributes.AttributeChange | None
    optional: tuple[_attributes.AttributeChange, ...]
    bind: _driver.DriverChange | None
    expected: dict[str, t.Any] | None


class Failures(t.NamedTuple):
    """Why devices *failed*, by address, and why attributes were *refused*, by address and name."""

    failed: dict[str, str]
    refused: dict[str, dict[str, str]]


def plan(
    targets: t.Sequence[Target],
    devices: t.Mapping[str, _pci.Device],
    states: t.Mapping[int, t.Mapping[int, VfState]],
) -> list[IsolationStep]:
    """The steps from *devices* (by address) and *states* (by interface and VF) to *targets*.

    A target that is reached already has none.
    """

    def changes(
        wanted: t.Iterable[tuple[Target, t.Mapping[str, t.Any]]],
    ) -> dict[_attributes.Vf, _attributes.AttributeChange]:
        asked = [(item.vf, values) for item, values in wanted if item.vf and values]
        return {change.vf: change for change in _attributes.plan(asked, states)}

    attributes = changes((item, item.values) for item in targets)
    # The driver gets these in one call, and refuses them together, but nothing else with them.
    optional = [
        changes(
            (item, {name: item.optional[name] for name in group if name in item.optional})
            for item in targets
        )
        for group in _attributes.GROUPS
    ]
    steps = []
    for item in targets:
        device = devices[item.address]
        if item.vf is None:
            steps.append(_step(item, device, None, None, ()))
            continue
        dispensable = tuple(group[item.vf] for group in optional if item.vf in group)
        state = states.get(item.vf.ifindex, {}).get(item.vf.number)
        steps.append(_step(item, device, state, attributes.get(item.vf), dispensable))
    return [step for step in steps if step.unbind or step.attributes or step.optional or step.bind]


def _step(
    target: Target,
    device: _pci.Device,
    state: VfState | None,
    attributes: _attributes.AttributeChange | None,
    optional: tuple[_attributes.AttributeChange, ...],
) -> IsolationStep:
    unbind = None
    if device.driver is not None and (attributes or optional or device.driver != target.driver):
        unbind = _driver.change(device, None)
        device = device._replace(driver=None, driver_override=None)
    expected = None
    if state is not None:
        # A driver may change none of these unnoticed, asked for or not. Trust is off unless asked
        # for.
        expected = {
            **{name: getattr(state, name) for name in ISOLATING},
            "trust": None if state.trust is None else False,
            **(attributes.after if attributes else {}),
            **target.values,
            **target.optional,
        }
    bind = _driver.change(device, target.driver, target.override)
    return IsolationStep(target, unbind, attributes, optional, bind, expected)


def check(host: Host, steps: t.Iterable[IsolationStep]) -> None:
    """Raise `SriovError` with all that stands against the drivers that *steps* give."""
    binds = [step.bind for step in steps if step.bind]
    wanted = [_driver.Binding(bind.address, bind.after) for bind in binds]
    _driver.check(host, [bind.device for bind in binds], wanted)


def apply(host: Host, steps: t.Sequence[IsolationStep]) -> Failures:
    """Carry out *steps*.

    A VF that fails goes no further, so that one with wrong attributes stays without driver.
    """
    failed = _driver.attempt(host, [step.unbind for step in steps if step.unbind])

    def attempt(changes: t.Iterable[_Attributes]) -> t.Iterator[tuple[_Attributes, str]]:
        going = [item for item in changes if item[0] not in failed]
        problems = _attributes.attempt(host, [change for _address, change in going])
        return ((item, problem) for item, problem in zip(going, problems) if problem)

    isolating = [(step.target.address, step.attributes) for step in steps if step.attributes]
    failed.update((address, problem) for (address, _change), problem in attempt(isolating))
    refused: dict[str, dict[str, str]] = {}
    for turn in range(len(_attributes.GROUPS)):
        optional = [(s.target.address, s.optional[turn]) for s in steps if turn < len(s.optional)]
        for (address, change), problem in attempt(optional):
            refused.setdefault(address, {}).update(dict.fromkeys(change.after, problem))
    going = [step for step in steps if step.bind and step.target.address not in failed]
    failed.update(_last_look(host, going, refused))
    binding = [step.bind for step in going if step.bind and step.target.address not in failed]
    failed.update(_driver.attempt(host, binding))
    return Failures(failed, refused)


def _last_look(
    host: Host, steps: t.Iterable[IsolationStep], refused: t.Mapping[str, t.Container[str]]
) -> dict[str, str]:
    """Why VFs may not get their drivers, by address, from one look at each PF."""
    vfs = [(step.target.vf, step) for step in steps if step.target.vf and step.target.driver]
    failed = {}
    for ifindex in {vf.ifindex for vf, _step in vfs}:
        states: t.Mapping[int, VfState] | None = None
        problem = None
        try:
            states = host.netlink.vf_states(ifindex)
        except NoVfAttributesError:
            pass
        except (SriovError, OSError) as error:
            problem = f"its attributes cannot be read: {error}"
        for vf, step in (item for item in vfs if item[0].ifindex == ifindex):
            text = problem or _wrong(vf, step, states, refused.get(step.target.address, ()))
            if text:
                failed[step.target.address] = (
                    f"{vf}: right before its driver was bound, "
                    f"{text}; it stays without driver. See which program or driver changes it, and "
                    "run this again"
                )
    return failed


def _wrong(
    vf: _attributes.Vf,
    step: IsolationStep,
    states: t.Mapping[int, VfState] | None,
    refused: t.Container[str],
) -> str | None:
    """How the VF of *step* differs from what it must be, except for the *refused* attributes."""
    if step.expected is None:
        if states is None:
            return None
        return "its PF now keeps attributes for VFs; it kept none when the run began"
    if states is None:
        return "its PF no longer keeps attributes for VFs"
    if vf.number not in states:
        return "the driver of its PF no longer reports it"
    expected = {
        name: value
        for name, value in step.expected.items()
        if name not in refused or name in ISOLATING
    }
    if "trust" in refused:
        expected["trust"] = False
    known = states[vf.number]._asdict()
    told = [
        f"{name} {known[name]} where {value} must be"
        for name, value in expected.items()
        if known[name] != value
    ]
    return f"it has {', '.join(told)}" if told else None
