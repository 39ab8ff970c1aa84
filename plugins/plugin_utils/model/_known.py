# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a controller remembers of a host: two facts in Ansible's own fact cache. PRIVATE.

The fact `FACT` is the last whole answer of the module ``sriov_info``. `LEDGER_FACT` is the host's
ledger by itself, after a run has changed it. Ansible's cache plugin keeps both, from one run to the
next, and for other controllers.
"""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

FACT = "mergetb_sriov"
LEDGER_FACT = "mergetb_sriov_ledger"
VERSION = 1
"""The version of both facts. Facts of another version are refused."""

SOURCES = ("none", "missing", "all")
"""Whom the option ``from_cache`` replaces: no host, hosts without answer, or all hosts."""

ANSWER = ("platform", "iommu_groups", "lldp", "ports", "pfs", "materializations")
"""The keys of an answer of ``sriov_info``."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))
_SHOWN = 10

Result = t.Mapping[str, t.Any]
_Check = t.Callable[[t.Any], bool]


class Whose(t.NamedTuple):
    """The host that a fact is of, and its facility, which may be empty.

    A task with ``run_once`` gives the facts of one host to all, and facilities may share a cache.
    """

    host: str
    facility: str


def facts_of_answer(
    result: Result, arguments: t.Mapping[str, t.Any], whose: Whose, asked: datetime.datetime
) -> dict[str, t.Any]:
    """Return the facts that an answer of ``sriov_info`` to ``arguments`` gives.

    A ledger is always whole. The rest is whole if all PFs and their firmware were asked for.

    :param asked: when the host was asked, which is before it read anything
    """
    if failed(result) or "materializations" not in result:
        return {}
    if arguments.get("pfs") is not None or not arguments.get("firmware"):
        return facts_of_ledger(result["materializations"], whose, asked)
    return {FACT: _head(whose, asked) | {key: result[key] for key in ANSWER}}


def facts_of_ledger(
    materializations: t.Mapping[str, t.Any], whose: Whose, asked: datetime.datetime
) -> dict[str, t.Any]:
    """Return the facts that a host's ledger gives."""
    return {LEDGER_FACT: _head(whose, asked) | {"materializations": materializations}}


def _head(whose: Whose, asked: datetime.datetime) -> dict[str, t.Any]:
    time = asked.astimezone(datetime.timezone.utc).strftime(_TIME)
    return {"version": VERSION, **whose._asdict(), "asked": time}


def failed(result: Result) -> bool:
    """Return whether a host gave no answer."""
    return bool(result.get("failed") or result.get("unreachable"))


def recall(whose: Whose, facts: t.Mapping[str, t.Any], reason: str) -> dict[str, t.Any] | None:
    """Return the last whole answer of a host from its facts; None if there is none.

    :param reason: why the host gives no answer now; empty if nobody asked it
    :returns: the answer, with ``cached``, which has the ``reason`` and the time, ``asked``
    :raises InputError: the fact is not what this collection writes
    """
    fact = _fact(whose, facts, FACT)
    if fact is None:
        return None
    cached = {"asked": fact["asked"], "reason": reason}
    return {key: fact[key] for key in ANSWER} | {"cached": cached}


def with_every_ledger(
    whose: Whose, answer: dict[str, t.Any], facts: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """Return an answer from the cache, whose ledger also has what the host's other ledger has.

    Which of them is newer depends on the clocks of controllers. What either has may be in use.

    :raises InputError: the fact is not what this collection writes
    """
    fact = _fact(whose, facts, LEDGER_FACT)
    if fact is None:
        return answer
    both = [answer["materializations"], fact["materializations"]]
    if _time(fact["asked"]) < _time(answer["cached"]["asked"]):
        both.reverse()
    mzids = dict.fromkeys(mzid for ledger in both for mzid in ledger)
    # Of a NIC that both have, the entry that comes last counts.
    merged = {mzid: [entry for ledger in both for entry in ledger.get(mzid, ())] for mzid in mzids}
    return answer | {"materializations": merged}


def _fact(whose: Whose, facts: t.Mapping[str, t.Any], name: str) -> t.Mapping[str, t.Any] | None:
    """Return a fact; None if there is none of this host and facility."""
    fact = facts.get(name)
    if fact is None:
        return None
    if not _has(fact, _CHECKS[name]):
        raise InputError(
            f"the fact {name} of {whose.host} in the fact cache is not what this version of the"
            " collection writes: delete it, and run mergetb.sriov.audit while the host is up"
        )
    return fact if (fact["host"], fact["facility"]) == whose else None


def _has(value: t.Any, checks: t.Mapping[str, _Check]) -> bool:
    return isinstance(value, dict) and all(
        key in value and check(value[key]) for key, check in checks.items()
    )


def _is(*types: type) -> _Check:
    # A bool is an int, and stands for none.
    return lambda value: isinstance(value, types) and (bool in types or value is not True)


def _each(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_entry(value: t.Any) -> bool:
    """Return whether a value is an entry of a ledger: a whole function, or without kind a VF."""
    return _has(value, _FUNCTION if isinstance(value, dict) and "kind" in value else _ENTRY)


def _is_time(value: t.Any) -> bool:
    try:
        return isinstance(value, str) and _time(value).strftime(_TIME) == value
    except ValueError:
        return False


_TEXT, _NUMBER = _is(str), _is(int)
_OPTIONAL_TEXT = _is(str, type(None))
_HEAD: dict[str, _Check] = {
    "version": lambda value: value == VERSION,
    "host": _TEXT,
    "facility": _TEXT,
    "asked": _is_time,
}
_ENTRY: dict[str, _Check] = {
    **dict.fromkeys(("node", "nic", "pf_mac", "state"), _TEXT),
    **dict.fromkeys(("vf", "vlan"), _NUMBER),
    "values": _is(dict),
    "runs": _each(_TEXT),
}
_FUNCTION: dict[str, _Check] = {
    **dict.fromkeys(("kind", "node", "nic", "address", "identity", "state"), _TEXT),
    **dict.fromkeys(("pf_name", "pf_mac"), _OPTIONAL_TEXT),
    "vlan": _is(int, type(None)),
    "runs": _each(_TEXT),
}
_LEDGER: dict[str, _Check] = {
    "materializations": lambda value: (
        isinstance(value, dict) and all(_each(_is_entry)(entries) for entries in value.values())
    )
}
_VF: dict[str, _Check] = {"index": _NUMBER, "driver": _OPTIONAL_TEXT}
_PF: dict[str, _Check] = {
    **dict.fromkeys(("mac", "interface", "problem"), _OPTIONAL_TEXT),
    "numvfs": _is(int, type(None)),
    "vfs": _each(lambda vf: _has(vf, _VF)),
}
_CHECKS: dict[str, dict[str, _Check]] = {
    FACT: {
        **_HEAD,
        **_LEDGER,
        "platform": _is(dict),
        "iommu_groups": _NUMBER,
        "lldp": _is(bool),
        "ports": _each(_is(dict)),
        "pfs": _each(lambda pf: _has(pf, _PF)),
    },
    LEDGER_FACT: {**_HEAD, **_LEDGER},
}


def ages(answers: t.Mapping[str, Result], now: datetime.datetime) -> list[str]:
    """Return a line about the hosts whose answers are from the cache, the oldest first; or none."""
    asked = sorted(
        (answer["cached"]["asked"], host) for host, answer in answers.items() if "cached" in answer
    )
    if not asked:
        return []
    oldest = ", ".join(f"{host} {age(time, now)}" for time, host in asked[:_SHOWN])
    more = f" and {len(asked) - _SHOWN} younger" if len(asked) > _SHOWN else ""
    return [f"from the fact cache: {len(asked)} of {len(answers)} hosts, by age {oldest}{more}"]


def age(asked: str, now: datetime.datetime) -> str:
    """Return how old an answer is, in one unit, such as ``3 h``."""
    seconds = int((now - _time(asked)).total_seconds())
    if seconds < 0:
        return "in the future, by this clock"
    unit, size = next((each for each in _UNITS if seconds >= each[1]), ("s", 1))
    return f"{seconds // size} {unit}"


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, _TIME).replace(tzinfo=datetime.timezone.utc)
