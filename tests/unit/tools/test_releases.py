# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that names releases of ansible-core names those that are tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[3]


def text(name: str) -> str:
    return (CHECKOUT / name).read_text(encoding="utf-8")


def pinned(requirements: str) -> list[str]:
    """The releases that a file of requirements has for one Python or another, the lowest first."""
    found = re.findall(r"^ansible-core==(\d+\.\d+)\.\*", text(requirements), re.MULTILINE)
    return sorted(found, key=lambda release: [int(part) for part in release.split(".")])


LOWEST = pinned("tests/requirements-lowest.txt")[0]
HIGHEST = pinned("tests/requirements-demo.txt")[-1]


def test_the_highest_lane_has_what_the_demo_has() -> None:
    assert "-r requirements-demo.txt" in text("tests/requirements.txt").split("\n")
    assert pinned("tests/requirements.txt") == []


def test_what_ansible_itself_checks() -> None:
    assert yaml.safe_load(text("meta/runtime.yml"))["requires_ansible"] == f">={LOWEST}.0"
    roles = sorted(CHECKOUT.glob("roles/*/meta/main.yml"))
    assert roles
    for role in roles:
        galaxy_info = yaml.safe_load(role.read_text(encoding="utf-8"))["galaxy_info"]
        assert galaxy_info["min_ansible_version"] == LOWEST, role


@pytest.mark.parametrize("page", ["README.md", "docs/docsite/rst/guide_start.rst"])
def test_what_a_user_reads(page: str) -> None:
    assert f"ansible-core {LOWEST} to {HIGHEST}" in text(page)


def test_what_an_image_has() -> None:
    definition = text("docs/examples/execution-environment.yml")
    assert f"package_pip: ansible-core=={HIGHEST}.*" in definition


def test_what_sanity_knows() -> None:
    ignored = {path.stem.removeprefix("ignore-") for path in CHECKOUT.glob("tests/sanity/*.txt")}
    assert ignored == {*pinned("tests/requirements-lowest.txt"), HIGHEST}
    assert f'startswith(("{LOWEST}", "{HIGHEST}"))' in text("tests/tools/sanity.py")
