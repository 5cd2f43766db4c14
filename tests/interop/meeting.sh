#!/bin/sh
# tests/interop/meeting.sh - hosts and a trainer that know nothing but a Mainline network of libtorrent nodes; skipped (77) without
# python3-libtorrent or the right to make a network namespace.
. "$(dirname "$0")/lab.sh"
lab meeting.py
