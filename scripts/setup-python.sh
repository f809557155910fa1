#!/bin/sh
# Make .venv with what uv.lock says, and uv itself (in a private environment) where the machine has none.
# usage: scripts/setup-python.sh [--dev]            prints nothing when all is in place
#        scripts/setup-python.sh --only FOLDER      an environment of its own there, with what an operator has and no more
set -eu
cd "$(dirname "$0")/.."

find_uv() {
    # A shim may be on PATH and yet refuse to run, so ask it for its version.
    if uv --version >/dev/null 2>&1; then
        echo uv
    elif .cache/uv/bin/uv --version >/dev/null 2>&1; then
        echo .cache/uv/bin/uv
    fi
}

# A Python that starts: version managers leave shims that fail for a version they lack.
find_python() {
    for candidate in python3.13 python3.12 python3 /usr/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3 was found to install uv with. Install python3, or uv (https://docs.astral.sh/uv)." >&2
    exit 1
}

uv=$(find_uv)
if [ -z "$uv" ]; then
    python=$(find_python)
    echo "Installing uv into .cache/uv …" >&2
    mkdir -p .cache
    if ! "$python" -m venv .cache/uv >.cache/venv.log 2>&1; then
        # Debian keeps ensurepip in a package of its own.
        rm -rf .cache/uv
        scripts/system-parts.sh python3-venv
        "$python" -m venv .cache/uv
    fi
    .cache/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
    uv=.cache/uv/bin/uv
fi

# A second environment or Python that the caller has active must not be written to.
unset VIRTUAL_ENV
made=.venv
if [ "${1:-}" = --only ]; then
    made=$2
    UV_PROJECT_ENVIRONMENT=$made "$uv" sync --frozen --quiet --compile-bytecode --no-dev
elif [ "${1:-}" = --dev ]; then
    "$uv" sync --frozen --quiet --compile-bytecode
else
    # --inexact leaves the developers' tools in place where they are installed already.
    "$uv" sync --frozen --quiet --compile-bytecode --no-dev --inexact
fi
# Our own modules too: where Python is told to write no bytecode, each start would compile them all again.
"$made/bin/python" -m compileall -q src
