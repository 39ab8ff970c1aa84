# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t

import pytest
import yaml
from ansible_collections.mergetb.sriov.plugins.modules import sriov_info
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _known
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

NOW = datetime.datetime(2026, 11, 28, 12, 0, tzinfo=datetime.timezone.utc)
WHOLE = {"firmware": True}
X0 = _known.Whose("x0", "phobos")
ANSWER: dict[str, t.Any] = {
    "changed": False,
    "platform": {"arch": "x86_64"},
    "iommu_groups": 9,
    "lldp": True,
    "ports": [],
    "pfs": [
        {
            "mac": "04:72:00:00:10:00",
            "interface": "ens1f0",
            "problem": None,
            "numvfs": 1,
            "vfs": [{"index": 0, "driver": None}],
        }
    ],
    "materializations": {},
}


def entry(vlan: int) -> dict[str, t.Any]:
    names = dict.fromkeys(("node", "nic", "pf_mac", "state"), "a")
    return names | {"vf": 0, "vlan": vlan, "values": {"vlan": vlan}, "runs": []}


LEDGER = {"one.hello.demo": [entry(100)]}


def later(**times: int) -> datetime.datetime:
    return NOW + datetime.timedelta(**times)


def remembered(**changes: t.Any) -> dict[str, t.Any]:
    """Return the facts of an answer, of which something is different."""
    facts = _known.facts_of_answer(ANSWER, WHOLE, X0, NOW)
    facts[_known.FACT] |= changes
    return facts


def test_an_answer_is_remembered_and_recalled() -> None:
    recalled = _known.recall(X0, remembered(), "no route to host")
    assert recalled is not None
    assert recalled.pop("cached") == {"asked": "2026-11-28T12:00:00Z", "reason": "no route to host"}
    assert recalled == {key: ANSWER[key] for key in _known.ANSWER}


def test_an_answer_has_what_the_module_returns() -> None:
    documented = yaml.safe_load(sriov_info.RETURN)
    assert set(_known.ANSWER) == documented.keys() - {"ansible_facts", "vdpa"}


@pytest.mark.parametrize("arguments", [{}, {"firmware": False}, {"firmware": True, "pfs": []}])
def test_of_a_part_only_the_ledger_is_remembered(arguments: dict[str, t.Any]) -> None:
    facts = _known.facts_of_answer({"pfs": [], "materializations": LEDGER}, arguments, X0, NOW)
    assert facts == _known.facts_of_ledger(LEDGER, X0, NOW)
    assert list(facts) == [_known.LEDGER_FACT]


@pytest.mark.parametrize(
    "result", [{"failed": True, "msg": "e"}, {"unreachable": True}, {"ansible_job_id": "1"}]
)
def test_no_answer_is_remembered_as_none(result: dict[str, t.Any]) -> None:
    assert _known.facts_of_answer(result, WHOLE, X0, NOW) == {}
    assert _known.recall(X0, {}, "") is None


@pytest.mark.parametrize("whose", [X0._replace(host="x1"), X0._replace(facility="deimos")])
def test_the_facts_of_another_host_are_not_of_this_one(whose: _known.Whose) -> None:
    """A task with run_once gives the facts of one host to all, and facilities share a cache."""
    assert _known.recall(whose, remembered(), "") is None
    ledger = _known.facts_of_ledger(LEDGER, X0, NOW)
    recalled = _known.recall(X0, remembered(), "")
    assert recalled is not None
    assert _known.with_every_ledger(whose, recalled, ledger) is recalled


@pytest.mark.parametrize(("minutes", "last"), [(-1, 200), (1, 100)])
def test_what_either_ledger_has_may_be_in_use(minutes: int, last: int) -> None:
    """Clocks of controllers differ, so nobody knows which is newer."""
    facts = remembered(materializations={"one.hello.demo": [entry(200)], "two": [entry(300)]})
    facts |= _known.facts_of_ledger(LEDGER, X0, later(minutes=minutes))
    recalled = _known.recall(X0, facts, "")
    assert recalled is not None
    ledger = _known.with_every_ledger(X0, recalled, facts)["materializations"]
    assert ledger.keys() == {"one.hello.demo", "two"}
    assert {held["vlan"] for held in ledger["one.hello.demo"]} == {100, 200}
    assert ledger["one.hello.demo"][-1]["vlan"] == last


BROKEN: list[dict[str, t.Any]] = [
    {"version": 2},
    {"asked": None},
    {"asked": "yesterday"},
    {"asked": "2026-1-1T9:0:0Z"},
    {"host": None},
    {"materializations": None},
    {"materializations": []},
    {"materializations": {"one": [entry(100) | {"vlan": "100"}]}},
    {"materializations": {"one": [{"vlan": 100}]}},
]


@pytest.mark.parametrize(
    "changes",
    [
        *BROKEN,
        {"pfs": None},
        {"pfs": {}},
        {"pfs": [ANSWER["pfs"][0] | {"vfs": [{"index": 0}]}]},
        {"platform": None},
        {"ports": None},
    ],
)
def test_a_broken_answer_is_refused(changes: dict[str, t.Any]) -> None:
    with pytest.raises(InputError, match="^the fact mergetb_sriov of x0 in the fact cache is not"):
        _known.recall(X0, remembered(**changes), "")


@pytest.mark.parametrize("changes", BROKEN)
def test_a_broken_ledger_is_refused(changes: dict[str, t.Any]) -> None:
    fact = _known.facts_of_ledger(LEDGER, X0, NOW)[_known.LEDGER_FACT] | changes
    with pytest.raises(InputError, match="^the fact mergetb_sriov_ledger of x0"):
        _known.with_every_ledger(X0, {}, {_known.LEDGER_FACT: fact})


@pytest.mark.parametrize("fact", ["text", [], {}])
def test_a_fact_of_somebody_else_is_refused(fact: t.Any) -> None:
    with pytest.raises(InputError, match="^the fact mergetb_sriov of x0 in the fact cache is not"):
        _known.recall(X0, {_known.FACT: fact}, "")


@pytest.mark.parametrize(
    ("time", "age"),
    [
        (later(seconds=-5), "in the future, by this clock"),
        (later(seconds=59), "59 s"),
        (later(minutes=119), "1 h"),
        (later(hours=26), "1 d"),
    ],
)
def test_ages(time: datetime.datetime, age: str) -> None:
    assert _known.age("2026-11-28T12:00:00Z", time) == age


def test_the_oldest_are_named() -> None:
    answers: dict[str, t.Any] = {"x0": {}} | {
        f"x{minute}": {"cached": {"asked": f"2026-11-28T11:{59 - minute}:00Z"}}
        for minute in range(1, 13)
    }
    (line,) = _known.ages(answers, NOW)
    assert line.startswith("from the fact cache: 12 of 13 hosts, by age x12 13 min, x11 12 min, ")
    assert line.endswith("x3 4 min and 2 younger")
    assert _known.ages({"x0": {}}, NOW) == []
