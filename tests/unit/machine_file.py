# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fabricated hosts in files, from which one process after the other takes them."""

from __future__ import annotations

import pickle
import typing as t

if t.TYPE_CHECKING:
    from pathlib import Path


def load(path: Path) -> t.Any:
    """The host that is in the file *path*."""
    return pickle.loads(path.read_bytes())


def save(path: Path, machine: object) -> None:
    """Put the host into the file *path*."""
    path.write_bytes(pickle.dumps(machine))
