# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the page of the report: how long making it takes, and Chromium to show it.

The hosts have two PFs with 16 VFs each, about half of them held. The time until the head of the
page is painted is Chromium's own (PerformancePaintTiming, from the start of the navigation), and
the map is complete when the page's mark says so.
"""

from __future__ import annotations

import tempfile
import time
import typing as t
from pathlib import Path

from rows import Row, tell

HOSTS = (10, 100, 1000)
VFS = 16
ROUNDS = 3

TIMES = """
return [
  performance.getEntriesByName("first-contentful-paint")[0].startTime,
  performance.getEntriesByName("complete")[0].startTime,
].map(milliseconds => milliseconds / 1000);
"""


def shown(path: Path) -> tuple[float, float]:
    """How long the first paint of the page took, and its map."""
    from ansible_collections.mergetb.sriov.tests.report.browser import chromium

    with chromium() as browser:
        browser.open(path)
        browser.until(
            lambda: browser.script(
                "return performance.getEntriesByName('first-contentful-paint').length"
            )
        )
        painted, complete = browser.script(TIMES)
        return painted, complete


def rows() -> t.Iterator[Row]:
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report
    from ansible_collections.mergetb.sriov.tests.report.facility import Facility

    tell("the page of the report")
    for hosts in HOSTS:
        made = Facility(hosts, vfs=VFS).use().report()
        start = time.process_time()
        page = _report.html(made)
        seconds = time.process_time() - start
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "report.html"
            path.write_text(page, encoding="utf-8")
            size = path.stat().st_size / 1000
            painted, complete = zip(*(shown(path) for _round in range(ROUNDS)), strict=True)
        what = f"report, {hosts:,} hosts with {2 * VFS} VFs"
        yield Row(f"{what}: make the page", [seconds], remark=f"{size:,.0f} kB")
        yield Row(f"{what}: first paint, by the clock", painted)
        yield Row(f"{what}: map complete, by the clock", complete)
