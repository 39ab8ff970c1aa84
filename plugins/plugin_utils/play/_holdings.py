# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which materialization holds which VF on the hosts of a play, by their ledgers. PRIVATE."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

Ledger = t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]]
"""The ``materializations`` that the module sriov_info returns for a host."""

_COLUMNS = (
    *("host", "materialization", "node.nic", "PF", "VF", "PCI address", "state", "reserved by"),
)


def lines(ledgers: t.Mapping[str, Ledger], mzid: str = "") -> list[str]:
    """Return a table of who holds which VF, of all materializations or only of ``mzid``."""
    rows = [
        (
            host,
            name,
            f"{entry['node']}.{entry['nic']}",
            str(entry["pf_name"] or entry["identity"]),
            str(entry.get("vf", "whole")),
            str(entry["address"]),
            str(entry["state"]),
            " ".join(entry["runs"]),
        )
        for host, ledger in ledgers.items()
        for name, entries in ledger.items()
        for entry in entries
        if mzid in ("", name)
    ]
    if not rows:
        return ["nothing is held"]
    table = [_COLUMNS, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def require(ledgers: t.Iterable[Ledger], mzid: str, run: str) -> None:
    """Refuse a materialization or run that no host knows; an empty text names none.

    :raises InputError: no host holds anything for the materialization, or has a reservation of the
        run for it
    """
    known: dict[str, dict[str, None]] = {}
    for ledger in ledgers:
        for name, entries in ledger.items():
            known.setdefault(name, {}).update(
                dict.fromkeys(run for entry in entries for run in entry["runs"])
            )
    if run and not mzid:
        raise InputError(f"run {run}: name its materialization with sriov_mzid, too")
    if mzid and mzid not in known:
        raise InputError(
            f"no host that was reached holds anything for {mzid}; materializations that hold VFs:"
            f" {_named(known)}"
        )
    if run and run not in known[mzid]:
        raise InputError(
            f"no host that was reached has a reservation of run {run} for {mzid}; its runs are:"
            f" {_named(known[mzid])}"
        )


def _named(names: t.Iterable[str]) -> str:
    return ", ".join(names) or "none"
