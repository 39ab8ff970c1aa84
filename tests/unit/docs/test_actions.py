# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ansible-doc tells of each action is what the action takes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import add_fragments
from ansible_collections.mergetb.sriov.plugins.action import controller_file

# These call a module on the host, and it has the arguments.
OF_MODULES = {"materialization", "sriov_info"}
ACTIONS = sorted(
    {path.stem for path in Path(controller_file.__file__).parent.glob("[a-z]*.py")} - OF_MODULES
)
PLUGINS = controller_file.__name__.rpartition(".action.")[0]


@pytest.mark.parametrize("name", ACTIONS)
def test_documentation_is_of_the_arguments(name: str) -> None:
    action = importlib.import_module(f"{PLUGINS}.action.{name}")
    stub = importlib.import_module(f"{PLUGINS}.modules.{name}")
    documentation = yaml.safe_load(stub.DOCUMENTATION)
    add_fragments(documentation, stub.__file__, fragment_loader)
    documented = {
        option: {key: value for key, value in told.items() if key != "description"}
        for option, told in documentation["options"].items()
    }
    assert documented == action.ActionModule.ARGUMENT_SPEC
    assert documentation["module"] == name
    calls = [task.get(f"mergetb.sriov.{name}") for task in yaml.safe_load(stub.EXAMPLES)]
    assert any(calls)
    assert all(call.keys() <= documented.keys() for call in calls if call)
    assert yaml.safe_load(stub.RETURN)
