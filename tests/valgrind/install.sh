#!/bin/sh
# Puts a valgrind under which processes can be guarded where the tests find it:
#
#     tests/valgrind/install.sh DIRECTORY        makes DIRECTORY/valgrind
#
# One before 3.24 does not know pidfd_open(2); then one comes from a newer suite. None knows
# pidfd_send_signal(2) (3.27 does not), which pidfd_send_signal.c does for it. Does nothing if
# it is there already; if none can be had it says so and leaves it to the tests to do without.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
directory=${1:?"usage: $0 DIRECTORY"}
program=$directory/valgrind

[ -x "$program" ] && exit 0
give_up() { echo "setup: no valgrind for the tests${*:+: $*}" >&2; exit 0; }
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
program=$directory/valgrind

if have=$(valgrind --version 2>/dev/null | sed -n 's/^valgrind-//p') && [ -n "$have" ] &&
    [ "$(printf '3.24\n%s\n' "$have" | sort -V | head -n 1)" = 3.24 ]; then
    run="'$(command -v valgrind)'"
else
    run=$("$here/../newer/fetch.sh" valgrind "$directory") || give_up
    binary=$(find "$directory/root" -name 'valgrind.bin' | head -n 1)
    tools=$(find "$directory/root" -path '*libexec/valgrind' | head -n 1)
    [ -n "$binary" ] && [ -n "$tools" ] || give_up "its package is not as expected"
    run="env VALGRIND_LIB='$tools' $run '$binary'"
fi
preload=$directory/pidfd_send_signal.so
${CC:-cc} -shared -fPIC -O1 -g -Wall -Wextra -Werror "$here/pidfd_send_signal.c" -o "$preload" || give_up

# Whole or not at all: who is interrupted leaves no half of a program.
printf '%s\n' '#!/bin/sh' "LD_PRELOAD='$preload' exec $run \"\$@\"" >"$program.new"
chmod 755 "$program.new"
# With a program, and not by --version: it refuses to start one without the symbols of the loader.
"$program.new" --quiet --error-exitcode=9 /bin/true || { rm -f "$program.new"; give_up "it does not start"; }
mv "$program.new" "$program"
