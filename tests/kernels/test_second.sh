#!/bin/sh
# tests/kernels/test_second.sh - kernels/ref against second.py, which does what doc/numerics.md says in integers.
command -v python3 >/dev/null || { echo "skipped: no python3 here (apt-get install python3)"; exit 77; }
vectors=$(mktemp) || exit 1
trap 'rm -f "$vectors"' EXIT
./tests/kernels/second_vectors >"$vectors" && python3 "${srcdir:-.}/tests/kernels/second.py" <"$vectors"
