# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run `ansible-test sanity` of this interpreter's virtual environment on a copy of the checkout.

ansible-test wants to stand in a directory `ansible_collections/<namespace>/<name>` and follows
symbolic links, so it gets a copy. The virtual environments that it makes for its tests are kept in
`.venv-sanity`, where each release of ansible-core has a home directory of its own.
"""

from __future__ import annotations

import configparser
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from ansible.release import __version__ as core_version
from ansible_test._internal import python_requirements

CHECKOUT = Path(__file__).parents[2]
HOME = CHECKOUT / ".venv-sanity" / ".".join(core_version.split(".")[:2])
TARGET_PYTHON = "3.9"

# ansible-test otherwise downloads a get-pip.py from a site of its own. In each of its environments
# pip runs once or twice, which is less work than to compile all of it.
GET_PIP = f"""\
import subprocess, sys
packages = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
pip = [{sys.executable!r}, "-m", "pip", "--python", sys.executable]
subprocess.check_call([*pip, "install", "--quiet", "--no-compile", *packages])
"""


def copy_checkout(to: Path) -> None:
    """Copy what git tracks or would track, so that caches and build results are not tested."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        source, target = CHECKOUT / name, to / name
        if not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)


def prepare_home() -> None:
    """Put the stand-in for get-pip.py and the pip configuration where ansible-test finds them."""
    cache = HOME / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in re.findall(r"pip='([\d.]+)'", inspect.getsource(python_requirements)):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)

    # ansible-test hides the environment from pip, so its settings go into the file that pip reads.
    config = configparser.RawConfigParser()
    config.read(
        [
            Path.home() / ".pip/pip.conf",
            Path.home() / ".config/pip/pip.conf",
            os.environ.get("PIP_CONFIG_FILE", os.devnull),
        ]
    )
    settings = {
        name[len("PIP_") :].lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE"
    }
    config.read_dict({"global": {**settings, "quiet": "1"}})
    pip_conf = HOME / ".config/pip/pip.conf"
    pip_conf.parent.mkdir(parents=True, exist_ok=True)
    with pip_conf.open("w") as file:
        config.write(file)


def find_python(version: str) -> Path | None:
    """The directory of a working interpreter of *version*, also among those of pyenv."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates: list[str | Path] = [name, *pyenv.glob(f"versions/{version}.*/bin/{name}")]
    for candidate in candidates:
        try:
            # A shim of pyenv is no interpreter that ansible-test can use; it tells where that is.
            found = subprocess.run(
                [candidate, "-c", "import sys; print(sys.executable)"],
                check=True,
                capture_output=True,
                text=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return Path(found.stdout.strip()).parent
    return None


def main() -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    unsupported = (
        "" if core_version.startswith(("2.16", "2.21")) else ", which 2.16 does not support"
    )
    print(f"ansible-core {core_version} on Python {python}{unsupported}", flush=True)
    prepare_home()
    galaxy = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())
    path = [str(Path(sys.executable).parent)]
    runs = [["--python", python]]
    target = find_python(TARGET_PYTHON)
    if target:
        path.append(str(target))
        runs.append(["--python", TARGET_PYTHON, "--test", "compile", "--test", "import"])
    else:
        print(
            f"compile and import on Python {TARGET_PYTHON}, the lowest of a managed node: "
            f"left out, no python{TARGET_PYTHON} on this machine",
            flush=True,
        )
    environment = {
        **os.environ,
        "HOME": str(HOME),
        "PATH": os.pathsep.join([*path, os.environ["PATH"]]),
    }
    with tempfile.TemporaryDirectory(prefix="sanity-") as directory:
        collection = Path(directory) / "ansible_collections" / galaxy["namespace"] / galaxy["name"]
        copy_checkout(collection)
        for arguments in runs:
            command = ["ansible-test", "sanity", *arguments]
            print(" ".join(command), flush=True)
            done = subprocess.run(command, cwd=collection, env=environment, check=False)
            if done.returncode:
                sys.exit(
                    f"ansible-test sanity found the errors above (ansible-core {core_version})"
                )


if __name__ == "__main__":
    main()
