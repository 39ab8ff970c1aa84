# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.mergetb.sriov.plugins.filter import report
from ansible_collections.mergetb.sriov.tests.report.facility import Facility


def test_page_and_totals() -> None:
    facility = Facility(2).use()
    made = report.FilterModule().filters()["report"](
        facility.facts,
        pfs=facility.pfs,
        audit={"findings": [], "facility": "phobos", "model": "phobos.xir"},
        made="2026-11-20 12:00 UTC",
    )
    assert made["html"].startswith("<!DOCTYPE html>")
    assert "<h1>phobos</h1>" in made["html"]
    assert "model phobos.xir" in made["html"]
    assert "Asked 2026-11-20 12:00 UTC" in made["html"]
    assert made["summary"][0] == "hosts: 2 of 2 answered"
