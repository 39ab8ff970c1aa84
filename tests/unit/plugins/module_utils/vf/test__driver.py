# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import BlockedError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _driver
from ansible_collections.mergetb.sriov.plugins.module_utils.vf._driver import Binding, DriverChange
from ansible_collections.mergetb.sriov.tests.unit.counted import Counted
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    DEVICES,
    DRIVERS,
    PROBE,
    Event,
    Machine,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PF = "0000:01:00.0"
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", "04:70:00:00:00:10", numvfs=3)
    for driver in ("vfio-pci", "igbvf", "pci-stub", "pcieport"):
        machine.add_driver(driver)
    machine.log.clear()
    return machine


def planned(machine: Machine, *wanted: Binding) -> list[DriverChange]:
    return _driver.plan([_pci.read_device(machine, item.address) for item in wanted], wanted)


def bind(machine: Machine, *wanted: Binding) -> None:
    _driver.apply(machine, planned(machine, *wanted))


def check(machine: Machine, *wanted: Binding) -> None:
    devices = [_pci.read_device(machine, item.address) for item in wanted]
    _driver.check(machine, devices, wanted)


def override(machine: Machine, address: str) -> str | None:
    return _pci.read_device(machine, address).driver_override


def test_functions_are_named_by_address_or_by_vf(machine: Machine) -> None:
    assert _driver.resolve(
        machine,
        [
            {"address": VFS[0].upper(), "driver": "vfio-pci", "pf": None, "vf": None},
            {"pf": "ens1f0", "vf": 2, "driver": "vfio-pci"},
            {"pf": "ens1f0", "vf": 1, "driver": ""},
            {"pf": PF, "vf": 0},
        ],
    ) == [
        Binding(VFS[0], "vfio-pci"),
        Binding(VFS[2], "vfio-pci"),
        Binding(VFS[1], None),
        Binding(VFS[0], None),
    ]


def test_all_vfs_that_are_not_there_are_told(machine: Machine) -> None:
    with pytest.raises(SriovError) as caught:
        _driver.resolve(
            machine,
            [{"pf": PF, "vf": 3}, {"pf": PF, "vf": 0}, {"pf": PF, "vf": -1}, {"pf": "x", "vf": 0}],
        )

    text = str(caught.value)
    assert f"PF {PF} ({PF}) has no VF 3: it has 3 VFs; create them with mergetb" in text
    assert "has no VF -1" in text
    assert "'x'" in text
    assert "has no VF 0" not in text


def test_what_is_so_already_is_left_alone(machine: Machine) -> None:
    machine.bind(VFS[0], "vfio-pci")

    assert planned(machine, Binding(VFS[0], "vfio-pci"), Binding(VFS[1], None)) == []


def test_a_vf_without_driver_is_bound(machine: Machine) -> None:
    bind(machine, Binding(VFS[0], "vfio-pci"))

    assert machine.log == [
        Event("write", f"{DEVICES}/{VFS[0]}/driver_override", "vfio-pci\n"),
        Event("write", PROBE, VFS[0]),
    ]
    assert machine.driver(VFS[0]) == "vfio-pci"


def test_a_vf_changes_its_driver(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")

    bind(machine, Binding(VFS[0], "vfio-pci"))

    assert machine.log == [
        Event("write", f"{DEVICES}/{VFS[0]}/driver_override", "vfio-pci\n"),
        Event("write", f"{DEVICES}/{VFS[0]}/driver/unbind", VFS[0]),
        Event("write", PROBE, VFS[0]),
    ]
    assert machine.driver(VFS[0]) == "vfio-pci"


def test_a_vf_loses_its_driver_and_what_named_it(machine: Machine) -> None:
    bind(machine, Binding(VFS[0], "vfio-pci"))
    machine.log.clear()

    bind(machine, Binding(VFS[0], None))

    assert machine.log == [
        Event("write", f"{DEVICES}/{VFS[0]}/driver_override", "\n"),
        Event("write", f"{DEVICES}/{VFS[0]}/driver/unbind", VFS[0]),
    ]
    assert machine.driver(VFS[0]) is None
    assert override(machine, VFS[0]) is None


def test_an_override_that_is_left_over_goes(machine: Machine) -> None:
    """The next probe of whoever it is would bind the VF."""
    machine.write(f"{DEVICES}/{VFS[0]}/driver_override", "vfio-pci")

    bind(machine, Binding(VFS[0], None))

    assert override(machine, VFS[0]) is None
    assert machine.driver(VFS[0]) is None


def test_an_override_that_is_right_is_not_written_again(machine: Machine) -> None:
    machine.write(f"{DEVICES}/{VFS[0]}/driver_override", "vfio-pci")
    machine.log.clear()

    bind(machine, Binding(VFS[0], "vfio-pci"))

    assert machine.log == [Event("write", PROBE, VFS[0])]


def test_no_other_function_is_touched(machine: Machine) -> None:
    bind(machine, Binding(VFS[1], "vfio-pci"))

    assert [machine.driver(address) for address in VFS] == [None, "vfio-pci", None]
    assert not {"new_id", "bind"} & {event.subject.split("/")[-1] for event in machine.log}


def test_a_probe_that_binds_nothing_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reports success for it."""
    monkeypatch.setattr(_driver, "_BIND_SECONDS", 0)
    machine.unprobed.add(VFS[0])

    with pytest.raises(SriovError, match=f"{VFS[0]}: its driver is none 0 s after vfio-pci was"):
        bind(machine, Binding(VFS[0], "vfio-pci"))


def test_a_driver_that_does_not_let_go_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_driver, "_BIND_SECONDS", 0)
    machine.bind(VFS[0], "igbvf")
    monkeypatch.setattr(machine, "_unbind", lambda path, value: None)

    with pytest.raises(SriovError, match="its driver is igbvf 0 s after none was asked for"):
        bind(machine, Binding(VFS[0], None))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{DEVICES}/{VFS[0]}/driver_override", "driver_override"),
        (f"{DEVICES}/{VFS[0]}/driver/unbind", "unbind"),
        (PROBE, "drivers_probe"),
    ],
)
def test_a_write_that_fails_names_function_driver_and_file(
    machine: Machine, path: str, name: str
) -> None:
    machine.bind(VFS[0], "igbvf")
    machine.faults["write", path] = errno.EINVAL

    with pytest.raises(SriovError) as caught:
        bind(machine, Binding(VFS[0], "vfio-pci"), Binding(VFS[1], "vfio-pci"))

    assert str(caught.value).startswith(
        f"{VFS[0]}: driver vfio-pci could not be set: Invalid argument ("
    )
    assert name in str(caught.value)
    assert machine.driver(VFS[1]) is None


@pytest.mark.parametrize("before", [None, "igbvf", "vfio-pci"])
def test_of_each_function_everything_is_read_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """A guest's start waits for that: what a VF costs counts 127 times."""
    after = None if before == "vfio-pci" else "vfio-pci"
    for address in VFS if before else ():
        machine.bind(address, before or "")
        machine.write(f"{DEVICES}/{address}/driver_override", before or "")
    wanted = [Binding(address, after) for address in VFS]
    counted = Counted(machine, monkeypatch)

    devices = _pci.read_devices(machine, VFS)
    changes = _driver.plan(devices, wanted)
    _driver.check(machine, devices, wanted)
    _driver.refuse_used(machine, changes)
    _driver.apply(machine, changes)

    for address in VFS:
        accesses = counted.of(address)
        # These are changed after they were read, and the driver is read back.
        assert accesses.pop("driver_override") == 2
        assert accesses.pop("driver") == 2
        # Who uses it, and, if it blocks, who has it open although its name has gone by then.
        assert accesses.pop("vfio-dev", 0) == (2 if before else 0)
        assert set(accesses.values()) == {1}, accesses
        assert set(accesses) <= {"numa_node", "iommu_group", "virtfn0", "driver/unbind", "net"}


def block(machine: Machine, path: str) -> None:
    os.unlink(machine.path(path))
    os.mkfifo(machine.path(path))


def test_a_driver_that_waits_for_a_guest_is_not_waited_for_and_names_the_guest(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vfio-pci lets go when the last process has closed the VF, whose name is gone by then."""
    monkeypatch.setattr(_driver, "_BIND_SECONDS", 0.1)
    machine.vfio_cdev = True
    machine.bind(VFS[0], "vfio-pci")
    machine.bind(VFS[1], "igbvf")
    group = machine.link(f"{DEVICES}/{VFS[0]}/iommu_group")
    machine.add_process(7, "qemu", f"/dev/vfio/devices/vfio{group} (deleted)")
    block(machine, f"{DRIVERS}/vfio-pci/unbind")

    failed = _driver.attempt(
        machine, planned(machine, Binding(VFS[0], None), Binding(VFS[1], "pci-stub"))
    )

    assert failed == {
        VFS[0]: f"{VFS[0]}: driver none was not set within 0.1 s, and the kernel goes on trying: "
        f"process 7 (qemu) has /dev/vfio/devices/vfio{group} open: end that use, and run this again"
    }
    assert machine.driver(VFS[1]) == "pci-stub"


@pytest.mark.parametrize("path", [f"{DEVICES}/{VFS[0]}/driver_override", PROBE])
def test_no_write_for_a_driver_waits_for_ever(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(_driver, "_BIND_SECONDS", 0.1)
    changes = planned(machine, Binding(VFS[0], "vfio-pci"))
    block(machine, path)

    with pytest.raises(SriovError, match="not set within 0.1 s.*the kernel's log tells what it"):
        _driver.apply(machine, changes)


def test_many_that_block_do_not_take_the_time_of_all(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def write(path: str, value: str, *, seconds: float) -> None:
        limits.append(seconds)
        raise BlockedError(errno.ETIMEDOUT, "Connection timed out", path)

    changes = planned(machine, *(Binding(address, "vfio-pci") for address in VFS))
    monkeypatch.setattr(machine, "write", write)

    assert list(_driver.attempt(machine, changes)) == list(VFS)
    assert limits == [30, 5, 5]


def test_a_function_that_vanishes_is_an_error(machine: Machine) -> None:
    changes = planned(machine, Binding(VFS[0], "vfio-pci"))
    machine.write(f"{DEVICES}/{PF}/sriov_numvfs", "0")

    with pytest.raises(SriovError, match="No such file or directory"):
        _driver.apply(machine, changes)


def test_nothing_stands_against_a_vf_of_its_own_group(machine: Machine) -> None:
    check(machine, Binding(VFS[0], "vfio-pci"), Binding(VFS[1], "igbvf"), Binding(PF, None))


def test_a_function_twice(machine: Machine) -> None:
    wanted = [Binding(VFS[0], None), Binding(VFS[1], None), Binding(VFS[0], "vfio-pci")]

    with pytest.raises(SriovError, match=f"^{VFS[0]} is listed twice$"):
        check(machine, *wanted)


@pytest.mark.parametrize("driver", ["vfio-pci2", "..", ".", "../../devices", f"igb/{PF}", "a b"])
def test_a_driver_that_is_not_loaded(machine: Machine, driver: str) -> None:
    machine.put(f"{DRIVERS}/igb/{PF}/vendor", "")

    with pytest.raises(SriovError, match="is not loaded: load its module") as caught:
        check(machine, Binding(VFS[0], driver), Binding(VFS[1], driver))
    assert str(caught.value).count(f"the driver {driver!r} is not loaded") == 1


def test_a_driver_with_the_name_of_its_module(machine: Machine) -> None:
    machine.add_driver("vp-vdpa")

    with pytest.raises(
        SriovError, match="^the driver 'vp_vdpa' is not loaded: its name is vp-vdpa"
    ):
        check(machine, Binding(VFS[0], "vp_vdpa"))


def test_no_iommu(machine: Machine) -> None:
    machine.iommu = False
    machine.add_function("0000:02:00.0")

    with pytest.raises(SriovError, match="0000:02:00.0 is in no IOMMU group: enable the IOMMU"):
        check(machine, Binding("0000:02:00.0", "vfio-pci"))
    check(machine, Binding("0000:02:00.0", "igbvf"))


def shared_group(machine: Machine, *drivers: str | None) -> list[str]:
    """Functions of one IOMMU group with these drivers; the first is the one to be given away."""
    addresses = [f"0000:03:00.{number}" for number in range(len(drivers))]
    for address, driver in zip(addresses, drivers, strict=True):
        machine.add_function(address, group="77", driver=driver)
    return addresses


@pytest.mark.parametrize("wanted", ["vfio-pci", "mlx5_vfio_pci"])
def test_a_group_that_is_not_viable_names_what_blocks_it(machine: Machine, wanted: str) -> None:
    addresses = shared_group(machine, None, "igb", "vfio-pci", "nvme", None)
    machine.add_driver("mlx5_vfio_pci")

    with pytest.raises(SriovError) as caught:
        check(machine, Binding(addresses[0], wanted))

    assert str(caught.value).startswith(
        f"{addresses[0]} cannot be given to a guest: "
        f"{addresses[1]} (igb, network controller 8086:10c9), "
        f"{addresses[3]} (nvme, network controller 8086:10c9) in the same IOMMU group 77"
    )
    assert "ACS" in str(caught.value)


@pytest.mark.parametrize("driver", [None, "pci-stub", "pcieport", "vfio-pci", "mlx5_vfio_pci"])
def test_a_group_with_members_that_nobody_uses_is_viable(
    machine: Machine, driver: str | None
) -> None:
    addresses = shared_group(machine, None, driver)

    check(machine, Binding(addresses[0], "vfio-pci"))


def test_members_that_go_along_do_not_block(machine: Machine) -> None:
    addresses = shared_group(machine, "igb", "igb")

    check(machine, *(Binding(address, "vfio-pci") for address in addresses))


def test_a_group_blocked_for_several_is_told_once(machine: Machine) -> None:
    addresses = shared_group(machine, None, None, "igb")

    with pytest.raises(SriovError) as caught:
        check(machine, *(Binding(address, "vfio-pci") for address in addresses[:2]))
    assert str(caught.value).startswith(f"{addresses[0]}, {addresses[1]} cannot be given")
    assert str(caught.value).count("cannot be given") == 1


def test_all_that_stands_against_it_is_told(machine: Machine) -> None:
    addresses = shared_group(machine, None, "igb")
    machine.iommu = False
    machine.add_function("0000:02:00.0")

    with pytest.raises(SriovError) as caught:
        check(
            machine,
            Binding("0000:02:00.0", "vfio-pci"),
            Binding(addresses[0], "vfio-pci"),
            Binding(VFS[0], "nothing"),
            Binding(VFS[0], None),
        )
    for text in ("listed twice", "not loaded", "no IOMMU group", "cannot be given"):
        assert text in str(caught.value)


def test_a_function_in_use_is_not_taken_away(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")
    machine.netlink.set_up(machine.netlink.interfaces["eth1"].ifindex)
    machine.bind(VFS[1], "vfio-pci")
    group = machine.link(f"{DEVICES}/{VFS[1]}/iommu_group")
    machine.add_process(5, "qemu", f"/dev/vfio/{group}")
    changes = planned(machine, Binding(VFS[0], "vfio-pci"), Binding(VFS[1], None))

    with pytest.raises(SriovError) as caught:
        _driver.refuse_used(machine, changes)
    assert str(caught.value) == (
        f"in use: {VFS[0]}: interface eth1 is up; {VFS[1]}: process 5 (qemu) has /dev/vfio/{group} "
        "open. End that use first, or set force"
    )


def test_a_function_that_keeps_its_driver_is_not_asked_about(machine: Machine) -> None:
    machine.write(f"{DEVICES}/{VFS[2]}/driver_override", "vfio-pci")
    changes = [
        DriverChange(_pci.Device(VFS[0], "virtio_vdpa", None, None, None), "virtio_vdpa"),
        *planned(machine, Binding(VFS[1], "vfio-pci"), Binding(VFS[2], None)),
    ]

    _driver.refuse_used(machine, changes)


drivers = st.sampled_from([None, "vfio-pci", "igbvf", "pci-stub"])


@settings(deadline=None, max_examples=30)
@given(
    before=st.lists(st.tuples(drivers, drivers), min_size=1, max_size=3),
    data=st.data(),
)
def test_a_second_run_has_nothing_to_do(
    before: list[tuple[str | None, str | None]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(directory)
        machine.add_driver("vfio-pci")
        for name in ("igbvf", "pci-stub"):
            machine.add_driver(name)
        wanted = []
        for number, (driver, named) in enumerate(before):
            address = f"0000:03:00.{number}"
            machine.add_function(address, driver=driver)
            machine.write(f"{DEVICES}/{address}/driver_override", named or "")
            wanted.append(Binding(address, data.draw(drivers)))

        bind(machine, *wanted)

        assert planned(machine, *wanted) == []
        for item in wanted:
            assert machine.driver(item.address) == item.driver
            assert item.driver or override(machine, item.address) is None
