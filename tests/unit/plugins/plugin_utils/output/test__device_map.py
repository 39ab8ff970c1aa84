# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _device_map


def entry(**changes: t.Any) -> dict[str, t.Any]:
    """Return what is known of a guest's NIC."""
    return {
        "kind": "vf",
        "node": "alpha",
        "nic": "eth1",
        "host": "x0",
        "pci_address": "0000:01:10.4",
        "pf": "ens1f0",
        "vf_index": 2,
        "mac": "02:72:00:00:00:01",
        "vlan": 100,
        "vlan_mode": "vst",
        "mtu": 1500,
        "driver": "vfio-pci",
        "numa_node": 0,
    } | changes


HOSTDEV = (
    '<hostdev mode="subsystem" type="pci" managed="no"><driver name="vfio" /><source>'
    '<address domain="0x0000" bus="0x01" slot="0x10" function="0x4" /></source>'
    '<alias name="ua-eth1" /></hostdev>'
)


def test_device_map() -> None:
    assert _device_map.device_map([entry(addresses=["10.0.0.1"])], "one.hello.demo") == {
        "version": 1,
        "mzid": "one.hello.demo",
        "devices": [
            entry(qemu_args=["-device", "vfio-pci,host=0000:01:10.4,id=eth1"], libvirt_xml=HOSTDEV)
        ],
    }


def function(**changes: t.Any) -> dict[str, t.Any]:
    """Return what is known of a GPU that a guest has as a whole."""
    nothing = dict.fromkeys(("pf", "vf_index", "mac", "vlan", "vlan_mode", "mtu"))
    return entry(kind="function", nic="gpu0", pci_address="0000:41:00.0", **nothing) | changes


def test_whole_functions() -> None:
    nic = {"pf": "ens2f0", "mac": "04:72:00:00:10:20", "vlan": 100, "vlan_mode": "access"}
    whole = function(nic="eth2", pci_address="0000:42:00.0", **nic)
    first, second = _device_map.device_map([function(), whole], "one.hello.demo")["devices"]
    assert {key: first[key] for key in whole} == whole
    assert {key: second[key] for key in function()} == function()
    assert second["qemu_args"] == ["-device", "vfio-pci,host=0000:41:00.0,id=gpu0"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"kind": "sf"}, "kind 'sf' must be vf or function"), ({"pf": "ens2f0"}, "mac must be a")],
)
def test_function_that_is_refused(changes: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        _device_map.device_map([function(**changes)], "one.hello.demo")


def test_an_entry_without_kind_is_a_vf() -> None:
    old = entry()
    del old["kind"]
    assert _device_map.device_map([old], "one.hello.demo")["devices"][0]["kind"] == "vf"


def test_no_devices() -> None:
    assert _device_map.device_map([], "one.hello.demo")["devices"] == []


def test_values_that_may_be_none_and_usual_forms() -> None:
    [device] = _device_map.device_map(
        [
            entry(
                mtu=None,
                driver=None,
                numa_node=None,
                pci_address="0001:AB:1F.7",
                mac="027200000001",
            )
        ],
        "one.hello.demo",
    )["devices"]
    assert (device["mtu"], device["driver"], device["numa_node"]) == (None, None, None)
    assert device["pci_address"] == "0001:ab:1f.7"
    assert device["mac"] == "02:72:00:00:00:01"


def test_devices_are_sorted() -> None:
    entries = [
        entry(node="b", nic="eth1", pci_address="0000:01:10.2"),
        entry(node="a", nic="eth2", pci_address="0000:01:10.3"),
        entry(node="a", nic="eth1", pci_address="0000:01:10.4"),
    ]
    devices = _device_map.device_map(entries, "one.hello.demo")["devices"]
    assert [(d["node"], d["nic"]) for d in devices] == [("a", "eth1"), ("a", "eth2"), ("b", "eth1")]


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "a b"},
        {"nic": "eth1,x=y"},
        {"nic": ""},
        {"host": "-x0"},
        {"pci_address": "01:10.4"},
        {"pci_address": "0000:01:20.0"},
        {"pci_address": "0000:01:10.8"},
        {"pci_address": "0000:01:10.4,x=y"},
        {"pf": "a\nb"},
        {"vf_index": -1},
        {"vf_index": "1"},
        {"vf_index": True},
        {"mac": "01:00:5e:00:00:01"},
        {"vlan": 0},
        {"vlan": 4095},
        {"vlan": None},
        {"vlan_mode": "access"},
        {"vlan_mode": None},
        {"mtu": 0},
        {"driver": "a\nb"},
        {"numa_node": -1},
        *({key: None} for key in ("node", "nic", "host", "pci_address", "pf", "mac")),
    ],
)
def test_wrong_values(changes: dict[str, t.Any]) -> None:
    with pytest.raises(InputError) as caught:
        _device_map.device_map([entry(**changes)], "one.hello.demo")
    assert next(iter(changes)) in str(caught.value)


def test_missing_values() -> None:
    for key in set(entry()) - {"kind", "mtu", "driver", "numa_node"}:
        lacking = entry()
        del lacking[key]
        with pytest.raises(InputError, match=key):
            _device_map.device_map([lacking], "one.hello.demo")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nic": "eth2"}, "2 devices have host and pci_address x0 0000:01:10.4"),
        ({"host": "x1"}, "2 devices have node and nic alpha eth1"),
    ],
)
def test_one_device_twice(changes: dict[str, t.Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        _device_map.device_map([entry(), entry(**changes)], "one.hello.demo")


@pytest.mark.parametrize("mzid", ["", "one.hello", "one.hello.demo.x", "one..demo", "one.a/b.demo"])
def test_materialization_id(mzid: str) -> None:
    with pytest.raises(InputError, match="materialization id"):
        _device_map.device_map([], mzid)


def test_qemu_args() -> None:
    devices = [entry(), entry(nic="eth2", pci_address="0000:01:10.6")]
    assert _device_map.qemu_args(devices) == [
        "-device",
        "vfio-pci,host=0000:01:10.4,id=eth1",
        "-device",
        "vfio-pci,host=0000:01:10.6,id=eth2",
    ]
    assert _device_map.qemu_args([]) == []


def test_qemu_args_of_several_nodes() -> None:
    with pytest.raises(InputError, match="nodes alpha, beta: select those of one"):
        _device_map.qemu_args([entry(), entry(node="beta", nic="eth2")])


@pytest.mark.parametrize("changes", [{"nic": "eth1,x=y"}, {"pci_address": "x"}, {"nic": None}])
def test_arguments_for_guests_are_checked(changes: dict[str, t.Any]) -> None:
    with pytest.raises(InputError):
        _device_map.qemu_args([entry(**changes)])
    with pytest.raises(InputError):
        _device_map.libvirt_xml(entry(**changes))


def test_libvirt_xml() -> None:
    assert _device_map.libvirt_xml(entry()) == HOSTDEV


NICS = ["eth1", "E", "abcdefghij-_123"]
"""Names from the shortest to the longest."""


@pytest.mark.skipif(not shutil.which("virt-xml-validate"), reason="needs Debian's libvirt-clients")
@pytest.mark.parametrize("pci_address", ["0000:01:10.4", "10000:e1:1f.7"])
def test_libvirt_takes_the_xml(tmp_path: Path, pci_address: str) -> None:
    domain = ElementTree.Element("domain", type="kvm")
    ElementTree.SubElement(domain, "name").text = "alpha"
    ElementTree.SubElement(domain, "memory").text = "1024"
    ElementTree.SubElement(ElementTree.SubElement(domain, "os"), "type").text = "hvm"
    devices = ElementTree.SubElement(domain, "devices")
    for nic in NICS:
        xml = _device_map.libvirt_xml(entry(nic=nic, pci_address=pci_address))
        devices.append(ElementTree.fromstring(xml))
    path = tmp_path / "domain.xml"
    ElementTree.ElementTree(domain).write(path)
    subprocess.run(["virt-xml-validate", path, "domain"], check=True)


needs_qemu = pytest.mark.skipif(
    not shutil.which("qemu-system-x86_64"), reason="needs Debian's qemu-system-x86"
)


def qemu(*arguments: str) -> str:
    """Return the complaint of a QEMU without guest about its first device."""
    done = subprocess.run(
        ["qemu-system-x86_64", "-machine", "q35", "-nodefaults", "-display", "none", "-S"]
        + [*arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    return done.stderr


def qemu_objects() -> str:
    """Return the names of the objects that QEMU has."""
    return subprocess.run(
        ["qemu-system-x86_64", "-object", "help"], check=True, capture_output=True, text=True
    ).stdout


@needs_qemu
@pytest.mark.parametrize("nic", NICS)
@pytest.mark.parametrize("address", ["ffff:ff:1f.7", "10000:e1:1f.7"])
def test_qemu_takes_the_arguments(nic: str, address: str) -> None:
    # No machine has these functions, so that QEMU gets as far as opening one and no further.
    devices = [entry(nic=nic, pci_address=address), entry(nic="eth2", pci_address=address)]
    complaint = qemu(*_device_map.qemu_args(devices))
    assert f"/{address}: no such host device" in complaint
    assert f"id={nic}: " in complaint


@needs_qemu
def test_qemu_takes_the_arguments_of_iommufd() -> None:
    if "iommufd" not in qemu_objects():
        pytest.skip("this QEMU is older than 9.0, so it has no iommufd")
    devices = [entry(nic="eth1", pci_address="ffff:ff:1f.7")]
    complaint = qemu(*_device_map.qemu_args(devices, iommufd=True))
    assert "ffff:ff:1f.7" in complaint
    assert "iommufd=iommufd0: " in complaint


@needs_qemu
@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("vfio-pci,host=ffff:ff:1f.8,id=eth1", "doesn't take value"),
        ("vfio-pci,host=ffff:ff:1f.7,id=1eth", "expects an identifier"),
        ("vfio-pci,host=ffff:ff:1f.7,id=eth1,vlan=5", "not found"),
    ],
)
def test_qemu_tells_wrong_arguments_apart(argument: str, told: str) -> None:
    complaint = qemu("-device", argument)
    assert told in complaint
    assert "no such host device" not in complaint
