#!/bin/sh
# tests/bench/coldstart.sh - a whole directory read by a new process: 64 hosts, 4096 experts, every one a process of its own.
#
#     tests/bench/coldstart.sh HANSE [own|scattered [READS [DIR]]]
#
# Starts 64 `hanse host` on loopback, each joining through one earlier host, of a run with 4 layers of 1024 small experts: each keeps one
# whole row of 64 (own, the default) or one expert of every row (scattered).  When the last one has announced everything and the
# swarm has become quiet, `hanse status` joins one of them and prints the whole directory, READS times (5); each time is that of the
# whole process, from its start to its end.  Takes 3 GB of memory and about two minutes.
set -eu
[ $# -ge 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64; }
hanse=$1 placement=${2:-own} reads=${3:-5}
dir=${4:-$(mktemp -d)}
n_hosts=64 settle=45 # seconds: entries are stored again 2, 8 and 32 s after the first time
mkdir -p "$dir"
cat >"$dir/run.yaml" <<'EOF'
name: coldstart
model:
  width: 16
  layers: 4
  heads: 1
  hidden: 16
  context: 16
  moe_layers: [0, 1, 2, 3]
  experts: 1024
  chosen: 2
  expert_hidden: 16
  latent: 16
  shared_hidden: 16
hosts:
  count: 64
  checkpoint_s: 3600
EOF

experts() { # of host number $1
    case $placement in
    own) echo "L$(($1 / 16)).$(($1 % 16 * 64))-$(($1 % 16 * 64 + 63))" ;;
    scattered)
        for layer in 0 1 2 3; do
            for row in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do printf 'L%d.%d,' $layer $((row * 64 + $1)); done
        done | sed 's/,$//'
        ;;
    *) echo "coldstart: '$placement' is neither 'own' nor 'scattered'" >&2 && exit 64 ;;
    esac
}

experts 0 >/dev/null
pids=
trap 'kill $pids 2>/dev/null || true; wait' EXIT
trap 'exit 1' INT TERM
address() { # of host number $1, once it is ready
    sed -n 's/.* ready on \([0-9.]*:[0-9]*\).*/\1/p' "$dir/$1.log"
}
i=0
while [ $i -lt $n_hosts ]; do
    join=127.0.0.1:9 # nobody: the first of all
    [ $i -eq 0 ] || join=$(address $((i * 7919 / 13 % i)))
    : >"$dir/$i.log"
    "$hanse" host --run "$dir/run.yaml" --dir "$dir/h$i" --listen 127.0.0.1:0 --join "$join" --workers 1 --device cpu \
        --experts "$(experts $i)" >"$dir/$i.log" 2>&1 &
    pids="$pids $!"
    tries=0
    until [ -n "$(address $i)" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || { echo "coldstart: host $i is not ready after a minute:" >&2 && tail -3 "$dir/$i.log" >&2 && exit 1; }
        sleep 0.1
    done
    i=$((i + 1))
done
echo "$n_hosts hosts are ready; $(cat /proc/loadavg)"
sleep $settle
i=0
while [ $i -lt "$reads" ]; do
    before=$(date +%s%N)
    "$hanse" status --run "$dir/run.yaml" --join "$(address $((i * 13 % n_hosts)))" --json >"$dir/status.json"
    after=$(date +%s%N)
    echo "$placement: $(sed -n 's/^ *"hosted": *\([0-9]*\).*/\1/p' "$dir/status.json") of 4096 experts in $(((after - before) / 1000000)) ms"
    i=$((i + 1))
done
