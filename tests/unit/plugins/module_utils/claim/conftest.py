# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.tests.unit import claims

if t.TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return claims.new_machine(tmp_path)
