#!/bin/sh
# Put Docker's compose plugin (v2) where `docker compose` finds it: install-compose.sh
# Debian 12 packages only its old Python ancestor; the one of Debian 13 needs nothing but libc. For
# machines that test this project: whoever has Docker Desktop or docker-compose-plugin has it.
set -eu

! docker compose version >/dev/null 2>&1 || exit 0
plugins=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts"
# The machine's own sources, one release further; its package lists stay as they are.
cat /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null |
    sed 's/bookworm/trixie/g' >"$work/sources.text"
case $(head -n 1 "$work/sources.text") in
    deb*) sources=$work/sources.list ;;
    *) sources=$work/debian.sources ;;
esac
mv "$work/sources.text" "$sources"
apt() {
    apt-get -qq -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o Dir::Etc::sourcelist="$sources" -o Dir::Etc::sourceparts="$work/parts" \
        -o APT::Sandbox::User=root "$@"
}
apt update
cd "$work"
apt download docker-compose
dpkg -x docker-compose_*.deb unpacked
mkdir -p "$plugins"
cp unpacked/usr/libexec/docker/cli-plugins/docker-compose "$plugins/"
docker compose version
