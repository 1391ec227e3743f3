#!/bin/sh
# Puts a CRIU that can dump on this kernel where the tests find it:
#
#     tests/criu/install.sh DIRECTORY        makes DIRECTORY/criu
#
# The distribution's own may be too old (3.17 fails on new kernels). Then one comes from a
# newer suite. Does nothing if it is there already; if none can be had it says so and leaves
# it to the tests to do without.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
directory=${1:?"usage: $0 DIRECTORY"}
program=$directory/criu

[ -x "$program" ] && exit 0
give_up() { echo "setup: no CRIU for the tests${*:+: $*}" >&2; exit 0; }
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
program=$directory/criu

# Whole or not at all: who is interrupted leaves no half of a program.
publish() { printf '%s\n' '#!/bin/sh' "$1" >"$program.new"; chmod 755 "$program.new"; mv "$program.new" "$program"; }

if have=$(criu --version 2>/dev/null | sed -n 's/^Version: //p') && [ -n "$have" ] &&
    [ "$(printf '4.1\n%s\n' "$have" | sort -V | head -n 1)" = 4.1 ]; then
    publish "exec '$(command -v criu)' \"\$@\""
    exit 0
fi

run=$("$here/../newer/fetch.sh" criu "$directory") || give_up
binary=$(find "$directory/root" -path '*bin/criu' | head -n 1)
[ -n "$binary" ] || give_up "its package is not as expected"
publish "exec $run '$binary' \"\$@\""
"$program" --version >/dev/null || { rm -f "$program"; give_up "it does not start"; }
