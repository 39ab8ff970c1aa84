# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _usage
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine, ledger_entry

VFS = ("0000:01:10.0", "0000:01:10.2")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf("0000:01:00.0", "ens1f0", "04:70:00:00:00:10", numvfs=2)
    machine.add_process(1, "systemd", "/dev/null")
    machine.add_process(42, "kworker")
    machine.put("/proc/meminfo", "")
    return machine


def group(machine: Machine, address: str) -> str:
    return machine.link(f"/sys/bus/pci/devices/{address}/iommu_group") or ""


def test_a_vf_without_driver_is_nobodys(machine: Machine) -> None:
    machine.add_process(7, "qemu", f"/dev/vfio/{group(machine, VFS[0])}")

    assert _usage.holders(machine, VFS) == {}


def test_a_materialization_holds_a_vf_also_before_its_guest_runs(machine: Machine) -> None:
    entries = [
        ledger_entry(vf=1),
        ledger_entry(nic="eth2", vf=2),
        ledger_entry(nic="eth3", pf_mac="04:70:00:00:00:99"),
    ]
    _ledger.write(machine, {"one.hello.demo": entries})

    assert _usage.holders(machine, VFS) == {
        VFS[1]: ["materialization one.hello.demo holds it for alpha.eth1"]
    }
    assert _usage.holders(machine, VFS, own=["one.hello.demo"]) == {}


def test_a_function_that_is_not_there(machine: Machine) -> None:
    with pytest.raises(SriovError, match="there is no PCI device 0000:09:00.0"):
        _usage.holders(machine, ["0000:09:00.0"])


@pytest.mark.parametrize("driver", ["vfio-pci", "mlx5_vfio_pci"])
def test_a_guest_holds_the_group(machine: Machine, driver: str) -> None:
    for address in VFS:
        machine.bind(address, driver)
    path = f"/dev/vfio/{group(machine, VFS[1])}"
    machine.add_process(4711, "qemu-system-x86", "/dev/vfio/vfio", path, path)

    assert _usage.holders(machine, VFS) == {
        VFS[1]: [f"process 4711 (qemu-system-x86) has {path} open"]
    }


def test_a_guest_holds_the_character_device(machine: Machine) -> None:
    machine.vfio_cdev = True
    for address in VFS:
        machine.bind(address, "vfio-pci")
    [name] = machine.names(f"/sys/bus/pci/devices/{VFS[0]}/vfio-dev")
    machine.add_process(4711, "qemu", f"/dev/vfio/devices/{name}")
    machine.add_process(4712, "qemu", f"/dev/vfio/{group(machine, VFS[0])}")

    assert _usage.holders(machine, VFS) == {
        VFS[0]: [
            f"process 4711 (qemu) has /dev/vfio/devices/{name} open",
            f"process 4712 (qemu) has /dev/vfio/{group(machine, VFS[0])} open",
        ]
    }


def test_a_variant_driver_is_known_by_its_character_device(machine: Machine) -> None:
    """The name of a driver need not tell that it serves VFIO."""
    machine.bind(VFS[0], "nvgrace_gpu")
    machine.put(f"/sys/bus/pci/devices/{VFS[0]}/vfio-dev/vfio3/dev", "")

    assert _usage.holders(machine, VFS) == {}
    machine.add_process(5, "qemu", "/dev/vfio/devices/vfio3")
    assert list(_usage.holders(machine, VFS)) == [VFS[0]]


def test_the_members_of_one_group_are_held_together(machine: Machine) -> None:
    for address in ("0000:02:00.0", "0000:02:00.1"):
        machine.add_function(address, group="99", driver="vfio-pci")
    machine.add_process(8, "qemu", "/dev/vfio/99")

    assert _usage.holders(machine, ["0000:02:00.0", "0000:02:00.1"]) == {
        address: ["process 8 (qemu) has /dev/vfio/99 open"]
        for address in ("0000:02:00.0", "0000:02:00.1")
    }


def test_vfio_without_a_group_is_taken_for_used(machine: Machine) -> None:
    machine.iommu = False
    machine.add_function("0000:02:00.0", driver="vfio-pci")

    assert list(_usage.holders(machine, ["0000:02:00.0"])) == ["0000:02:00.0"]


def test_an_interface_of_the_host(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")
    [name] = machine.names(f"/sys/bus/pci/devices/{VFS[0]}/net")
    assert _usage.holders(machine, VFS) == {}, "an interface that is down serves nobody"

    machine.netlink.set_up(machine.netlink.interfaces[name].ifindex)
    assert _usage.holders(machine, VFS) == {VFS[0]: [f"interface {name} is up"]}


@pytest.mark.parametrize("up", [False, True])
def test_a_member_of_a_bond_or_bridge(machine: Machine, up: bool) -> None:
    machine.add_function("0000:02:00.0", driver="ixgbevf")
    machine.add_interface("eth8", "0000:02:00.0", mac="02:00:00:00:00:08", uppers=["bond0"], up=up)

    assert _usage.holders(machine, ["0000:02:00.0"]) == {
        "0000:02:00.0": ["interface eth8 is part of bond0"]
    }


@pytest.mark.parametrize("driver", ["iavf", "virtio_vdpa"])
def test_a_function_whose_interface_is_elsewhere(machine: Machine, driver: str) -> None:
    machine.bind(VFS[0], driver)

    [text] = _usage.holders(machine, VFS)[VFS[0]]
    assert text.startswith(f"driver {driver} has it without a network interface here")
    assert "another network namespace" in text


def test_an_address_on_an_interface_that_is_down(machine: Machine) -> None:
    machine.bind(VFS[0], "igbvf")
    [name] = machine.names(f"/sys/bus/pci/devices/{VFS[0]}/net")
    machine.netlink.ips[machine.netlink.interfaces[name].ifindex] = ["10.0.0.1/24"]

    assert _usage.holders(machine, VFS) == {VFS[0]: [f"interface {name} has 10.0.0.1/24"]}


def test_a_vdpa_device(machine: Machine) -> None:
    machine.bind(VFS[0], "mlx5_core")
    machine.put(f"/sys/bus/pci/devices/{VFS[0]}/vd-of-alpha/driver_override", "")
    machine.put("/sys/bus/vdpa/devices/vd-of-alpha/driver_override", "")

    assert _usage.holders(machine, VFS) == {VFS[0]: ["the vDPA device vd-of-alpha is on it"]}


@pytest.mark.parametrize(
    ("words", "guest"),
    [
        (["qemu", "-name", "guest=alpha,debug-threads=on", "-S"], ", guest alpha"),
        (["qemu", "-name", "beta"], ", guest beta"),
        (["qemu", "-S"], ""),
        (["qemu", "-name"], ""),
    ],
)
def test_a_guest_is_named(machine: Machine, words: list[str], guest: str) -> None:
    machine.bind(VFS[0], "vfio-pci")
    path = f"/dev/vfio/{group(machine, VFS[0])}"
    machine.add_process(4711, "qemu", path)
    machine.put("/proc/4711/cmdline", "\0".join(words))

    assert _usage.holders(machine, VFS) == {VFS[0]: [f"process 4711 (qemu{guest}) has {path} open"]}


def test_a_process_that_ends_meanwhile_holds_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.bind(VFS[0], "vfio-pci")
    path = f"/dev/vfio/{group(machine, VFS[0])}"
    machine.add_process(6, "ends", path)
    machine.add_process(7, "stays", path)
    machine.faults["read", "/proc/6/comm"] = errno.ESRCH

    assert _usage.holders(machine, VFS) == {VFS[0]: [f"process 7 (stays) has {path} open"]}


@pytest.mark.parametrize("name", ["(udev-worker)", "systemd-udevd"])
def test_udev_is_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It opens each new device for a moment, as a run on a real kernel has met."""
    machine.bind(VFS[0], "vfio-pci")
    path = f"/dev/vfio/{group(machine, VFS[0])}"
    machine.add_process(8, name, path)
    read = machine.read

    def let_go(asked: str) -> str | None:
        text = read(asked)
        if asked == "/proc/8/comm":
            shutil.rmtree(machine.path("/proc/8"))
        return text

    monkeypatch.setattr(machine, "read", let_go)
    assert _usage.holders(machine, VFS) == {}


def test_udev_that_does_not_let_go_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_usage, "_UDEV_SECONDS", 0)
    machine.bind(VFS[0], "vfio-pci")
    path = f"/dev/vfio/{group(machine, VFS[0])}"
    machine.add_process(8, "(udev-worker)", path)

    assert _usage.holders(machine, VFS) == {VFS[0]: [f"process 8 ((udev-worker)) has {path} open"]}


def test_what_cannot_be_seen_is_not_taken_for_unused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.bind(VFS[0], "vfio-pci")
    names = machine.names

    def hidden(path: str) -> list[str]:
        if path == "/proc/42/fd":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return names(path)

    monkeypatch.setattr(machine, "names", hidden)

    with pytest.raises(SriovError, match="what process 42 has open cannot be read.*run as root"):
        _usage.holders(machine, VFS)


@pytest.mark.parametrize("driver", ["igbvf", "vfio-pci"])
def test_what_all_vfs_share_is_read_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    machine.add_pf("0000:03:00.0", "ens3f0", "04:70:00:00:00:30", numvfs=7)
    vfs = [machine.link(f"/sys/bus/pci/devices/0000:03:00.0/virtfn{vf}") or "" for vf in range(7)]
    entries = [ledger_entry(pf_mac="04:70:00:00:00:30", vf=vf) for vf in range(7)]
    _ledger.write(machine, {"one.hello.demo": entries, "two.hello.demo": [ledger_entry()]})
    for address in vfs:
        machine.bind(address, driver)
    dumps: list[str] = []
    listings: list[str] = []
    followed: list[str] = []
    links, names, target = machine.netlink.links, machine.names, machine.target

    def dump() -> t.Any:
        dumps.append("links")
        return links()

    def listing(path: str) -> list[str]:
        listings.append(path)
        return names(path)

    def following(path: str) -> str | None:
        followed.append(path)
        return target(path)

    monkeypatch.setattr(machine.netlink, "links", dump)
    monkeypatch.setattr(machine, "names", listing)
    monkeypatch.setattr(machine, "target", following)

    assert set(_usage.holders(machine, vfs)) == set(vfs)
    # One for the ledger's claims, and one for what the kernel has.
    assert len(dumps) == (2 if driver == "igbvf" else 1)
    assert listings.count("/proc") == (0 if driver == "igbvf" else 1)
    assert followed.count("/sys/bus/pci/devices/0000:03:00.0/virtfn6") == 1


def test_a_real_process_is_found(machine: Machine) -> None:
    """This process, with a file of the test's in the place of VFIO's."""
    machine.bind(VFS[0], "vfio-pci")
    proc = Path(machine.path(f"/proc/{os.getpid()}"))
    proc.symlink_to(f"/proc/{os.getpid()}")
    file = Path(machine.path("/dev/vfio/1"))
    file.parent.mkdir(parents=True)
    file.touch()
    comm = Path("/proc/self/comm").read_text().strip()

    with file.open():
        found = list(_usage._open_files(machine, [str(file)]))
    assert found == [(str(file), comm, f"process {os.getpid()} ({comm})")]
    assert list(_usage._open_files(machine, [str(file)])) == []
