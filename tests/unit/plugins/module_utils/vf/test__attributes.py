# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Refusal, VfState
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _attributes
from ansible_collections.mergetb.sriov.plugins.module_utils.vf._attributes import (
    AttributeChange,
    Vf,
)
from ansible_collections.mergetb.sriov.tests.unit.fabricated import (
    NEW_VF,
    Machine,
    Netlink,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PF = "0000:01:00.0"
MAC = "04:70:00:00:00:10"
GUEST = "02:00:00:00:01:01"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add_pf(PF, "ens1f0", MAC, numvfs=3)
    machine.log.clear()
    return machine


class Asked(t.NamedTuple):
    pf: str
    vf: int
    values: dict[str, t.Any]


def set_vfs(machine: Machine, *asked: Asked) -> list[AttributeChange]:
    """What the module does."""
    _attributes.check((f"VF {item.vf} of PF {item.pf}", item.values) for item in asked)
    ifindexes = _attributes.resolve(machine, {item.pf for item in asked})
    wanted = [(Vf(item.pf, ifindexes[item.pf], item.vf), item.values) for item in asked]
    changes = _attributes.plan(wanted, _attributes.read(machine, ifindexes.values()))
    _attributes.apply(machine, changes)
    return changes


def sent(machine: Machine) -> list[t.Any]:
    return [event.value for event in machine.log if event.action == "set_vf"]


def test_a_pf_is_named_by_mac_address_or_name(machine: Machine) -> None:
    index = machine.netlink.interfaces["ens1f0"].ifindex

    assert _attributes.resolve(machine, [PF, MAC.upper(), "ens1f0"]) == {
        PF: index,
        MAC.upper(): index,
        "ens1f0": index,
    }


def test_an_interface_need_not_be_on_pci(machine: Machine) -> None:
    """netdevsim has VFs and is no PCI device."""
    link = machine.add_interface("eni1", mac=GUEST)
    machine.netlink.vfs[link.ifindex] = {0: NEW_VF}

    set_vfs(machine, Asked("eni1", 0, {"vlan": 7}))

    assert machine.vf("eni1", 0).vlan == 7


def test_all_pfs_that_are_not_there_are_told(machine: Machine) -> None:
    machine.add_pf("0000:02:00.0", None, "04:70:00:00:00:20", driver="vfio-pci")

    with pytest.raises(SriovError) as caught:
        _attributes.resolve(machine, ["0000:02:00.0", "ens9", "ens1f0"])

    assert "PF 0000:02:00.0 (0000:02:00.0) has no network interface here" in str(caught.value)
    assert "its driver is vfio-pci; VF attributes are set through" in str(caught.value)
    assert "; no network interface of this host is 'ens9'" in str(caught.value)


def test_a_pf_without_driver(machine: Machine) -> None:
    machine.add_function("0000:02:00.0")

    with pytest.raises(SriovError, match="its driver is none"):
        _attributes.resolve(machine, ["0000:02:00.0"])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"mac": "02:00:00:00:01"}, "mac '02:00:00:00:01' is not six hexadecimal bytes"),
        ({"mac": "02:00:00:00:01:0g"}, ".*is not six hexadecimal bytes"),
        ({"mac": GUEST + "\n"}, ".*is not six hexadecimal bytes"),
        ({"mac": "01:00:5e:00:00:01"}, "mac 01:00:5e:00:00:01 is a multicast address"),
        ({"vlan": -1}, r"vlan -1 is not within 0 \(none\) to 4094"),
        ({"vlan": 4095}, "vlan 4095 is not within"),
        ({"vlan": 4096}, "vlan 4096 is not within"),
        ({"qos": -1}, "qos -1 is not within 0 to 7"),
        ({"qos": 8}, "qos 8 is not within 0 to 7"),
        ({"min_tx_rate": -1}, "min_tx_rate -1 is not a rate in Mbit/s"),
        ({"max_tx_rate": 1 << 32}, "max_tx_rate 4294967296 is not a rate in Mbit/s"),
    ],
)
def test_values_that_cannot_be(values: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(SriovError, match=f"VF 0 of PF x: {problem}"):
        _attributes.check([("VF 0 of PF x", values)])


def test_all_values_that_cannot_be_are_told() -> None:
    with pytest.raises(SriovError) as caught:
        _attributes.check(
            [("VF 0 of PF x", {"vlan": 4095, "qos": 8}), ("VF 1 of PF y", {"mac": "?"})]
        )

    assert str(caught.value).count("; ") == 2
    assert "; VF 1 of PF y: mac '?'" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"mac": "00:00:00:00:00:00"},
        {"vlan": 0, "qos": 0},
        {"vlan": 4094, "qos": 7},
        {"vlan": 1, "vlan_proto": "802.1ad"},
        {"min_tx_rate": 0, "max_tx_rate": (1 << 32) - 1},
    ],
)
def test_values_that_can_be(values: dict[str, t.Any]) -> None:
    _attributes.check([("VF 0 of PF x", values)])


def test_what_is_so_already_is_not_sent(machine: Machine) -> None:
    kept = {name: value for name, value in NEW_VF._asdict().items() if value is not None}

    assert set_vfs(machine, Asked(PF, 0, kept), Asked(PF, 1, {"vlan": 0}), Asked(PF, 2, {})) == []
    assert machine.writes == []


def test_only_what_differs_is_sent(machine: Machine) -> None:
    set_vfs(
        machine,
        Asked("ens1f0", 0, {"mac": GUEST, "trust": False, "spoofchk": True}),
        Asked("ens1f0", 1, {"spoofchk": True}),
        Asked("ens1f0", 2, {"spoofchk": False}),
    )

    assert sent(machine) == [{"mac": GUEST}, {"spoofchk": False}]


@pytest.mark.parametrize(
    ("values", "request_"),
    [
        ({"vlan": 100}, {"vlan": 100, "qos": 0, "vlan_proto": "802.1Q"}),
        ({"qos": 3}, {"vlan": 0, "qos": 3, "vlan_proto": "802.1Q"}),
        ({"max_tx_rate": 50}, {"min_tx_rate": 0, "max_tx_rate": 50}),
        ({"min_tx_rate": 50}, {"min_tx_rate": 50, "max_tx_rate": 0}),
    ],
)
def test_what_belongs_together_is_sent_together(
    machine: Machine, values: dict[str, t.Any], request_: dict[str, t.Any]
) -> None:
    set_vfs(machine, Asked(PF, 0, values))

    assert sent(machine) == [request_]


def test_all_vfs_are_set_in_one_call_and_read_once(machine: Machine) -> None:
    changes = set_vfs(machine, *(Asked(PF, vf, {"vlan": 100 + vf}) for vf in range(3)))

    assert [machine.vf("ens1f0", vf).vlan for vf in range(3)] == [100, 101, 102]
    assert [event.action for event in machine.log] == [
        "vf_states",
        "set_vf",
        "set_vf",
        "set_vf",
        "vf_states",
    ]
    assert [(item.before["vlan"], item.after["vlan"]) for item in changes] == [
        (0, 100),
        (0, 101),
        (0, 102),
    ]


def test_a_vf_that_is_not_there(machine: Machine) -> None:
    wanted = [Asked(PF, 0, {"vlan": 5}), Asked(PF, 3, {"vlan": 5}), Asked(PF, -1, {})]

    with pytest.raises(SriovError) as caught:
        set_vfs(machine, *wanted)

    assert str(caught.value) == (
        f"PF {PF} has no VF 3: it has 3 VFs; PF {PF} has no VF -1: it has 3 VFs"
    )
    assert machine.writes == []


def test_one_vf_twice_by_whatever_name(machine: Machine) -> None:
    with pytest.raises(SriovError, match="VF 0 of PF ens1f0 is listed twice"):
        set_vfs(machine, Asked(PF, 0, {"vlan": 5}), Asked("ens1f0", 0, {"vlan": 6}))
    assert machine.writes == []


def test_what_the_driver_does_not_keep_cannot_be_asked_for(machine: Machine) -> None:
    machine.alter_vf("ens1f0", 0, trust=None)

    with pytest.raises(SriovError) as caught:
        set_vfs(machine, Asked(PF, 0, {"vlan": 5, "trust": False, "query_rss": True}))

    assert str(caught.value) == (
        f"VF 0 of PF {PF}: the driver does not keep trust, leave it out; "
        f"VF 0 of PF {PF}: the driver does not keep query_rss, leave it out"
    )
    assert machine.writes == []


def test_802_1ad_that_is_refused_never_becomes_802_1q(machine: Machine) -> None:
    def refuse(vf: int, name: str, value: t.Any) -> int:
        return errno.EPROTONOSUPPORT if value == "802.1ad" else 0

    machine.netlink.refuse = refuse
    with pytest.raises(SriovError) as caught:
        set_vfs(machine, Asked(PF, 0, {"vlan": 100, "vlan_proto": "802.1ad"}))

    assert "VF 0 of PF 0000:01:00.0: vlan 100, qos 0, vlan_proto 802.1ad was refused" in str(
        caught.value
    )
    assert "use 802.1Q" in str(caught.value)
    assert machine.vf("ens1f0", 0) == NEW_VF
    assert {request["vlan_proto"] for request in sent(machine)} == {"802.1ad"}


def test_802_1ad_that_is_lied_about_is_no_802_1q(machine: Machine) -> None:
    machine.netlink.keep = lambda vf, name, value: "802.1Q" if name == "vlan_proto" else value

    with pytest.raises(SriovError, match="but reports vlan_proto 802.1Q"):
        set_vfs(machine, Asked(PF, 0, {"vlan": 100, "vlan_proto": "802.1ad"}))
    assert machine.vf("ens1f0", 0) == NEW_VF


@pytest.mark.parametrize("values", [{"vlan": 0}, {}])
def test_802_1ad_without_vlan_is_no_isolation(machine: Machine, values: dict[str, t.Any]) -> None:
    with pytest.raises(SriovError, match="vlan_proto 802.1ad needs a vlan"):
        set_vfs(machine, Asked(PF, 0, {"vlan_proto": "802.1ad", **values}))
    assert machine.writes == []


def test_no_vlan_after_802_1ad(machine: Machine) -> None:
    machine.alter_vf("ens1f0", 0, vlan=100, vlan_proto="802.1ad")

    set_vfs(machine, Asked(PF, 0, {"vlan": 0}))

    assert machine.vf("ens1f0", 0) == NEW_VF


def test_another_vlan_keeps_its_protocol(machine: Machine) -> None:
    machine.alter_vf("ens1f0", 0, vlan=100, vlan_proto="802.1ad")

    set_vfs(machine, Asked(PF, 0, {"vlan": 200}))

    assert machine.vf("ens1f0", 0) == NEW_VF._replace(vlan=200, vlan_proto="802.1ad")


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN])
def test_a_busy_vf_is_asked_again_alone(machine: Machine, number: int) -> None:
    refusals = iter([number] * 3)
    machine.netlink.refuse = lambda vf, name, value: next(refusals, 0) if vf == 1 else 0

    set_vfs(machine, *(Asked(PF, vf, {"vlan": 100}) for vf in range(3)))

    assert [machine.vf("ens1f0", vf).vlan for vf in range(3)] == [100] * 3
    subjects = [event.subject[-1] for event in machine.log if event.action == "set_vf"]
    assert subjects == ["0", "1", "2", "1", "1", "1"]


def test_a_vf_that_stays_busy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_attributes, "_BUSY_SECONDS", 0)
    machine.netlink.refuse = lambda vf, name, value: errno.EBUSY if name == "mac" else 0

    with pytest.raises(SriovError, match="mac 02:.* was refused: Device or resource busy.*again"):
        set_vfs(machine, Asked(PF, 0, {"mac": GUEST, "vlan": 100}))


def test_another_refusal_is_not_repeated(machine: Machine) -> None:
    machine.netlink.refuse = lambda vf, name, value: errno.EINVAL if value == GUEST else 0

    with pytest.raises(SriovError, match="the driver takes no such value"):
        set_vfs(machine, Asked(PF, 0, {"mac": GUEST}))
    assert len(sent(machine)) == 1


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EOPNOTSUPP, "leave it out, or use another NIC"),
        (errno.EINVAL, "the driver takes no such value"),
        (errno.EPERM, "root is needed"),
        (errno.EIO, "see the kernel's log"),
    ],
)
def test_a_failure_puts_everything_back(machine: Machine, number: int, remedy: str) -> None:
    before = [
        NEW_VF._replace(mac=GUEST, vlan=7, qos=1, max_tx_rate=10),
        NEW_VF._replace(spoofchk=False),
        NEW_VF,
    ]
    for vf, state in enumerate(before):
        machine.alter_vf("ens1f0", vf, **state._asdict())
    machine.netlink.refuse = lambda vf, name, value: number * (vf == 1 and name == "link_state")
    values = {"mac": "02:00:00:00:02:02", "vlan": 9, "max_tx_rate": 20, "spoofchk": True}

    with pytest.raises(SriovError) as caught:
        set_vfs(
            machine,
            Asked(PF, 0, values),
            Asked(PF, 1, {**values, "link_state": "enable", "trust": True}),
            Asked(PF, 2, {"trust": True}),
        )

    assert f"VF 1 of PF {PF}: link_state enable was refused: " in str(caught.value)
    assert remedy in str(caught.value)
    assert "VF 0" not in str(caught.value)
    assert str(caught.value).endswith("; the former attributes are set again")
    assert [machine.vf("ens1f0", vf) for vf in range(3)] == before


def test_each_failing_vf_is_told(machine: Machine) -> None:
    machine.netlink.refuse = lambda vf, name, value: errno.EINVAL * (vf != 1 and value == 9)

    with pytest.raises(SriovError) as caught:
        set_vfs(machine, *(Asked(PF, vf, {"vlan": 9}) for vf in range(3)))

    assert "VF 0 of" in str(caught.value)
    assert "VF 1 of" not in str(caught.value)
    assert "VF 2 of" in str(caught.value)


def test_a_driver_that_lies(machine: Machine) -> None:
    machine.netlink.keep = lambda vf, name, value: False if name == "spoofchk" else value
    machine.alter_vf("ens1f0", 0, spoofchk=False)

    with pytest.raises(SriovError) as caught:
        set_vfs(machine, Asked(PF, 0, {"spoofchk": True, "vlan": 100}))

    assert str(caught.value) == (
        f"VF 0 of PF {PF}: the driver accepted vlan 100, qos 0, vlan_proto 802.1Q, spoofchk True "
        "but reports spoofchk False; the former attributes are set again"
    )
    assert machine.vf("ens1f0", 0) == NEW_VF._replace(spoofchk=False)


def test_what_cannot_be_put_back_is_told(machine: Machine) -> None:
    machine.netlink.refuse = lambda vf, name, value: (
        errno.EINVAL * (name == "trust" or (name == "vlan" and value == 0))
    )

    with pytest.raises(SriovError) as caught:
        set_vfs(machine, Asked(PF, 0, {"vlan": 100, "trust": True}))

    assert "trust True was refused" in str(caught.value)
    assert str(caught.value).endswith(
        f"; the former attributes could not be restored: VF 0 of PF {PF} still has vlan 100"
    )


def test_a_refusal_although_all_is_as_asked(machine: Machine) -> None:
    """A driver that does as it is told and then reports an error."""
    real = machine.netlink._set_vf

    def then_refuse(ifindex: int, vf: int, values: t.Mapping[str, t.Any]) -> t.Any:
        real(ifindex, vf, values)
        return Refusal(errno.EIO, "firmware")

    machine.netlink._set_vf = then_refuse

    with pytest.raises(SriovError, match=r"the last attribute was refused: .* \(firmware\)"):
        set_vfs(machine, Asked(PF, 0, {"vlan": 100}))


def test_nothing_to_change_is_not_even_read(machine: Machine) -> None:
    _attributes.apply(machine, [])

    assert machine.log == []


names = st.sampled_from(VfState._fields)
states = st.builds(
    VfState,
    mac=st.sampled_from(["00:00:00:00:00:00", GUEST, "02:00:00:00:02:02"]),
    vlan=st.sampled_from([0, 1, 4094]),
    qos=st.integers(0, 7),
    vlan_proto=st.just("802.1Q"),
    spoofchk=st.booleans(),
    trust=st.booleans(),
    link_state=st.sampled_from(["auto", "enable", "disable"]),
    min_tx_rate=st.integers(0, 3),
    max_tx_rate=st.integers(0, 3),
    query_rss=st.booleans(),
) | st.builds(NEW_VF._replace, vlan=st.sampled_from([1, 4094]), vlan_proto=st.just("802.1ad")).map(
    lambda state: state._replace(query_rss=False)
)


def wanted_values(state: VfState, names: set[str]) -> dict[str, t.Any]:
    """Some of the values of *state*; an 802.1ad VLAN only as a whole."""
    if state.vlan_proto == "802.1ad":
        names = names | {"vlan"}
    return {name: value for name, value in state._asdict().items() if name in names}


@settings(deadline=None)
@given(
    before=st.lists(states, min_size=1, max_size=4),
    data=st.data(),
)
def test_a_second_run_has_nothing_to_do(before: list[VfState], data: st.DataObject) -> None:
    netlink = Netlink([])
    host = Host("/nowhere", netlink=netlink)
    netlink.vfs[9] = dict(enumerate(before))
    wanted = [
        (Vf("x", 9, vf), wanted_values(data.draw(states), data.draw(st.sets(names))))
        for vf in range(len(before))
    ]

    _attributes.check((str(vf), values) for vf, values in wanted)
    _attributes.apply(host, _attributes.plan(wanted, netlink.vfs))

    assert _attributes.plan(wanted, netlink.vfs) == []
    for (vf, values), old in zip(wanted, before, strict=True):
        known = netlink.vfs[9][vf.number]._asdict()
        assert {name: known[name] for name in values} == values
        untouched = set(known) - set(values)
        if "vlan" in values:
            untouched.discard("vlan_proto")
        assert {name: known[name] for name in untouched} == {
            name: old._asdict()[name] for name in untouched
        }
