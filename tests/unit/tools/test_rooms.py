# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents lead a newcomer to the files of both libraries.

docs/design.md says what each file answers, in its room. CONTRIBUTING.md asks some questions.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


def rooms_of_document(half: str) -> set[str]:
    """`ROOM/FILE` for each file in the table of `plugins/HALF/`."""
    text = (PROJECT / "docs/design.md").read_text()
    table = text.partition(f"| `plugins/{half}/` | file |")[2].partition("\n\n")[0]
    files: set[str] = set()
    room = ""
    for line in table.splitlines()[2:]:
        _start, first, names, *_rest = line.split("|")
        room = first.strip(" `") or room
        files.update(room + name for name in re.findall(r"`([\w.*]+)`", names))
    return files


@pytest.mark.parametrize("half", ["module_utils", "plugin_utils"])
def test_the_table_of_rooms_is_the_tree(half: str) -> None:
    root = PROJECT / "plugins" / half
    tree = {
        f"{path.parent.name}/{path.stem if path.suffix == '.py' else 'page.*'}"
        for path in root.glob("*/*.*")
        if path.name != "__init__.py"
    }

    assert rooms_of_document(half) == tree
    assert [path.name for path in root.glob("*.py")] == []


def test_newcomers_questions_lead_to_files() -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text()
    table = text.partition("| question | file |\n|---|---|\n")[2].partition("\n\n")[0]
    named = [re.findall("`(plugins/[^`]+)`", row.split("|")[2]) for row in table.splitlines()]

    assert len(named) >= 10
    assert [files for files in named if len(files) != 1] == []
    assert [file for (file,) in named if not (PROJECT / file).is_file()] == []


# Tables and types have nothing to test; the others are tested by what calls them.
WITHOUT_TEST = {
    "callback/progress": "tests/unit/roles/test_waves.py plays it",
    "doc_fragments/_attributes": "documentation",
    "module_utils/claim/_vf": "test__plan.py and test__objections.py beside it call it",
    "module_utils/claim/_whole": "tests/unit/plugins/module_utils/claim/test__function.py calls it",
    "module_utils/firmware/_vendors": "a table",
    "module_utils/machine/_errors": "types",
    "module_utils/machine/_text": "patterns that all tests of addresses need",
    "module_utils/prepare/_preflight": "tests/unit/plugins/modules/test_preflight.py calls it",
    "plugin_utils/model/_errors": "types, and a text that all tests of input compare",
}


def test_tests_mirror_the_plugins() -> None:
    """The documentation of an action, a module without code, has no test of its own."""
    plugins, tests = PROJECT / "plugins", PROJECT / "tests/unit/plugins"
    sources = {
        str(path.relative_to(plugins).with_suffix(""))
        for path in plugins.glob("**/*.py")
        if path.name != "__init__.py"
    }
    stubs = {name.replace("action/", "modules/") for name in sources if name.startswith("action/")}
    tested = {
        str(path.relative_to(tests).parent / path.stem.removeprefix("test_"))
        for path in tests.glob("**/test_*.py")
    }

    assert sources - stubs - tested == set(WITHOUT_TEST)
    assert tested <= sources


def test_names_of_classes_say_whose_they_are() -> None:
    """But for those that Ansible prescribes."""
    prescribed = {"ActionModule", "CallbackModule", "FilterModule"}
    names = [
        name
        for path in (PROJECT / "plugins").glob("**/*.py")
        for name in re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)
        if name not in prescribed
    ]
    assert sorted(names) == sorted(set(names))
