# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host of the scenario."""

from __future__ import annotations

import typing as t

import pytest
import testinfra


@pytest.fixture(scope="session")
def z0() -> t.Any:
    return testinfra.get_host("ansible://z0")
