# tests/cmd/lib.sh - what the tests of the program share: a directory of their own, and words for what is expected.
# A test is run in the build directory, as make check does; HANSE names another program to test.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
hanse=${HANSE:-$PWD/hanse}
tmp=$(mktemp -d)
hosts=
n_checks=0 n_failed=0
out=$tmp/out

# Ends what we started, and nothing else.
finish() {
    for pid in $hosts; do
        kill -KILL "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() {
    n_failed=$((n_failed + 1))
    echo "FAILED: $1"
    sed 's/^/    /' "$out"
}

# expect STATUS TEXT WORDS...: "hanse WORDS..." ends with STATUS and says TEXT, on stdout or stderr.
expect() {
    status=$1 text=$2
    shift 2
    n_checks=$((n_checks + 1))
    timeout 120 "$hanse" "$@" >"$out" 2>&1 </dev/null
    got=$?
    if [ $got -ne "$status" ]; then
        fail "hanse $*: status $got, expected $status"
    elif ! grep -qF -- "$text" "$out"; then
        fail "hanse $*: does not say '$text'"
    fi
}

# check WORDS...: the command holds.
check() {
    n_checks=$((n_checks + 1))
    "$@" >>"$out" 2>&1 || fail "$*"
}

# start_ready LOG COMMAND...: starts "hanse COMMAND..." and waits until it says "ready on"; sets pid.
start_ready() {
    log=$1
    shift
    : >"$log" # what an earlier one of this name said is not this one's line
    "$hanse" "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    hosts="$hosts $pid"
    tries=0
    while ! grep -q ' ready on ' "$log"; do
        tries=$((tries + 1))
        if [ $tries -gt 300 ] || ! kill -0 "$pid" 2>/dev/null; then
            cp "$log" "$out"
            fail "hanse $*: not ready"
            verdict
        fi
        sleep 0.1
    done
}

# start_host LOG WORDS...: starts "hanse host WORDS..." and waits for its line; sets pid and address.
start_host() {
    log=$1
    shift
    start_ready "$log" host "$@"
    address=$(sed -n 's/.* ready on \([^ ]*\): .*/\1/p' "$log")
}

# stop_host PID: asks it to end, as Ctrl-C does, and waits; its status is the result.
stop_host() {
    kill -INT "$1"
    wait "$1"
}

verdict() {
    echo "$n_checks checks, $n_failed failed"
    [ $n_failed -eq 0 ]
    exit
}
