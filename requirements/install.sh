#!/bin/sh
# Make .venv from the hashed requirements files: install.sh run | dev
# A stamp is written last, so a run killed half-way starts over and a complete one is left alone.
set -eu

what=${1:-run}
venv=.venv

fail() {
    printf 'ERROR:  %s\nHINT:  %s\n' "$1" "$2" >&2
    exit 3
}

find_python() {
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.11 or later was found" \
        "Install it (Debian: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3."
}

# Python compiles the few modules that it imports when it does; compiling all takes pip long.
install_from() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile "$@" ||
        fail "the packages could not be installed" \
            "Read pip's message above; with a network again, the same command goes on."
}

python=$(find_python)
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fail "Python's venv module is missing" \
        "Install it (Debian: apt install python3-venv; for this Python: python$version-venv)."
fi

# Two runs at once would write into each other's packages.
if command -v flock >/dev/null 2>&1; then
    exec 9>.venv.lock
    flock 9
fi

if [ ! -e "$venv/run.stamp" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    echo "making $venv with $("$python" --version)" >&2
    "$python" -m venv --clear "$venv" || fail "$venv could not be made" "Is the disk full?"
fi

# Install what a stage names unless its stamp says that just this is there already.
stage() {
    name=$1
    shift
    sum=$(cat "$@" pyproject.toml | cksum)
    [ "$(cat "$venv/$name.stamp" 2>/dev/null)" = "$sum" ] && return
    echo "installing what requirements/$name.txt names (a minute, the first time)" >&2
    for file in "$@"; do set -- "$@" -r "$file" && shift; done
    install_from --require-hashes "$@"
    # The checkout itself; all that it needs has been installed with hashes.
    [ "$name" = dev ] ||
        install_from --no-deps --no-build-isolation --no-index --editable .
    echo "$sum" >"$venv/$name.stamp"
}

stage run requirements/run.txt requirements/build.txt
[ "$what" = run ] || stage "$what" "requirements/$what.txt"
