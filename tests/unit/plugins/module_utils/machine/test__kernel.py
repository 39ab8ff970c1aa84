# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _kernel
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        (None, None),
    ],
)
def test_lockdown(tmp_path: Path, text: str | None, mode: str | None) -> None:
    path = tmp_path / "sys/kernel/security/lockdown"
    path.parent.mkdir(parents=True)
    if text is not None:
        path.write_text(text)
    assert _kernel.lockdown(Host(str(tmp_path))) == mode
