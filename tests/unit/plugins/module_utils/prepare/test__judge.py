# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _judge
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare._judge import ERROR, WARNING
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine
from ansible_collections.mergetb.sriov.tests.unit.fabricated import config_space

PF = "0000:01:00.0"
PORT = "0000:00:02.0"
MAC = "04:70:00:00:00:10"
AER, ACS, ARI, SRIOV = 0x01, 0x0D, 0x0E, 0x10
FACTS = _judge.Facts(
    pf=_pci.PF(PF, "ens1f0", MAC, "igb", 0, 7, False, ()),
    vendor="0x8086",
    device="0x10c9",
    capabilities=_pci.Capabilities(
        extended=True, sriov=True, total_vfs=7, acs=False, aer=True, ari=True
    ),
    acs=True,
    iommu_group="17",
    group_mates=(),
)
WANTED = _judge.WantedPf("ens1f0", MAC, 7, 7)


def judged(
    facts: _judge.Facts = FACTS,
    wanted: _judge.WantedPf = WANTED,
    carries: str | None = None,
    firmware: bool = True,
) -> list[tuple[str, str]]:
    problems = _judge.judge(wanted, facts, carries, firmware=firmware)
    assert all(problem.element == f"ens1f0 ({PF})" for problem in problems)
    return [(problem.severity, problem.cause) for problem in problems]


def pf_with(**values: t.Any) -> _judge.Facts:
    return FACTS._replace(pf=FACTS.pf._replace(**values))


def capable_of(**values: t.Any) -> _judge.Facts:
    return FACTS._replace(capabilities=FACTS.capabilities._replace(**values))


def test_all_is_well() -> None:
    assert judged() == []


def test_the_management_nic() -> None:
    assert judged(carries="ens1f0 carries a default route") == [
        (ERROR, "it is the management NIC: ens1f0 carries a default route")
    ]


def test_no_driver() -> None:
    assert judged(pf_with(driver=None)) == [(ERROR, "it has no driver")]


def test_a_pf_that_is_given_up_needs_neither_driver_nor_sriov() -> None:
    facts = pf_with(driver=None, totalvfs=None)
    given_up = WANTED._replace(numvfs=0)
    assert {severity for severity, _cause in judged(facts, given_up)} == {WARNING}
    carries = "ens1f0 carries a default route"
    assert judged(facts, given_up, carries)[0][0] == ERROR


def test_no_sriov() -> None:
    facts = capable_of(sriov=False)
    assert judged(facts._replace(pf=FACTS.pf._replace(totalvfs=None))) == [
        (ERROR, "it shows no SR-IOV capability")
    ]


def test_a_capability_that_the_kernel_does_not_offer() -> None:
    assert judged(pf_with(totalvfs=None)) == [
        (ERROR, "it has the SR-IOV capability, but the kernel offers no VFs")
    ]


def test_the_model_declares_more_vfs_than_the_nic_offers() -> None:
    assert judged(wanted=WANTED._replace(max_vfs=16, numvfs=16)) == [
        (ERROR, "the model declares 16 VFs, the NIC offers 7")
    ]
    assert judged(wanted=WANTED._replace(max_vfs=16)) == [
        (WARNING, "the model declares 16 VFs, the NIC offers 7")
    ]
    assert judged(wanted=WANTED._replace(numvfs=8)) == [
        (ERROR, "sriov_numvfs asks for 8 VFs, the NIC offers 7")
    ]


SWITCHED_OFF = capable_of(sriov=False)._replace(
    pf=FACTS.pf._replace(totalvfs=None), vendor="0x15b3"
)


@pytest.mark.parametrize(
    ("facts", "wanted", "cause"),
    [
        (SWITCHED_OFF, WANTED, "7 VFs are wanted, the NIC offers none"),
        (
            pf_with(totalvfs=0)._replace(vendor="0x15b3"),
            WANTED,
            "7 VFs are wanted, the NIC offers none",
        ),
        (
            FACTS._replace(vendor="0x15b3"),
            WANTED._replace(max_vfs=16, numvfs=16),
            "16 VFs are wanted, the NIC offers 7",
        ),
        (
            FACTS._replace(vendor="0x15b3"),
            WANTED._replace(numvfs=8),
            "8 VFs are wanted, the NIC offers 7",
        ),
    ],
)
def test_firmware_that_is_going_to_be_set(
    facts: _judge.Facts, wanted: _judge.WantedPf, cause: str
) -> None:
    (problem,) = _judge.judge(wanted, facts, None, firmware=True)
    assert (problem.severity, problem.cause) == (WARNING, cause)
    assert "the role mlx_firmware sets SRIOV_EN and NUM_OF_VFS" in problem.remedy
    # Without that role, and for the NICs of other vendors, it is what it was.
    without = judged(facts, wanted, firmware=False)
    assert cause not in dict(without).values()
    assert judged(facts._replace(vendor="0x8086"), wanted) == without


def test_firmware_does_not_help_where_the_kernel_offers_nothing() -> None:
    facts = pf_with(totalvfs=None)._replace(vendor="0x15b3")
    assert judged(facts) == [(ERROR, "it has the SR-IOV capability, but the kernel offers no VFs")]


def test_no_firmware_is_set_for_no_vfs() -> None:
    assert judged(FACTS._replace(vendor="0x15b3"), WANTED._replace(max_vfs=0, numvfs=0)) == []


def test_firmware_settings() -> None:
    wanted = [
        _judge.WantedPf("a", "a", 16, 16),
        _judge.WantedPf("b", "b", 0, 0),
        _judge.WantedPf("c", "c", 7, 7),
        _judge.WantedPf("lost", "lost", 7, 7),
    ]
    found = {
        "a": FACTS._replace(vendor="0x15b3"),
        "b": FACTS._replace(vendor="0x15b3"),
        "c": FACTS,
    }
    assert _judge.firmware_settings(wanted, found) == {
        "mlx_firmware": [
            {
                "address": PF,
                "names": ["a", "ens1f0", MAC],
                "settings": {"SRIOV_EN": True, "NUM_OF_VFS": 16},
            }
        ]
    }
    assert _judge.firmware_settings([], {}) == {"mlx_firmware": []}


@pytest.mark.parametrize(
    ("counts", "firmware"),
    [
        ([(16, 0), (16, 0)], {}),
        ([(16, 0), (16, 16)], {"b": 16}),
        ([(16, 7), (16, 0)], {"a": 7}),
        ([(16, 32), (16, 0)], {"a": 32}),
        # The card has one number for both, and the larger one suffices.
        ([(16, 4), (16, 8)], {"a": 8, "b": 8}),
        ([(16, 4), (16, 16)], {"a": 16, "b": 16}),
        # Those of the model are for the card to contradict.
        ([(16, 16), (8, 8)], {"a": 16, "b": 8}),
    ],
)
def test_firmware_follows_the_count_of_the_operator(
    counts: list[tuple[int, int]], firmware: dict[str, int]
) -> None:
    """A PF that was given up had its firmware set to the count of the model all the same."""
    wanted = [_judge.WantedPf(name, name, *each) for name, each in zip("ab", counts, strict=True)]
    port = FACTS._replace(vendor="0x15b3")
    found = {"a": port, "b": port._replace(pf=FACTS.pf._replace(address="0000:01:00.1"))}
    assert {
        device["names"][0]: device["settings"]["NUM_OF_VFS"]
        for device in _judge.firmware_settings(wanted, found)["mlx_firmware"]
    } == firmware


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        (capable_of(extended=False), "its extended configuration space cannot be read"),
        (capable_of(aer=False), "it has no Advanced Error Reporting"),
        (FACTS._replace(acs=False), "a port above it has no Access Control Services"),
        (
            FACTS._replace(group_mates=("0000:01:00.1",)),
            "it shares its IOMMU group with 0000:01:00.1",
        ),
    ],
)
def test_what_endangers_vfs_is_a_warning(facts: _judge.Facts, cause: str) -> None:
    assert judged(facts) == [(WARNING, cause)]


@pytest.mark.parametrize(
    ("kind", "text", "remedy"),
    [
        ("bond", "the bond bond0", "its VFs do not change over with the bond"),
        ("bridge", "the bridge bond0", "bridge fdb add"),
        ("Open vSwitch", "a switch of Open vSwitch", "unknown to the NIC's switch"),
        ("", "bond0", "see that this is meant"),
    ],
)
def test_a_pf_that_is_part_of_something_is_a_warning(kind: str, text: str, remedy: str) -> None:
    facts = FACTS._replace(uppers=(_pci.Upper("ens1f0", "bond0", kind),))
    (problem,) = _judge.judge(WANTED, facts, None, firmware=True)
    assert (problem.severity, problem.cause) == (
        WARNING,
        f"its interface ens1f0 is part of {text}",
    )
    assert remedy in problem.remedy
    assert judged(facts, WANTED._replace(numvfs=0)) == []


def test_reads_what_lies_over_the_pf(host: BootMachine) -> None:
    host.add_interface("ens3f0", PF, mac=MAC, dev_port=1, uppers=["ovs-system", "br0", "ens3f0.7"])
    host.add_interface("bond0", mac=MAC)
    host.put("/sys/class/net/bond0/bonding/mode", "active-backup 1")
    host.put("/sys/class/net/ens2f0/upper_bond0", "")
    host.add_interface("br0", mac=MAC)
    host.put("/sys/class/net/br0/bridge/bridge_id", "8000.0")

    assert [str(upper) for upper in _judge.read(host, _pci.find_pf(host, PF)).uppers] == [
        "the bridge br0",
        "ens3f0.7",
        "a switch of Open vSwitch",
    ]
    (bond,) = _judge.read(host, _pci.find_pf(host, "ens2f0")).uppers
    assert bond == ("ens2f0", "bond0", "bond")


def test_unknown_acs_is_no_warning() -> None:
    assert judged(FACTS._replace(acs=None)) == []


def test_wanted_counts() -> None:
    pfs: list[dict[str, t.Any]] = [
        {"name": "a", "mac": MAC, "max_vfs": 16, "leaf": None},
        {"name": PF, "mac": None, "max_vfs": "8"},
        {"name": "c", "max_vfs": 4},
    ]
    assert _judge.wanted(pfs, {"a": 7, "c": "0"}) == [
        _judge.WantedPf("a", MAC, 16, 7),
        _judge.WantedPf(PF, PF, 8, 8),
        _judge.WantedPf("c", "c", 4, 0),
    ]


@pytest.mark.parametrize("counts", [{"a": 3}, '{"a": 3}'])
def test_numbers_by_name_are_those_of_these_pfs(counts: object) -> None:
    """The second is what the command line gives."""
    pfs = [{"name": "a", "max_vfs": 7}, {"name": "b", "max_vfs": 2}]
    assert [pf.numvfs for pf in _judge.wanted(pfs, counts)] == [3, 2]


@pytest.mark.parametrize("count", [3, "3"])
def test_one_number_is_that_of_all_pfs(count: object) -> None:
    """As `sriov_numvfs` of stackhpc.linux, and as text from the command line."""
    pfs = [{"name": "a", "max_vfs": 7}, {"name": "b", "max_vfs": 2}]
    assert [pf.numvfs for pf in _judge.wanted(pfs, count)] == [3, 3]


@pytest.mark.parametrize(
    ("pfs", "numvfs", "message"),
    [
        ([{"max_vfs": 1}], {}, r"sriov_pfs\[0\] has no name"),
        ([{"name": ["a"], "max_vfs": 1}], {}, r"sriov_pfs\[0\] has no name"),
        ([{"name": "a"}], {}, r"sriov_pfs\[0\] \(a\): max_vfs is None, not a number"),
        ([{"name": "a", "max_vfs": -1}], {}, "max_vfs is -1, not a number"),
        ([{"name": "a", "max_vfs": True}], {}, "max_vfs is True, not a number"),
        ([{"name": "a", "max_vfs": 1}], {"a": "x"}, "sriov_numvfs: a is 'x', not a number"),
        ([{"name": "a", "max_vfs": 1}], {"b": 1}, "sriov_numvfs names b, which is no PF"),
        ([], {"b": 1}, "no PF of sriov_pfs .empty."),
        ([{"name": "a", "max_vfs": 1}], "9" * 5000, "sriov_numvfs is '9{99}, not a number"),
        ([{"name": "a", "max_vfs": 1}], '{"a": ', "sriov_numvfs is '{\"a\": ', not a number"),
        ([{"name": "a", "max_vfs": 1}], True, "sriov_numvfs is True, not a number"),
        ([{"name": "a", "max_vfs": 1}], ["a"], r"sriov_numvfs is \['a'\], not a number"),
    ],
)
def test_refuses_input_that_says_nothing(pfs: list[t.Any], numvfs: object, message: str) -> None:
    with pytest.raises(SriovError, match=message):
        _judge.wanted(pfs, numvfs)


def test_device_of_stackhpc_linux_is_told_what_it_is_called_here() -> None:
    device = {"name": "p4p1", "numvfs": 63, "numvfs_required_by": ["docker.service"]}
    with pytest.raises(SriovError) as caught:
        _judge.wanted([device], {})
    assert str(caught.value) == (
        "sriov_pfs[0] (p4p1) is a device as stackhpc.linux has it: write max_vfs in place of"
        " numvfs; name the units of numvfs_required_by in sriov_restore_before"
    )


@pytest.fixture
def host(tmp_path: Path) -> BootMachine:
    host = BootMachine(tmp_path, {})
    host.add_function(PORT, config=config_space((ACS, b"")), device_class="0x060400")
    host.add_function(PF, bridge=PORT, config=config_space((AER, b""), (SRIOV, b"\0" * 60)))
    host.add_pf("0000:02:00.0", "ens2f0", "04:70:00:00:00:20")
    host.bind(PF, "igb")
    (interface,) = host.names(f"/sys/bus/pci/devices/{PF}/net")
    host.alter_link(interface, permanent_mac=MAC)
    host.put(f"/sys/bus/pci/devices/{PF}/sriov_totalvfs", "7")
    host.put(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "0")
    return host


def test_reads_capabilities_and_the_ports_above(host: BootMachine) -> None:
    facts = _judge.read(host, _pci.find_pf(host, MAC))
    assert (facts.capabilities.sriov, facts.capabilities.aer, facts.acs) == (True, True, True)
    assert facts.group_mates == ()


def test_one_port_without_acs_is_enough(host: BootMachine) -> None:
    downstream, pf = "0000:08:00.0", "0000:09:00.0"
    host.add_function(downstream, bridge=PORT, config=config_space((AER, b"")))
    host.add_function(pf, bridge=f"{PORT}/{downstream}")
    assert _judge.read(host, _pci.find_pf(host, pf)).acs is False


def test_acs_that_cannot_be_read_is_unknown(host: BootMachine) -> None:
    Path(host.path(f"/sys/bus/pci/devices/{PORT}/config")).write_bytes(b"\0" * 256)
    assert _judge.read(host, _pci.find_pf(host, MAC)).acs is None
    assert _judge.read(host, _pci.find_pf(host, "ens2f0")).acs is None


def test_all_problems_come_in_one_list(host: BootMachine) -> None:
    host.add_function("0000:04:00.0", vendor="0x15b3", device="0x101d")
    host.add_function("0000:05:00.0", driver="nvme", device_class="0x010802")
    routes = [{"dst": "default", "dev": "ens2f0"}]
    host.answers["ip -json -4 route show table all default"] = Completed(0, json.dumps(routes), "")
    found, problems = _judge.judge_all(
        host,
        _judge.wanted(
            [
                {"name": "a", "mac": "04:70:00:00:00:99", "max_vfs": 7},
                {"name": "b", "mac": MAC, "max_vfs": 16},
                {"name": "c", "mac": "04:70:00:00:00:20", "max_vfs": 7},
                {"name": "d", "mac": MAC.upper(), "max_vfs": 7},
            ],
            {},
        ),
        firmware=True,
    )
    assert list(found) == ["b", "c"]
    errors = [problem for problem in problems if problem.severity == ERROR]
    assert [problem.element for problem in errors] == ["a", f"b ({PF})", "c (0000:02:00.0)", "d"]
    assert "04:70:00:00:00:99" in errors[0].cause
    assert "load the driver of 0000:04:00.0 [15b3:101d]" in errors[0].remedy
    assert "the model declares 16 VFs, the NIC offers 7" in errors[1].cause
    assert "management NIC" in errors[2].cause
    assert errors[3].cause == f"it is the same device as b ({PF})"


def test_a_missing_pf_that_is_to_have_no_vfs_is_given_up(host: BootMachine) -> None:
    pfs = [{"name": "a", "mac": "04:70:00:00:00:99", "max_vfs": 7}]
    found, (problem,) = _judge.judge_all(host, _judge.wanted(pfs, {"a": 0}), firmware=False)
    assert found == {}
    assert problem.severity == WARNING
    assert "it is given up, as asked for" in problem.remedy


def test_a_missing_pf_where_no_nic_is_idle(host: BootMachine) -> None:
    wanted = _judge.wanted([{"name": "a", "mac": "04:70:00:00:00:99", "max_vfs": 7}], {})
    _found, (problem,) = _judge.judge_all(host, wanted, firmware=False)
    assert problem.remedy == "see that the card is plugged in, or correct the MAC in the model"
    assert str(problem) == f"a: {problem.cause}; {problem.remedy}"
