#!/bin/sh
# tests/interop/dht_libtorrent.sh - our DHT node against libtorrent's; skipped (77) where python3 or python3-libtorrent is missing.
. "$(dirname "$0")/lab.sh"
lab_or_here dht_libtorrent.py
