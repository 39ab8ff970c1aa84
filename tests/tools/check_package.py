# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Install a built collection offline and use it from an empty directory, as a user would.

Usage: check_package.py TARBALL
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = "mergetb.sriov"
FACILITY = "inventories/phobos/phobos.xir"
DOCUMENTED = {
    "modules": "module",
    "inventory": "inventory",
    "filter": "filter",
    "callback": "callback",
}


def run(*command: str | Path, **options: t.Any) -> str:
    """The standard output of *command*, which is printed first and must succeed."""
    line = " ".join(map(str, command))
    print(line, flush=True)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False, **options
    )
    require(done.returncode == 0, f"{done.stdout}exit code {done.returncode}: {line}")
    return done.stdout


def require(holds: bool, complaint: str) -> None:
    if not holds:
        sys.exit(complaint)


def check_contents(tarball: Path) -> None:
    """Nothing but files of the repository is in *tarball*: no cache, no result, no environment."""
    with tarfile.open(tarball) as archive:
        packed = {member.name for member in archive if member.isfile()}
    listed = run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=CHECKOUT
    )
    strays = packed - set(listed.split("\0")) - {"MANIFEST.json", "FILES.json"}
    require(not strays, f"{tarball.name} contains what is not in the repository: {sorted(strays)}")


class Installation:
    """The collection installed below *directory*, used with this interpreter's ansible-core."""

    def __init__(self, tarball: Path, directory: Path) -> None:
        self.empty = directory / "empty"
        self.empty.mkdir()
        self.environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.empty),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(directory),
            "ANSIBLE_INVENTORY_ENABLED": f"{COLLECTION}.xir",
        }
        self.ansible("galaxy", "collection", "install", tarball, "-p", directory, "--offline")
        self.root = directory.joinpath("ansible_collections", *COLLECTION.split("."))

    def ansible(self, program: str, *arguments: str | Path) -> str:
        return run(f"ansible-{program}", *arguments, cwd=self.empty, env=self.environment)

    def check_documentation(self) -> None:
        for directory, kind in DOCUMENTED.items():
            files = sorted((self.root / "plugins" / directory).glob("[!_]*.py"))
            if not files:
                continue
            names = [f"{COLLECTION}.{path.stem}" for path in files]
            shown = json.loads(self.ansible("doc", "--json", "--type", kind, *names))
            missing = [name for name in names if not shown.get(name, {}).get("doc")]
            require(not missing, f"ansible-doc does not show {missing}")
        roles = {f"{COLLECTION}.{path.name}" for path in (self.root / "roles").iterdir()}
        shown = json.loads(self.ansible("doc", "--json", "--type", "role", "--list", COLLECTION))
        missing = sorted(roles - set(shown))
        require(not missing, f"roles without meta/argument_specs.yml: {missing}")

    def check_inventory(self) -> None:
        graph = self.ansible("inventory", "-i", self.root / FACILITY, "--graph")
        require("@hypervisors:" in graph, f"no group hypervisors in the inventory:\n{graph}")

    def check_playbooks(self) -> None:
        for playbook in sorted((self.root / "playbooks").glob("*.yml")):
            name = f"{COLLECTION}.{playbook.stem}"
            tasks = self.ansible("playbook", "-i", self.root / FACILITY, name, "--list-tasks")
            require("TAGS:" in tasks, f"{name} has no task:\n{tasks}")


def main() -> None:
    tarball = Path(sys.argv[1]).resolve()
    check_contents(tarball)
    with tempfile.TemporaryDirectory(prefix="package-") as directory:
        installation = Installation(tarball, Path(directory))
        installation.check_documentation()
        installation.check_inventory()
        installation.check_playbooks()


if __name__ == "__main__":
    main()
