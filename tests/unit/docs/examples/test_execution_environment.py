# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example of an image by the real ansible-builder, as far as that goes without containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[4]
PROGRAMS = Path(sys.executable).parent
DEFINITION = "docs/examples/execution-environment.yml"


def run(directory: Path, program: str, *arguments: str | Path) -> str:
    return subprocess.run(
        [PROGRAMS / program, *arguments],
        cwd=directory,
        env={
            "PATH": os.pathsep.join([str(PROGRAMS), os.environ["PATH"]]),
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def required(path: Path) -> list[str]:
    """The lines of a file of requirements, without comments."""
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ansible-builder copies into the image, made from the example and the collection."""
    directory = tmp_path_factory.mktemp("image")
    shutil.copy(CHECKOUT / DEFINITION, directory)
    run(directory, "ansible-galaxy", "collection", "build", CHECKOUT)
    run(directory, "ansible-builder", "create", "--context", "context")
    return directory / "context/_build"


def test_the_image_gets_the_collection_and_what_it_needs(build: Path, tmp_path: Path) -> None:
    """The commands are those of the file that builds the image."""
    arguments = ("-r", "requirements.yml", "--collections-path", tmp_path)
    run(build, "ansible-galaxy", "collection", "install", "--offline", *arguments)
    wanted = {name: tmp_path / name for name in ("requirements.txt", "bindep.txt")}
    run(
        build,
        "python",
        *("scripts/introspect.py", "introspect", tmp_path),
        f"--write-pip={wanted['requirements.txt']}",
        f"--write-bindep={wanted['bindep.txt']}",
    )
    for name, path in wanted.items():
        assert required(path) == required(CHECKOUT / name)
    [package] = run(tmp_path, "bindep", "-l", "newline").split()
    assert package in ("openssh-client", "openssh-clients")


def test_the_file_that_builds_the_image(build: Path) -> None:
    [containerfile] = build.parent.glob("*file")
    text = containerfile.read_text(encoding="utf-8")
    assert "COPY _build /build\nWORKDIR /build" in text
    assert "-r requirements.yml --collections-path" in text
    assert "scripts/introspect.py introspect --write-bindep=" in text
