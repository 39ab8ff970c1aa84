# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the report of facilities of several sizes: how long it takes to make, its size, and how
long Chromium takes to show it.

Usage: report.py [HOSTSxVFS ...]

Hosts have two PFs with VFS VFs each, about half of them held. The time until the head of the page
is painted is Chromium's own (PerformancePaintTiming, from the start of the navigation), and the map
is complete when the page's mark says so. Shown are medians of five, each in a browser of its own.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).parents[2] / ".ansible/collections")])

from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report  # noqa: E402
from ansible_collections.mergetb.sriov.tests.report.browser import chromium  # noqa: E402
from ansible_collections.mergetb.sriov.tests.report.facility import Facility  # noqa: E402

SIZES = ("1x16", "100x16", "1000x16", "1000x254")
ROUNDS = 5

TIMES = """
return [
  performance.getEntriesByName("first-contentful-paint")[0].startTime,
  performance.getEntriesByName("complete")[0].startTime,
].map(milliseconds => milliseconds / 1000);
"""


def row(size: str, path: Path) -> list[str]:
    """Measure one size, with the page in the file *path*."""
    hosts, vfs = map(int, size.split("x"))
    facility = Facility(hosts, vfs=vfs).use()
    start = time.perf_counter()
    page = _report.html(facility.report())
    made = time.perf_counter() - start
    path.write_text(page, encoding="utf-8")
    painted, complete = zip(*(shown(path) for _round in range(ROUNDS)), strict=True)
    return [
        f"{hosts}",
        f"{hosts * 2 * vfs}",
        f"{path.stat().st_size / 1000:.0f} kB",
        f"{made:.2f} s",
        *(f"{statistics.median(times):.2f} s" for times in (painted, complete)),
    ]


def shown(path: Path) -> tuple[float, float]:
    """How long the first paint of the page took, and its map."""
    with chromium() as browser:
        browser.open(path)
        browser.until(
            lambda: browser.script(
                "return performance.getEntriesByName('first-contentful-paint').length"
            )
        )
        painted, complete = browser.script(TIMES)
        return painted, complete


def main() -> None:
    rows = [["hosts", "VFs", "file", "made in", "first paint", "map complete"]]
    with tempfile.TemporaryDirectory() as directory:
        for size in sys.argv[1:] or SIZES:
            rows.append(row(size, Path(directory) / "report.html"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        print("  ".join(map(str.rjust, cells, widths)))


if __name__ == "__main__":
    main()
