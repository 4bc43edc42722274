#!/bin/sh
# Unpack Debian 13's PostgreSQL 17 beside what this machine has, for the tests: debian13.sh
# Debian 12 packages 15 alone. Nothing is installed, and no server starts: the release's files lie in
# one folder, and patchelf writes into the programs where its C library and the other libraries are.
# What is there stays; to have a newer minor version, remove the folder.
set -eu

root=/var/cache/casedb-debian-13
bin=usr/lib/postgresql/17/bin
libraries=$root/usr/lib/x86_64-linux-gnu

! [ -x "/$bin/postgres" ] || exit 0
! [ -x "$root/$bin/postgres" ] || exit 0
fail() { echo "PostgreSQL 17 of Debian 13 cannot be had: $*" >&2; exit 1; }
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || fail "this is no Debian on amd64"
[ "$(id -u)" = 0 ] || fail "this needs root"
for program in mmdebstrap patchelf; do
    command -v "$program" >/dev/null || fail "$program is missing (apt install $program)"
done

making=$root.making
rm -rf "$making"
mmdebstrap --quiet --variant=extract --include=postgresql-17 trixie "$making"
for program in "$making/$bin"/*; do
    # Libraries that the server loads later look there as well: RPATH, not RUNPATH.
    patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libraries" "$program"
done
mv "$making" "$root"
"$root/$bin/postgres" --version
