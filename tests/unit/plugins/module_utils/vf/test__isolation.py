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
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _isolation
from ansible_collections.mergetb.sriov.plugins.module_utils.vf._attributes import Vf
from ansible_collections.mergetb.sriov.plugins.module_utils.vf._isolation import Target
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
VALUES: dict[str, t.Any] = {"mac": "02:00:00:00:01:01", "vlan": 100, "spoofchk": True}


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
    index = machine.netlink.interfaces["ens1f0"].ifindex
    return Target(Vf("ens1f0", index, vf), VFS[vf], values or VALUES, driver)


def planned(machine: Machine, *targets: Target) -> list[_isolation.IsolationStep]:
    devices = {address: _pci.read_device(machine, address) for address in VFS}
    return _isolation.plan(targets, devices, machine.netlink.vfs)


def test_unbind_then_attributes_then_read_back_then_a_last_look_then_bind(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")

    _isolation.apply(machine, planned(machine, target(machine, 0), target(machine, 1)))

    paths = [event.subject if event.action == "write" else event.action for event in machine.log]
    assert paths == [
        f"{DEVICES}/{VFS[0]}/driver/unbind",
        "set_vf",
        "set_vf",
        "vf_states",
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
    changes = [(item.address, item.before, item.after) for item in (step.unbind, step.bind)]
    assert changes == [(VFS[0], "vfio-pci", None), (VFS[0], None, "vfio-pci")]


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
    assert re.match(
        "VF 0 of PF ens1f0: .*vlan 100.*former attributes are set again", failed[VFS[0]]
    )
    assert [machine.driver(address) for address in VFS] == [None, "vfio-pci", None]
    assert machine.vf("ens1f0", 0) == NEW_VF
    assert machine.vf("ens1f0", 1).mac == "02:00:00:00:01:02"


@pytest.mark.parametrize("fault", ["refused", "ignored"])
def test_nothing_is_set_while_a_driver_does_not_let_go(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(
        "ansible_collections.mergetb.sriov.plugins.module_utils.vf._driver._BIND_SECONDS", 0
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


def clear_isolation(machine: Machine, attribute: str) -> None:
    """A driver that forgets VLAN and spoof checking of a VF when *attribute* is set or refused."""

    def keep(vf: int, name: str, value: t.Any) -> t.Any:
        if name == attribute:
            machine.alter_vf("ens1f0", vf, vlan=0, spoofchk=False)
        return value

    machine.netlink.keep = keep


@pytest.mark.parametrize("dispensable", [False, True])
@pytest.mark.parametrize(
    ("attribute", "value"),
    [("max_tx_rate", 1000), ("link_state", "enable"), ("query_rss", True)],
)
def test_a_driver_that_forgets_the_vlan_over_another_attribute_gets_no_vf_bound(
    machine: Machine, attribute: str, value: t.Any, dispensable: bool
) -> None:
    machine.alter_vf("ens1f0", 0, query_rss=False)
    clear_isolation(machine, attribute)
    item = target(machine, 0)
    more = {attribute: value}
    item = (
        item._replace(optional=more)
        if dispensable
        else item._replace(values={**item.values, **more})
    )

    failed, _refused = _isolation.apply(machine, planned(machine, item, target(machine, 1)))

    assert "vlan 0" in failed[VFS[0]]
    assert [machine.driver(address) for address in VFS] == [None, "vfio-pci", None]


def test_a_driver_that_forgets_the_vlan_over_an_attribute_that_it_refuses(
    machine: Machine,
) -> None:
    def refuse_rate(vf: int, name: str, value: t.Any) -> int:
        if name == "max_tx_rate" and value:
            machine.alter_vf("ens1f0", vf, vlan=0)
            return errno.EOPNOTSUPP
        return 0

    machine.netlink.refuse = refuse_rate
    item = target(machine, 0)._replace(optional={"max_tx_rate": 5})

    failed, _refused = _isolation.apply(machine, planned(machine, item))

    assert "it has vlan 0 where 100 must be; it stays without driver" in failed[VFS[0]]
    assert machine.driver(VFS[0]) is None


def test_a_vf_whose_trust_cannot_be_taken_away_is_not_bound_as_one_that_goes_without(
    machine: Machine,
) -> None:
    machine.alter_vf("ens1f0", 0, trust=True)
    machine.netlink.refuse = lambda vf, name, value: errno.EOPNOTSUPP * (name == "trust")
    item = target(machine, 0)._replace(optional={"trust": False})

    failed, _refused = _isolation.apply(machine, planned(machine, item))

    assert "it has trust True where False must be" in failed[VFS[0]]
    assert machine.driver(VFS[0]) is None


ELSE = {
    "mac": "02:00:00:00:09:09",
    "vlan": 7,
    "qos": 5,
    "vlan_proto": "802.1ad",
    "spoofchk": False,
    "trust": True,
}


@pytest.mark.parametrize("attributes", ["as they were", "changed"])
@pytest.mark.parametrize("name", list(ELSE))
def test_what_isolates_and_changes_between_read_back_and_driver_leaves_no_driver(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, attributes: str
) -> None:
    """Also what was not asked for, and also of a VF whose attributes were right from the start."""
    if attributes == "as they were":
        machine.alter_vf("ens1f0", 0, **VALUES)
    steps = planned(machine, target(machine, 0), target(machine, 1))
    states = machine.netlink.vf_states
    last = []

    def interfere(ifindex: int) -> t.Any:
        last.append(ifindex)
        if len(last) == 2:
            machine.alter_vf("ens1f0", 0, **{name: ELSE[name]})
        return states(ifindex)

    monkeypatch.setattr(machine.netlink, "vf_states", interfere)

    failed, _refused = _isolation.apply(machine, steps)

    assert f"{name} {ELSE[name]} where" in failed[VFS[0]]
    assert "See which program or driver changes it" in failed[VFS[0]]
    assert [machine.driver(address) for address in VFS] == [None, "vfio-pci", None]


def test_one_look_at_each_pf_comes_right_before_the_drivers(machine: Machine) -> None:
    machine.add_pf("0000:02:00.0", "ens2f0", "04:70:00:00:00:20", numvfs=2)
    index = machine.netlink.interfaces["ens2f0"].ifindex
    for vf in range(3):
        machine.alter_vf("ens1f0", vf, **VALUES)
    other = Target(Vf("ens2f0", index, 1), "0000:02:10.2", {"vlan": 0}, "vfio-pci")
    targets = [*(target(machine, vf) for vf in range(3)), other]
    devices = {item.address: _pci.read_device(machine, item.address) for item in targets}
    steps = _isolation.plan(targets, devices, machine.netlink.vfs)
    machine.log.clear()

    assert not _isolation.apply(machine, steps).failed

    actions = [event.action for event in machine.log]
    assert actions == ["vf_states"] * 2 + ["write"] * 8


@pytest.mark.parametrize("error", [OSError(errno.ENODEV, "No such device"), SriovError("of 300")])
@pytest.mark.parametrize("turn", [1, 2])
def test_a_pf_that_goes_away_keeps_no_vf_of_another_from_its_driver(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception, turn: int
) -> None:
    machine.add_pf("0000:02:00.0", "ens2f0", "04:70:00:00:00:20", numvfs=2)
    index = machine.netlink.interfaces["ens2f0"].ifindex
    other = Target(Vf("ens2f0", index, 0), "0000:02:10.0", VALUES, "vfio-pci")
    targets = [target(machine, 0), other]
    devices = {item.address: _pci.read_device(machine, item.address) for item in targets}
    steps = _isolation.plan(targets, devices, machine.netlink.vfs)
    states = machine.netlink.vf_states
    asked = []

    def go(ifindex: int) -> t.Any:
        if ifindex == index:
            asked.append(ifindex)
            if len(asked) >= turn:
                raise error
        return states(ifindex)

    monkeypatch.setattr(machine.netlink, "vf_states", go)

    failed, _refused = _isolation.apply(machine, steps)

    assert list(failed) == ["0000:02:10.0"]
    assert str(error) in failed["0000:02:10.0"]
    assert machine.driver("0000:02:10.0") is None
    assert machine.driver(VFS[0]) == "vfio-pci"


@pytest.mark.parametrize("before", [True, False])
def test_a_pf_that_keeps_attributes_only_at_times_gets_no_vf_bound(
    machine: Machine, before: bool
) -> None:
    item = target(machine, 0) if before else target(machine, 0)._replace(values={})
    devices = {address: _pci.read_device(machine, address) for address in VFS}
    steps = _isolation.plan([item], devices, machine.netlink.vfs if before else {})
    if before:
        machine.alter_vf("ens1f0", 0, **VALUES)
        steps = [steps[0]._replace(attributes=None)]
        machine.netlink.without_attributes.add("ens1f0")

    failed, _refused = _isolation.apply(machine, steps)

    assert "keeps" in failed[VFS[0]]
    assert machine.driver(VFS[0]) is None


def test_a_pf_without_attributes_is_an_error_and_not_a_key_error(machine: Machine) -> None:
    devices = {address: _pci.read_device(machine, address) for address in VFS}

    with pytest.raises(SriovError, match="VF 0 of PF ens1f0: the driver of the PF keeps no attr"):
        _isolation.plan([target(machine, 0)], devices, {})


events = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([*ELSE.items(), ("link_state", "enable"), ("max_tx_rate", 9)]),
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(events, min_size=8, max_size=8),
    st.fixed_dictionaries(
        {}, optional={"max_tx_rate": st.just(5), "link_state": st.just("disable")}
    ),
)
def test_whatever_comes_between_no_vf_that_is_not_isolated_gets_a_driver(
    interference: list[list[tuple[int, tuple[str, t.Any]]]], optional: dict[str, t.Any]
) -> None:
    """Another program or the driver changes VFs at any request before the last look."""
    with tempfile.TemporaryDirectory() as directory:
        machine = machine_with(directory)
        targets = [target(machine, vf)._replace(optional=optional) for vf in range(3)]
        steps = planned(machine, *targets)
        turns = iter(interference)
        set_vfs, states, write = (
            machine.netlink.set_vfs,
            machine.netlink.vf_states,
            machine.write,
        )

        def interfere() -> None:
            for vf, (name, value) in next(turns, ()):
                machine.alter_vf("ens1f0", vf, **{name: value})

        def interfered_set(requests: t.Any) -> t.Any:
            interfere()
            return set_vfs(requests)

        def interfered_states(ifindex: int) -> t.Any:
            interfere()
            return states(ifindex)

        def checked_write(path: str, value: str, *, seconds: float = 60) -> None:
            if path == PROBE:
                state = machine.vf("ens1f0", VFS.index(value))._asdict()
                wanted = {**VALUES, "qos": 0, "vlan_proto": "802.1Q", "trust": False}
                assert {name: state[name] for name in wanted} == wanted
            write(path, value, seconds=seconds)

        machine.netlink.set_vfs = interfered_set
        machine.netlink.vf_states = interfered_states
        machine.write = checked_write

        failed, _refused = _isolation.apply(machine, steps)

        for address in VFS:
            assert machine.driver(address) == (None if address in failed else "vfio-pci")


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
            assert item.vf is not None
            assert machine.driver(item.address) == item.driver
            state = machine.vf("ens1f0", item.vf.number)._asdict()
            assert {name: state[name] for name in item.values} == item.values
