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
SOURCES = ("none", "missing", "all")
"""Whom the option ``from_cache`` replaces: no host, hosts without answer, or all hosts."""

ANSWER = ("platform", "iommu_groups", "lldp", "ports", "pfs", "materializations")
"""The keys of an answer of ``sriov_info``."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))
_SHOWN = 10

Result = t.Mapping[str, t.Any]


def facts_of_answer(
    result: Result, arguments: t.Mapping[str, t.Any], now: datetime.datetime
) -> dict[str, t.Any]:
    """Return the facts that an answer of ``sriov_info`` to ``arguments`` gives.

    A ledger is always whole. The rest is whole if all PFs and their firmware were asked for.
    """
    if failed(result):
        return {}
    if arguments.get("pfs") is not None or not arguments.get("firmware"):
        return facts_of_ledger(result["materializations"], now)
    return {FACT: {"asked": _text(now)} | {key: result[key] for key in ANSWER}}


def facts_of_ledger(
    materializations: t.Mapping[str, t.Any], now: datetime.datetime
) -> dict[str, t.Any]:
    """Return the facts that a host's ledger gives."""
    return {LEDGER_FACT: {"asked": _text(now), "materializations": materializations}}


def failed(result: Result) -> bool:
    """Return whether a host gave no answer."""
    return bool(result.get("failed") or result.get("unreachable"))


def recall(host: str, facts: t.Mapping[str, t.Any], reason: str) -> dict[str, t.Any] | None:
    """Return the last whole answer of a host from its facts; None if there is none.

    :param reason: why the host gives no answer now; empty if nobody asked it
    :returns: the answer, with ``cached``, which has the ``reason`` and the time, ``asked``
    :raises InputError: the fact is not what this collection writes
    """
    fact = _fact(host, facts, FACT, ANSWER)
    if fact is None:
        return None
    cached = {"asked": fact["asked"], "reason": reason}
    return {key: fact[key] for key in ANSWER} | {"cached": cached}


def with_newest_ledger(host: str, answer: Result, facts: t.Mapping[str, t.Any]) -> Result:
    """Return an answer; one from the cache with the ledger from there, if that is newer.

    :raises InputError: the fact is not what this collection writes
    """
    ledger = _fact(host, facts, LEDGER_FACT, ("materializations",))
    if "cached" not in answer or ledger is None or ledger["asked"] < answer["cached"]["asked"]:
        return answer
    return {**answer, "materializations": ledger["materializations"]}


def _fact(
    host: str, facts: t.Mapping[str, t.Any], name: str, keys: t.Iterable[str]
) -> t.Mapping[str, t.Any] | None:
    fact = facts.get(name)
    if fact is None:
        return None
    try:
        if {*keys} <= fact.keys() and _time(fact["asked"]):
            return t.cast("t.Mapping[str, t.Any]", fact)
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise InputError(
        f"the fact {name} of {host} in the fact cache is not what this version of the collection"
        f" writes: run mergetb.sriov.audit while the host is up, or delete the fact"
    )


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
    seconds = max(0, int((now - _time(asked)).total_seconds()))
    unit, size = next((each for each in _UNITS if seconds >= each[1]), ("s", 1))
    return f"{seconds // size} {unit}"


def _text(time: datetime.datetime) -> str:
    return time.astimezone(datetime.timezone.utc).strftime(_TIME)


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, _TIME).replace(tzinfo=datetime.timezone.utc)
