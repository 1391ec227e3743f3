#!/bin/sh
# Installs from the distribution's packages what the build and the tests need
# and a new machine may lack. Does nothing where everything is there.
set -eu

missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need cc gcc
need c++ g++
need pkg-config pkg-config
need valgrind valgrind
need abidiff abigail-tools

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "setup: not installed, and not ours to install:$missing" >&2
    exit 0
fi
echo "setup: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# Word splitting is meant: one argument a package.
# shellcheck disable=SC2086
{ apt-get update && apt-get install --yes --no-install-recommends $missing; } >/dev/null
