# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import acting, facts, models


def test_page_and_totals(tmp_path: Path) -> None:
    told = facts.truth(models.PHOBOS, "x0", "x1", vfs=7)
    told["x0"]["pfs"][0]["totalvfs"] = 6
    told |= {"x1": {"unreachable": True, "msg": "no route to host"}}
    path, model = tmp_path / "report.html", str(PHOBOS / "phobos.xir")
    result = acting.run(
        "report",
        {"model": model, "results": "found", "path": str(path)},
        {host: {"found": found, "sriov_pfs": []} for host, found in told.items()},
    )
    assert result["path"] == str(path)
    assert result["lines"][0] == "hosts: 1 of 2 answered, not x1"
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<h1>phobos</h1>" in page
    assert f"model {model}" in page
    assert re.search("Asked [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC", page)
    assert "Differs from the model: max_vfs" in page
