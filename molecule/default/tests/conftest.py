# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The twin's hosts as pytest-testinfra sees them, and what the inventory says of them."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
import testinfra

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
TWIN = PROJECT / ".twin-molecule"
HOSTS = ("x0", "x1")


@pytest.fixture(scope="session")
def machines() -> dict[str, t.Any]:
    """A connection to each host, by name."""
    return {name: testinfra.get_host(f"ansible://{name}") for name in HOSTS}


@pytest.fixture(params=HOSTS)
def machine(request: pytest.FixtureRequest, machines: dict[str, t.Any]) -> t.Any:
    """Each host in turn."""
    return machines[request.param]


@pytest.fixture(scope="session")
def pfs() -> dict[str, list[dict[str, t.Any]]]:
    """The PFs of each host in the facility model, by host."""
    command = ["ansible-inventory", "--list"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    inventory = json.loads(output, object_hook=_literal)
    return {name: inventory["_meta"]["hostvars"][name]["sriov_pfs"] for name in HOSTS}


def _literal(value: dict[str, t.Any]) -> t.Any:
    """The text that Ansible shows as no template."""
    return value.get("__ansible_unsafe", value)


@pytest.fixture
def own_pfs(machine: t.Any, pfs: dict[str, list[dict[str, t.Any]]]) -> list[dict[str, t.Any]]:
    """The PFs of `machine`."""
    return pfs[machine.backend.host]
