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
ANSWER: dict[str, t.Any] = {
    "changed": False,
    "platform": {"arch": "x86_64"},
    "iommu_groups": 9,
    "lldp": True,
    "ports": [],
    "pfs": [{"mac": "04:72:00:00:10:00"}],
    "materializations": {},
}
LEDGER = {"one.hello.demo": [{"vlan": 100}]}


def later(**times: int) -> datetime.datetime:
    return NOW + datetime.timedelta(**times)


def test_an_answer_is_remembered_and_recalled() -> None:
    facts = _known.facts_of_answer(ANSWER, WHOLE, NOW)
    assert facts[_known.FACT]["asked"] == "2026-11-28T12:00:00Z"
    recalled = _known.recall("x0", facts, "no route to host")
    assert recalled is not None
    assert recalled.pop("cached") == {"asked": "2026-11-28T12:00:00Z", "reason": "no route to host"}
    assert recalled == {key: ANSWER[key] for key in _known.ANSWER}


def test_an_answer_has_what_the_module_returns() -> None:
    documented = yaml.safe_load(sriov_info.RETURN)
    assert set(_known.ANSWER) == documented.keys() - {"ansible_facts"}


@pytest.mark.parametrize("arguments", [{}, {"firmware": False}, {"firmware": True, "pfs": []}])
def test_of_a_part_only_the_ledger_is_remembered(arguments: dict[str, t.Any]) -> None:
    facts = _known.facts_of_answer({"pfs": [], "materializations": LEDGER}, arguments, NOW)
    assert facts == {
        _known.LEDGER_FACT: {"asked": "2026-11-28T12:00:00Z", "materializations": LEDGER}
    }


@pytest.mark.parametrize("result", [{"failed": True, "msg": "e"}, {"unreachable": True}])
def test_no_answer_is_remembered_as_none(result: dict[str, t.Any]) -> None:
    assert _known.facts_of_answer(result, WHOLE, NOW) == {}
    assert _known.recall("x0", {}, "") is None


@pytest.mark.parametrize(("minutes", "is_newer"), [(-1, False), (0, True), (1, True)])
def test_the_newest_ledger_counts(minutes: int, is_newer: bool) -> None:
    facts = _known.facts_of_answer(ANSWER, WHOLE, NOW)
    facts |= _known.facts_of_ledger(LEDGER, later(minutes=minutes))
    recalled = _known.recall("x0", facts, "")
    assert recalled is not None
    newest = _known.with_newest_ledger("x0", recalled, facts)
    assert newest["materializations"] == (LEDGER if is_newer else {})
    assert _known.with_newest_ledger("x0", ANSWER, facts) is ANSWER


@pytest.mark.parametrize(
    "fact",
    [
        "text",
        [],
        {},
        {"asked": "2026-11-28T12:00:00Z"},
        dict.fromkeys(_known.ANSWER) | {"asked": None},
        dict.fromkeys(_known.ANSWER) | {"asked": "yesterday"},
    ],
)
def test_a_fact_of_somebody_else_is_refused(fact: t.Any) -> None:
    with pytest.raises(InputError, match="^the fact mergetb_sriov of x0 in the fact cache is not"):
        _known.recall("x0", {_known.FACT: fact}, "")
    with pytest.raises(InputError, match="^the fact mergetb_sriov_ledger of x0"):
        _known.with_newest_ledger("x0", {"cached": {"asked": "2026"}}, {_known.LEDGER_FACT: fact})


@pytest.mark.parametrize(
    ("time", "age"),
    [
        (later(seconds=-5), "0 s"),
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
