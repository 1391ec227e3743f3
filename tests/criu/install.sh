#!/bin/sh
# Puts a CRIU that can dump on this kernel where the tests find it:
#
#     tests/criu/install.sh DIRECTORY        makes DIRECTORY/criu
#
# The distribution's own may be too old (3.17 fails on new kernels). Then one
# comes from a newer suite of the same archive, with the libraries and the loader
# that belong to it, all below DIRECTORY: apt works on a configuration and a
# state of its own there, and nothing of the system's changes. Does nothing if
# it is there already; without apt or the network it says so and leaves it to
# the tests to do without.
set -eu

suite=trixie
directory=${1:?"usage: $0 DIRECTORY"}
program=$directory/criu

[ -x "$program" ] && exit 0
give_up() { echo "setup: no CRIU for the tests: $*" >&2; exit 0; }
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

command -v apt-get >/dev/null 2>&1 || give_up "its package comes by apt"
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
# The address that the system itself gets this release from.
archive=$(apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/$release/InRelease'.*|\1|p" | head -n 1)
[ -n "$archive" ] || give_up "apt has no source for $release"

apt=$directory/apt
rm -rf "$apt" "$directory/root"
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/none"
: >"$apt/state/status"
cat >"$apt/sources.sources" <<END
Types: deb
URIs: $archive
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
# With no package counted as installed, every library is among what is fetched.
# The system's hooks are for the system's state.
cat >"$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.sources";
Dir::Etc::sourceparts "$apt/none";
Dir::Etc::preferencesparts "$apt/none";
Dir::State "$apt/state";
Dir::State::status "$apt/state/status";
Dir::Cache "$apt/cache";
Dir::Cache::archives "$apt/cache/archives";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "$(id -un)";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
END
fetch() { timeout 300 apt-get -qq -c "$apt/apt.conf" "$@" >"$apt/log" 2>&1; }

echo "setup: fetching CRIU from $suite" >&2
fetch update && fetch install --yes --no-install-recommends --download-only criu ||
    give_up "$(grep -m 1 '^[EW]:' "$apt/log" || echo 'apt-get failed')"
for package in "$apt"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$directory/root"
done
rm -rf "$apt"

# Its libraries are newer than the system's, and so must be what loads them.
root=$directory/root
loader=$(find "$root" -name 'ld-linux*.so.*' | head -n 1)
binary=$(find "$root" -path '*bin/criu' | head -n 1)
libraries=$(dirname "$(find "$root" -name 'libnet.so.1*' | head -n 1)")
[ -n "$loader" ] && [ -n "$binary" ] && [ -n "$libraries" ] || give_up "its package is not as expected"
paths=$libraries
for other in "$(dirname "$(find "$root" -name 'libc.so.6' | head -n 1)")"; do
    [ "$other" = "$libraries" ] || paths=$paths:$other
done
publish "exec '$loader' --library-path '$paths' '$binary' \"\$@\""
"$program" --version >/dev/null || { rm -f "$program"; give_up "it does not start"; }
