#!/usr/bin/env bash
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Installs those of the named Debian packages that are missing, in one call of apt-get.
# Usage: debian_packages.sh PACKAGE...
set -euo pipefail

fail() {
    echo "${0##*/}: $1" >&2
    exit 1
}

missing=()
for package in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=missing
    [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

command -v apt-get >/dev/null || fail "this is no Debian; install what it calls ${missing[*]}"
((EUID == 0)) || fail "Debian packages are missing and only root can install them: apt-get install ${missing[*]}"

echo "Installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Checks run beside each other, and apt waits for another's installation but not for its update.
exec 9>/run/lock/mergetb-sriov-apt
flock 9
apt=(apt-get --quiet=2 --option Acquire::Retries=3 --option DPkg::Lock::Timeout=300)
"${apt[@]}" update || fail "apt-get update failed; is the Debian mirror reachable?"
"${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install ${missing[*]}; its messages above tell why"
