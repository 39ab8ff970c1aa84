#!/usr/bin/env bash
# Runs make targets one after another and stops at the first that fails.
# Usage: run_checks.sh TARGET...
set -euo pipefail

passed=0
for check in "$@"; do
    echo "== make $check"
    SECONDS=0
    if ! make --no-print-directory "$check"; then
        echo "== make $check failed after $SECONDS s; nothing after it was run"
        echo "$passed passed, 1 failed"
        exit 1
    fi
    echo "== make $check passed in $SECONDS s"
    passed=$((passed + 1))
done
echo "$passed passed, 0 failed"
