#!/bin/sh
# quickstart.sh - from a bare Debian 12 or Ubuntu 22.04+ to a language model being trained over four host processes.
#
#   sh examples/quickstart.sh [--no-install] [--data FILE] [--seconds N] [--hosts N] [--keep DIR]
#
# Installs what is missing, builds, starts the hosts (each a process with its own directory, key and port), trains
# with a separate trainer, kills one host half way and brings it back, evaluates, verifies every checkpoint and writes some text
# through the swarm.  Everything it starts it also ends, on Ctrl-C too.  The last line says how it went.
# --keep names a new directory for the hosts', the trainer's and all log files, which are removed otherwise.
set -u

install=yes data= seconds=180 n_hosts=4 keep=
enough_bytes=20000000 # more than minutes of training see, and its last tenth is evaluated within a minute or two
here=$(cd "$(dirname "$0")/.." && pwd)
began=$(date +%s)

say() { printf '%s\n' "quickstart: $*"; }

usage()
{
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit "$1"
}

# -- Ending: whatever happens, nothing that was started stays behind ---------------------------------------

pids= work= trainer= scratch= is_ended=

end_processes()
{
    for pid in $trainer $pids; do
        kill -TERM "$pid" 2>/dev/null
    done
    tries=0
    for pid in $trainer $pids; do
        while kill -0 "$pid" 2>/dev/null && [ $tries -lt 50 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    pids= trainer=
}

clean_up()
{
    [ -n "$is_ended" ] && return
    is_ended=yes
    end_processes
    if [ -n "$scratch" ]; then
        rm -rf "$scratch"
    fi
}

fail()
{
    clean_up
    printf 'quickstart: failed: %s\n' "$*"
    exit "${status:-1}"
}

interrupted()
{
    trap '' INT TERM HUP
    status=130
    printf '\n'
    fail "interrupted"
}

trap interrupted INT TERM HUP
trap clean_up EXIT

while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install= ;;
    --data | --seconds | --hosts | --keep)
        [ $# -ge 2 ] || fail "$1 needs a value; see --help"
        case $1 in
        --data) data=$2 ;;
        --seconds) seconds=$2 ;;
        --hosts) n_hosts=$2 ;;
        --keep) keep=$2 ;;
        esac
        shift
        ;;
    --help | -h) usage 0 ;;
    *) fail "unknown option $1; see --help" ;;
    esac
    shift
done
for number in "$seconds" "$n_hosts"; do
    case $number in
    *[!0-9]* | '' | ???????*) fail "--seconds and --hosts take whole numbers" ;;
    esac
done
[ "$seconds" -ge 10 ] && [ "$n_hosts" -ge 2 ] && [ "$n_hosts" -le 64 ] || fail "--seconds must be at least 10 and --hosts 2 to 64"

# What the caller named is meant from where the caller stands.
absolute() # path
{
    case $1 in
    '' | /*) printf '%s' "$1" ;;
    *) printf '%s/%s' "$PWD" "$1" ;;
    esac
}
data=$(absolute "$data") keep=$(absolute "$keep")
[ -z "$data" ] || { [ -f "$data" ] && [ -r "$data" ]; } || fail "--data $data: is not a file that can be read"
if [ -n "$data" ]; then
    n_bytes=$(wc -c <"$data")
    [ "$n_bytes" -ge 10000 ] || fail "--data $data: has $n_bytes bytes; a text of 10000 or more is needed"
fi
[ -z "$keep" ] || [ ! -e "$keep/trainer" ] || fail "--keep $keep: holds an earlier run; name a new directory"

# -- What is needed -------------------------------------------------------------------------------------------

packages='gcc libc6-dev make autoconf automake pkg-config libuv1-dev libssl-dev zlib1g-dev libhwloc-dev
          libopenblas-dev libyaml-dev libjansson-dev bzip2'
[ -n "$data" ] || packages="$packages bible-kjv"

install_missing()
{
    command -v dpkg-query >/dev/null || fail "this is no Debian or Ubuntu: install what configure names, then use --no-install"
    missing=
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "run as root, or install sudo; these packages are missing:$missing"
        sudo=sudo
    fi
    say "installing${sudo:+ with sudo}:$missing"
    # Stale or unreachable lists may still do, so it is the installation that decides.  In parentheses: a trap that
    # interrupts braces would write to their log.
    (
        $sudo apt-get update -q
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends $missing
    ) >"$scratch/install.log" 2>&1 || {
        tail -n 15 "$scratch/install.log"
        fail "apt-get could not install the packages named above; its last words are above"
    }
}

# A second quickstart of the same sources waits here for the first one's build.
lock_build()
{
    command -v flock >/dev/null || return 0
    exec 9>"$build/quickstart.lock"
    flock -n 9 || {
        say "waiting for another quickstart that is building"
        flock 9
    }
}

# Kernels for GPUs take two minutes to build, which only a machine with a GPU is worth.
cuda=--without-cuda
[ -e /dev/nvidia0 ] && cuda=

make_hanse()
{
    { [ -x "$source/configure" ] || "$source/autogen.sh"; } &&
        cd "$build" && { [ -f Makefile ] || "$source/configure" $cuda; } && make -j"$(nproc)" hanse
}

scratch=$(mktemp -d) || fail "no temporary directory could be made"

# configure takes no path with blanks in it, and sources may be read-only: then a copy of them is built.
source=$here
case $here in
*[!A-Za-z0-9/._+-]*) source= ;;
esac
if [ -z "$source" ] || ! mkdir -p "$here/build" 2>/dev/null || [ ! -w "$here/build" ] || [ ! -w "$here" ]; then
    source=$scratch/source
    mkdir "$source" && (cd "$here" && tar cf - --exclude=./.git --exclude='./build*' .) | tar xf - -C "$source" || fail "$here could not be copied"
fi
build=$source/build
mkdir -p "$build" || fail "$build cannot be made"
lock_build
[ -z "$install" ] || install_missing
case $build in
"$PWD"/*) say "building in .${build#"$PWD"}" ;;
*) say "building in $build" ;;
esac
build_log=$build/quickstart-build.log
(make_hanse) 9>&- >"$build_log" 2>&1 || {
    tail -n 20 "$build_log"
    [ "$source" = "$here" ] || fail "the build did not succeed; its last words are above"
    fail "the build did not succeed; all it said is in $build_log"
}
exec 9>&-
hanse=$build/hanse

# -- The text --------------------------------------------------------------------------------------------------

work=${keep:-$scratch}
mkdir -p "$work" || fail "$work cannot be made"
if [ -z "$data" ]; then
    data=$work/kjv.txt
    command -v bible >/dev/null || fail "the package bible-kjv is missing; install it, or name a text with --data FILE"
    bible -f gen1:1-rev22:21 | cut -d' ' -f2- >"$data" && [ -s "$data" ] || fail "the text could not be made with 'bible'"
fi
n_bytes=$(wc -c <"$data")
if [ "$n_bytes" -gt $enough_bytes ]; then
    say "$(basename "$data") has $n_bytes bytes; its first $enough_bytes are taken"
    head -c $enough_bytes "$data" >"$work/text"
    data=$work/text n_bytes=$enough_bytes
fi
n_train=$((n_bytes * 9 / 10))
tail -c +$((n_train + 1)) "$data" >"$work/last-tenth"

# -- Hosts ------------------------------------------------------------------------------------------------------

run=$here/examples/quickstart.yaml
if [ "$n_hosts" -ne 4 ]; then
    sed "/^hosts:/,\$s/count: 4 .*/count: $n_hosts/" "$run" >"$work/run.yaml"
    run=$work/run.yaml
fi
# Below the ports that systems give to outgoing connections, and apart from those of another quickstart.
base=$((20000 + $$ * n_hosts % 12000))
join=127.0.0.1:$base

start_host() # number
{
    : >>"$work/host$1.log"
    "$hanse" host --run "$run" --dir "$work/host$1" --listen 127.0.0.1:$((base + $1 - 1)) --join $join >>"$work/host$1.log" 2>&1 &
    eval "host$1=$!"
    pids="$pids $!"
}

# Waits until the host's log has as many lines about being ready as it was started.
await_host() # number, starts
{
    eval "pid=\$host$1"
    tries=0
    while [ "$(grep -c ' ready ' "$work/host$1.log" 2>/dev/null)" -lt "$2" ]; do
        kill -0 "$pid" 2>/dev/null || { cat "$work/host$1.log"; fail "host $1 did not start; its log is above"; }
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { cat "$work/host$1.log"; fail "host $1 was not ready within 20 s; its log is above"; }
        sleep 0.1
    done
    grep ' ready ' "$work/host$1.log" | tail -n 1
}

i=1
while [ $i -le "$n_hosts" ]; do
    start_host $i
    await_host $i 1
    i=$((i + 1))
done

# -- Training, with a host killed half way ------------------------------------------------------------------------

say "training $seconds s on the first 90 % of $(basename "$data") ($n_bytes bytes)"
"$hanse" train --run "$run" --dir "$work/trainer" --data "$data" --join $join --seconds "$seconds" --metrics "$work/metrics.jsonl" &
trainer=$!

fail_trainer()
{
    trainer=
    fail "the trainer ended early; its reason is above"
}

wait_alive() # seconds
{
    waited=0
    while [ $waited -lt "$1" ] && kill -0 $trainer 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
    done
}

wait_alive $((seconds / 2))
kill -0 $trainer 2>/dev/null || fail_trainer
victim=2
eval "pid=\$host$victim"
printf '\n'
say "killing host $victim (kill -9 $pid); training goes on with the others"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
pids=$(printf '%s\n' $pids | grep -vx "$pid" | tr '\n' ' ')
wait_alive $((seconds / 20 + 2))
kill -0 $trainer 2>/dev/null || fail_trainer
printf '\n'
say "starting host $victim again, from its checkpoint"
start_host $victim
await_host $victim 2
wait $trainer || fail_trainer
trainer=

# -- What came of it -------------------------------------------------------------------------------------------------

say "evaluating on the last 10 % ($(wc -c <"$work/last-tenth") bytes)"
"$hanse" eval --run "$run" --dir "$work/trainer" --data "$data" --join $join >"$work/eval.log" || fail "the evaluation failed; its reason is above"
cat "$work/eval.log"
bpb=$(sed -n 's/^bpb \([0-9.]*\).*/\1/p' "$work/eval.log")
say "200 bytes written through the swarm:"
"$hanse" generate --run "$run" --dir "$work/trainer" --join $join --prompt 'And ' --bytes 200 || fail "the generation failed; its reason is above"
end_processes
i=0
while [ $i -le "$n_hosts" ]; do
    dir=$work/host$i
    [ $i -gt 0 ] || dir=$work/trainer
    "$hanse" checkpoint verify --dir "$dir" >"$work/verify.log" 2>&1 || { cat "$work/verify.log"; fail "a checkpoint in $dir does not verify"; }
    say "$(basename "$dir"): $(tail -n 1 "$work/verify.log")"
    i=$((i + 1))
done

compressed_bpb() # command
{
    "$@" <"$work/last-tenth" | wc -c | awk -v n="$(wc -c <"$work/last-tenth")" '{ printf "%.3f", $1 * 8 / n }'
}
gzip=$(compressed_bpb gzip -9)
bzip2=$(compressed_bpb bzip2 -9)
speed=$(tail -n 1 "$work/metrics.jsonl" | sed 's/.*"tokens":\([0-9]*\),"seconds":\([0-9.]*\).*/\1 \2/' | awk '{ printf "%.0f", $1 / $2 }')
say "bits per byte of the last 10 %: hanse $bpb, gzip -9 $gzip, bzip2 -9 $bzip2"
clean_up
say "ok bpb=$bpb gzip=$gzip bzip2=$bzip2 tokens_per_s=$speed seconds=$(($(date +%s) - began))"
