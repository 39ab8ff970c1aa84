# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure everything, and print one table of it.

Figures are seconds of CPU, medians where there are rounds, and stand beside a reference that runs
at about the same time. So the ratios hold on a machine that has other work, too. A goal that is
missed is told and is no failure; a run that fails is.
"""

from __future__ import annotations

import argparse
import os
import time
import typing as t

import hostile
import info
import inventory
import plays
import report
import twin
from ansible.plugins.loader import init_plugin_loader
from rows import CHECKOUT, Row, table, tell

MINUTES = 15
HOSTS = (10, 100, 1000)

PARTS: dict[str, t.Callable[[t.Sequence[int]], t.Iterator[Row]]] = {
    "inventory": lambda _sizes: inventory.rows(),
    "hostile": lambda _sizes: hostile.rows(),
    "info": lambda _sizes: info.rows(),
    "plays": plays.rows,
    "report": lambda _sizes: report.rows(),
    "twin": lambda _sizes: twin.rows(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--without-twin", action="store_true", help="start no emulated host")
    parser.add_argument("--hosts", type=int, nargs="+", default=HOSTS, help="sizes of a facility")
    options = parser.parse_args()
    parts = options.parts or [it for it in PARTS if it != "twin" or not options.without_twin]
    start = time.perf_counter()
    found = []
    for row in (row for part in parts for row in PARTS[part](options.hosts)):
        tell(" | ".join(row.cells()))
        found.append(row)
    minutes = (time.perf_counter() - start) / 60
    when = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors"
    found.append(Row("all of this, by the clock", [minutes], "min", goal=MINUTES, remark=when))
    print("\n".join(table(found)))


if __name__ == "__main__":
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])
    main()
