# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs Ansible's commands on the collection, as a user would, in a directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _errors

COLLECTIONS = str(Path(_errors.__file__).parents[6])


def run(
    directory: Path, command: str, *arguments: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``ansible-<command>`` in ``directory``, with the inventory plugin alone enabled."""
    return subprocess.run(
        [sys.executable, "-m", "ansible", command, *arguments],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS,
            "ANSIBLE_INVENTORY_ENABLED": "mergetb.sriov.xir",
            "ANSIBLE_NOCOLOR": "1",
        }
        | environment,
        check=check,
        capture_output=True,
        text=True,
    )


def inventory(
    directory: Path, source: str, *arguments: str, **environment: t.Any
) -> dict[str, t.Any]:
    """Return what ansible-inventory lists, with texts that are marked as unsafe as plain texts."""
    listed = run(directory, "inventory", "-i", source, "--list", *arguments, **environment)
    return json.loads(listed.stdout, object_hook=_plain)


def _plain(value: dict[str, t.Any]) -> t.Any:
    return value.get("__ansible_unsafe", value)
