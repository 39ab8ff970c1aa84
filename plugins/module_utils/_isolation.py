# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order that isolation rests on, written once.

A VF that is not yet as it must be loses its driver; then its attributes are set and read back;
only then it gets its driver. Where the attributes fail, it stays without.
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


class Steps(t.NamedTuple):
    """The changes of one run, in the order in which they are made."""

    unbind: list[_driver.Change]
    attributes: list[_vf.Change]
    bind: list[_driver.Change]

    def __bool__(self) -> bool:
        return any(self[:])


def plan(
    targets: t.Sequence[Target],
    devices: t.Mapping[str, _pci.Device],
    states: t.Mapping[int, t.Mapping[int, VfState]],
) -> Steps:
    """The steps from *devices* (by address) and *states* (by interface and VF) to *targets*."""
    attributes = _vf.plan(
        [_vf.Wanted(item.pf, item.vf, item.values) for item in targets],
        {item.pf: item.ifindex for item in targets},
        states,
    )
    unfinished = {(change.ifindex, change.vf) for change in attributes}
    unbind = _driver.plan(
        *_paired(
            (devices[item.address], None)
            for item in targets
            if devices[item.address].driver is not None
            and (
                (item.ifindex, item.vf) in unfinished or devices[item.address].driver != item.driver
            )
        )
    )
    unbound = {change.address for change in unbind}
    bind = _driver.plan(
        *_paired(
            (
                devices[item.address]._replace(driver=None, driver_override=None)
                if item.address in unbound
                else devices[item.address],
                item.driver,
            )
            for item in targets
        )
    )
    return Steps(unbind, attributes, bind)


def _paired(
    pairs: t.Iterable[tuple[_pci.Device, str | None]],
) -> tuple[list[_pci.Device], list[_driver.Wanted]]:
    pairs = list(pairs)
    return (
        [device for device, _driver_name in pairs],
        [_driver.Wanted(device.address, driver) for device, driver in pairs],
    )


def apply(host: Host, steps: Steps) -> None:
    """Carry out *steps*; raises `SriovError` where one fails, with the VFs left without driver."""
    _driver.apply(host, steps.unbind)
    _vf.apply(host, steps.attributes)
    _driver.apply(host, steps.bind)
