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

# within SECONDS COMMAND...: tries the command until it holds; says what it said last, and is false, when it never did.  On a machine
# that does other things all comes late at times: SECONDS are many, and only what hangs takes them.
within() {
    n_left=$(($1 * 10))
    shift
    until "$@" >"$tmp/tried" 2>&1; do
        n_left=$((n_left - 1))
        [ $n_left -gt 0 ] || {
            cat "$tmp/tried"
            return 1
        }
        sleep 0.1
    done
}

# says STATUS TEXT WORDS...: "hanse WORDS..." ends with STATUS and says TEXT, on stdout or stderr; else sets why.
says() {
    status=$1 text=$2
    shift 2
    timeout 300 "$hanse" "$@" >"$out" 2>&1 </dev/null
    got=$?
    why="hanse $*: status $got, expected $status"
    [ $got -eq "$status" ] || return 1
    why="hanse $*: does not say '$text'"
    grep -qF -- "$text" "$out"
}

# expect STATUS TEXT WORDS...: it says so.
expect() {
    n_checks=$((n_checks + 1))
    says "$@" || fail "$why"
}

# expect_at_last STATUS TEXT WORDS...: it says so, if not at once: for what is cut short by the clock, on a busy machine too early.
expect_at_last() {
    n_checks=$((n_checks + 1))
    for _ in 1 2 3 4 5 6; do
        says "$@" && return
    done
    fail "$why"
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
    within 120 is_ready_or_over && grep -q ' ready on ' "$log" && return
    cp "$log" "$out"
    fail "hanse $*: not ready"
    verdict
}

is_ready_or_over() {
    grep ' ready on ' "$log" || ! kill -0 "$pid"
}

# start_host LOG WORDS...: starts "hanse host WORDS..." and waits for its line; sets pid and address.
start_host() {
    log=$1
    shift
    start_ready "$log" host "$@"
    address=$(sed -n 's/.* ready on \([^ ]*\): .*/\1/p' "$log")
}

# hears_interrupt PID: it has come to where it hears Ctrl-C, which does nothing before to what a shell has put aside; or it is over.
hears_interrupt() {
    [ ! -r "/proc/$1/status" ] || grep -q '^State:.*Z\|^SigCgt:.*[2367abef]$' "/proc/$1/status"
}

# stop_host PID: asks it to end, as Ctrl-C does, and waits; its status is the result.
stop_host() {
    within 120 hears_interrupt "$1"
    kill -INT "$1"
    wait "$1"
}

verdict() {
    echo "$n_checks checks, $n_failed failed"
    [ $n_failed -eq 0 ]
    exit
}
