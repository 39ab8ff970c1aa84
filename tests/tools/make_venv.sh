#!/usr/bin/env bash
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes the virtual environment VENV anew with PYTHON and installs what REQUIREMENTS lists,
# in the versions of the constraints.txt beside that.
# Usage: make_venv.sh PYTHON VENV REQUIREMENTS
set -euo pipefail

python=$1 venv=$2 requirements=$3
tools=$(dirname "$0")
megabytes_needed=1024

fail() {
    echo "$venv: $1" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or later is needed; name one: make PYTHON=python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null || "$tools/debian_packages.sh" python3-venv

megabytes=$(df --output=avail --block-size=1M . | tail -n 1)
((megabytes >= megabytes_needed)) ||
    fail "$megabytes MB are free here, $megabytes_needed MB are needed"

echo "Making $venv from $requirements"
"$python" -m venv --clear "$venv"
PIP_DEFAULT_TIMEOUT=${PIP_DEFAULT_TIMEOUT:-60} PIP_DISABLE_PIP_VERSION_CHECK=1 \
    "$venv/bin/pip" install --quiet --no-input \
    --requirement "$requirements" --constraint "$(dirname "$requirements")/constraints.txt" ||
    fail "pip could not install $requirements; is the Python package index reachable?"
"$venv/bin/python" -c '
import platform
from importlib.metadata import distributions
found = {each.name: each.version for each in distributions()}
named = [f"{name} {found[name]}" for name in ("ansible-core", "nova", "neutron") if name in found]
print(", ".join(named), "on Python", platform.python_version())
'
