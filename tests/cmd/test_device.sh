#!/bin/sh
# tests/cmd/test_device.sh - a GPU costs no bit: hosts and trainers that compute on one give the losses, digit by digit, and the
# experts' Merkle roots that the CPU gives, in every form of numbers; with a real GPU where there is one, else with an emulated one
# (tests/cmd/hanse_emulated). And what is said where there is none.
. "$(dirname "$0")/lib.sh"

cpu=$hanse
gpu=$PWD/tests/cmd/hanse_emulated
HANSE_DEVICE=
export HANSE_DEVICE
"$cpu" doctor --dir "$tmp" 2>/dev/null | grep -q 'ok    GPU' && gpu=$cpu
if [ "$gpu" = "$cpu" ]; then
    steps=30
else
    steps=4
    expect 66 "GPU" host --device cuda --run "$top/examples/tiny.yaml" --dir "$tmp/none"
fi
expect 64 "cuda:N" host --device vulkan --run "$top/examples/tiny.yaml" --dir "$tmp/none"
[ -x "$gpu" ] || {
    echo "skipped: neither a GPU nor a C++ compiler for an emulated one (apt-get install g++)"
    exit 77
}

i=0
while [ $i -lt 400 ]; do
    echo "the league of $((i * 7919 % 97)) towns weighed $((i * 104729 % 89)) barrels by one measure"
    i=$((i + 1))
done >"$tmp/text.txt"

# train PROGRAM NAME WORDS...: some steps in sync mode.
train() {
    hanse=$1 name=$2
    shift 2
    expect 0 "stopped after step $steps" train --run "$run" --dir "$tmp/$name" --data "$tmp/text.txt" --sync --steps $steps --seed 5 \
        --metrics "$tmp/$name.jsonl" "$@"
    sed 's/.*"step":\([0-9]*\),"loss":\([^,]*\),.*/\1 \2/' "$tmp/$name.jsonl" >"$tmp/$name.losses"
    check test "$(wc -l <"$tmp/$name.losses")" -eq $steps
}

# roots DIR: version and root of every expert, as saved last.
roots() {
    for expert in L0.0 L0.1 L0.2 L0.3; do
        "$cpu" checkpoint show "$expert" --dir "$tmp/$1" 2>/dev/null |
            sed -n 's/^\(L[^ ]* version [0-9]*\),.*/\1/p; s/^ *root *//p' | paste -d' ' - - | tail -n 1
    done
}

# with_host NAME WORDS...: a CPU's trainer and one host on the GPU.
with_host() {
    dir=$1
    shift
    hanse=$gpu
    : >"$tmp/$dir.log"
    start_host "$tmp/$dir.log" --run "$run" --dir "$tmp/$dir" --listen 127.0.0.1:0 "$@"
    check grep -q 'on cuda:0' "$tmp/$dir.log"
    train "$cpu" "$dir-trainer" --join "$address"
    hanse=$gpu
    check stop_host "$pid"
    check cmp "$tmp/$dir-trainer.losses" "$tmp/$base.losses"
    roots "$dir" >"$tmp/$dir.roots"
    check cmp "$tmp/$dir.roots" "$tmp/$base.roots"
}

# write_run TRUNK NUMERICS
write_run() {
    run=$tmp/$1-$2.yaml
    sed "/numerics:/d; s/^experts:/&\n  numerics: $2/; s/^trainer:/&\n  trunk: $1/" "$top/examples/tiny.yaml" >"$run"
}

for form in f32 i8x2 i8x1; do
    write_run f32 $form
    base=$form-cpu
    train "$cpu" "$base" --local --device cpu
    roots "$base" >"$tmp/$base.roots"
    check test "$(grep -cE '[0-9a-f]{64}' "$tmp/$base.roots")" -eq 4
    with_host "$form-host" # a host takes a GPU by itself
done

# Experts and trunk on the GPU.
for trunk in f32 i8x2; do
    write_run $trunk i8x2
    base=$trunk-trunk-cpu
    train "$cpu" "$base" --local --device cpu
    roots "$base" >"$tmp/$base.roots"
    train "$gpu" "$trunk-trunk-gpu" --local --device cuda
    roots "$trunk-trunk-gpu" >"$tmp/$trunk-trunk-gpu.roots"
    check cmp "$tmp/$trunk-trunk-gpu.losses" "$tmp/$base.losses"
    check cmp "$tmp/$trunk-trunk-gpu.roots" "$tmp/$base.roots"
done

# bf16 gives other bits, and wants a GPU.
write_run bf16 i8x2
train "$gpu" bf16-gpu --local --device cuda
n_checks=$((n_checks + 1))
cmp -s "$tmp/bf16-gpu.losses" "$tmp/f32-trunk-cpu.losses" && fail "bf16 gave the losses of f32"
hanse=$cpu
expect 69 "--device cuda" train --run "$run" --dir "$tmp/bf16-cpu" --data "$tmp/text.txt" --local --device cpu --steps 1

hanse=$gpu
expect 0 "compute capability" doctor --dir "$tmp"
expect 0 '"op":"ceiling"' bench products --device cuda --shape 64x48x32 --seconds 0.001 --json
HANSE_PRODUCTS=dp4a expect 0 '"numerics":"i8x1"' bench products --device cuda --shape 64x48x32 --seconds 0.001 --json
HANSE_PRODUCTS=abacus expect 64 "abacus" bench products --device cuda --shape 64x48x32 --seconds 0.001
verdict
