#!/bin/sh
# tests/cmd/test_sim.sh - the claims of the scenarios over some seeds, and that a seed decides everything.
. "$(dirname "$0")/lib.sh"

expect 0 smoke sim --list
for seed in 1 2 3; do
    expect 0 'hosts with seed' sim --scenario hosts --seed $seed --quiet
done
expect 0 'the second run was the same' sim --scenario dht --nodes 200 --lookups 100 --seed 1 --quiet --twice
expect 0 'beam with seed' sim --scenario beam --searches 10 --seed 2 --quiet
expect 0 'the second run was the same' sim --scenario beam --grid 1000x1000 --occupancy 100 --dense --in-memory --searches 5 --quiet --twice
expect 64 "cannot write into '$tmp/nowhere'" sim --scenario dht --plot "$tmp/nowhere"
expect 64 "sizes with an x" sim --scenario beam --grid 10x
check test "$(grep -c trace "$out")" -eq 0

# An option of another scenario is no less wrong for having its default's value.
expect 64 'sim: --hosts belongs to --scenario beam' sim --scenario dht --hosts 64
expect 64 'sim: --nodes belongs to --scenario dht' sim --nodes 64 --scenario beam
expect 64 'sim: --loss belongs to --scenario dht and --scenario beam' sim --scenario smoke --loss 1
expect 64 '--loss -1: must be from 0 to 100' sim --scenario dht --loss -1
expect 64 'sim: --churn-for belongs to --churn' sim --scenario dht --churn-for 60

# What is refuted says how to see it again, and it is the same that is seen.  Loud: both the story and the verdict.
again() {
    expect 1 'to see it again: hanse sim' sim "$@"
    grep '^trace' "$out" >"$tmp/trace"
    line=$(sed -n 's/^to see it again: hanse //p' "$out")
    eval "expect 1 '$(cat "$tmp/trace")' $line"
}
mkdir "$tmp/a place"
again --scenario dht --nodes 16 --lookups 2 --loss 99.123456789 --seed 3
again --scenario dht --nodes 16 --lookups 2 --loss 100 --plot "$tmp/a place" --churn 5 --churn-for 60
check test "$(wc -l <"$tmp/a place/reads.dat")" -eq 2
again --scenario beam --hosts 4 --grid 4x4 --occupancy 100 --searches 3 --loss 80 --median-rtt 2000 --quiet


# The same seed: the same story.  Another: another.
expect 0 'the second run was the same' sim --scenario smoke --seed 1 --quiet --twice
trace=$(grep '^trace' "$out")
expect 0 'trace' sim --scenario smoke --seed 2 --quiet
check test "$(grep '^trace' "$out")" != "$trace"

# Other kernels, the same bits, so the same story; ref would take too long here.
printf 'name: a\n' >"$tmp/run.yaml"
if "$hanse" plan --run "$tmp/run.yaml" --isa avx2 >/dev/null 2>&1; then
    expect 0 "$trace" sim --scenario smoke --seed 1 --quiet --isa avx2
fi
verdict
