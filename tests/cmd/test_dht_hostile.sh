#!/bin/sh
# tests/cmd/test_dht_hostile.sh - hanse dht and hanse status among strangers who refuse, keep silent or invent, and on a full disk:
# each says what happened.
. "$(dirname "$0")/lib.sh"

node=$PWD/tests/interop/dht_node
strangers=$top/tests/cmd/dht_strangers.py
command -v python3 >/dev/null && [ -x "$node" ] && [ -c /dev/full ] || {
    echo "skipped: python3, $node or /dev/full is missing"
    exit 77
}

# start_strangers WORDS...: starts some, waits for their line; sets pid and address.  They end with us, whose end closes their input.
start_strangers() {
    : >"$tmp/said"
    mkfifo "$tmp/end" 2>/dev/null
    python3 "$strangers" "$@" <"$tmp/end" >"$tmp/said" 2>&1 &
    pid=$!
    hosts="$hosts $pid"
    exec 9>"$tmp/end"
    within 120 grep ready "$tmp/said" || {
        cp "$tmp/said" "$out"
        fail "strangers $*: not ready"
        verdict
    }
    address=$(sed -n 's/ready on //p' "$tmp/said")
}

# end_strangers: lets them go.
end_strangers() {
    exec 9>&-
    wait "$pid"
}

zero=$(printf %040d 1)

# -- who refuses has answered
start_strangers refuse
refuses="$address answers, but refuses the question: error 203"
expect 0 "error 203" dht ping "$address" --timeout 10
expect 1 "$refuses" dht find "$zero" --join "$address" --timeout 10
expect 1 "$refuses" dht get "$zero" --join "$address" --timeout 10
expect 1 "$refuses" dht get --directory runs --join "$address" --timeout 10
expect 1 "$refuses" dht put x --join "$address" --timeout 10
expect 1 "$refuses" dht announce "$zero" --port 5 --join "$address" --timeout 10
expect 1 "$refuses" dht crawl --join "$address" --timeout 10
expect 1 "$refuses" dht table "$address" --timeout 10 --rate 100
expect 69 "$refuses" status --join "$address"
end_strangers

# -- a code that no read is answered with is explained by nothing
start_strangers refuse 301
for words in "dht get $zero --timeout 10" status; do
    # shellcheck disable=SC2086
    "$hanse" $words --join "$address" >"$out" 2>&1
    check grep -q 'refuses the question: error 301$' "$out"
done
end_strangers

# -- who answers the way alone is there, and its silence is told apart
start_strangers mute
expect 1 "none of the 1 node asked for the key answered" dht get --directory runs --join "$address"
end_strangers

# -- who invents nodes without end is told from one whose table is known
start_strangers invent
expect 0 "; stopped there: it names more than any table holds" dht table "$address" --rate 10000
check grep -q 'knows    8192 nodes; ' "$out"
expect 0 '"complete": false' dht table "$address" --rate 10000 --json
end_strangers

# -- what directs a terminal stands in no output, and is exact in JSON
start_ready "$tmp/n0" dht serve --listen 127.0.0.1:0
first=$(sed -n 's/.* ready on \([^ ]*\): .*/\1/p' "$tmp/n0")
override=$(printf 'odd\342\200\256run')
start_strangers runs "$node" "$first" 1 "$override"
expect 0 'anything: odd\u202erun' status --join "$first"
check sh -c "! grep -q '$(printf '\342\200\256')' '$out'"
expect 0 '"run": "odd\u202Erun"' status --json --join "$first"
expect 0 'run odd\u202erun ' dht get --directory runs --join "$first"
expect 0 '"run": "odd\u202Erun"' dht get --directory runs --json --join "$first"

# -- what cannot be written is no success
for words in "dht ping $first --count 1" "dht find $zero --join $first" "dht get --directory runs --join $first" \
    "dht get --directory runs --json --join $first" "dht put x --join $first" "dht announce $zero --port 5 --join $first" \
    "dht table $first" "dht crawl --join $first" "dht crawl --json --join $first" "status --join $first" \
    "status --json --join $first" "dht serve --listen 127.0.0.1:0"; do
    n_checks=$((n_checks + 1))
    # shellcheck disable=SC2086
    timeout 60 "$hanse" $words >/dev/full 2>"$out" </dev/null
    [ $? -eq 74 ] && grep -q 'standard output' "$out" || fail "hanse $words >/dev/full"
done
end_strangers

# -- invented runs hide no true one, and cost no more time than the true ones
start_host "$tmp/h.log" --run "$top/examples/tiny.yaml" --dir "$tmp/h" --listen 127.0.0.1:0 --join "$first" --experts L0.0-3
start_strangers runs "$node" "$first" 40 bogus
# What it said before is handed on to those who came to stand nearer.
tiny() { "$hanse" dht get --directory runs --join "$first" | grep "run tiny "; }
hosted() { "$hanse" status --join "$first" | grep "4 of 4 experts on 1 host; "; }
check within 60 tiny
check within 60 hosted
started=$(date +%s)
expect 0 "4 of 4 experts on 1 host; " status --join "$first"
check test $(($(date +%s) - started)) -lt 10 # and not all the time that there is for them, ten seconds
check sh -c "head -1 '$out' | grep -q '^run tiny '"
check grep -q '^41 runs of which nobody hosts anything: .* and 33 more$' "$out"
end_strangers
verdict
