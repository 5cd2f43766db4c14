#!/bin/sh
# tests/cmd/test_bits.sh - distribution costs no bit: real processes, TLS and disks. With --sync and one seed, training gives the same
# loss at every step and experts with the same Merkle roots, whether they live in the trainer, on one host or on four; and
# whichever kernels compute, in each of the numbers that experts may compute in.
. "$(dirname "$0")/lib.sh"

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

# same NAME OTHER: they gave the same losses and roots.
same() {
    check cmp "$tmp/$1.losses" "$tmp/$2.losses"
    check cmp "$tmp/$1.roots" "$tmp/$2.roots"
}

# at_home FORM: in the trainer's own process, with the fastest kernels and with the plainest.
at_home() {
    train "$1-local" --local
    roots "$1-local" >"$tmp/$1-local.roots"
    check test "$(grep -cE '[0-9a-f]{64}' "$tmp/$1-local.roots")" -eq 4
    train "$1-ref" --local --isa ref
    roots "$1-ref" >"$tmp/$1-ref.roots"
    same "$1-local" "$1-ref"
}

# on_hosts FORM NAME EXPERTS...: on as many hosts as there are lists of experts.
on_hosts() {
    form=$1 name=$2 pids= dirs= first=
    shift 2
    for experts in "$@"; do
        dir=$name-$experts
        : >"$tmp/$dir.log"
        start_host "$tmp/$dir.log" --run "$run" --dir "$tmp/$dir" --listen 127.0.0.1:0 ${first:+--join "$first"} --experts "$experts"
        first=${first:-$address} pids="$pids $pid" dirs="$dirs $dir"
    done
    on=$name
    train "$on" --join "$first"
    for pid in $pids; do
        check stop_host "$pid"
    done
    roots $dirs >"$tmp/$on.roots"
    same "$form-local" "$on"
}

for form in f32 i8x2 i8x1; do
    run=$tmp/$form.yaml
    sed "/numerics:/d; s/^experts:/&\n  numerics: $form/" "$top/examples/tiny.yaml" >"$run"
    at_home $form
    on_hosts $form "$form-four" L0.0 L0.1 L0.2 L0.3
done
on_hosts $form "$form-one" L0.0-3

# Each form is another training: the comparison can fail.
n_checks=$((n_checks + 2))
cmp -s "$tmp/f32-local.losses" "$tmp/i8x2-local.losses" && fail "f32 and i8x2 gave the same losses"
cmp -s "$tmp/i8x2-local.losses" "$tmp/i8x1-local.losses" && fail "i8x2 and i8x1 gave the same losses"

# Another seed, too.
expect 0 "stopped after step 30" train --local --run "$run" --dir "$tmp/other" --data "$tmp/text.txt" --sync --steps 30 --seed 6 \
    --metrics "$tmp/other.jsonl"
losses other >"$tmp/other.losses"
n_checks=$((n_checks + 1))
cmp -s "$tmp/$form-local.losses" "$tmp/other.losses" && fail "another seed gave the same losses"
verdict
