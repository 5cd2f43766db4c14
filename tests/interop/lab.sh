# tests/interop/lab.sh - sourced by the tests beside it: runs a Python test in a network and a process tree of its own.
# Nothing that it starts can reach the machine's network, and all of it ends with the test.  Skipped (77), saying why,
# where that cannot be had.
here=$(dirname "$0")

skip() {
    echo "$1: skipped"
    exit 77
}

# need COMMAND PACKAGE
need() {
    command -v "$1" >/dev/null || skip "$1 is missing (apt-get install $2)"
}

# python3-libtorrent belongs to the system's python3, which need not be the first on PATH.
python=/usr/bin/python3
[ -x $python ] || python=$(command -v python3) || skip "python3 is missing"

# lab TEST.py WORDS...
lab() {
    need unshare util-linux
    need ip iproute2
    test=$here/$1
    shift
    # Without a /proc of its processes LeakSanitizer cannot look for leaks.
    for as in "--mount-proc" "--map-root-user --mount-proc" "" "--map-root-user"; do
        # shellcheck disable=SC2086  # none or two words
        unshare $as --net --pid --fork --kill-child ip link set lo up 2>/dev/null || continue
        [ "${as%--mount-proc}" != "$as" ] || export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
        # shellcheck disable=SC2086
        PATH=$PATH:/sbin:/usr/sbin exec unshare $as --net --pid --fork --kill-child "$python" "$test" "$@"
    done
    skip "a network namespace is not allowed here (as root: unshare --net)"
}
