# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.modules import twin_image

RECIPE = Path(__file__).resolve().parents[4] / "roles" / "twin" / "files" / "image"


def test_check_mode_tells_whether_the_image_would_be_built(tmp_path: Path) -> None:
    params = {"recipe": str(RECIPE), "cache": str(tmp_path), "mirror": None}

    result = twin_image.run(params, check_mode=True)

    assert result["changed"]
    assert list(tmp_path.iterdir()) == []

    Path(result["image"]).mkdir()
    assert twin_image.run(params, check_mode=False) == {**result, "changed": False}
