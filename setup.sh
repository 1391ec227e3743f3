#!/bin/sh
# Installs from the distribution's packages what the build and the tests need
# and a new machine may lack. Does nothing where everything is there.
set -eu

# Where an ordinary user's path does not lead, but runc is.
PATH=$PATH:/usr/sbin
missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need cc gcc
need c++ g++
need pkg-config pkg-config
need valgrind valgrind
need abidiff abigail-tools
need runc runc
need crun crun
need lxc-start lxc
# In a container there is nothing that would load it.
is_static() { ! head -c 1024 "$1" | grep -q /ld-; }
busybox=$(command -v busybox) && is_static "$busybox" || missing="$missing busybox-static"

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "setup: not installed, and not ours to install:$missing" >&2
    exit 0
fi
echo "setup: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# The programs are wanted, not their services: LXC's would make a bridge.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
# Word splitting is meant: one argument a package.
# shellcheck disable=SC2086
{ apt-get update && apt-get install --yes --no-install-recommends $missing; } >/dev/null
