#!/bin/sh
# tests/interop/dht_aria2.sh - our DHT nodes with aria2's; skipped (77) without the package or the right to make a network namespace.
. "$(dirname "$0")/lab.sh"
need aria2c aria2
lab dht_aria2.py
