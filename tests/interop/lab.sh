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

# find_space: what a network and a process tree of our own take, in $as; false where they are not to be had.
find_space() {
    command -v unshare >/dev/null && command -v ip >/dev/null || return 1
    # Without a /proc of its processes LeakSanitizer cannot look for leaks.
    for as in "--mount-proc" "--map-root-user --mount-proc" "" "--map-root-user"; do
        # shellcheck disable=SC2086  # none or two words
        unshare $as --net --pid --fork --kill-child ip link set lo up 2>/dev/null && return
    done
    return 1
}

# enter TEST.py WORDS...: runs it there.
enter() {
    test=$here/$1
    shift
    [ "${as%--mount-proc}" != "$as" ] || export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
    # shellcheck disable=SC2016,SC2086  # the inner shell's words; none or two
    exec unshare $as --net --pid --fork --kill-child sh -c 'ip link set lo up && exec "$@"' lab "$python" "$test" "$@"
}

# lab TEST.py WORDS...: the test has addresses of its own, so nowhere else.
lab() {
    PATH=$PATH:/sbin:/usr/sbin
    need unshare util-linux
    need ip iproute2
    find_space || skip "a network namespace is not allowed here (as root: unshare --net)"
    enter "$@"
}

# lab_or_here TEST.py WORDS...: loopback will do, but a port that one of its nodes has left may become that of another program.
lab_or_here() {
    PATH=$PATH:/sbin:/usr/sbin
    if find_space; then
        enter "$@"
    fi
    test=$here/$1
    shift
    exec "$python" "$test" "$@"
}
