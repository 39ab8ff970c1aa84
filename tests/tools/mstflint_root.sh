#!/usr/bin/env bash
# Prints the directory of a Debian root that holds the mstflint of SUITE, and makes it at first use.
# Usage: mstflint_root.sh SUITE
set -euo pipefail

suite=$1
# Not among the twin's images: who makes one of them removes all others.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mergetb-sriov-mstflint
root=$cache/$suite

fail() {
    echo "${0##*/}: $1" >&2
    exit 1
}

make_root() {
    ((EUID == 0)) || fail "only root can make $root: run this as root"
    command -v mmdebstrap >/dev/null || fail "install the Debian package mmdebstrap"
    local codename mirror options
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016  # apt-get expands this one.
    mirror=$(apt-get indextargets --format='$(REPO_URI)' 'Created-By: Packages' \
        'Origin: Debian' 'Label: Debian' "Codename: $codename" 'Component: main' | head -n 1)
    [[ -n $mirror ]] || fail "apt knows no Debian mirror: see /etc/apt and run apt-get update"
    mapfile -t options < <(apt-config dump |
        sed -nE 's/^Acquire::(https?|Retries|Check-Date|Check-Valid-Until)\b.*/--aptopt=&/p')
    echo "Making $root" >&2
    rm -rf "$root.new"
    PATH=$PATH:/usr/sbin:/sbin mmdebstrap --quiet --mode=root --variant=essential \
        --include=mstflint --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "${options[@]}" --format=directory "$suite" "$root.new" "deb $mirror $suite main" >&2 ||
        fail "mmdebstrap could not make $root; its messages above tell why"
    mv "$root.new" "$root"
}

mkdir -p "$cache"
exec 9>"$cache/.$suite.lock"
flock 9
[[ -d $root ]] || make_root
echo "$root"
