#!/bin/sh
# tests/interop/dht_libtorrent.sh - our DHT node against libtorrent's; skipped (77) where python3 or python3-libtorrent is missing.
command -v python3 >/dev/null || {
    echo "python3 is missing"
    exit 77
}
exec python3 "$(dirname "$0")/dht_libtorrent.py" "$@"
