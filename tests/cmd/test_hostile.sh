#!/bin/sh
# tests/cmd/test_hostile.sh - a host among strangers who mean harm, and on a machine that does: it stays up, says little, and
# claims nothing that is not so.
. "$(dirname "$0")/lib.sh"

run=$top/examples/tiny.yaml
i=0
while [ $i -lt 400 ]; do
    echo "the captain sold $((i * 7919 % 97)) barrels of salt and $((i * 104729 % 89)) of herring"
    i=$((i + 1))
done >"$tmp/text.txt"

start_host "$tmp/h1.log" --run "$run" --dir "$tmp/h1" --listen 127.0.0.1:0 --experts L0.0-3
first=$address first_pid=$pid

# Noise on both ports, and connections that never say anything, while a trainer trains.
cat >"$tmp/noise.py" <<'EOF'
import random, socket, sys, time

host, port = sys.argv[1].rsplit(":", 1)
at = (host, int(port))
rng = random.Random(1)
noise = [
    rng.randbytes(1), rng.randbytes(40), rng.randbytes(1200),
    b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff\x01", b"d" * 1000, b"d1:ad2:id20:", b"i" + b"9" * 900 + b"e",
    b"d1:ad2:id20:" + bytes(20) + b"e1:q4:ping1:t2:aa1:y1:qe",
]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held = []
end = time.time() + 3
i = 0
while time.time() < end:
    udp.sendto(noise[i % len(noise)], at)
    if i % 50 == 0:
        try:
            tcp = socket.create_connection(at, timeout=1)
            tcp.sendall(noise[i // 50 % len(noise)])
            if len(held) < 200:
                held.append(tcp)
        except OSError:
            pass
    i += 1
EOF
noise=
if command -v python3 >/dev/null; then
    python3 "$tmp/noise.py" "$first" &
    noise=$!
fi
expect 0 "stopped after step 200" train --run "$run" --dir "$tmp/t" --data "$tmp/text.txt" --join "$first" --steps 200
[ -z "$noise" ] || check wait "$noise"
check kill -0 "$first_pid"
cp "$tmp/h1.log" "$out"
check test "$(wc -l <"$tmp/h1.log")" -le 25
expect 0 "4 of 4 experts on 1 host" status --run "$run" --join "$first"

# Its directory goes away under it: the end says so.
start_host "$tmp/h2.log" --run "$run" --dir "$tmp/h2" --listen 127.0.0.1:0 --join 127.0.0.1:9 --experts L0.0-3
second=$address second_pid=$pid
rm -rf "$tmp/h2"
expect 0 "stopped after step 10" train --run "$run" --dir "$tmp/t2" --data "$tmp/text.txt" --join "$second" --steps 10
stop_host "$second_pid"
status=$?
cp "$tmp/h2.log" "$out"
check test $status -ne 0
check grep -q 'what came since the one before is lost' "$tmp/h2.log"
check sh -c "! grep -q 'experts saved' '$tmp/h2.log'"

# Started without standard output and error, it prints into none of its own files.
"$hanse" host --run "$run" --dir "$tmp/h3" --listen 127.0.0.1:0 >&- 2>&- &
closed=$!
hosts="$hosts $closed"
check within 60 test -s "$tmp/h3/key"
within 60 hears_interrupt "$closed"
sleep 1 # it says that it is ready
check stop_host "$closed"
cp "$tmp/h3/lock" "$out"
check test "$(tr -d '0-9\n' <"$tmp/h3/lock" | wc -c)" -eq 0
verdict
