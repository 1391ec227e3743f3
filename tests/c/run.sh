#!/bin/sh
# Runs test programs on each backend and says how each run ended.
#
#     run.sh PROGRAM ...
#
# CGF_BACKEND: which backends, else all. CGF_DEMAND=1: a missing one fails.
# CGF_UNDER: a command to run each program under. CGF_SECONDS: how long one may
# take.
set -u

passed=0 skipped=0 failed=0
seconds=${CGF_SECONDS:-50}
output=$(mktemp)
trap 'rm -f "$output"' EXIT

for program; do
    for backend in ${CGF_BACKEND:-cgroup2 cgroup1 embedded}; do
        # shellcheck disable=SC2086 # CGF_UNDER is a command with its options.
        CGF_BACKEND=$backend CGF_SECONDS=$seconds \
            timeout --kill-after=5 $((seconds + 10)) ${CGF_UNDER:-} "$program" >"$output" 2>&1
        case $? in
        0) passed=$((passed + 1)) ;;
        77) skipped=$((skipped + 1)) && echo "skip  $program $backend: $(grep -v '^[-=]' "$output" | tail -n 1)" ;;
        124 | 137) failed=$((failed + 1)) && echo "FAIL  $program $backend: no end after $((seconds + 10)) s" ;;
        *) failed=$((failed + 1)) && echo "FAIL  $program $backend:" && sed 's/^/      /' "$output" ;;
        esac
    done
done
echo "$passed passed, $skipped skipped, $failed failed"
test $failed -eq 0
