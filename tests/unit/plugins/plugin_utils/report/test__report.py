# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import collections
import hashlib
import itertools
import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report
from ansible_collections.mergetb.sriov.tests.report.facility import Facility, hold
from ansible_collections.mergetb.sriov.tests.unit.facts import whole_function

MAC = "02:00:00:00:00:01"
NIC = "alpha.eth1"
MZID = "one.hello.demo"
CSS = Path(_report.__file__).with_name("page.css").read_text("utf-8")


def held(facility: Facility, pf: int = 0, vf: int = 0, mzid: str = MZID) -> dict[str, t.Any]:
    """Let x0 hold a VF, and return its entry in the ledger."""
    return hold(facility.facts["x0"], mzid, pf, vf, NIC, MAC, 100)


def shown(facility: Facility, pf: int = 0, vf: int = 0) -> _report.ReportVf:
    """Return how a VF of x0 is shown."""
    return facility.report().hosts[0].pfs[pf].vfs[vf]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "free"),
        ({"driver": "mlx5_core"}, "driver"),
        ({"driver": "vfio-pci"}, "driver"),
        ({"driver": "vfio-pci", "users": ["process 1 has it open"]}, "foreign"),
        ({"users": ["process 1 has it open"]}, "foreign"),
    ],
)
def test_vf_that_nobody_holds(changes: dict[str, t.Any], state: str) -> None:
    facility = Facility(1)
    facility.facts["x0"]["pfs"][0]["vfs"][0].update(changes)
    assert shown(facility).state == state
    assert shown(facility).note == "".join(changes.get("users", ""))


def test_vf_that_is_held() -> None:
    facility = Facility(1)
    held(facility)
    facility.facts["x0"]["pfs"][0]["vfs"][0]["users"] = ["process 1 has it open"]
    assert shown(facility) == _report.ReportVf(
        vf=0,
        state="held",
        mzid=MZID,
        nic=NIC,
        vlan=100,
        mac=MAC,
        address="0000:3b:00.2",
        driver="vfio-pci",
        note="process 1 has it open",
    )


@pytest.mark.parametrize(
    ("vf", "entry", "note"),
    [
        ({"vlan": 0}, {}, "vlan is 0, the ledger says 100"),
        ({"trust": True, "mac": "x"}, {}, "mac is x, the ledger says 02"),
        ({"spoofchk": None}, {}, "spoofchk is null, the ledger says true"),
        ({"driver": None}, {}, "driver is null, the ledger says vfio-pci"),
        ({"address": "0000:af:00.2"}, {}, "PCI address is 0000:af:00.2, the ledger says 0000:3b"),
        ({}, {"state": "changing"}, "the ledger says changing: "),
        ({"driver": None}, {"state": "leaving"}, "the ledger says leaving: "),
    ],
)
def test_vf_that_is_not_what_the_ledger_says(
    vf: dict[str, t.Any], entry: dict[str, t.Any], note: str
) -> None:
    facility = Facility(1)
    held(facility).update(entry)
    facility.facts["x0"]["pfs"][0]["vfs"][0].update(vf)
    assert shown(facility).state == "error"
    assert shown(facility).note.startswith(note)
    assert shown(facility).mzid == MZID


@pytest.mark.parametrize("held_before", [False, True])
def test_vf_that_is_reserved_is_shown_once(held_before: bool) -> None:
    facility = Facility(1)
    entries = facility.facts["x0"]["materializations"]
    first = held(facility)
    if held_before:
        entries[MZID] = [first, {**first, "vlan": 200, "state": "reserved", "runs": ["night"]}]
    else:
        first.update(state="reserved", runs=["night"])
        facility.facts["x0"]["pfs"][0]["vfs"][0].update(driver=None, vlan=0)
    assert [vf.state for vf in facility.report().hosts[0].pfs[0].vfs].count("held") == 1
    assert shown(facility).note == ("" if held_before else "reserved by run night")
    assert shown(facility).vlan == 100


def test_attributes_that_cannot_be_read() -> None:
    facility = Facility(1)
    entry = held(facility)
    pf = facility.facts["x0"]["pfs"][0]
    pf["problem"] = "the PF has no network interface"
    del pf["vfs"][0]["vlan"], pf["vfs"][0]["mac"], pf["vfs"][1]["vlan"]
    assert shown(facility).note == "its attributes cannot be read"
    assert shown(facility, vf=1).state == "free"
    assert shown(facility, vf=1).vlan is None
    assert [topic.title for topic in _report.topics(facility.report())] == [
        "VFs in error: they differ from the ledger",
        "PFs with VFs, but with a problem",
    ]
    # A NIC that keeps no attributes has none in the ledger.
    entry["values"] = {}
    assert shown(facility).state == "held"


def test_vf_that_the_host_does_not_have() -> None:
    facility = Facility(1, vfs=2)
    held(facility, vf=1)
    facility.facts["x0"]["pfs"][0]["vfs"].pop()
    assert [vf.state for vf in facility.report().hosts[0].pfs[0].vfs] == ["free", "error"]
    assert shown(facility, vf=1).note == "the ledger has it, the host does not"


def test_pf_that_the_host_does_not_have() -> None:
    facility = Facility(1, vfs=2)
    held(facility)
    facility.facts["x0"]["pfs"].pop(0)
    gone = facility.report().hosts[0].pfs[0]
    assert (gone.name, gone.leaf, gone.note) == ("ens1f0", "leaf0", "the host does not have it")
    assert [vf.state for vf in gone.vfs] == ["error"]
    facility.pfs["x0"].pop(0)
    gone = facility.report().hosts[0].pfs[1]
    assert (gone.name, gone.mac, gone.leaf) == ("ens1f0", "0c:42:a1:00:00:00", "")
    assert (gone.declared, [vf.state for vf in gone.vfs]) == (None, ["error"])


def test_pf_is_found_by_mac_then_by_name() -> None:
    facility = Facility(1, vfs=2)
    first, second = facility.pfs["x0"]
    facility.facts["x0"]["pfs"][0]["interface"] = "eth0"
    first["name"] = "ens2f0"
    second.update(name="eth0", mac=None)
    assert [pf.note for pf in facility.report().hosts[0].pfs] == [
        "",
        "the host does not have it",
        "the model does not offer it",
    ]
    second["name"] = "ens2f0"
    assert [pf.note for pf in facility.report().hosts[0].pfs] == ["", ""]


def test_pf_that_the_model_does_not_offer_is_shown_for_its_vfs() -> None:
    facility = Facility(1, vfs=2)
    del facility.pfs["x0"][1]
    other = facility.report().hosts[0].pfs[1]
    assert (other.name, other.declared, len(other.vfs)) == ("ens2f0", None, 2)
    facility.facts["x0"]["pfs"][1]["vfs"] = []
    assert len(facility.report().hosts[0].pfs) == 1


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"error": "no route to host"}, "no route to host"),
        ({"unreachable": True, "msg": "no route to host"}, "no route to host"),
        ({"failed": True, "msg": "the ledger cannot be read"}, "the ledger cannot be read"),
    ],
)
def test_host_without_answer(told: dict[str, t.Any], error: str) -> None:
    facility = Facility(2, vfs=2)
    facility.facts["x0"] = told
    facility.finding("error", "unread", "x0", "", None, None, None, "could not be asked", "log in")
    made = facility.report()
    assert (made.hosts[0].error, made.hosts[1].error) == (error, "")
    assert [(pf.declared, pf.vfs) for pf in made.hosts[0].pfs] == [(2, []), (2, [])]
    (topic,) = _report.topics(made)
    assert (topic.severity, topic.title) == ("error", "Hosts without answer")
    assert _report.summary(made)[:2] == [
        "hosts: 1 of 2 answered, not x0",
        "VFs: 4 of 8 in the model",
    ]


@pytest.mark.parametrize("reason", ["no route to host", ""])
def test_host_as_it_was_known(reason: str) -> None:
    facility = Facility(2, vfs=2)
    facility.facts["x0"]["cached"] = {"asked": "2026-11-28T12:00:00Z", "reason": reason}
    facility.finding("warning", "unread", "x0", "", None, None, None, "could not be asked", "see")
    facility.finding("error", "mac", "x0", "", None, None, None, "no port has the MAC", "mend it")
    made = facility.report()
    assert (made.hosts[0].error, made.hosts[0].asked) == (reason, "2026-11-28T12:00:00Z")
    assert [len(pf.vfs) for pf in made.hosts[0].pfs] == [2, 2]
    titles = {topic.title for topic in _report.topics(made)}
    assert "Differs from the model: mac" in titles
    assert ("Hosts without answer" in titles) == bool(reason)
    assert ("Differs from the model: unread" in titles) != bool(reason), "it is said once"
    assert _report.summary(made)[0] == "hosts: 1 of 2 answered" + (", not x0" if reason else "")
    page = _report.html(made)
    assert "1 as known earlier, the oldest as of 2026-11-28T12:00:00Z" in page
    assert "as of 2026-11-28T12:00:00Z</td>" in page


def test_vf_that_two_hold_counts_for_both() -> None:
    facility = Facility(1, vfs=2)
    held(facility)
    held(facility, mzid="two.hello.demo")
    pf = facility.report().hosts[0].pfs[0]
    assert [(vf.vf, vf.mzid, vf.state) for vf in pf.vfs] == [
        (0, MZID, "error"),
        (0, "two.hello.demo", "error"),
        (1, "", "free"),
    ]
    assert pf.vfs[0].note == "two.hello.demo holds it too"


def test_sums_are_those_of_the_ledgers() -> None:
    facility = Facility(60).use()
    made = facility.report()
    entries = [
        (host, mzid)
        for host, told in facility.facts.items()
        for mzid, of in told.get("materializations", {}).items()
        for _entry in of
    ]
    assert len(entries) > 100
    assert {
        totals.name: (totals.vfs, totals.hosts) for totals in _report.by_materialization(made)
    } == {
        mzid: (
            sum(other == mzid for _host, other in entries),
            {host for host, other in entries if other == mzid},
        )
        for mzid in {mzid for _host, mzid in entries}
    }
    by_host = {totals.name: totals for totals in _report.by_host(made)}
    for host, count in collections.Counter(host for host, _mzid in entries).items():
        assert by_host[host].states["held"] + by_host[host].states["error"] == count
    facility_wide = _report.of_facility(made)
    assert facility_wide.vfs == 60 * 32
    for parts in (_report.by_host(made), _report.by_leaf(made)):
        for state in _report.STATES:
            assert sum(part.states[state] for part in parts) == facility_wide.states[state]
        assert sum(part.declared for part in parts) == facility_wide.declared


def test_order() -> None:
    facility = Facility(41)
    facility.pfs["x3"][0]["leaf"] = None
    made = facility.report()
    assert [host.name for host in made.hosts] == [f"x{number}" for number in range(41)]
    leafs = [leaf.name for leaf in _report.by_leaf(made)]
    assert leafs == ["leaf0", "leaf1", "leaf2", "leaf3", "leaf4", "leaf5", ""]
    facility = Facility(1)
    mzids = ["a10.e.p", "b2.e.p", "b10.e.p", f"b{'1' * 10_000}"]
    for vf, mzid in enumerate(reversed(mzids)):
        held(facility, vf=vf, mzid=mzid)
    sums = _report.by_materialization(facility.report())
    assert [materialization.name for materialization in sums] == mzids


def test_remarks_that_say_the_same_go_together() -> None:
    facility = Facility(3)
    for host in ("x0", "x1"):
        facility.finding("info", "acs", host, "ens1f0", None, None, None, "ACS is off", "see")
    facility.finding("error", "max_vfs", "x2", "ens1f0", "f", 16, 7, "16, offers 7", "correct it")
    facility.finding("error", "max_vfs", "x2", "ens2f0", "f", 16, 8, "16, offers 8", "correct it")
    for index, host in enumerate(("x0", "x1")):
        users = [f"process {index} (qemu) has /dev/vfio/{index} open"]
        facility.facts[host]["pfs"][0]["vfs"][index]["users"] = users
    errors, foreign, infos = _report.topics(facility.report())
    assert (errors.severity, foreign.severity, infos.severity) == ("error", "warning", "info")
    assert [remark.text for remark in errors.remarks] == ["16, offers 7", "16, offers 8"]
    (remark,) = infos.remarks
    assert [place.text for place in remark.places] == ["x0 ens1f0", "x1 ens1f0"]
    (remark,) = foreign.remarks
    assert remark.text == "process … (qemu) has … open"
    assert remark.places[1] == ("x1 ens1f0 VF 1", "host:x1 pf:ens1f0 vf:1")


def test_data_has_everything_once() -> None:
    facility = Facility(30).use()
    made = facility.report()
    data = json.loads(json.dumps(_report.data(made)))
    strings, lists, pfs = data["strings"], data["lists"], data["pfs"]
    assert len(set(strings)) == len(strings)
    assert len(set(map(tuple, lists))) == len(lists)
    expected = [(host, pf) for host in made.hosts for pf in host.pfs]
    for number, (host, pf) in enumerate(expected):
        assert strings[pfs["host"][number]] == host.name
        assert strings[pfs["leaf"][number]] == pf.leaf
        for name in _report.ReportVf._fields:
            column = [strings[place] for place in lists[pfs[name][number]]]
            assert column == [_report.visible(getattr(vf, name)) for vf in pf.vfs]


HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>",
    "{{ 1 + 1 }}{% raw %}",
    "\u202egnp.exe",
    "\ud800\x00\x07",
    "x" * 10_000,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text(name: str) -> None:
    facility = Facility(1)
    clean = _report.html(facility.report())
    held(facility).update(node=name)
    facility.facts["x0"]["pfs"][0]["vfs"][1]["users"] = [name]
    facility.finding("error", name, "x0", name, None, None, None, name, name)
    page = _report.html(facility.report(name))
    tags = re.compile(r"<(script|img|!--)[ >]")
    assert tags.findall(page) == tags.findall(clean)
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)
    assert (
        _report.visible(name)
        in json.loads(re.findall('id="data">(.*?)</script>', page, re.DOTALL)[0])["strings"]
    )


def test_visible() -> None:
    assert _report.visible(None) == ""
    assert _report.visible(0) == "0"
    assert _report.visible("Zürich 東京\n") == "Zürich 東京\n"
    assert _report.visible("a\u202eb\x00\ud800") == r"a\u202eb\x00\ud800"
    assert _report.visible("x" * 10_000).endswith("xx... (10000 characters)")


@pytest.mark.parametrize(
    ("name", "query"),
    [("x0", "host:x0"), ("a b", 'host:"a b"'), ('a"\\', 'host:"a\\"\\\\"'), ("a\\u", "host:a\\u")],
)
def test_query(name: str, query: str) -> None:
    assert _report.query(host=name) == query
    assert _report.query(host=name, vf=0) == f"{query} vf:0"


def test_page_needs_nothing_else_and_runs_only_its_own_script() -> None:
    page = _report.html(Facility(3).use().report())
    assert not re.search(r"(src|href|action)=\"(?!#)|url\(|@import|https?://(?!www\.w3\.org)", page)
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0].replace(
        "&#39;", "'"
    )
    assert policy.startswith("default-src 'none';")
    for tag, source in (("style", "style-src"), ("script", "script-src")):
        text = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in policy
    assert not re.search(r"\son\w+=|\sstyle=", page)


def _luminance(colour: str) -> float:
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[scheme]
    colours = {
        name: colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
        for name, colour in re.findall(r"--(\w+): (#\w+)", block)
    }
    texts = ("text", "muted", "link", "warning", *_report.STATES)
    for name, back in itertools.product(texts, ("back", "raised")):
        pair = sorted(_luminance(colours[each]) for each in (name, back))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, back)


def test_every_state_has_a_shape_of_its_own() -> None:
    page = _report.html(Facility(1).report())
    shapes = re.findall(r'<symbol id="(\w+)"><path d="([^"]*)"', page)
    assert [name for name, _shape in shapes] == list(_report.STATES)
    assert len({shape for _name, shape in shapes}) == len(_report.STATES)


def test_a_materialization_of_functions_alone_counts() -> None:
    held = {"one.hello.demo": [whole_function()]}
    facts: t.Any = {"x0": {"materializations": held, "pfs": [], "ports": []}}
    made = _report.report(facts, {}, [], facility="f", model="m", made="now")
    assert "materializations: 1" in _report.summary(made)
