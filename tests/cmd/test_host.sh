#!/bin/sh
# tests/cmd/test_host.sh - two hosts and a trainer on this machine, as a user runs them: status, Ctrl-C, kill -9, and going on.
. "$(dirname "$0")/lib.sh"

run=$top/examples/tiny.yaml

# All checkpoints are good, and each of the two experts has one.
verify_all() {
    expect 0 "checkpoints are good" checkpoint verify --dir "$1"
    check awk '/checkpoints are good$/ && $1 == $3 && $1 >= 2 { is_all = 1 } END { exit !is_all }' "$out"
}

i=0
while [ $i -lt 400 ]; do
    echo "the captain sold $((i * 7919 % 97)) barrels of salt and $((i * 104729 % 89)) of herring"
    i=$((i + 1))
done >"$tmp/text.txt"

start_host "$tmp/h1.log" --run "$run" --dir "$tmp/h1" --listen 127.0.0.1:0 --experts L0.0-1
first=$address first_pid=$pid
check grep -q '2 experts (L0.0-1), alone so far' "$tmp/h1.log"
start_host "$tmp/h2.log" --run "$run" --dir "$tmp/h2" --listen 127.0.0.1:0 --join "$first"
second_pid=$pid
check grep -q '2 experts, joined 1 peer' "$tmp/h2.log"

# A third finds nothing left, and says what it is there for.
start_host "$tmp/spare.log" --run "$run" --dir "$tmp/spare" --listen 127.0.0.1:0 --join "$first"
cp "$tmp/spare.log" "$out"
check grep -q ', 0 experts (others keep all of the run.s; waiting to take over when one goes), joined ' "$tmp/spare.log"
check stop_host "$pid"
check sh -c "! grep -q waiting '$tmp/h1.log' '$tmp/h2.log'"

expect 0 "run tiny" status --join "$first" # without a run.yaml: whatever there is
check grep -q "4 of 4 experts on 2 hosts" "$out"
expect 0 "4 of 4 experts on 2 hosts" status --run "$run" --join "$first"
check grep -q "$first  *cpu[-int8]*  *[0-9.]* ms  *[0-9]* s  .*  L0.0-1\$" "$out"
expect 0 '"hosted": 4' status --run "$run" --join "$first" --json
if command -v python3 >/dev/null; then
    check python3 -c 'import json, sys
swarm = json.load(open(sys.argv[1]))
assert sorted(e["name"] for h in swarm["hosts"] for e in h["experts"]) == ["L0.0", "L0.1", "L0.2", "L0.3"]
assert all(h["hardware"].startswith("cpu") and 0 < h["rtt_us"] < 10000000 for h in swarm["hosts"])' "$out"
fi

expect 0 "stopped after step 40" train --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --steps 40
expect 0 "bpb" eval --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --windows 4

# Ctrl-C saves; what is saved is good and can be exported.
check stop_host "$first_pid"
check grep -q 'experts saved' "$tmp/h1.log"
verify_all "$tmp/h1"
expect 0 "L0.1" checkpoint show L0.1 --dir "$tmp/h1"
expect 0 "written" checkpoint export "$tmp/model.safetensors" --dir "$tmp/h1"
check test -s "$tmp/model.safetensors"
# The only layer with experts is the model's second.
check sh -c 'head -c 2000 "$1" | grep -aq model.layers.1.mlp.experts.0.gate_proj.weight' - "$tmp/model.safetensors"
check test ! -e "$tmp/model.safetensors.part"
expect 0 "written" checkpoint export "$tmp/one.safetensors" L0.0 --dir "$tmp/h1"
check test "$(stat -c %s "$tmp/one.safetensors")" -lt "$(stat -c %s "$tmp/model.safetensors")"
expect 74 "cannot be written" checkpoint export "$tmp/no/such/dir" --dir "$tmp/h1"

# kill -9 loses at most what came after the last checkpoint (every 2 s in this run).
has_learnt() { "$hanse" checkpoint show "$1" --dir "$tmp/h2" | grep 'version [1-9]'; }
check within 60 has_learnt L0.2
check within 60 has_learnt L0.3
kill -KILL "$second_pid"
wait "$second_pid" 2>/dev/null
verify_all "$tmp/h2"

# Both go on from where they were.
start_host "$tmp/h1.log" --run "$run" --dir "$tmp/h1" --listen 127.0.0.1:0
first=$address
start_host "$tmp/h2.log" --run "$run" --dir "$tmp/h2" --listen 127.0.0.1:0 --join "$first"
expect 0 "4 of 4 experts on 2 hosts" status --run "$run" --join "$first"
check test "$("$hanse" status --run "$run" --join "$first" --json | grep -c '"version": 0,')" -eq 0
expect 0 "stopped after step 60" train --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --steps 60

# A peer that was named and is not there: said once, with the remedy, and tried on.
"$hanse" host --run "$run" --dir "$tmp/h3" --listen 127.0.0.1:0 --join 127.0.0.1:9 >"$tmp/h3.log" 2>&1 &
lonely=$!
hosts="$hosts $lonely"
check within 60 grep 'nobody answers at the 1 address of --join; check' "$tmp/h3.log"
check kill -0 "$lonely"
verdict
