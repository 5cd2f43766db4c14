#!/bin/sh
# tests/cmd/test_errors.sh - what goes wrong is said with its place, its cause and its remedy, and ends with its own status.
. "$(dirname "$0")/lib.sh"

cat >"$tmp/good.yaml" <<'YAML'
name: good
model: {width: 32, heads: 2, layers: 2, context: 32, experts: 4, expert_hidden: 32}
trainer: {batch: 4, microbatches: 2}
YAML
printf 'name: bad\nmodel:\n  width: 32\n  heds: 2\n' >"$tmp/unknown.yaml"
printf 'name: bad\nmodel:\n  width: 32\n  heads: 3\n' >"$tmp/heads.yaml"
printf 'name: bad\nmodel:\n  width: many\n' >"$tmp/type.yaml"
sed 's/good/other/' "$tmp/good.yaml" >"$tmp/other.yaml"
seq 1 4000 >"$tmp/text.txt"
head -c 100 "$tmp/text.txt" >"$tmp/short.txt"

# -- the run's description, with file and line
expect 64 "$tmp/unknown.yaml:4: " plan --run "$tmp/unknown.yaml"
expect 64 "heads" plan --run "$tmp/unknown.yaml"
expect 64 "$tmp/heads.yaml:4: " host --run "$tmp/heads.yaml" --dir "$tmp/d"
expect 64 "$tmp/type.yaml:3: " train --run "$tmp/type.yaml" --dir "$tmp/d" --data "$tmp/text.txt"
expect 66 "$tmp/none.yaml" plan --run "$tmp/none.yaml"
check test ! -e "$tmp/d" # nothing was made before the description was right

# -- the command line
expect 64 "--run FILE is needed" host --dir "$tmp/d"
expect 64 "--dir DIR is needed" host --run "$tmp/good.yaml"
expect 64 "there is no option --lisen; did you mean --listen?" host --lisen 1.2.3.4:5
expect 64 "--listen nowhere: must be an address and port" host --run "$tmp/good.yaml" --dir "$tmp/d" --listen nowhere
expect 64 "--workers 0: must be a whole number from 1 to" host --run "$tmp/good.yaml" --dir "$tmp/d" --workers 0
expect 64 "--up fast: must be bits per second" plan --run "$tmp/good.yaml" --up fast
expect 64 "'surplus' is not understood" plan --run "$tmp/good.yaml" surplus
expect 64 "sse9" plan --run "$tmp/good.yaml" --isa sse9
grep -q '^#define HAVE_CUDA' config.h || {
    mkdir "$tmp/cuda"
    printf '#!/bin/sh\n' >"$tmp/cuda/nvcc"
    chmod +x "$tmp/cuda/nvcc"
    PATH=$tmp/cuda:$PATH expect 0 "built without CUDA, but $tmp/cuda/nvcc is here: where it was built, 'configure --with-cuda'" doctor --dir "$tmp"
}
HANSE_ISA=sse9 expect 64 "sse9" plan --run "$tmp/good.yaml"
HANSE_ISA=sse9 expect 69 "BAD   kernels" doctor --dir "$tmp"
expect 69 "BAD   disk       $tmp/none: " doctor --dir "$tmp/none"
HANSE_ISA=ref expect 0 "(ref)" plan --run "$tmp/good.yaml"
expect 64 "L9.0" host --run "$tmp/good.yaml" --dir "$tmp/d" --experts L9.0 --listen 127.0.0.1:0
expect 64 "did you mean 'smoke'?" sim --scenario smok
expect 64 "--scenario NAME is needed" sim
expect 64 "did you mean 'verify'?" checkpoint verfy --dir "$tmp"
expect 64 "export needs the name of the file" checkpoint export --dir "$tmp"

# -- keys and directories
expect 66 "'hanse key new" key show --dir "$tmp/k"
expect 0 "$tmp/k" key new --dir "$tmp/k"
id=$(cut -c1-64 "$out")
expect 0 "$id" key show --dir "$tmp/k"
expect 73 "a key is never replaced" key new --dir "$tmp/k"
check test "$(stat -c %a "$tmp/k/key")" = 600
echo rubbish >"$tmp/k/key"
check test "$("$hanse" key show --dir "$tmp/k" 2>/dev/null | wc -c)" -eq 0
expect 66 "there is no such directory" checkpoint list --dir "$tmp/missing"
check test ! -e "$tmp/missing"
expect 66 "no checkpoint of L0.0" checkpoint show L0.0 --dir "$tmp/k"

# -- data
expect 64 "--join belongs to experts on hosts, not to --local" train --local --run "$tmp/good.yaml" --dir "$tmp/t" --data x --join 127.0.0.1:9
expect 66 "$tmp/none.txt" train --local --run "$tmp/good.yaml" --dir "$tmp/t" --data "$tmp/none.txt"
expect 64 "100 bytes are too few" train --local --run "$tmp/good.yaml" --dir "$tmp/t" --data "$tmp/short.txt"
expect 66 "trunk" eval --local --run "$tmp/good.yaml" --dir "$tmp/empty" --data "$tmp/text.txt"

# -- what another process holds
start_host "$tmp/host.log" --run "$tmp/good.yaml" --dir "$tmp/h" --listen 127.0.0.1:0 --experts L0.0
expect 75 "in use by another hanse" host --run "$tmp/good.yaml" --dir "$tmp/h" --listen 127.0.0.1:0
expect 69 "in use" host --run "$tmp/good.yaml" --dir "$tmp/h2" --listen "$address"
check grep -qF "${address##*:}" "$out"
check grep -qF -- "--listen" "$out"
expect 0 "L0.0" status --run "$tmp/good.yaml" --join "$address"
expect 0 "0 of 4 experts" status --run "$tmp/other.yaml" --join "$address"
check stop_host "$pid"
expect 69 "none of the 1 addresses of --join answered" status --run "$tmp/good.yaml" --join "$address"

# -- a directory of another run, a checkpoint that was damaged
expect 0 "stopped after step 2" train --local --run "$tmp/good.yaml" --dir "$tmp/s" --data "$tmp/text.txt" --steps 2
expect 0 "checkpoints are good" checkpoint verify --dir "$tmp/s"
expect 65 "another --dir" host --run "$tmp/other.yaml" --dir "$tmp/s" --listen 127.0.0.1:0
expect 65 "another --dir" train --local --run "$tmp/other.yaml" --dir "$tmp/s" --data "$tmp/text.txt" --steps 4
expect 64 "--seed 1" train --local --run "$tmp/good.yaml" --dir "$tmp/s" --data "$tmp/text.txt" --steps 4 --seed 2
for chunk in $(find "$tmp/s/chunks" -type f); do
    printf X | dd of="$chunk" bs=1 seek=20 conv=notrunc 2>/dev/null
done
expect 65 "BAD" checkpoint verify --dir "$tmp/s"
expect 65 "0 of " checkpoint verify --dir "$tmp/s"
expect 65 "not hosted: stored bytes do not match their hash" host --run "$tmp/good.yaml" --dir "$tmp/s" --listen 127.0.0.1:0
expect 65 "" eval --local --run "$tmp/good.yaml" --dir "$tmp/s" --data "$tmp/text.txt"

# -- an answer that cannot be written is an error, a 'no' as well as a 'yes'
if [ -w /dev/full ]; then
    for words in "key show --dir $tmp/k2" "dht ping 127.0.0.1:9 --timeout 0.2" "dht ping 127.0.0.1:9 --timeout 0.2 --json"; do
        [ -d "$tmp/k2" ] || "$hanse" key new --dir "$tmp/k2" >/dev/null
        n_checks=$((n_checks + 1))
        # shellcheck disable=SC2086
        "$hanse" $words >/dev/full 2>"$out"
        got=$?
        [ $got -eq 74 ] && grep -q 'standard output: No space left on device' "$out" || fail "hanse $words >/dev/full: status $got"
    done
    "$hanse" plan --run "$tmp/none.yaml" >/dev/full 2>"$out"
    check test $? -eq 66 # that one did not want to write
fi
verdict
