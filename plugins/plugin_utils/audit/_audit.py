# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a facility model and the machines differ. PRIVATE to the collection.

docs/audit.md describes the document.
"""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _checks, _paired
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit._paired import (
    ERROR,
    SEVERITIES,
    WARNING,
    Facts,
    Finding,
)

VERSION = 1
"""The version of the document. A change that breaks its readers raises it."""


def findings(
    facility: t.Any,
    facts: t.Mapping[str, Facts],
    *,
    link_roles: t.Collection[str] = ("XpLink",),
) -> list[Finding]:
    """Return how the model and its hosts differ, the worst first, then in the model's order.

    :param facility: the message ``Facility``
    :param facts: by name of the host the result of ``sriov_info``, which may be from the cache, or
        ``{"error": text}``
    :param link_roles: a PF is offered for VFs if it has one of these link roles
    """
    model = _paired.PairedFacility(facility, facts, link_roles)
    order = {name: index for name, (index, _resource) in model.resources.items()}
    found = [
        finding
        for name in sorted(facts, key=lambda name: (order.get(name, len(order)), name))
        for finding in _of_host(name, facts[name], model)
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def document(
    path: str,
    facility: t.Any,
    facts: t.Mapping[str, Facts],
    found: t.Sequence[Finding],
) -> dict[str, t.Any]:
    """Return the document that docs/audit.md describes; ``path`` is the model's."""
    counts = collections.Counter((finding.host, finding.severity) for finding in found)
    return {
        "version": VERSION,
        "model": path,
        "facility": facility.id,
        "hosts": {
            name: {
                "error": facts[name].get("error") or _cached(facts[name]).get("reason") or None,
                "asked": _cached(facts[name]).get("asked"),
                "findings": {severity: counts[name, severity] for severity in SEVERITIES},
            }
            for name in sorted(facts)
        },
        "findings": [finding.as_dict() for finding in found],
    }


def table(found: t.Sequence[Finding]) -> list[str]:
    """Return the findings as lines of text, for people: a table and a total."""
    counts = collections.Counter(finding.severity for finding in found)
    total = ", ".join(f"{severity}: {counts[severity]}" for severity in SEVERITIES)
    if not found:
        return [f"the model agrees with the hosts ({total})"]
    rows: list[tuple[str, ...]] = [("severity", "element", "declared", "actual", "right", "what")]
    for finding in found:
        values = (finding.declared, finding.actual, finding.right)
        rows.append(
            (
                finding.severity,
                finding.element,
                *("-" if value is None else _printable(str(value)) for value in values),
                _printable(f"{finding.message}; {finding.remedy}"),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return [*lines, total]


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _of_host(name: str, facts: Facts, model: _paired.PairedFacility) -> t.Iterator[Finding]:
    if name not in model.resources:
        yield Finding(
            ERROR,
            "unknown_host",
            name,
            name,
            "the model has no resource of this name",
            "name the model that the inventory comes from, or add the host to the model",
        )
        return
    if "error" in facts:
        yield Finding(
            ERROR,
            "unread",
            name,
            name,
            f"it could not be asked: {facts['error']}",
            "see that the host is up and that Ansible can log in, and audit it again",
        )
        return
    if reason := _cached(facts).get("reason"):
        yield Finding(
            WARNING,
            "unread",
            name,
            name,
            f"it could not be asked: {reason}; what follows is what it told at"
            f" {_cached(facts)['asked']}",
            "see that the host is up and that Ansible can log in, and audit it again",
        )
    yield from _checks.of_host(model.host(name), model)


def _cached(facts: Facts) -> t.Mapping[str, t.Any]:
    """Return when and why facts were taken from the cache; nothing if the host told them now."""
    cached: t.Mapping[str, t.Any] = facts.get("cached", {})
    return cached
