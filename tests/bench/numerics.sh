#!/bin/sh
# tests/bench/numerics.sh - what the numbers of the experts' products cost in quality.
#
#     tests/bench/numerics.sh HANSE DATA [STEPS [SEEDS [OUT]]]
#
# Trains examples/kjv.yaml with each numerics and seed (first parameters and order of the data), in --sync mode so that nothing
# but the numbers differs, two runs at a time on a thread each, and prints bits per byte on the last tenth of DATA: each run,
# the means, and how far each mean is from f32's.  Then it lets each of the six products of an expert in turn use one slice,
# the others two, and names the worst (one seed).  With the given defaults and two cores it takes half an hour.
set -eu
[ $# -ge 2 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 64; }
hanse=$1 data=$2 steps=${3:-1600} seeds=${4:-3}
out=${5:-$(mktemp -d)}
yaml=$(dirname "$0")/../../examples/kjv.yaml
mkdir -p "$out"

# One run, named by what differs in it; a run whose result is there already is not repeated.
run() { # numerics, seed, coarse products or nothing
    numerics=$1 seed=$2 coarse=${3:-}
    name=$numerics-$seed${coarse:+-$coarse}
    [ -s "$out/$name.bpb" ] && return
    sed -e "s/^name: .*/name: kjv-$seed/" -e "s/^ *numerics:.*//" \
        -e "s/^experts:.*/&\n  numerics: $numerics${coarse:+\n  coarse: $coarse}/" "$yaml" >"$out/$name.yaml"
    rm -rf "$out/$name"
    "$hanse" train --local --sync --workers 1 --run "$out/$name.yaml" --dir "$out/$name" --data "$data" --steps "$steps" \
        --seed "$seed" >"$out/$name.log" 2>&1
    "$hanse" eval --local --workers 1 --run "$out/$name.yaml" --dir "$out/$name" --data "$data" 2>>"$out/$name.log" |
        sed -n 's/^bpb \([0-9.]*\).*/\1/p' >"$out/$name.bpb"
    echo "$name $(cat "$out/$name.bpb")"
}

# Lines of arguments for run(), two at a time.
two_at_a_time() {
    while read -r first; do
        # shellcheck disable=SC2086  # a list of words
        run $first &
        if read -r second; then
            # shellcheck disable=SC2086
            run $second
        fi
        wait
    done
}

for seed in $(seq "$seeds"); do
    for numerics in f32 i8x2 i8x1; do
        echo "$numerics $seed"
    done
done | two_at_a_time

echo
for numerics in f32 i8x2 i8x1; do
    cat "$out/$numerics"-[0-9].bpb | awk -v numerics=$numerics -v base="${base:-0}" '
        { sum += $1; n++ }
        END {
            mean = sum / n
            printf "%-5s mean of %d seeds: %.4f bpb", numerics, n, mean
            if (base > 0) printf "  (%+.2f %% of f32)", 100 * (mean / base - 1)
            print ""
        }'
    [ -n "${base:-}" ] || base=$(cat "$out"/f32-[0-9].bpb | awk '{ s += $1 } END { print s / NR }')
done

for product in in out grad_hidden grad_in grad_weights_in grad_weights_out; do
    echo "i8x2 1 $product"
done | two_at_a_time

echo
echo "one product in one slice, the others in two, by how much worse than all in two:"
for product in in out grad_hidden grad_in grad_weights_in grad_weights_out; do
    awk -v base="$(cat "$out/i8x2-1.bpb")" -v product=$product '{ printf "%+.3f %%  %s\n", 100 * ($1 / base - 1), product }' \
        "$out/i8x2-1-$product.bpb"
done | sort -rn
echo "runs are in $out"
