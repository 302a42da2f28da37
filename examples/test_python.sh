#!/usr/bin/env bash
# Tests the Python examples with a program that is built:
#
#   DIARIST=target/debug/diarist examples/test_python.sh [arguments of pytest]
#
# With DIARIST_REST=target/debug/diarist-rest the client of beam/ is tried on examples/rest, too. What the tests need is
# installed under target/, once.
set -euo pipefail
program=$(realpath "${DIARIST:?must name the program, for example target/debug/diarist}")
service=${DIARIST_REST:+$(realpath "$DIARIST_REST")}
cd "$(dirname "$0")"
target=$(realpath -m "${CARGO_TARGET_DIR:-../target}")
venv=$target/examples-venv
sources=(conftest.py worker_client beam ray)
requirements=(beam/requirements.txt ray/requirements.txt requirements-test.txt)

if ! cat "${requirements[@]}" | cmp --silent - "$venv/installed"; then
    # Debian's Python cannot put pip into an environment, but its pip can install into one.
    python3 -m venv --clear --without-pip "$venv"
    python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check "${requirements[@]/#/--requirement=}"
    cat "${requirements[@]}" >"$venv/installed"
fi
"$venv/bin/ruff" check --no-cache "${sources[@]}"
"$venv/bin/ruff" format --no-cache --check "${sources[@]}"
export DIARIST=$program DIARIST_REST=$service RAY_USAGE_STATS_ENABLED=0
exec "$venv/bin/python" -m pytest --quiet -rs -p no:cacheprovider "$@"
