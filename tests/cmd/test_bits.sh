#!/bin/sh
# tests/cmd/test_bits.sh - distribution costs no bit: real processes, TLS and disks. With --sync and one seed, training gives the same
# loss at every step and experts with the same Merkle roots, whether they live in the trainer, on one host or on four; and
# whichever kernels compute.
. "$(dirname "$0")/lib.sh"

run=$top/examples/tiny.yaml
i=0
while [ $i -lt 400 ]; do
    echo "the league of $((i * 7919 % 97)) towns weighed $((i * 104729 % 89)) barrels by one measure"
    i=$((i + 1))
done >"$tmp/text.txt"

# losses NAME: the step and the loss, digit by digit, of a training's metrics.
losses() { sed 's/.*"step":\([0-9]*\),"loss":\([^,]*\),.*/\1 \2/' "$tmp/$1.jsonl"; }

# roots DIR...: name, version and root of every expert in these directories, as saved last: a slow machine saves more often.
roots() {
    for dir in "$@"; do
        for expert in L0.0 L0.1 L0.2 L0.3; do
            "$hanse" checkpoint show "$expert" --dir "$tmp/$dir" 2>/dev/null |
                sed -n 's/^\(L[^ ]* version [0-9]*\),.*/\1/p; s/^ *root *//p' | paste -d' ' - - | tail -n 1
        done
    done | grep . | sort
}

# train NAME WORDS...: 30 steps in sync mode.
train() {
    name=$1
    shift
    expect 0 "stopped after step 30" train --run "$run" --dir "$tmp/$name" --data "$tmp/text.txt" --sync --steps 30 --seed 5 \
        --metrics "$tmp/$name.jsonl" "$@"
    losses "$name" >"$tmp/$name.losses"
    check test "$(wc -l <"$tmp/$name.losses")" -eq 30
}

train local --local
roots local >"$tmp/local.roots"
check test "$(grep -cE '[0-9a-f]{64}' "$tmp/local.roots")" -eq 4

train ref --local --isa ref
check cmp "$tmp/local.losses" "$tmp/ref.losses"
roots ref >"$tmp/ref.roots"
check cmp "$tmp/local.roots" "$tmp/ref.roots"

start_host "$tmp/a.log" --run "$run" --dir "$tmp/a" --listen 127.0.0.1:0 --experts L0.0-3
train one --join "$address"
check cmp "$tmp/local.losses" "$tmp/one.losses"
check stop_host "$pid"
roots a >"$tmp/one.roots"
check cmp "$tmp/local.roots" "$tmp/one.roots"

pids= first=
for n in 0 1 2 3; do
    : >"$tmp/b$n.log"
    start_host "$tmp/b$n.log" --run "$run" --dir "$tmp/b$n" --listen 127.0.0.1:0 ${first:+--join "$first"} --experts L0.$n
    first=${first:-$address} pids="$pids $pid"
done
train four --join "$first"
check cmp "$tmp/local.losses" "$tmp/four.losses"
for pid in $pids; do
    check stop_host "$pid"
done
roots b0 b1 b2 b3 >"$tmp/four.roots"
check cmp "$tmp/local.roots" "$tmp/four.roots"

# Another seed is another training: the comparison can fail.
expect 0 "stopped after step 30" train --local --run "$run" --dir "$tmp/other" --data "$tmp/text.txt" --sync --steps 30 --seed 6 \
    --metrics "$tmp/other.jsonl"
losses other >"$tmp/other.losses"
n_checks=$((n_checks + 1))
cmp -s "$tmp/local.losses" "$tmp/other.losses" && fail "another seed gave the same losses"
verdict
