#!/bin/sh
# tests/interop/dht_transmission.sh - our DHT nodes with Transmission's (jech/dht); skipped (77) without the package or the right to
# make a network namespace.
. "$(dirname "$0")/lab.sh"
need transmission-daemon transmission-daemon
need transmission-remote transmission-cli
lab dht_transmission.py
