# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GitLab runs what `make test` runs. Its schema is checked by `make lint`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).parents[3]
MAKEFILE = (CHECKOUT / "Makefile").read_text(encoding="utf-8")


def targets_of_make_test() -> set[str]:
    [groups] = re.findall(r"run_checks\.sh (.*)", MAKEFILE)
    return set(groups.replace("'", "").split())


def targets_of_gitlab() -> set[str]:
    """Each word after `make` in a script, where a variable stands for all of its values."""
    jobs = yaml.safe_load((CHECKOUT / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    found: set[str] = set()
    for job in jobs.values():
        if not isinstance(job, dict):
            continue
        for line in job.get("script", ()):
            for target in re.findall(r'^make "?([\w$]+)', line):
                matrix = job.get("parallel", {}).get("matrix", [{}])[0]
                found.update(matrix[target[1:]] if target.startswith("$") else [target])
    return found


def test_gitlab_runs_each_check() -> None:
    assert targets_of_gitlab() == targets_of_make_test()


def test_all_targets_exist_and_are_told() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)
    told = set(re.findall(r"^# make (\w+)", MAKEFILE, re.MULTILINE))
    assert targets_of_gitlab() <= told
    assert told == set(phony.split()) - {"help", "setup"}
