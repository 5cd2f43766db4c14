#!/bin/sh
# tests/interop/dht_tools.sh - hanse dht against libtorrent's nodes; skipped (77) where python3 or python3-libtorrent is missing.
. "$(dirname "$0")/lab.sh"
lab_or_here dht_tools.py
