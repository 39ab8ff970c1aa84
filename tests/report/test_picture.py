# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README's picture of the report."""

from __future__ import annotations

import struct
from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report
from ansible_collections.mergetb.sriov.tests.report import picture

LIMIT = 150_000


def width(png: bytes) -> int:
    """Return the width in the header of a PNG (W3C PNG, 11.2.1)."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int(struct.unpack(">I", png[16:20])[0])


def test_it_can_be_drawn_anew(tmp_path: Path) -> None:
    picture.draw(tmp_path / "report.png")

    drawn, kept = (path.read_bytes() for path in (tmp_path / "report.png", picture.PICTURE))
    assert width(drawn) == width(kept) == picture.WIDTH
    assert max(len(drawn), len(kept)) < LIMIT


def test_it_shows_every_state() -> None:
    page = picture.page()
    assert [state for state in _report.STATES if f'<b id="total-{state}">0</b>' in page] == []
    assert f'<b id="total-{_report.STATES[0]}">' in page
