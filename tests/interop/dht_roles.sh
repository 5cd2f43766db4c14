#!/bin/sh
# tests/interop/dht_roles.sh - libtorrent as storer, getter and bystander of our nodes, with addresses of many owners, v4 and v6.
# Skipped (77) where python3-libtorrent or the right to make a network namespace is missing.
. "$(dirname "$0")/lab.sh"
need openssl openssl
lab dht_roles.py
