# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.tests.unit.local_facility import (
    MATERIALIZE,
    Facility,
    of_hosts,
)

if t.TYPE_CHECKING:
    from pathlib import Path


def test_it_goes_over_the_hosts_until_none_has_anything(tmp_path: Path) -> None:
    """Another run gave VFs on the first host when this one was through there."""
    facility = Facility(tmp_path, real_module=False)
    document = facility.document("dematerialize", 0, *MATERIALIZE)
    for host in ("x0", "x1"):
        assert facility.calls(host) == ["absent (check)", "absent", "absent"]
    assert document["outcome"] == "ok"
    assert of_hosts(document, "changed") == [True, True], "not only what the last look changed"


def test_check_mode_looks_once(tmp_path: Path) -> None:
    facility = Facility(tmp_path, real_module=False)
    facility.document("dematerialize", 0, *MATERIALIZE, "--check")
    assert [facility.calls(host) for host in ("x0", "x1")] == [["absent (check)"]] * 2
