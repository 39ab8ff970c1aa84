# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the README's commands leave in the directory that they are run in is no source."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).parents[3]


def written() -> set[str]:
    """The names of all files that the README's commands write where they are run."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"(?:sriov_fix|SRIOV_RESULT)=([\w.]+)", readme)
    names += re.findall(r"allocate [^`]* sriov_materialization=([\w.]+)", readme)
    for path in CHECKOUT.glob("roles/*/defaults/main.yml"):
        defaults = yaml.safe_load(path.read_text(encoding="utf-8"))
        names += [
            defaults[name]
            for name in ("sriov_plan", "sriov_audit", "sriov_report", "sriov_device_map")
            if name in defaults
        ]
    return set(names)


def test_results_are_neither_tracked_nor_packed() -> None:
    assert len(written()) == 7
    ignored = (CHECKOUT / ".gitignore").read_text(encoding="utf-8").split()
    galaxy = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))
    for name in written():
        assert f"/{name}" in ignored
        assert name in galaxy["build_ignore"]
