#!/bin/sh
# Puts a package of a newer suite of the system's own archive where a test can use it:
#
#     tests/newer/fetch.sh PACKAGE DIRECTORY        unpacks below DIRECTORY/root
#
# with all that it depends on, and prints the start of a command line that runs one of its
# programs: its libraries are newer than the system's, and so must be what loads them. apt
# works on a configuration and a state of its own below DIRECTORY; nothing of the system's
# changes. Without apt or the network it says so and fails.
set -eu

suite=trixie
package=${1:?"usage: $0 PACKAGE DIRECTORY"}
directory=${2:?"usage: $0 PACKAGE DIRECTORY"}
give_up() { echo "$*" >&2; exit 1; }

command -v apt-get >/dev/null 2>&1 || give_up "its package comes by apt"
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
# The address that the system itself gets this release from.
archive=$(apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/$release/InRelease'.*|\1|p" | head -n 1)
[ -n "$archive" ] || give_up "apt has no source for $release"

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
apt=$directory/apt
root=$directory/root
rm -rf "$apt" "$root"
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

echo "setup: fetching $package from $suite" >&2
fetch update && fetch install --yes --no-install-recommends --download-only "$package" ||
    give_up "$(grep -m 1 '^[EW]:' "$apt/log" || echo 'apt-get failed')"
for file in "$apt"/cache/archives/*.deb; do
    dpkg-deb --extract "$file" "$root"
done
rm -rf "$apt"

loader=$(find "$root" -name 'ld-linux*.so.*' | head -n 1)
libraries=$(find "$root" -path '*/lib/*' -name 'lib*.so.*' -exec dirname {} + | sort -u | paste -s -d :)
[ -n "$loader" ] && [ -n "$libraries" ] || give_up "its package is not as expected"
echo "'$loader' --library-path '$libraries'"
