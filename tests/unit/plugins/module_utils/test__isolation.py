# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import re
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _isolation, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils._isolation import Target
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    NEW_VF,
    PROBE,
    Machine,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PF = "0000:01:00.0"
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")
VALUES = {"mac": "02:00:00:00:01:01", "vlan": 100, "spoofchk": True}


def machine_with(directory: str | Path) -> Machine:
    machine = Machine(directory)
    machine.add_pf(PF, "ens1f0", "04:70:00:00:00:10", numvfs=3)
    for driver in ("vfio-pci", "igbvf"):
        machine.add_driver(driver)
    machine.log.clear()
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return machine_with(tmp_path)


def target(machine: Machine, vf: int, driver: str | None = "vfio-pci", **values: t.Any) -> Target:
    index = machine.netlink.interfaces["ens1f0"].index
    return Target("ens1f0", index, vf, VFS[vf], values or VALUES, driver)


def planned(machine: Machine, *targets: Target) -> list[_isolation.Step]:
    devices = {address: _pci.read_device(machine, address) for address in VFS}
    return _isolation.plan(targets, devices, machine.netlink.vfs)


def test_unbind_then_attributes_then_read_back_then_bind(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")

    _isolation.apply(machine, planned(machine, target(machine, 0), target(machine, 1)))

    paths = [event.subject if event.action == "write" else event.action for event in machine.log]
    assert paths == [
        f"{DEVICES}/{VFS[0]}/driver/unbind",
        "set_vf",
        "set_vf",
        "vf_states",
        f"{DEVICES}/{VFS[0]}/driver_override",
        PROBE,
        f"{DEVICES}/{VFS[1]}/driver_override",
        PROBE,
    ]
    assert [machine.driver(address) for address in VFS] == ["vfio-pci", "vfio-pci", None]
    assert machine.vf("ens1f0", 0) == NEW_VF._replace(mac=VALUES["mac"], vlan=100)


def test_what_is_as_it_must_be_is_left_alone(machine: Machine) -> None:
    _isolation.apply(machine, planned(machine, target(machine, 0)))
    machine.log.clear()

    steps = planned(machine, target(machine, 0), target(machine, 1, None, vlan=0))
    assert not steps
    _isolation.apply(machine, steps)
    assert machine.log == []


def test_a_bound_vf_with_wrong_attributes_loses_its_driver_first(machine: Machine) -> None:
    machine.bind(VFS[0], "vfio-pci")

    [step] = planned(machine, target(machine, 0))

    assert step.unbind and step.bind
    assert step.unbind[:3] == (VFS[0], "vfio-pci", None)
    assert step.bind[:3] == (VFS[0], None, "vfio-pci")


def test_a_bound_vf_with_right_attributes_and_another_driver(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")
    machine.alter_vf("ens1f0", 0, **VALUES)

    [step] = planned(machine, target(machine, 0))

    assert step.attributes is None
    assert step.unbind and step.bind
    assert (step.unbind.after, step.bind.after) == (None, "vfio-pci")


def test_a_vf_that_is_to_have_no_driver_loses_it(machine: Machine) -> None:
    machine.bind(VFS[0], "vfio-pci")
    machine.write(f"{DEVICES}/{VFS[0]}/driver_override", "vfio-pci")

    _isolation.apply(machine, planned(machine, target(machine, 0, None, vlan=0)))

    assert machine.driver(VFS[0]) is None
    assert _pci.read_device(machine, VFS[0]).driver_override is None


def refuse(machine: Machine) -> None:
    machine.netlink.refuse = lambda vf, name, value: errno.EINVAL * (value == 100)


def lie(machine: Machine) -> None:
    machine.netlink.keep = lambda vf, name, value: 0 if name == "vlan" else value


@pytest.mark.parametrize("driver", [None, "igbvf", "vfio-pci"])
@pytest.mark.parametrize("fault", [refuse, lie])
def test_a_vf_whose_attributes_fail_stays_without_driver(
    machine: Machine, fault: t.Callable[[Machine], None], driver: str | None
) -> None:
    """I1: neither its old driver nor the new one gets it. The other VFs go on."""
    if driver:
        machine.bind(VFS[0], driver)
    fault(machine)
    good = target(machine, 1, mac="02:00:00:00:01:02", vlan=0)

    failed, _refused = _isolation.apply(machine, planned(machine, target(machine, 0), good))

    assert list(failed) == [VFS[0]]
    assert re.match("VF 0 of PF ens1f0: .*vlan 100.*before is in force", failed[VFS[0]])
    assert [machine.driver(address) for address in VFS] == [None, "vfio-pci", None]
    assert machine.vf("ens1f0", 0) == NEW_VF
    assert machine.vf("ens1f0", 1).mac == "02:00:00:00:01:02"


@pytest.mark.parametrize("fault", ["refused", "ignored"])
def test_nothing_is_set_while_a_driver_does_not_let_go(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(
        "ansible_collections.mergetb.sriov.plugins.module_utils._driver._BIND_SECONDS", 0
    )
    machine.bind(VFS[0], "igbvf")
    if fault == "refused":
        machine.faults["write", f"{DEVICES}/{VFS[0]}/driver/unbind"] = errno.EBUSY
    else:
        monkeypatch.setattr(machine, "_unbind", lambda path, value: None)

    steps = planned(machine, target(machine, 0), target(machine, 1))
    failed, _refused = _isolation.apply(machine, steps)

    assert list(failed) == [VFS[0]]
    assert machine.vf("ens1f0", 0) == NEW_VF
    assert machine.driver(VFS[1]) == "vfio-pci"


drivers = st.sampled_from([None, "vfio-pci", "igbvf"])
values = st.fixed_dictionaries({"vlan": st.sampled_from([0, 100, 200]), "trust": st.booleans()})


@settings(deadline=None, max_examples=30)
@given(
    before=st.lists(st.tuples(drivers, drivers, values), min_size=3, max_size=3),
    after=st.lists(st.tuples(drivers, values), min_size=3, max_size=3),
)
def test_a_second_run_has_nothing_to_do(
    before: list[tuple[str | None, str | None, dict[str, t.Any]]],
    after: list[tuple[str | None, dict[str, t.Any]]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = machine_with(directory)
        for vf, (driver, override, state) in enumerate(before):
            machine.alter_vf("ens1f0", vf, **state)
            machine.write(f"{DEVICES}/{VFS[vf]}/driver_override", override or "")
            if driver:
                machine.bind(VFS[vf], driver)
        targets = [
            target(machine, vf, driver, **wanted) for vf, (driver, wanted) in enumerate(after)
        ]

        _isolation.apply(machine, planned(machine, *targets))

        assert not planned(machine, *targets)
        for item in targets:
            assert machine.driver(item.address) == item.driver
            state = machine.vf("ens1f0", item.vf)._asdict()
            assert {name: state[name] for name in item.values} == item.values
