# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.vdpa import _devices, _state
from ansible_collections.mergetb.sriov.plugins.module_utils.vdpa._devices import Wanted
from ansible_collections.mergetb.sriov.tests.unit.fabricated import ledger_entry
from ansible_collections.mergetb.sriov.tests.unit.vdpa_machine import (
    BUS,
    SIMULATOR,
    VdpaMachine,
)

VF = "0000:01:10.0"
AUTOPROBE = f"{BUS}/drivers_autoprobe"


@pytest.fixture
def machine(tmp_path: Path) -> VdpaMachine:
    return VdpaMachine(tmp_path)


def new(
    name: str,
    management_device: str | None = SIMULATOR,
    driver: str | None = "vhost_vdpa",
    **values: t.Any,
) -> Wanted:
    return Wanted(name, management_device, values, driver)


def settle(machine: VdpaMachine, *wanted: Wanted, force: bool = False) -> _devices.VdpaPlan:
    """What the module does."""
    found = _state.devices(machine)
    steps = _devices.plan(wanted, found)
    _devices.check(machine, wanted, steps, found, _state.management_devices(machine) or {})
    if not force:
        _devices.refuse_used(machine, steps)
    _devices.apply(machine, steps)
    return steps


def refusal(machine: VdpaMachine, *wanted: Wanted, force: bool = False) -> str:
    with pytest.raises(SriovError) as caught:
        settle(machine, *wanted, force=force)
    assert machine.read(AUTOPROBE) == "1"
    return str(caught.value)


def test_a_device_is_bound_last_and_by_nobody_else(machine: VdpaMachine) -> None:
    machine.put(f"{BUS}/drivers/virtio_vdpa/unbind", "")
    machine.log.clear()
    settle(machine, new("vd0"), new("vd1", driver="virtio_vdpa"), new("vd2", driver=None))

    assert [(event.action, event.subject, event.value) for event in machine.writes] == [
        ("write", AUTOPROBE, "0"),
        ("make", "vd0", None),
        ("make", "vd1", None),
        ("make", "vd2", None),
        ("write", f"{BUS}/devices/vd0/driver_override", "vhost_vdpa"),
        ("write", f"{BUS}/drivers_probe", "vd0"),
        ("write", f"{BUS}/devices/vd1/driver_override", "virtio_vdpa"),
        ("write", f"{BUS}/drivers_probe", "vd1"),
        ("write", f"{BUS}/devices/vd2/driver_override", "none"),
        ("write", AUTOPROBE, "1"),
    ]
    drivers = [machine.vdpa_driver(name) for name in ("vd0", "vd1", "vd2")]
    assert drivers == ["vhost_vdpa", "virtio_vdpa", None]


def test_a_bus_that_probes_nothing_stays_so(machine: VdpaMachine) -> None:
    machine.put(AUTOPROBE, "0\n")
    settle(machine, new("vd0"))
    assert machine.read(AUTOPROBE) == "0"


def test_another_driver_and_other_attributes(machine: VdpaMachine) -> None:
    machine.put(f"{BUS}/drivers/virtio_vdpa/unbind", "")
    settle(machine, new("vd0", mtu=1400), new("vd1"), new("vd2"))

    steps = settle(
        machine, new("vd0", mtu=1300), new("vd1", driver="virtio_vdpa"), new("vd2", None)
    )

    assert [device.name for device in steps.delete] == ["vd0", "vd2"]
    assert [item.name for item in steps.add] == ["vd0"]
    assert [device.name for device, _item in steps.rebind] == ["vd1"]
    found = _state.devices(machine)
    assert {name: (item.mtu, item.driver) for name, item in found.items()} == {
        "vd0": (1300, "vhost_vdpa"),
        "vd1": (1500, "virtio_vdpa"),
    }


def test_a_killed_run_is_finished(machine: VdpaMachine) -> None:
    """It left a device without driver."""
    settle(machine, new("vd0", driver=None))
    settle(machine, new("vd0"), new("vd1"))
    assert [machine.vdpa_driver(name) for name in ("vd0", "vd1")] == ["vhost_vdpa"] * 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_vqp": 1}, "vd0: vdpasim_net takes no max_vqp, only mac, mtu, features"),
        ({"features": 1 << 22}, "does not offer the features 0x400000, only some of 0x308830028"),
    ],
)
def test_an_attribute_that_is_not_taken_is_refused_before_the_call(
    machine: VdpaMachine, values: dict[str, t.Any], message: str
) -> None:
    machine.log.clear()
    assert message in refusal(machine, new("vd1"), new("vd0", **values))
    assert machine.writes == []


def test_a_driver_that_nobody_knows_names_the_attribute_itself(
    machine: VdpaMachine,
) -> None:
    machine.management["pci/0000:01:10.0"] = 1 << 13
    machine.add_function(VF, driver="octep_vdpa")

    message = refusal(
        machine, new("vd1"), new("vd0", f"pci/{VF}", mac="02:00:00:00:00:01", mtu=1400)
    )

    assert message == (
        f"vd0 could not be made on pci/{VF}: its driver takes no mac; it takes mtu. None of the "
        "others was made"
    )
    assert machine.vdpa == {}


def test_a_second_device_on_one_function_is_refused(machine: VdpaMachine) -> None:
    machine.add_management(VF)
    assert f"vd1: pci/{VF} has the device vd0 already" in refusal(
        machine, new("vd0", f"pci/{VF}"), new("vd1", f"pci/{VF}")
    )
    settle(machine, new("vd0", f"pci/{VF}"))
    assert f"vd1: pci/{VF} has the device vd0 already" in refusal(machine, new("vd1", f"pci/{VF}"))
    settle(machine, new("vd0", None), new("vd1", f"pci/{VF}"))
    assert list(machine.vdpa) == ["vd1"]


def test_a_management_device_that_is_not_there(machine: VdpaMachine) -> None:
    machine.add_function(VF, driver="igbvf")
    message = refusal(machine, new("vd0", f"pci/{VF}"), new("vd1", "nix"))
    assert "the driver of this function is igbvf; give it its vendor's vDPA driver" in message
    assert "vd1: there is no management device nix: there are vdpasim_net" in message


def test_a_driver_that_is_not_loaded_and_a_name_twice(machine: VdpaMachine) -> None:
    message = refusal(machine, new("vd0", driver="virtio_vdpa"), new("vd0"))
    assert "vd0 is listed twice" in message
    assert "virtio_vdpa is not loaded: load its module (modprobe virtio_vdpa)" in message


def test_an_open_device_stays_and_its_user_is_named(machine: VdpaMachine) -> None:
    settle(machine, new("vd0"))
    machine.add_process(4711, "qemu-system-x86", "/dev/vhost-vdpa-0")
    machine.opened.add("vd0")
    user = "process 4711 (qemu-system-x86) has /dev/vhost-vdpa-0 open"

    for wanted in (new("vd0", None), new("vd0", mtu=1300), new("vd0", driver=None)):
        assert refusal(machine, wanted) == f"in use: vd0: {user}. End that use first, or set force"
    forced = refusal(machine, new("vd0", None), force=True)
    assert forced.startswith("vd0 was not removed within 30 s, and the kernel goes on trying")
    assert user in forced


def test_the_user_is_named_after_the_file_lost_its_name(machine: VdpaMachine) -> None:
    settle(machine, new("vd0"))
    machine.add_process(4711, "qemu", "/dev/vhost-vdpa-0 (deleted)")
    machine.opened.add("vd0")
    assert "process 4711 (qemu) has /dev/vhost-vdpa-0 open" in refusal(machine, new("vd0", None))


def test_an_interface_that_is_up_keeps_its_device(machine: VdpaMachine) -> None:
    machine.put(f"{BUS}/drivers/virtio_vdpa/unbind", "")
    settle(machine, new("vd0", driver="virtio_vdpa"))
    machine.add_interface("eth9", mac="02:00:00:00:00:01", up=True)
    machine.put(f"{BUS}/devices/vd0/virtio0/net/eth9/mtu", "")
    assert "in use: vd0: interface eth9 is up" in refusal(machine, new("vd0", None))


def test_a_vf_that_a_materialization_holds_keeps_its_device(machine: VdpaMachine) -> None:
    machine.add_management(VF)
    settle(machine, new("vd0", f"pci/{VF}"))
    _ledger.write(machine, {"one.hello.demo": [ledger_entry(address=VF)]})
    assert "vd0: materialization one.hello.demo holds its VF" in refusal(machine, new("vd0", None))


def test_what_is_not_as_asked_is_removed_again(machine: VdpaMachine) -> None:
    machine.keep = lambda name, number, value: bytes(6) if number == 10 else value
    message = refusal(machine, new("vd0"), new("vd1", mac="02:00:00:00:00:01"))
    assert "vd1: the kernel accepted mac 02:00:00:00:00:01 but reports mac 00:00:00" in message
    assert machine.vdpa == {}


def test_a_driver_that_does_not_take_the_device(machine: VdpaMachine) -> None:
    machine.unprobed.add("vd1")
    message = refusal(machine, new("vd0"), new("vd1"))
    assert "vd1: driver vhost_vdpa could not be set: no driver took it" in message
    assert machine.vdpa == {}


def test_a_refusal_makes_none(machine: VdpaMachine) -> None:
    machine.refuse = lambda name: errno.EPERM * (name == "vd1")
    assert "root is needed" in refusal(machine, new("vd0"), new("vd1"))
    machine.refuse = lambda name: errno.ENOSPC * (name == "vd1")
    assert "vd1 could not be made on vdpasim_net: No space left" in refusal(
        machine, new("vd0"), new("vd1")
    )
    assert machine.vdpa == {}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (new("../vd0"), "'../vd0' is no name of a device"),
        (new("vd0", mac="02:00"), "vd0: mac '02:00' is not six hexadecimal bytes"),
        (new("vd0", mac="01:00:00:00:00:01"), "mac 01:00:00:00:00:01 is a multicast address"),
        (new("vd0", mtu=20), "vd0: mtu 20 is not within 68 to 65535"),
        (new("vd0", max_vqp=0), "vd0: max_vqp 0 is not within 1 to 32768"),
        (new("vd0", features=-1), "vd0: features -1 is not within 0"),
    ],
)
def test_values_that_no_kernel_takes(item: Wanted, message: str) -> None:
    (problem,) = _devices.value_problems(item)
    assert message in problem


class LosingMachine(VdpaMachine):
    """It loses `vd0` while the call goes on, as when its VF is destroyed."""

    def generic_in_turn(
        self, requests: t.Sequence[t.Any], *, seconds: float = 120
    ) -> tuple[int, Exception | None]:
        answer = super().generic_in_turn(requests, seconds=seconds)
        if requests and requests[0].command == 3:
            super()._delete("vd0")
        return answer

    def _delete(self, name: str) -> Exception | None:
        if name not in self.vdpa:
            return OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return super()._delete(name)


def test_a_device_that_is_lost_leaves_no_other(tmp_path: Path) -> None:
    machine = LosingMachine(tmp_path)
    refusal(machine, new("vd0"), new("vd1"), new("vd2"))
    assert machine.vdpa == {}


def test_of_two_devices_on_a_function_none_is_removed(machine: VdpaMachine) -> None:
    machine.add_management(VF)
    settle(machine, new("vd0", f"pci/{VF}"))
    # The tool `vdpa` can make a second one.
    machine.generic_in_turn([_state.new_request("vd1", f"pci/{VF}", {})])
    assert "vd1" in refusal(machine, new("vd0", None))
    assert set(machine.vdpa) == {"vd0", "vd1"}


def test_the_device_of_a_held_vf_stays_after_its_bus_was_renumbered(machine: VdpaMachine) -> None:
    machine.add_pf("0000:01:00.0", "ens1f0", "0c:42:a1:00:00:10", numvfs=1, vf_addresses=[VF])
    machine.management[f"pci/{VF}"] = 1 << 20
    settle(machine, new("vd0", f"pci/{VF}"))
    entry = ledger_entry(node="alpha", nic="eth0", address="0000:41:10.0", vf=0)
    entry = entry._replace(pf_address="0000:41:00.0", pf_mac="0c:42:a1:00:00:10")
    _ledger.write(machine, {"one.hello.demo": [entry]})
    assert "one.hello.demo" in refusal(machine, new("vd0", None))


def test_an_attribute_needs_its_feature(machine: VdpaMachine) -> None:
    text = refusal(machine, new("vd0", mac="02:00:00:00:00:01", features=0x300000000))
    assert "mac needs the virtio feature 0x20" in text
