# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook report on made-up hosts."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import facts, models, played


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played.collections(tmp_path_factory.mktemp("collections"), "sriov_info")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shutil.copy(PHOBOS / "phobos.xir", tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", [[], ["--check", "--diff"]])
def test_totals_are_shown_and_the_page_is_written(
    collections: Path, directory: Path, arguments: list[str]
) -> None:
    told = facts.truth(models.phobos(), "x0", "x1", vfs=7)
    told["x0"]["pfs"][0]["vfs"][0]["users"] = ["{{ 1 + 1 }}"]
    played.tell(directory, told)
    done = played.run(collections, directory, "report", "-e", "sriov_report=here.html", *arguments)
    assert str(directory / "here.html") in done.stdout
    assert "of these 27 free, 0 driver, 0 held, 1 foreign, 0 error" in done.stdout
    assert "differs from the model: 0 error, 0 warning, 0 info" in done.stdout
    assert "changed=1" not in done.stdout
    page = (directory / "here.html").read_text(encoding="utf-8")
    data = json.loads(re.findall('id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert {"x0", "x1", "ens1f0", "xleaf0", "swp1", "foreign", "{{ 1 + 1 }}"} <= {*data["strings"]}


def test_a_host_without_answer_and_a_finding(collections: Path, directory: Path) -> None:
    told = facts.truth(models.phobos(), "x0", "x1", vfs=7)
    told["x0"]["pfs"][0]["totalvfs"] = 6
    played.tell(directory, told | {"x1": None})
    done = played.run(collections, directory, "report")
    assert "hosts: 1 of 2 answered, not x1" in done.stdout
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "no route to host" in page
    assert "Differs from the model: max_vfs" in page
