# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import copy
import json
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate import _allocation, _experiment
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate._allocation import (
    Choice,
    Supply,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate._experiment import Nic
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import (
    _document,
    _materialization,
    _xir,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.tests.unit import models
from ansible_collections.mergetb.sriov.tests.unit.facts import whole_function
from hypothesis import given, settings
from hypothesis import strategies as st
from mergetbapi.portal import v1 as portal

MZID = "one.hello.demo"
HELLO = _experiment.nics(
    _document.decode(models.hello().xir().SerializeToString(), _document.EXPERIMENT)
)


def phobos() -> dict[str, list[dict[str, t.Any]]]:
    """Return the ``sriov_pfs`` of the hosts of the example facility."""
    facility = _document.decode(bytes(models.PHOBOS), _document.FACILITY)
    hosts, _warnings = _xir.inventory(facility, hypervisors_only=True, link_roles=["XpLink"])
    return {host["name"]: host["variables"]["sriov_pfs"] for host in hosts}


PFS = phobos()


def found(pfs: t.Mapping[str, t.Any] = PFS, numvfs: int = 7) -> dict[str, dict[str, t.Any]]:
    """Return what ``sriov_info`` tells of prepared hosts that nobody uses."""
    return {
        host: {
            "changed": False,
            "iommu_groups": 9,
            "materializations": {},
            "pfs": [
                {
                    "address": f"0000:01:00.{index}",
                    "interface": pf["name"],
                    "mac": pf["mac"],
                    "driver": "igb",
                    "numa_node": None,
                    "numvfs": numvfs,
                    "problem": None,
                    "vfs": [
                        {"index": vf, "driver": None, "mac": "00:00:00:00:00:00", "vlan": 0}
                        for vf in range(numvfs)
                    ],
                }
                for index, pf in enumerate(offered)
            ],
        }
        for host, offered in pfs.items()
    }


def claim(
    state: dict[str, t.Any], host: str, index: int, vf: int, mzid: str = "other.b.c", **more: t.Any
) -> dict[str, t.Any]:
    """Put an entry of a materialization for a VF of the PF ``index`` into the ledger of a host."""
    pf = state[host]["pfs"][index]
    entry = {
        "node": "n",
        "nic": f"eth{vf + 1}",
        "pf_mac": pf["mac"],
        "pf_address": pf["address"],
        "vf": vf,
        "vlan": (more.get("values") or {}).get("vlan", 0),
        "values": {},
        "driver": "vfio-pci",
        "state": "held",
    } | more
    state[host]["materializations"].setdefault(mzid, []).append(entry)
    return entry


def allocate(
    nics: list[Nic] = HELLO,
    state: dict[str, t.Any] | None = None,
    *,
    pfs: dict[str, t.Any] = PFS,
    excluded: t.Mapping[str, t.Collection[str]] | None = None,
    policy: str = "spread",
    vlans: str = "2-4094",
) -> list[Choice]:
    """Return an allocation."""
    facility = Supply(pfs, found(pfs) if state is None else state, excluded or {})
    ids = _allocation.vlan_ids(vlans)
    return _allocation.allocate(nics, facility, mzid=MZID, policy=policy, vlans=ids)


def problems(*arguments: t.Any, **options: t.Any) -> list[str]:
    """Return why there is no allocation."""
    with pytest.raises(InputError) as caught:
        allocate(*arguments, **options)
    headline, *listed = str(caught.value).split("\n- ")
    assert headline.startswith(f"the allocation for {MZID} is refused, {len(listed)} problem")
    return [problem.split("\n")[0] for problem in listed]


def places(choices: list[Choice]) -> list[str]:
    """Return where NICs are."""
    return [f"{c.function.host} {c.function.name} {c.vf_index}" for c in choices]


def held(choices: list[Choice], state: dict[str, t.Any], mzid: str = MZID) -> dict[str, t.Any]:
    """Return what the hosts tell once an allocation is materialized."""
    state = copy.deepcopy(state)
    for choice in choices:
        host = choice.function.host
        [index] = [i for i, pf in enumerate(PFS[host]) if pf["mac"] == choice.function.mac]
        values = {"mac": choice.mac, "vlan": choice.vlan, "spoofchk": True}
        nic = {"node": choice.nic.node, "nic": choice.nic.name}
        claim(state, host, index, choice.vf_index, mzid, values=values, **nic)
        vf = state[host]["pfs"][index]["vfs"][choice.vf_index]
        vf.update(driver="vfio-pci", mac=choice.mac, vlan=choice.vlan)
    return state


def nic(node: str, socket: int = 0, link: str = "lan", **more: t.Any) -> Nic:
    """Return a NIC."""
    return Nic(node, socket, link, **more)


def test_example() -> None:
    choices = allocate()
    assert places(choices) == [
        *("x0 ens1f1 0", "x1 ens1f1 0", "x0 ens1f1 1"),
        *("x0 ens1f0 0", "x1 ens1f0 0"),
    ]
    assert [choice.vlan for choice in choices] == [2, 2, 2, 2, 2]
    assert str(choices[0]) == f"alpha eth1: x0 ens1f1 VF 0, VLAN 2, MAC {choices[0].mac}"


def test_one_vlan_for_each_link_of_a_domain() -> None:
    choices = allocate(policy="pack")
    assert {choice.function.domain for choice in choices} == {"xleaf0"}
    assert [choice.vlan for choice in choices] == [2, 2, 2, 3, 3]


def test_macs_are_made_of_the_names() -> None:
    macs = [choice.mac for choice in allocate()]
    assert macs[0] == "d2:96:84:79:1e:1b"
    assert len(set(macs)) == 5
    many = [choice.mac for choice in allocate([nic("a", n, f"l{n}") for n in range(14)])]
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs + many)
    facility = Supply(PFS, found())
    others = _allocation.allocate(HELLO, facility, mzid="a.b.c", policy="spread", vlans=[2, 3])
    assert not {choice.mac for choice in others} & set(macs)
    assert [choice.mac for choice in allocate(HELLO[::-1])] == macs[::-1]


@pytest.mark.parametrize("place", ["ledger", "VF", "PF on the host", "PF in the model"])
def test_mac_that_is_in_use_is_not_made(place: str) -> None:
    mac = allocate()[0].mac
    state, pfs = found(), copy.deepcopy(PFS)
    if place == "ledger":
        claim(state, "x1", 0, 6, values={"mac": mac})
    elif place == "VF":
        state["x1"]["pfs"][0]["vfs"][6]["mac"] = mac
    elif place == "PF on the host":
        state["x1"]["pfs"].append({"mac": mac, "vfs": [], "interface": None})
    else:
        pfs["x1"][1]["mac"] = mac
    other = next(c.mac for c in allocate(HELLO, state, pfs=pfs, policy="pack"))
    assert other != mac
    assert int(other[:2], 16) & 3 == 2


def test_held_vfs_are_taken() -> None:
    state = found()
    for vf in (0, 2):
        claim(state, "x0", 0, vf)
    assert places(allocate([nic("a", host="x0"), nic("b", host="x0")], state, policy="pack")) == [
        "x0 ens1f0 1",
        "x0 ens1f0 3",
    ]


def test_vf_with_a_driver_is_taken() -> None:
    state = found()
    state["x0"]["pfs"][0]["vfs"][0]["driver"] = "igbvf"
    assert places(allocate([nic("a", host="x0")], state, policy="pack")) == ["x0 ens1f0 1"]


def test_vlans_in_use_are_taken_in_their_domain() -> None:
    state = found()
    claim(state, "x1", 0, 6, values={"vlan": 2})
    state["x1"]["pfs"][0]["vfs"][5]["vlan"] = 3
    claim(state, "x1", 1, 6, values={"vlan": 4})
    assert {c.vlan for c in allocate([nic("a"), nic("b")], state, policy="pack")} == {4}
    state["x1"]["materializations"]["other.b.c"][0]["pf_mac"] = "04:72:00:00:99:99"
    assert {c.function.domain for c in allocate(HELLO, state)} == {"xleaf0", "xleaf1"}
    # Of a PF that is not in the model nobody knows the domain.
    assert 2 not in {c.vlan for c in allocate(HELLO, state)}


def test_vlan_that_the_guest_tags_is_taken() -> None:
    state = found()
    claim(state, "x1", 0, 6, values={"vlan": 0}, vlan=2, vlan_mode="trunk")
    assert {c.vlan for c in allocate([nic("a"), nic("b")], state)} == {3}


def test_pf_without_leaf() -> None:
    pfs = copy.deepcopy(PFS)
    for offered in pfs.values():
        offered[0]["leaf"] = None
        offered.pop()
    pair = [nic("a"), nic("b")]
    assert places(allocate(pair, pfs=pfs)) == ["x0 ens1f0 0", "x0 ens1f0 1"]
    assert "no leaf domain gives VFs to all of" in str(
        problems([nic("a", host="x0"), nic("b", host="x1")], pfs=pfs)
    )
    choices = allocate([*pair, nic("c", link="l", host="x1"), nic("d", link="l")], pfs=pfs)
    assert [choice.vlan for choice in choices] == [2, 2, 3, 3]
    state = found(pfs)
    claim(state, "x1", 0, 6, values={"vlan": 2})
    assert {choice.vlan for choice in allocate(pair, state, pfs=pfs)} == {3}
    state = found(PFS)
    claim(state, "x0", 1, 6, values={"vlan": 2})
    pfs = PFS | {"x0": [PFS["x0"][0] | {"leaf": None}, PFS["x0"][1]]}
    [choice] = allocate(
        [nic("a")], state, pfs=pfs, excluded={"x0": ["ens1f1"], "x1": ["ens1f0", "ens1f1"]}
    )
    assert (choice.function.domain, choice.vlan) == (None, 3)


def test_leaf_without_domain_is_a_domain() -> None:
    pfs = copy.deepcopy(PFS)
    for offered in pfs.values():
        for pf in offered:
            del pf["leaf"]["domain"]
    assert places(allocate(pfs=pfs)) == places(allocate())


def test_vlans_to_choose_from() -> None:
    assert {c.vlan for c in allocate(policy="pack", vlans="300,200-200")} == {200, 300}
    assert problems(policy="pack", vlans="200") == [
        "link 'alpha.1~beta.1': no VLAN is free in leaf domain xleaf0: 0 of 1, 1 needed; name"
        " more VLANs"
    ]


@pytest.mark.parametrize(
    ("text", "ids"), [("7", [7]), ("1-3, 3 ,4094", [1, 2, 3, 4094]), ("9-10,2", [2, 9, 10])]
)
def test_ranges_of_vlans(text: str, ids: list[int]) -> None:
    assert _allocation.vlan_ids(text) == ids


@pytest.mark.parametrize("text", ["", "0", "4095", "1-4095", "3-2", "a", "1;2", "1--2", "1,", "-1"])
def test_what_is_no_range_of_vlans(text: str) -> None:
    with pytest.raises(InputError, match="must be ranges of 1 to 4094, such as 100-199,300"):
        _allocation.vlan_ids(text)


def test_count_of_the_host_goes_before_that_of_the_model() -> None:
    alone = [nic(name, host="x0") for name in "abc"]
    assert problems(alone, found(numvfs=1)) == [
        "link 'lan': no leaf domain gives VFs to all of a eth1, b eth1, c eth1: xleaf0: 1 of 1 VFs"
        " free, 3 needed, xleaf1: 1 of 1 VFs free, 3 needed"
    ]
    assert len(allocate(alone)) == 3
    many = [nic(f"n{n}", link=f"l{n}") for n in range(29)]
    assert problems(many, found(numvfs=8)) == ["all hosts together: 28 of 28 VFs free, 29 needed"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pf: pf.update(numvfs=0, vfs=[]), "it has no VFs, run mergetb.sriov.prepare"),
        (lambda pf: pf.update(mac="04:72:00:00:99:99"), "its host has no such PF"),
        (lambda pf: pf.update(problem="no netlink"), "no netlink"),
    ],
)
def test_pf_that_its_host_cannot_use(
    change: t.Callable[[dict[str, t.Any]], None], told: str
) -> None:
    state = found()
    for pf in state["x0"]["pfs"]:
        change(pf)
    assert problems([nic("a", host="x0")], state) == [
        f"a eth1: 1 VF is needed; x0 ens1f0: {told}, x0 ens1f1: {told}"
    ]
    assert places(allocate([nic("a")], state)) == ["x1 ens1f0 0"]


def test_excluded_pf() -> None:
    names = {"x0": ["ens1f0", "04:72:00:00:10:01"]}
    assert problems([nic("a", host="x0")], excluded=names) == [
        "a eth1: 1 VF is needed; x0 ens1f0: it is excluded, x0 ens1f1: it is excluded"
    ]


def test_pf_in_the_management_network() -> None:
    pfs = copy.deepcopy(PFS)
    pfs["x0"][0]["link_roles"].append("MgmtLink")
    assert places(allocate([nic("a", host="x0")], pfs=pfs)) == ["x0 ens1f1 0"]


def test_pf_by_name_where_the_model_has_no_mac() -> None:
    pfs = copy.deepcopy(PFS)
    pfs["x0"][0]["mac"] = None
    [choice] = allocate([nic("a", host="x0")], found(), pfs=pfs)
    assert choice.function.mac == "04:72:00:00:10:00"
    state = found()
    del state["x0"]["pfs"][0]
    assert places(allocate([nic("a", host="x0")], state, pfs=pfs)) == ["x0 ens1f1 0"]


def test_numa_node_of_the_host() -> None:
    state = found()
    for index, pf in enumerate(state["x0"]["pfs"]):
        pf["numa_node"] = index
    same = [nic("a", n, f"l{n}", host="x0") for n in range(3)]
    assert {choice.function.name for choice in allocate(same, state)} == {"ens1f0"}


def test_bandwidth_that_others_are_limited_to() -> None:
    state = found()
    claim(state, "x0", 0, 6, values={"max_tx_rate": 400})
    state["x0"]["pfs"][0]["vfs"][6].update(driver="vfio-pci")
    state["x0"]["pfs"][1]["vfs"][6].update(driver="vfio-pci", max_tx_rate=500)
    state["x0"]["pfs"][1]["vfs"][5].update(max_tx_rate=500)
    asked = nic("a", host="x0", capacity=600_000_001)
    assert problems([asked], state) == [
        "a eth1: 600000001 bit/s are asked for; x0 ens1f0: left 600000000 bit/s, x0 ens1f1: left"
        " 500000000 bit/s"
    ]


def test_second_run_keeps_all() -> None:
    choices = allocate()
    again = allocate(HELLO, held(choices, found()), policy="pack", vlans="100")
    assert all(choice.kept for choice in again)
    assert [str(c).removesuffix(" (kept)") for c in again] == [str(c) for c in choices]


def test_what_is_new_is_added() -> None:
    state = held(allocate(), found())
    grown = [
        *(nic(name, link="alpha.0~beta.0~gamma.0~delta.0") for name in ("alpha", "beta", "gamma")),
        nic("delta", link="alpha.0~beta.0~gamma.0~delta.0"),
        *HELLO[3:],
        *(nic(name, 2, "new") for name in ("alpha", "beta")),
    ]
    choices = allocate(grown, state)
    assert [c.kept for c in choices] == [True, True, True, False, True, True, False, False]
    assert places(choices)[:3] == places(allocate())[:3]
    assert choices[3].vlan == choices[0].vlan
    assert choices[6].function.host == choices[0].function.host
    assert choices[6].vlan == 3


def test_what_is_held_goes_before_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    old = [nic("a"), nic("b")]
    state = held(allocate(old), found())
    made = iter([allocate(old)[0].mac, "02:00:00:00:00:01"])
    monkeypatch.setattr(_allocation, "_mac", lambda *_arguments: next(made))
    one_domain = {host: ["ens1f1"] for host in PFS}
    choices = allocate([nic("c", link="new"), *old], state, excluded=one_domain)
    assert [choice.vlan for choice in choices] == [3, 2, 2]
    assert [choice.mac for choice in choices[:1]] == ["02:00:00:00:00:01"]


def test_macs_that_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        _allocation, "_mac", lambda _mzid, _nic, attempt: f"02:00:00:00:00:0{attempt}"
    )
    macs = [choice.mac for choice in allocate()]
    assert macs == [f"02:00:00:00:00:0{attempt}" for attempt in range(5)]


def test_mac_of_the_ledger_stays() -> None:
    state = held(allocate([nic("a")]), found())
    [entry] = state["x0"]["materializations"][MZID]
    entry["values"]["mac"] = "02:72:00:00:00:01"
    assert allocate([nic("a")], state)[0].mac == "02:72:00:00:00:01"


def test_link_that_is_split() -> None:
    state = held(allocate([nic(n) for n in "abcd"]), found())
    choices = allocate([nic("a"), nic("b"), nic("c", link="l"), nic("d", link="l")], state)
    assert all(choice.kept for choice in choices)
    assert [choice.vlan for choice in choices] == [2, 2, 3, 3]


def test_vf_of_a_nic_that_is_gone_is_free() -> None:
    state = held(allocate([nic("gone", host="x0")]), found(numvfs=1))
    [choice] = allocate([nic("new", host="x0")], state)
    assert (choice.vf_index, choice.vlan, choice.kept) == (0, 2, False)


def test_own_vlan_that_another_materialization_has_too() -> None:
    state = held(allocate(), found())
    claim(state, "x1", 1, 6, values={"vlan": 2, "mac": allocate()[1].mac})
    choices = allocate(HELLO, state)
    assert [choice.vlan for choice in choices] == [3, 3, 3, 2, 2]
    assert choices[1].mac != allocate()[1].mac
    assert places(choices) == places(allocate())


def test_held_vf_that_cannot_stay() -> None:
    state = held(allocate(), found())
    assert problems([nic("alpha", host="x1")], state) == [
        "alpha eth1: cannot keep its VF of x0 ens1f1: host 'x1' is asked for; there are PFs on x0"
    ]
    assert problems([nic("alpha")], state, excluded={"x0": ["ens1f1"]}) == [
        "alpha eth1: cannot keep its VF of x0 ens1f1: 1 VF is needed; x0 ens1f1: it is excluded"
    ]
    doubled = copy.deepcopy(state)
    claim(doubled, "x0", 1, 0, MZID, node="beta", nic="eth9")
    [problem] = problems([nic("alpha"), nic("beta", 8)], doubled)
    assert problem.startswith("beta eth9: it has VF 0 of the PF 04:72:00:00:10:01 on x0, which is")
    claim(state, "x0", 1, 0)
    assert problems([nic("alpha")], state) == [
        "alpha eth1: it has VF 0 of the PF 04:72:00:00:10:01 on x0, which is not free;"
        f" dematerialize {MZID} first"
    ]
    pfs = PFS | {"x0": PFS["x0"][:1]}
    assert problems([nic("alpha")], state, pfs=pfs) == [
        "alpha eth1: it has VF 0 of the PF 04:72:00:00:10:01 on x0, which the inventory does not"
        f" offer; dematerialize {MZID} first"
    ]


def test_vfs_that_did_not_come_back() -> None:
    state = held(allocate([nic("a")]), found())
    for pf in state["x0"]["pfs"]:
        pf.update(numvfs=0, vfs=[])
    assert problems([nic("a")], state) == [
        "a eth1: it has VF 0 of the PF 04:72:00:00:10:00 on x0, which is not free;"
        f" dematerialize {MZID} first"
    ]


DOWN = {"asked": "2026-11-28T12:00:00Z", "reason": "no route to host"}
NEVER_SEEN = {"unreachable": True, "msg": "no route to host"}


def test_nothing_is_placed_on_a_host_that_is_down() -> None:
    state = found()
    claim(state, "x1", 0, 0, values={"mac": allocate()[0].mac, "vlan": 2})
    state["x1"]["cached"] = DOWN
    two = [nic("a"), nic("b")]
    choices = allocate(two, state)
    assert {choice.function.host for choice in choices} == {"x0"}
    assert [choice.vlan for choice in choices] == [3, 3], "it had 2 when it was seen last"
    [problem] = problems([nic("a", host="x1")], state)
    assert "x1 ens1f0: its host does not answer" in problem


def test_a_host_that_nobody_asked_now_may_be_chosen() -> None:
    state = found()
    for told in state.values():
        told["cached"] = {**DOWN, "reason": ""}
    assert places(allocate(state=state)) == places(allocate())


def test_a_vf_that_is_held_on_a_host_that_is_down() -> None:
    state = held(allocate(), found())
    state["x1"]["cached"] = DOWN
    assert problems(state=state)[0] == (
        "beta eth1: cannot keep its VF of x1 ens1f1: 1 VF is needed; x1 ens1f1: its host does not"
        " answer"
    )


def test_no_leaf_domain_with_a_host_that_was_never_seen() -> None:
    state = found() | {"x1": NEVER_SEEN}
    first, *_others = problems(state=state)
    assert (
        "x0 ens1f0: nobody knows which VLANs are in use in its leaf domain, since x1 was never seen"
    ) in first
    assert "x1 ens1f0: its host does not answer" in first


@pytest.mark.parametrize(
    ("other", "reason"), [("xleaf1", None), (None, "nobody knows which VLANs")]
)
def test_other_leaf_domains_are_chosen_from(other: str | None, reason: str | None) -> None:
    pfs = copy.deepcopy(PFS)
    for pf in pfs["x1"]:
        pf["leaf"] = {"host": other, "port": None, "domain": other} if other else None
    state = found(pfs) | {"x1": NEVER_SEEN}
    if reason:
        assert reason in problems([nic("a")], state, pfs=pfs)[0]
    else:
        assert places(allocate([nic("a")], state, pfs=pfs)) == ["x0 ens1f0 0"]


def test_what_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"^the experiment asks for no VF: set port\.vf==True"):
        allocate([])
    with pytest.raises(InputError, match="^nobody knows what is in use on x1: ask all hypervisors"):
        allocate(HELLO, {"x0": found()["x0"]})
    with pytest.raises(InputError, match="^nobody knows what is in use on x0, x1"):
        allocate(HELLO, {})
    with pytest.raises(InputError, match="^found: the result of x0 lacks materializations$"):
        allocate(HELLO, {"x0": {"pfs": []}})
    for wrong in (["ens1F0"], "ens1f0"):
        with pytest.raises(
            InputError, match="^excluded: x0 offers no PF '.+'; it offers ens1f0, 04"
        ):
            allocate(excluded={"x0": wrong})
    with pytest.raises(InputError, match="must be rid.eid.pid$"):
        _allocation.allocate(HELLO, Supply(PFS, found()), mzid="a/b", policy="pack", vlans=[2])


def test_remedy() -> None:
    with pytest.raises(InputError, match=r"\nDematerialize another experiment, give the PFs more"):
        allocate(HELLO, found(numvfs=1))


def document(choices: list[Choice]) -> dict[str, t.Any]:
    """Return the materialization of an allocation."""
    return _allocation.materialization(choices, mzid=MZID, facility="phobos")


def read(choices: list[Choice], pfs: dict[str, t.Any] = PFS) -> dict[str, t.Any]:
    """Return what the reader of materializations makes of an allocation."""
    data = json.dumps(document(choices)).encode()
    return _materialization.vfs(_document.decode(data, _document.MATERIALIZATION), pfs)


def test_materialization_is_read_as_chosen() -> None:
    choices = allocate()
    vfs = read(choices)
    assert vfs["mzid"] == MZID
    assert {
        (host, vf["pf"]["mac"], vf["vf_index"], vf["node"], vf["nic"], vf["vlan"], vf["mac"])
        for host, listed in vfs["hosts"].items()
        for vf in listed
    } == {
        (c.function.host, c.function.mac, c.vf_index, c.nic.node, c.nic.name, c.vlan, c.mac)
        for c in choices
    }
    assert vfs["hosts"]["x0"][0]["addresses"] == ["10.0.1.1/24"]
    assert vfs["hosts"]["x0"][0]["link"] == "alpha.1~beta.1"


def test_materialization_in_the_bindings() -> None:
    text = json.dumps(document(allocate()))
    theirs = portal.Materialization().from_json(text)
    assert json.loads(theirs.to_json()) == json.loads(
        text.replace('"NICs"', '"niCs"')
        .replace('"VfName"', '"vfName"')
        .replace("VfAlloc", "vfAlloc")
    )
    message = _document.decode(text.encode(), _document.MATERIALIZATION)
    wire = portal.Materialization().parse(message.SerializeToString())
    assert _document.decode(bytes(wire), _document.MATERIALIZATION) == message
    vm = wire.vms[0].vm_alloc
    assert (vm.resource, vm.facility, vm.mzid, vm.node) == ("x0", "phobos", MZID, "alpha")
    assert vm.virtual
    port = vm.ni_cs.alloc[1].alloc[1]
    assert (port.name, port.capacity, port.vf_name) == ("eth2", 600_000_000, "ens1f0v0")
    assert port.vf_alloc
    segment = wire.links[1].realization.segments[1]
    assert segment.vid == segment.endpoints[0].vf.vid == 2
    assert [(w.host, w.trunk.port.name, w.trunk.vids) for w in segment.waypoints] == [
        ("xleaf0", "swp1", [2]),
        ("xleaf0", "swp2", [2]),
    ]


def test_leaf_port_is_named_once() -> None:
    [link] = document(allocate([nic("a"), nic("b")], policy="pack"))["links"]
    assert len(link["realization"]["segments"]["1"]["endpoints"]) == 2
    assert len(link["realization"]["segments"]["1"]["waypoints"]) == 1


def test_leaf_whose_port_has_no_name() -> None:
    pfs = copy.deepcopy(PFS)
    for pf in pfs["x0"]:
        pf["leaf"]["port"] = None
    [link] = document(allocate([nic("a")], pfs=pfs))["links"]
    assert "waypoints" not in link["realization"]["segments"]["1"]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Nic], dict[str, t.Any]]:
    """Return an experiment, and hosts on which others have VFs."""
    state = found()
    slots = st.tuples(st.sampled_from(["x0", "x1"]), st.integers(0, 1), st.integers(0, 6))
    for host, index, vf in draw(st.sets(slots, max_size=20)):
        values = {"vlan": draw(st.integers(2, 5)), "mac": f"02:00:00:0{host[1]}:0{index}:0{vf}"}
        claim(state, host, index, vf, values=values)
    nics = [
        nic(
            draw(st.sampled_from(["a", "b", "c", "d"])),
            socket,
            draw(st.sampled_from(["k", "l", "m"])),
            capacity=draw(st.sampled_from([0, 0, 0, 400_000_000, 1_000_000_000])),
        )
        for socket in range(draw(st.integers(1, 8)))
    ]
    return nics, state


@settings(max_examples=300, deadline=None)
@given(worlds(), worlds(), st.sampled_from(["spread", "pack"]))
def test_properties(
    world: tuple[list[Nic], dict[str, t.Any]],
    later: tuple[list[Nic], dict[str, t.Any]],
    policy: str,
) -> None:
    nics, state = world
    try:
        choices = allocate(nics, state, policy=policy)
    except InputError:
        return
    check(choices, state)
    assert allocate(nics, state, policy=policy) == choices
    state = held(choices, state)
    assert [str(c) for c in allocate(nics, state)] == [f"{choice} (kept)" for choice in choices]
    try:
        changed = allocate(later[0], state, policy=policy)
    except InputError:
        return
    check(changed, state)


def check(choices: list[Choice], state: dict[str, t.Any]) -> None:
    """Check what must hold of every allocation; the reader of materializations checks more."""
    read(choices)
    taken = {
        (host, entry["pf_mac"], entry["vf"])
        for host, there in state.items()
        for mzid, entries in there["materializations"].items()
        for entry in entries
        if mzid != MZID
    }
    assert not taken & {(c.function.host, c.function.mac, c.vf_index) for c in choices}
    vlans = collections.defaultdict(set)
    for host, there in state.items():
        for mzid, entries in there["materializations"].items():
            for entry in entries:
                [pf] = [pf for pf in PFS[host] if pf["mac"] == entry["pf_mac"]]
                if mzid != MZID:
                    vlans[pf["leaf"]["domain"], entry["values"]["vlan"]].add(mzid)
    for choice in choices:
        vlans[choice.function.domain, choice.vlan].add((MZID, choice.nic.link))
    mine = {key for key, users in vlans.items() if any(user[0] == MZID for user in users)}
    assert all(len(vlans[key]) == 1 for key in mine)
    wanted = collections.Counter[str]()
    for choice in choices:
        wanted[choice.function.mac] += choice.nic.capacity
    assert max(wanted.values()) <= 1_000_000_000
    assert len({(c.nic.link, c.function.domain) for c in choices}) == len(
        {c.nic.link for c in choices}
    )


def test_a_link_with_a_whole_nic_keeps_its_vlan() -> None:
    state = found()
    state = held(allocate(state=state), state)
    nic = whole_function(nic="eth7", pf_name="ens9f0", pf_mac="04:70:00:00:00:99", vlan=2)
    state["x0"]["materializations"][MZID].append(nic)
    assert {choice.vlan for choice in allocate(state=state)} == {2}
