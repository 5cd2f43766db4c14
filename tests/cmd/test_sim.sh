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
