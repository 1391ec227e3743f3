#!/bin/sh
# Links libcgf.so from libcgf.a, with its SONAME and symbol versions, and makes
# the two symbolic links that the loader and the linker look for.
#
#     link-shared.sh ARCHIVE DIRECTORY
#
# Cargo could make a shared object too, but it hands the linker a version script
# of its own, beside which ours is ignored without a word.
set -eu

archive=$1
directory=$2
here=$(dirname "$0")
version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml")
soname=libcgf.so.0
# Each name appears whole and at once: programs may be starting with it.
#
# The system libraries are those that rustc names for a static library
# (--print native-static-libs); -z defs fails if one is missing.
new=$directory/.libcgf.$$
trap 'rm -f "$new"' EXIT
# shellcheck disable=SC2086 # LDFLAGS may hold several words.
${CC:-cc} -shared ${LDFLAGS:-} -o "$new" \
    -Wl,-soname,$soname \
    -Wl,--version-script="$here/libcgf.map" \
    -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,--gc-sections \
    -Wl,--whole-archive "$archive" -Wl,--no-whole-archive \
    -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
mv -f "$new" "$directory/libcgf.so.$version"
ln -s "libcgf.so.$version" "$new"
mv -fT "$new" "$directory/$soname"
ln -s $soname "$new"
mv -fT "$new" "$directory/libcgf.so"
