#!/usr/bin/env bash
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs groups of make targets one after another and stops at the first that fails. The targets of a
# group run beside each other, and what a command of theirs says is shown when it has ended.
# Usage: run_checks.sh 'TARGET...'...
set -euo pipefail

# One more than the processors of a small machine: some wait for downloads, or for an answer.
most_jobs=3
passed=0
for group in "$@"; do
    read -ra targets <<<"$group"
    echo "== make $group"
    jobs=$((${#targets[@]} < most_jobs ? ${#targets[@]} : most_jobs))
    ((jobs == 1)) ||
        echo "These run beside each other: each command shows what it said when it has ended"
    SECONDS=0
    if ! make --no-print-directory --jobs "$jobs" --output-sync=line "${targets[@]}"; then
        echo "== make $group failed after $SECONDS s; nothing after it was run"
        echo "$passed passed, 1 failed"
        exit 1
    fi
    echo "== make $group passed in $SECONDS s"
    passed=$((passed + ${#targets[@]}))
done
echo "$passed passed, 0 failed"
