# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.mergetb.sriov.tests.tools import make_phobos


@pytest.mark.parametrize(("name", "text"), make_phobos.files().items())
def test_committed_files_are_what_is_made(name: str, text: str) -> None:
    assert (make_phobos.DIRECTORY / name).read_text(encoding="ascii") == text
