#!/usr/bin/env bash
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Prints a Python that the newest ansible-core supports: PYTHON itself, or one of this machine or of
# pyenv. Where there is none, root gets that of Debian 13.
# Usage: newest_python.sh PYTHON
set -euo pipefail

tools=$(dirname "$0")
is_new='import sys, ensurepip; sys.version_info < (3, 12) and sys.exit(1); print(sys.executable)'

pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
for candidate in "$1" python3.13 python3.12 "$pyenv"/3.13.*/bin/python3 "$pyenv"/3.12.*/bin/python3; do
    if found=$("$candidate" -c "$is_new" 2>/dev/null); then
        echo "$found"
        exit
    fi
done

"$tools/debian_packages.sh" mmdebstrap patchelf >&2
root=$("$tools/debian_root.sh" trixie python3.13-venv)
python=$root/usr/bin/python3.13
loader=$(echo "$root"/usr/lib*/ld-linux-*.so.*)
if [[ $(patchelf --print-interpreter "$python") != "$loader" ]]; then
    # It needs Debian 13's C library, but what it starts has that of this machine. So the place is
    # written into the program, and no variable names it.
    wheels=/usr/share/python-wheels/
    sed -i "s|'$wheels'|'$root$wheels'|" "$root"/usr/lib/python3.13/_sysconfigdata_*.py
    cp "$python" "$python.new"
    patchelf --set-interpreter "$loader" --force-rpath \
        --set-rpath "$(echo "$root"/usr/lib/*-linux-gnu)" "$python.new"
    mv "$python.new" "$python"
fi
echo "$python"
