# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles have the same defaults for the variables that they share, which a user sets once."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"

# To `vfs` it is whether, to `materialize` for which experiment.
DIFFERING = {"sriov_force"}


def defaults(role: str) -> dict[str, t.Any]:
    return yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "role",
    ["preflight", "iommu", "mlx_firmware", "vfs", "vfio", "restore", "materialize"],
)
def test_the_plan_is_that_of_the_run(role: str) -> None:
    planned = defaults("plan")
    # Where the results of a run go, and how long a restart may take, is not planned.
    for name, value in defaults(role).items():
        if name not in {*DIFFERING, "sriov_device_map"}:
            assert planned[name] == value, name
