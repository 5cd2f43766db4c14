#!/bin/sh
# tests/interop/dht_tools.sh - hanse dht against libtorrent's nodes; skipped (77) where python3 or python3-libtorrent is missing.
# The package belongs to the system's python3, which need not be the first on PATH.
python=/usr/bin/python3
[ -x $python ] || python=$(command -v python3) || {
    echo "python3 is missing"
    exit 77
}
exec "$python" "$(dirname "$0")/dht_tools.py" "$@"
