# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The form of the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
# Those of the checkout itself, and not those of environments and caches in it.
PAGES = sorted(
    page
    for pattern in ("*.md", "[!.]*/**/*.md")
    for page in CHECKOUT.glob(pattern)
    if page.relative_to(CHECKOUT).parts[0] != "dist"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_text_wraps_at_100(page: Path) -> None:
    """A row of a table is one line, and a command is copied as it is."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert [
        line for line in text.splitlines() if len(line) > 100 and not line.startswith("|")
    ] == []
