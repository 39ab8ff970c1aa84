# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _numvfs
from ansible_collections.mergetb.sriov.plugins.module_utils.vf._numvfs import VfCount
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, Event, Machine
from hypothesis import given, settings
from hypothesis import strategies as st

PF = "0000:01:00.0"
MAC = "04:70:00:00:00:10"
NUMVFS = f"{DEVICES}/{PF}/sriov_numvfs"
AUTOPROBE = f"{DEVICES}/{PF}/sriov_drivers_autoprobe"


def machine_with(directory: str | Path, **pf: t.Any) -> Machine:
    machine = Machine(directory)
    machine.add_pf(PF, "ens1f0", MAC, **pf)
    machine.log.clear()
    return machine


def refuse_used(machine: Machine, count: int) -> None:
    plan = _numvfs.plan_host(machine, [VfCount(PF, count)])
    _numvfs.refuse(_numvfs.in_use(machine, plan))


def bring(machine: Machine, count: int) -> None:
    [change] = _numvfs.plan_all(machine, [VfCount(PF, count)])
    _numvfs.apply(machine, change)


def test_an_equal_count_writes_nothing(tmp_path: Path) -> None:
    """Some drivers answer EBUSY to the count that they have already."""
    machine = machine_with(tmp_path, numvfs=4)

    [change] = _numvfs.plan_all(machine, [VfCount(MAC, 4)])
    assert change.steps == ()
    _numvfs.apply(machine, change)
    assert machine.log == []


def test_the_first_vfs(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, autoprobe=True, up=False)

    bring(machine, 7)

    assert machine.log == [
        Event("set_up", "ens1f0"),
        Event("write", AUTOPROBE, "0"),
        Event("write", NUMVFS, "7"),
    ]
    vfs = _pci.read_pf(machine, PF).vfs
    assert len(vfs) == 7
    assert {machine.driver(address) for address in vfs} == {None}


@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 2)])
def test_another_count_goes_by_way_of_0(tmp_path: Path, before: int, after: int) -> None:
    machine = machine_with(tmp_path, numvfs=before)

    bring(machine, after)

    assert machine.log == [Event("write", NUMVFS, "0"), Event("write", NUMVFS, str(after))]
    assert len(_pci.read_pf(machine, PF).vfs) == after


def test_no_vfs_need_neither_link_nor_autoprobe(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, numvfs=3, autoprobe=True, up=False)

    bring(machine, 0)

    assert machine.log == [Event("write", NUMVFS, "0")]
    assert _pci.read_pf(machine, PF).vfs == ()


def test_a_link_that_is_down_is_set_up_for_vfs_that_are_there(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, numvfs=3, up=False)

    bring(machine, 3)

    assert machine.log == [Event("set_up", "ens1f0")]


def test_a_pf_without_network_interface(tmp_path: Path) -> None:
    """An NVMe controller has VFs as well, and no link that could be up."""
    machine = Machine(tmp_path)
    machine.add_pf(PF, None, MAC, driver="nvme")
    machine.log.clear()

    bring(machine, 2)

    assert machine.log == [Event("write", NUMVFS, "2")]
    assert _numvfs.plan_all(machine, [VfCount(PF, 2)])[0].steps == ()


@settings(deadline=None, max_examples=30)
@given(
    numvfs=st.integers(0, 7),
    wanted=st.integers(0, 7),
    autoprobe=st.booleans(),
    up=st.booleans(),
)
def test_a_second_run_has_nothing_to_do(
    numvfs: int, wanted: int, autoprobe: bool, up: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = machine_with(directory, numvfs=numvfs, autoprobe=autoprobe, up=up)

        bring(machine, wanted)

        assert _numvfs.plan_all(machine, [VfCount(PF, wanted)])[0].steps == ()
        assert len(_pci.read_pf(machine, PF).vfs) == wanted


PLAIN = _pci.PF(PF, "ens1f0", MAC, "igb", 0, 7, False, ())


@pytest.mark.parametrize(
    ("pf", "numvfs", "text"),
    [
        (PLAIN._replace(driver=None), 1, "has no driver: load the driver of the card"),
        (PLAIN._replace(totalvfs=None), 1, "offers no VFs: its driver igb .*SRIOV_EN"),
        (PLAIN._replace(numvfs=None), 1, "offers no VFs: its driver igb .*SRIOV_EN"),
        (PLAIN, -1, "cannot have -1 VFs"),
        (PLAIN, 8, r"can have 7 VFs \(sriov_totalvfs\), 8 are wanted: lower the count"),
        (PLAIN._replace(totalvfs=0), 1, "can have 0 VFs"),
    ],
)
def test_what_cannot_be_planned(pf: _pci.PF, numvfs: int, text: str) -> None:
    with pytest.raises(SriovError, match=rf"PF ens1f0 \({PF}\) {text}"):
        _numvfs.plan(pf, True, VfCount("ens1f0", numvfs))


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    machine = machine_with(tmp_path)
    machine.add_pf("0000:01:00.1", "ens1f1", "04:70:00:00:00:11")
    machine.log.clear()

    with pytest.raises(SriovError) as caught:
        _numvfs.plan_all(
            machine,
            [VfCount("ens9", 1), VfCount("ens1f1", 8), VfCount(PF, 1), VfCount(MAC, 2)],
        )

    text = str(caught.value)
    assert text.startswith("no network interface of this host is 'ens9'")
    assert "; PF ens1f1 (0000:01:00.1) can have 7 VFs (sriov_totalvfs), 8 are wanted" in text
    assert text.endswith(f"; PF {PF} is listed twice")
    assert machine.log == []


def test_used_vfs_are_not_destroyed(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, numvfs=3)
    machine.bind("0000:01:10.4", "vfio-pci")
    group = machine.link(f"{DEVICES}/0000:01:10.4/iommu_group")
    machine.add_process(77, "qemu", f"/dev/vfio/{group}")
    machine.bind("0000:01:10.0", "virtio_vdpa")

    with pytest.raises(SriovError) as caught:
        refuse_used(machine, 0)

    assert f"VF 0 (0000:01:10.0) of PF {PF}: driver virtio_vdpa has it" in str(caught.value)
    assert f"VF 2 (0000:01:10.4) of PF {PF}: process 77 (qemu)" in str(caught.value)
    assert "VF 1" not in str(caught.value)
    assert str(caught.value).endswith("Free them first, or set force (in the role: sriov_force)")
    assert machine.log == []
    refuse_used(machine, 3)


def test_used_vfs_may_stay(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, numvfs=1, autoprobe=True, up=False)
    machine.alter_link("eth1", up=True)

    changes = _numvfs.plan_all(machine, [VfCount(PF, 1)])

    assert changes[0].steps == ("link up", "sriov_drivers_autoprobe 0")
    refuse_used(machine, 1)


def test_unused_vfs_may_go(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, numvfs=3)
    machine.bind("0000:01:10.4", "vfio-pci")

    refuse_used(machine, 5)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EBUSY, "another program"),
        (errno.ENOMEM, "pci=realloc"),
        (errno.ENOMEM, "no bus number"),
        (errno.ENOSPC, "no MSI-X vectors (or queues) left for so many VFs"),
        (errno.ENOSPC, "Lower the count; or leave it more"),
        (errno.ERANGE, "raise the number in the card's firmware"),
        (errno.ENOENT, "load the vendor's PF driver"),
        (errno.ENOSYS, "module parameters"),
        (errno.EOPNOTSUPP, "present mode"),
        (errno.EIO, "see the kernel's log"),
        (errno.ETIMEDOUT, "the device or its firmware did not answer the driver"),
        (errno.EACCES, "root is needed"),
        (errno.EPERM, "CAP_NET_ADMIN"),
        (errno.E2BIG, "see the kernel's log"),
    ],
)
def test_each_errno_has_its_remedy(tmp_path: Path, number: int, remedy: str) -> None:
    machine = machine_with(tmp_path)
    machine.faults["write", NUMVFS] = number

    with pytest.raises(SriovError) as caught:
        bring(machine, 4)

    assert str(caught.value).startswith(f"PF {PF}: sriov_numvfs 4 failed: {os.strerror(number)}: ")
    assert remedy in str(caught.value)


def test_a_failure_of_another_step_is_told_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_with(tmp_path, autoprobe=True, up=False)
    machine.faults["write", AUTOPROBE] = errno.EACCES

    with pytest.raises(SriovError, match="sriov_drivers_autoprobe 0 failed: .*root is needed"):
        bring(machine, 4)

    def refuse(index: int) -> None:
        raise OSError(errno.EPERM, "")

    monkeypatch.setattr(machine.netlink, "set_up", refuse)
    machine.alter_link("ens1f0", up=False)
    with pytest.raises(SriovError, match="link up failed: .*CAP_NET_ADMIN"):
        bring(machine, 4)
    assert _pci.read_pf(machine, PF).vfs == ()


def test_a_write_that_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = machine_with(tmp_path)
    os.unlink(machine.path(NUMVFS))
    os.mkfifo(machine.path(NUMVFS))
    change = _numvfs.VfCountChange(
        _pci.PF(PF, None, None, "i40e", 0, 7, False, ()), 4, ("sriov_numvfs 4",)
    )
    monkeypatch.setattr(_numvfs, "_WRITE_SECONDS", 0)

    with pytest.raises(SriovError, match="the write still blocks in the kernel"):
        _numvfs.apply(machine, change)

    used = [f"VF 0 of PF {PF}: process 77 (qemu) has /dev/vfio/12 open"]
    with pytest.raises(SriovError, match=r"waits until all .* end these first: VF 0 .*\(qemu\)"):
        _numvfs.apply(machine, change._replace(steps=("sriov_numvfs 0",)), used)


def test_vfs_that_never_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = machine_with(tmp_path, vf_addresses=["0000:01:10.0", "0000:01:10.2"])
    monkeypatch.setattr(_numvfs, "_VFS_SECONDS", 0)

    with pytest.raises(SriovError, match=f"PF {PF}: 2 of 3 VFs appeared within 0 s"):
        bring(machine, 3)


def test_a_vf_without_its_physfn_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_with(tmp_path)
    monkeypatch.setattr(_numvfs, "_VFS_SECONDS", 10)
    asked = []

    def later(condition: t.Callable[[], object], *, seconds: float) -> bool:
        path = Path(machine.path(f"{DEVICES}/0000:01:10.2/physfn"))
        link = os.readlink(path)
        path.unlink()
        asked.append(condition())
        path.symlink_to(link)
        asked.append(condition())
        return True

    monkeypatch.setattr(machine, "wait_for", later)
    bring(machine, 2)

    assert asked == [False, True]


def rules(pf: _pci.PF, count: int, before: str = "") -> str:
    return _numvfs.udev_rules(before, [_numvfs.VfCountChange(pf, count, ())])


def test_udev_rules() -> None:
    comment, rule, end = rules(PLAIN, 7).split("\n")
    assert comment.startswith("#")
    assert end == ""
    terms = rule.split(", ")
    assert 'ACTION=="add|change|move"' in terms
    assert f'KERNELS=="{PF}"' in terms
    assert f'ATTR{{address}}=="{MAC}"' in terms
    assert terms.index(f'ATTR{{[pci/{PF}]sriov_drivers_autoprobe}}="0"') < terms.index(
        f'ATTR{{[pci/{PF}]sriov_numvfs}}="7"'
    )


def test_udev_sets_the_link_up_first_where_the_driver_wants_it() -> None:
    text = rules(PLAIN._replace(driver="bnxt_en"), 7)

    up = text.index('RUN+="/sbin/ip link set dev $name up"')
    assert up < text.index(f"echo 7 > /sys/bus/pci/devices/{PF}/sriov_numvfs")
    assert "sriov_numvfs}" not in text


def test_no_udev_rule_can_tell_a_pf_without_mac() -> None:
    pf = PLAIN._replace(interface=None, mac=None)

    with pytest.raises(SriovError, match=f"PF {PF} has no network interface .*at_boot"):
        rules(pf, 1)
    assert rules(pf, 0) == ""
    assert rules(pf, 0, rules(PLAIN, 7)) == "", "it is named by its address"


def test_a_comment_within_a_rule_of_others_does_not_end_it() -> None:
    before = 'SUBSYSTEM=="net", \\\n# a comment\n  NAME="x"\n'
    assert _numvfs._lines(before) == [before]


@pytest.mark.skipif(shutil.which("udevadm") is None, reason="udev is not installed")
def test_udev_takes_the_rules(tmp_path: Path) -> None:
    others = rules(PLAIN, 7, '# by hand\nSUBSYSTEM=="net", \\\n  TAG+="x" \\')
    file = tmp_path / "70-mergetb-sriov.rules"
    file.write_text(rules(PLAIN._replace(mac="04:70:00:00:00:11", driver="bnxt_en"), 3, others))

    done = subprocess.run(
        ["udevadm", "verify", str(file)], capture_output=True, text=True, check=False
    )

    if "Unknown command" in done.stderr:
        pytest.skip("udevadm verifies rules since systemd 254")
    assert done.returncode == 0, done.stdout + done.stderr
