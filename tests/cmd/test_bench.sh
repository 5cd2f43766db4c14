#!/bin/sh
# tests/cmd/test_bench.sh - hanse bench prints figures for people and for programs, and says what it cannot time.
. "$(dirname "$0")/lib.sh"

# -- what it refuses
expect 64 "'foo' is nothing to time" bench foo
expect 64 "--shape: '3x4' is none" bench products --shape 3x4
expect 64 "--shape: '3x4x5'' is none" bench products --shape "3x4x5'"
expect 64 "--shape: '0x4x5' is none" bench products --shape 0x4x5
expect 64 "--shape: '3x-4x5' is none" bench products --shape 3x-4x5
expect 64 "--threads: '0' is neither" bench products --threads 0
expect 64 "--threads: '2x' is neither" bench products --threads 1,2x
expect 64 "--numerics: 'f16' is none" bench products --numerics f32,f16
expect 64 "isa sse9: no such kernels" bench products --isa ref,sse9
HANSE_ISA=sse9 expect 64 "isa sse9: no such kernels" bench products
check test "$(grep -c . "$out")" -eq 1
case $(uname -m) in aarch64) foreign=avx2 ;; *) foreign=neon ;; esac
expect 69 "isa $foreign: this machine cannot run it" bench products --isa $foreign
HANSE_ISA=$foreign expect 69 "isa $foreign: this machine cannot run it" bench products
expect 64 "--numerics: must not be empty" bench products --numerics ""
expect 64 "--seconds must be" bench products --seconds 0
expect 64 "--shape belongs to 'kernels' and 'products'" bench experts --shape 3x4x5
expect 64 "--isa belongs to" bench link --isa ref

# -- for people
expect 0 "products M x N x K" bench products --shape 64x48x32 --seconds 0.001
check grep -q '^product *64x48x32 *f32 ' "$out"
check grep -q '^  *i8x1 ' "$out"
expect 0 "3 threads" bench products --isa ref --shape "33'x21'x7" --seconds 0.001 --threads 1,3
expect 0 "other operations" bench operations --isa ref --seconds 0.001

# -- for programs: one object a line, each figure above zero, with and without OpenBLAS in the build
expect 0 '"isa":"ref"' bench products --isa ref --shape "64x48'x32" --seconds 0.001 --json
object='^{"op":"product","shape":"64x48.x32","numerics":"[fi0-9x]*","isa":"ref","threads":1,"gflops":[1-9][0-9.e+]*\|0\.[0-9]*[1-9]'
check test "$(wc -l <"$out")" -eq 3
check test "$(grep -c "$object" "$out")" -eq 3
check test "$(grep -c '"ratio":\([0-9]\|null\).*"seconds":[0-9.e-]*}$' "$out")" -eq 3
check test "$(grep -c '"numerics":"i8x2"' "$out")" -eq 1
expect 0 '{"op":"axpy","shape":"65536","numerics":"f32","isa":"ref","threads":1,"ns_per_1000":' bench operations --isa ref \
    --seconds 0.001 --json

# -- the DHT, with a few real nodes
expect 64 "--nodes" bench dht --nodes 2
expect 0 '{"op":"dht_published","run":1,"nodes_per_s":' bench dht --nodes 32 --experts 64 --runs 1 --json
check test "$(wc -l <"$out")" -eq 1
check grep -q '"stored":1,.*"found":1,.*"nodes":32,"experts":64,' "$out"
check sh -c "! grep -q warning '$out'"
expect 0 "16 experts a node fit" bench dht --nodes 16 --experts 1024 --runs 1 --json
check grep -q '"stored":0\.' "$out"
expect 0 " 288 experts expert.a.b.c" bench dht --nodes 18 --runs 1
check grep -q '^  *1 .* 1.0000 .* 1.0000 ' "$out"
check sh -c "! grep -q warning '$out'"

# What is known stands in a file before the first figure is: seen when the file is looked at early enough, so some times.
n_checks=$((n_checks + 1))
for _ in 1 2 3 4 5 6; do
    "$hanse" bench dht --nodes 64 --runs 1 >"$tmp/late" 2>&1 </dev/null &
    bench=$!
    hosts="$hosts $bench"
    within 120 test -s "$tmp/late"
    cp "$tmp/late" "$tmp/early"
    wait $bench
    grep -q '^  *1 ' "$tmp/early" || break
done
cp "$tmp/early" "$out"
grep -q '^64 nodes in one process' "$out" && ! grep -q '^  *1 ' "$out" || fail "the head comes no earlier than the figures"
check grep -q '^  *1 ' "$tmp/late"

expect 64 "--protocol: 'foo' is neither" bench dht --protocol foo
expect 64 "--failure-rate: '0.1,2' is no list" bench dht --protocol rounds --failure-rate 0.1,2
expect 0 '{"op":"dht_rounds","failure_rate":0,' bench dht --protocol rounds --failure-rate 0,0.3 --json
check grep -q '"failure_rate":0,.*"stored":1,.*"got":1,"asked_of_stopped":0,"alive":16,' "$out"
check grep -q '"failure_rate":0.3,.*"alive":11,' "$out"
expect 64 "--hosts belongs to --cold-start" bench dht --hosts 8
expect 64 "--nodes belongs to --protocol published" bench dht --protocol rounds --nodes 32
expect 64 "--failure-rate belongs to --protocol rounds" bench dht --cold-start --failure-rate 0
expect 64 "--hosts must be 4, 8, 16, 32 or 64" bench dht --cold-start --hosts 12
expect 0 '{"op":"dht_cold_start","run":1,"placement":"own row",' bench dht --cold-start --hosts 4 --runs 1 --json
check grep -q '"placement":"scattered".*"hosts":4,"experts":256}' "$out"

verdict
