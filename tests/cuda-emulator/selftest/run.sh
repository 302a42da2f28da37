#!/bin/sh
# Builds the emulator with the self-test's kernels and runs the self-test: run.sh OUT_DIR [speed]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
library=$("$here/../build.sh" "$out" "$here")
program=$out/selftest
if [ ! -e "$program" ] || [ -n "$(find "$here" -newer "$program" -name '*.[ch]*' -print)" ]; then
    ${CXX:-g++} -std=c++20 -O1 -Wall -Wextra -o "$program.$$" "$here"/*.cpp -ldl
    mv "$program.$$" "$program"
fi
exec "$program" "$library" "$@"
