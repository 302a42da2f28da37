#!/bin/sh
# All tests of the service: its own, and those of the real client. DIARIST_SHARED may name a folder of recordings.
set -eu
cd "$(dirname "$0")"
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}"
export CARGO_TARGET_DIR
cargo test --locked
cargo build --locked
(cd ../.. && cargo build --locked --bin diarist)
venv="$CARGO_TARGET_DIR/rest-venv"
# Debian's Python cannot put pip into an environment, but its pip can install into one.
[ -x "$venv/bin/python" ] || python3 -m venv --without-pip "$venv"
python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check requests soundfile
"$venv/bin/python" test_client.py --service "$CARGO_TARGET_DIR/debug/diarist-rest" \
    --program "$CARGO_TARGET_DIR/debug/diarist" ${DIARIST_SHARED:+--shared "$DIARIST_SHARED"}
