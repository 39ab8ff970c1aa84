# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Get the collection community.general, which has the cache plugin for Redis, from PyPI.

Run ``python tests/tools/community_general.py``. The package ``ansible`` there has the collection;
what else is in the package stays away.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "ansible==9.13.0"
MEMBERS = "ansible_collections/community/general/"
DIRECTORY = Path(__file__).resolve().parents[2] / ".ansible" / PACKAGE.replace("==", "-")


def main() -> None:
    """Put the collection into ``DIRECTORY``, unless it is there."""
    if DIRECTORY.exists():
        return
    print(f"Getting community.general from {PACKAGE}")
    DIRECTORY.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DIRECTORY.parent) as directory:
        download = ("-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory)
        subprocess.run([sys.executable, *download, PACKAGE], check=True)
        (wheel,) = Path(directory).glob("*.whl")
        made = Path(directory, "collections")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(made, [n for n in archive.namelist() if n.startswith(MEMBERS)])
        made.rename(DIRECTORY)


if __name__ == "__main__":
    main()
