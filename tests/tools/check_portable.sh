#!/usr/bin/env bash
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Fails where a file names a home directory, this checkout, or a host that packages come from: a
# user's machine has its own, and its package hosts are taken from its configuration.
set -euo pipefail
cd "$(dirname "$0")/../.."

if git grep --untracked -I --line-number --extended-regexp \
    -e "(^|[^[:alnum:]/._-])$PWD/" -e '/(home|Users)/[[:alnum:]_]+/' \
    -e '(deb|ftp|security|snapshot)[[:alnum:].-]*\.debian\.org|(pypi|pythonhosted)\.org'; then
    echo "${0##*/}: the lines above hold only for one machine" >&2
    exit 1
fi
