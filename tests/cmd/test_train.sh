#!/bin/sh
# tests/cmd/test_train.sh - a trainer and what happens to it: nobody there, only hosts of another run, Ctrl-C and again, a host killed
# and not restarted.
. "$(dirname "$0")/lib.sh"

run=$top/examples/tiny.yaml
sed 's/^name: .*/name: other/' "$run" >"$tmp/other.yaml"
i=0
while [ $i -lt 400 ]; do
    echo "a cog of $((i * 7919 % 97)) lasts sailed to Bergen with $((i * 104729 % 89)) measures of rye"
    i=$((i + 1))
done >"$tmp/text.txt"

# await_lines NAME N: until the metrics have N lines.
has_lines() { test "$(wc -l <"$tmp/$1.jsonl")" -ge "$2"; }
await_lines() {
    : >>"$tmp/$1.jsonl"
    check within 120 has_lines "$1" "$2"
}

# What a step spends is told, in all and for each step.
expect 0 "where a step of" train --local --run "$run" --dir "$tmp/p" --data "$tmp/text.txt" --steps 20 --workers 2 --profile --metrics "$tmp/p.jsonl"
check grep -q '^  experts: backward  *[0-9.]*[1-9]' "$out"
check grep -q '^  idle: worker 2 ' "$out"
check test "$(grep -c '"profile_ms":{"embed_norm":[0-9.]*,.*"idle":[0-9.]*}}$' "$tmp/p.jsonl")" -eq 20

# Nobody answers.
expect 69 "nobody answers at 127.0.0.1:9" train --run "$run" --dir "$tmp/n" --data "$tmp/text.txt" --join 127.0.0.1:9
check grep -qF "hanse host" "$out"

start_host "$tmp/h0.log" --run "$run" --dir "$tmp/h0" --listen 127.0.0.1:0 --experts L0.0-1
first=$address
start_host "$tmp/h1.log" --run "$run" --dir "$tmp/h1" --listen 127.0.0.1:0 --join "$first" --experts L0.2-3
victim=$pid

# There are hosts, but of another run.
expect 69 "hanse: error: among " train --run "$tmp/other.yaml" --dir "$tmp/o" --data "$tmp/text.txt" --join "$first"
check grep -q "none hosts an expert of run .* same run.yaml" "$out"

# Ctrl-C ends with a checkpoint, the same command goes on: no step is lost or done twice.
"$hanse" train --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --steps 100000 --metrics "$tmp/t.jsonl" >"$tmp/t.log" 2>&1 </dev/null &
trainer=$!
hosts="$hosts $trainer"
await_lines t 20
expect 75 "in use by another hanse" train --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first"
check stop_host $trainer
cp "$tmp/t.log" "$out"
check grep -q "stopped after step" "$tmp/t.log"
check grep -q "^hanse: stopping; once more" "$tmp/t.log"
last=$(sed -n 's/.*stopped after step \([0-9]*\).*/\1/p' "$tmp/t.log")
check test "$last" -ge 20
expect 0 " good" checkpoint verify --dir "$tmp/t"
check grep -q "^trunk  *$last  *good, " "$out" # beside others, where 20 steps took longer than it is from one to the next
check grep -q '^1 of 1 checkpoint is good$\|^\([2-9]\) of \1 checkpoints are good$' "$out"
expect 0 "training from step $last" train --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --steps $((last + 10)) --metrics "$tmp/t.jsonl"
check test "$(sed 's/.*"step":\([0-9]*\),.*/\1/' "$tmp/t.jsonl" | sort -n | uniq | wc -l)" -eq $((last + 10))
check test "$(wc -l <"$tmp/t.jsonl")" -eq $((last + 10))
expect 0 " with 4 of 4 experts on 2 hosts" train --sync --run "$run" --dir "$tmp/sync" --data "$tmp/text.txt" --join "$first" --steps 2
expect 65 "manifests/trunk/" train --run "$tmp/other.yaml" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --steps 2
check test "$(grep -c 'error: ' "$out")" -eq 1
expect 0 "nothing to do" train --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --steps $((last + 10))

# A host is killed and stays away: training goes on with the experts that are left, and so does reading.
"$hanse" train --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --steps $((last + 3000)) --metrics "$tmp/k.jsonl" >"$tmp/k.log" 2>&1 </dev/null &
trainer=$!
hosts="$hosts $trainer"
await_lines k 10
kill -KILL "$victim"
wait "$victim" 2>/dev/null
n_before=$(wc -l <"$tmp/k.jsonl")
await_lines k $((n_before + 30))
goes_on() { tail -n 3 "$tmp/k.jsonl" | grep '"live":2,"experts":4,"hosts":1'; }
check within 60 goes_on
check stop_host $trainer
expect 0 "2 of 4 experts on 1 host" eval --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --windows 4
expect 0 "a cog" generate --run "$run" --dir "$tmp/t" --join "$first" --prompt "a cog" --bytes 20
verdict
