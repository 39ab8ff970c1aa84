#!/usr/bin/env bash
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Prints the directory of a Debian root that holds PACKAGE of SUITE, and makes it at first use.
# Usage: debian_root.sh SUITE PACKAGE
set -euo pipefail

suite=$1
package=$2
# Not among the twin's images: who makes one of them removes all others.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mergetb-sriov-roots
root=$cache/$suite-$package

fail() {
    echo "${0##*/}: $1" >&2
    exit 1
}

make_root() {
    ((EUID == 0)) || fail "only root can make $root: run this as root"
    command -v mmdebstrap >/dev/null || fail "install the Debian package mmdebstrap"
    local codename mirror options release sources
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016  # apt-get expands this one.
    mirror=$(apt-get indextargets --format='$(REPO_URI)' 'Created-By: Packages' \
        'Origin: Debian' 'Label: Debian' "Codename: $codename" 'Component: main' | head -n 1)
    [[ -n $mirror ]] || fail "apt knows no Debian mirror: see /etc/apt and run apt-get update"
    mapfile -t options < <(apt-config dump |
        sed -nE 's/^Acquire::(https?|Retries|Check-Date|Check-Valid-Until)\b.*/--aptopt=&/p')
    release=${suite%-backports}
    sources=("deb $mirror $release main")
    if [[ $suite != "$release" ]]; then
        sources+=("deb $mirror $suite main")
        options+=("--aptopt=APT::Default-Release \"$suite\";")
    fi
    echo "Making $root" >&2
    rm -rf "$root.new"
    PATH=$PATH:/usr/sbin:/sbin mmdebstrap --quiet --mode=root --variant=essential \
        --include="$package" --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "${options[@]}" --format=directory "$release" "$root.new" "${sources[@]}" >&2 ||
        fail "mmdebstrap could not make $root; its messages above tell why"
    mv "$root.new" "$root"
}

mkdir -p "$cache"
exec 9>"$cache/.$suite-$package.lock"
flock 9
[[ -d $root ]] || make_root
echo "$root"
