#!/bin/sh
# tests/cmd/test_dht.sh - hanse dht against a swarm of its own nodes on this machine: every command, and how each refuses.
. "$(dirname "$0")/lib.sh"

# start_node LOG WORDS...: starts "hanse dht serve WORDS..." and waits for its line; sets pid, address and id.
start_node() {
    log=$1
    shift
    start_ready "$log" dht serve "$@"
    address=$(sed -n 's/.* ready on \([^ ]*\): .*/\1/p' "$log")
    id=$(sed -n 's/^node \([0-9a-f]*\) ready on .*/\1/p' "$log")
}

# is_json PYTHON: what was printed is a JSON document x for which the expression holds.
is_json() {
    if command -v python3 >/dev/null; then
        python3 -c 'import json, sys
x = json.load(open(sys.argv[1]))
assert eval(sys.argv[2]), x' "$out" "$1"
    else
        grep -q '^{' "$out" && grep -q '^}' "$out"
    fi
}

# -- what is refused before anything is sent
expect 64 'usage: hanse dht COMMAND' dht
expect 64 "there is no command 'pong'; did you mean 'ping'?" dht pong
expect 64 "there is no option --join; a command comes first" dht --join 127.0.0.1:1
expect 64 "HOST:PORT... is missing" dht ping
expect 64 "must be a host and port" dht ping 127.0.0.1
expect 64 "must be a host and port" dht ping ::1:4100
expect 64 "must be a host and port" dht ping host:0
expect 64 "must be a host and port" dht ping host:99999
expect 64 "--count 0: must be a whole number" dht ping 127.0.0.1:9 --count 0
expect 64 "--timeout 0: must be seconds" dht ping 127.0.0.1:9 --timeout 0
expect 64 "--interval 0: must be seconds" dht ping 127.0.0.1:9 --interval 0
expect 64 "--join nowhere: must be a host and port" dht find x --join nowhere
expect 64 "an id has 40 hex digits, this has 39" dht find 012345678901234567890123456789012345678
expect 64 "a target has 40 hex digits" dht get 0123
expect 64 "come with --directory" dht get 0 0 0
expect 64 "--salt belongs to items, not to --directory" dht get --directory runs --salt x
expect 64 "--key belongs to 'self'" dht find x --key "$tmp"
expect 64 "--directory needs a run, a layer and a row" dht get --directory 0123
expect 64 "layer and row are whole numbers" dht get --directory "$top/examples/tiny.yaml" 0 x
expect 66 "$tmp/none.yaml: No such file" dht get --directory "$tmp/none.yaml" 0 0
expect 64 "'0123456789abcdef' is the head of a run's id" dht get --directory 0123456789abcdef 0 0
expect 64 "an id has 40 hex digits, this has 39" dht announce 012345678901234567890123456789012345678 --port 5
expect 64 "--port N is needed" dht announce 0123456789012345678901234567890123456789
expect 64 "--mutable needs --key DIR" dht put x --mutable
expect 64 "add --mutable" dht put x --seq 4
expect 66 "$tmp/nokey/key: there is none yet; 'hanse key new --dir $tmp/nokey' makes one" dht put x --mutable --key "$tmp/nokey"
expect 66 "$tmp/none: cannot be read: No such file or directory; check the name" dht put "@$tmp/none"
expect 74 "$tmp: cannot be read: Is a directory; name a file" dht put "@$tmp"
expect 64 "@: is no file's name; it is @FILE, or @- for standard input" dht put @
expect 64 "'2 0': this run has 2 layers with experts, of 1 row; both count from 0" dht get --directory "$top/examples/kjv.yaml" 2 0
expect 64 "'0 1': this run has 2 layers with experts, of 1 row" dht get --directory "$top/examples/kjv.yaml" 0 1
head -c 997 /dev/zero | tr '\0' x >"$tmp/long"
head -c 5000 /dev/zero | tr '\0' x >"$tmp/longer"
expect 64 "1001 bytes, bencoded, and 1000 is the most" dht put "@$tmp/long"
expect 64 "1001 bytes, bencoded, and 1000 is the most" dht put "$(cat "$tmp/long")"
expect 64 "more than 1000 bytes" dht put "@$tmp/longer"
expect 64 "is not bencoded" dht put --bencoded 'i03e'
expect 0 "$tmp/k" key new --dir "$tmp/k"
key=$(cut -c1-64 "$out")
expect 64 "--salt: has 65 bytes, and 64 is the most" dht put x --mutable --key "$tmp/k" \
    --salt 01234567890123456789012345678901234567890123456789012345678901234
expect 64 "the address is not on this machine" dht serve --listen 192.0.2.1:1

# -- who does not answer: said with address and remedy, soon
started=$(date +%s)
expect 1 "no answer to 1 question" dht ping 127.0.0.1:9 --timeout 0.5
expect 1 "127.0.0.1:9 did not answer; check address and port" dht find x --join 127.0.0.1:9 --timeout 1
expect 1 "none of the 2 addresses of --join answered" dht put x --join 127.0.0.1:9 --join 127.0.0.1:10 --timeout 1
expect 1 "127.0.0.1:9 did not answer" dht get "$(printf %040d 1)" --join 127.0.0.1:9 --timeout 1
expect 1 "127.0.0.1:9 did not answer" dht get --directory runs --join 127.0.0.1:9 --timeout 1
expect 1 "127.0.0.1:9 did not answer" dht crawl --join 127.0.0.1:9 --timeout 0.5
expect 1 "127.0.0.1:9 did not answer" dht table 127.0.0.1:9 --timeout 0.2 --rate 100
check test $(($(date +%s) - started)) -lt 60
expect 1 "check the name" dht ping nowhere.invalid:6881 # which may take what the system's resolver takes
for words in "table 127.0.0.1:9 --timeout 0.2 --rate 100" "ping nowhere.invalid:6881" "find x --join 127.0.0.1:9 --timeout 0.2"; do
    # shellcheck disable=SC2086
    "$hanse" dht $words --json >"$out" 2>/dev/null # as the manual page says: no document
    check test $? -eq 1
    check test ! -s "$out"
done
expect 1 '"answered": 0' dht ping 127.0.0.1:9 --timeout 0.2 --json # but here there is one
check is_json 'x["nodes"][0]["loss_percent"] == 100 and "id" not in x["nodes"][0]'

# -- who interrupts is not told that nobody answers
# interrupt STATUS TEXT WORDS...: "hanse dht WORDS..." gets Ctrl-C while it waits, and then ends with STATUS and says TEXT.  When it
# comes too early, or too late, on a busy machine, it is tried again with another pause.
interrupt() {
    status=$1 text=$2
    shift 2
    n_checks=$((n_checks + 1))
    for pause in 0.2 0.5 1 1.5 0.7 0.1; do
        "$hanse" dht "$@" >"$tmp/interrupted" 2>&1 </dev/null &
        waiting=$!
        hosts="$hosts $waiting"
        within 120 hears_interrupt $waiting
        sleep $pause
        stop_host $waiting
        got=$?
        cp "$tmp/interrupted" "$out"
        [ $got -eq "$status" ] && grep -qF -- "$text" "$out" && return
    done
    fail "hanse dht $*: status $got after Ctrl-C, expected $status and '$text'"
}
interrupt 130 "interrupted before there was an answer" find x --join 127.0.0.1:9
interrupt 130 "interrupted before there was an answer" get "$(printf %040d 1)" --join 127.0.0.1:9
interrupt 130 "interrupted before there was an answer" get --directory runs --join 127.0.0.1:9
interrupt 130 "interrupted before there was an answer" put x --join 127.0.0.1:9
interrupt 130 "interrupted before there was an answer" announce "$(printf %040d 1)" --port 5 --join 127.0.0.1:9
interrupt 130 "interrupted before there was an answer" crawl --join 127.0.0.1:9
interrupt 130 "interrupted before there was an answer" table 127.0.0.1:9
interrupt 130 "127.0.0.1:9: interrupted before it answered" ping 127.0.0.1:9

# -- a swarm of eight
start_node "$tmp/n0" --listen 127.0.0.1:0
first=$address first_id=$id first_pid=$pid
cp "$tmp/n0" "$out"
check grep -q "^node $first_id ready on $first: alone so far$" "$out"
start_node "$tmp/lost" --listen 127.0.0.1:0 --join 127.0.0.1:9
cp "$tmp/lost" "$out"
check grep -q ": alone so far, nobody answers at the 1 address of --join$" "$out"
check stop_host "$pid"
for i in 1 2 3 4 5 6 7; do
    start_node "$tmp/n$i" --listen 127.0.0.1:0 --join "$first"
    check within 60 grep "joined through [1-7] nodes*$" "$tmp/n$i" # at once; on a busy machine later
    [ "$i" -ne 2 ] || honest=$address
done
check grep -q ': joined through [1-7] nodes*$' "$tmp/n1" "$tmp/n2" "$tmp/n3" "$tmp/n4" "$tmp/n5" "$tmp/n6" "$tmp/n7"
eight() { "$hanse" dht crawl --join "$first" | grep 'IPv4: 8 nodes found, 8 answered (100 %); 100.0 %'; }
check within 60 eight

expect 0 "IPv4: 8 nodes found, 8 answered (100 %); 100.0 % of the ids searched, so that about 8 answer" dht crawl --join "$first"
check grep -q '100.0 %.* 8  hanse, wire revision' "$out"
check grep -q '^  ids need not fit a local address (BEP 42)$' "$out"
expect 0 '"searched_share": 1.0' dht crawl --join "$first" --json
check is_json 'x["complete"] and len(x["nodes"]) == 8 and all(n["answered"] for n in x["nodes"]) and x["networks"][0]["answered"] == 8'
check is_json 'x["networks"][0]["local"] == 8 and x["networks"][0]["id_fits"] == 0 and x["nodes"][0]["id_fits"] is None'
expect 0 "8 nodes found" dht crawl --join "$first" --rate 20 # in the pace of 20 a second it takes a while
check awk '/ questions, / { exit !($3 >= 0.3) }' "$out"
expect 0 "left out (--max)" dht crawl --join "$first" --max 3
check grep -q 'IPv4: 3 nodes found, .* stopped at --max' "$out"
expect 0 '"left_out": ' dht crawl --join "$first" --max 3 --json
check is_json '[x["networks"][0][k] for k in ("estimate", "searched_share")] == [None, None] and len(x["nodes"]) == 3'

expect 0 "$first_id" dht ping "$first"
check grep -q 'hanse, wire revision .* (HN' "$out"
check grep -q 'sees us at  127.0.0.1:' "$out"
check grep -q ', which need not fit a local address (BEP 42)$' "$out"
expect 0 "$first_id" dht ping "localhost:${first##*:}"
expect 0 "127.0.0.1:9: no answer" dht ping 127.0.0.1:9 "$first" --timeout 0.5
expect 0 '"loss_percent": 0.0' dht ping "$first" --count 5 --interval 0.01 --json
check is_json 'x["nodes"][0]["id_fits"] is None and x["nodes"][0]["answered"] == 5 and x["nodes"][0]["rtt_ms"]["min"] <= x["nodes"][0]["rtt_ms"]["median"] <= x["nodes"][0]["rtt_ms"]["max"]'
expect 0 "0 of 3 lost (0 %)" dht ping "$first" --count 3 --interval 0.01
check test "$(grep -c ' ms$' "$out")" -eq 3

expect 0 "target $first_id" dht find "$first_id" --join "$first"
check test "$(grep -c '  local   hanse' "$out")" -eq 8
check sh -c 'sed -n 3p "$1" | grep -q "^ *160  $2"' - "$out" "$first_id"
expect 0 "the SHA-1 of 'some text'" dht find "some text" --join "$first"
check test -z "$(grep 'there may be more' "$out")"
expect 0 '"target": "37aa63c77398d954473262e1a0057c1e632eda77"' dht find "some text" --join "$first" --json
check is_json '[n["shared_bits"] for n in x["nodes"]] == sorted([n["shared_bits"] for n in x["nodes"]], reverse=True) and len(x["nodes"]) == 8'
check is_json 'all(n["id_fits"] is None for n in x["nodes"])'
check is_json 'x["walk"]["answered"] == 8 and x["walk"]["hops"] >= 1 and x["walk"]["messages"] >= 8'
expect 0 "8 of 8 nodes answered" dht find self --join "$first" --key "$tmp/k"

# -- nodes without a host among them: an answer, and a document
expect 0 "DHT nodes answer, and no host says what run it serves" status --join "$first"
"$hanse" status --json --join "$first" >"$out" 2>/dev/null
check is_json 'x["run"] is None and x["hosts"] == [] and x["dht_nodes"] >= 1'

# -- an answer that was cut short says so: one of the nodes sleeps, and holds up whoever asks
kill -STOP "$pid"
interrupt 130 "interrupted: there may be more" find x --join "$first"
expect_at_last 0 "the time ran out: there may be more" dht find x --join "$first" --timeout 0.5
expect_at_last 0 '"complete": false' dht find x --join "$first" --timeout 0.5 --json
kill -CONT "$pid"
check within 60 eight
interrupt 0 "interrupted, it may know more" table "$first" --rate 1
expect 1 "or wait longer with --timeout" dht find x --join 127.0.0.1:9 --timeout 0.2

# -- immutable items
expect 0 "8 nodes stored it" dht put "hello, world" --join "$first"
target=$(sed -n 's/^target //p' "$out")
check test "$target" = "$(printf '12:hello, world' | sha1sum | cut -c1-40)"
expect 0 "hello, world" dht get "$target" --join "$first"
check grep -q 'held by 8 nodes' "$out"
expect 1 "nobody who answered has it" dht get "$(printf %040d 1)" --join "$first"
check grep -q '8 of 8 nodes answered' "$out"
head -c 996 "$tmp/long" >"$tmp/full"
expect 0 "8 nodes stored it" dht put "@$tmp/full" --join "$first" # the most there can be
target=$(sed -n 's/^target //p' "$out")
expect 0 "held by 8 nodes" dht get "$target" --join "$first" --output "$tmp/got"
check cmp "$tmp/full" "$tmp/got"
expect 74 "cannot be written: No such file or directory; check its directory" dht get "$target" --join "$first" --output "$tmp/no/such"
expect 0 "--salt was left out: the item is immutable" dht get "$target" --join "$first" --salt x
printf '@home' | "$hanse" dht put @- --join "$first" >"$out" 2>&1
check grep -q "^target $(printf '5:@home' | sha1sum | cut -c1-40)\$" "$out"
check grep -q '8 nodes stored it' "$out"
printf '\033[2J\000\377' >"$tmp/binary"
expect 0 '"stored": 8' dht put "@$tmp/binary" --join "$first" --json
check is_json 'x["write"] == {"stored": 8, "silent": 0, "without_token": 0, "errors": []}'
target=$(printf '6:\033[2J\000\377' | sha1sum | cut -c1-40)
expect 0 "0x1b5b324a00ff" dht get "$target" --join "$first" --output "$tmp/got"
check cmp "$tmp/binary" "$tmp/got"
check grep -q '^6 bytes that are no text, shown in hex' "$out"
expect 0 '"hex": "1b5b324a00ff"' dht get "$target" --join "$first" --json
check is_json '"text" not in x["item"] and x["item"]["bencoded_hex"] == "363a1b5b324a00ff"'
printf 'gr\303\266\303\237e\n0x00\n' >"$tmp/text"
expect 0 "8 nodes stored it" dht put "@$tmp/text" --join "$first"
target=$(sed -n 's/^target //p' "$out")
expect 0 'gr\xc3\xb6\xc3\x9fe\n0x00\n' dht get "$target" --join "$first"
expect 0 '"text": "' dht get "$target" --join "$first" --json
check is_json 'x["item"]["text"] == "gr\xf6\xdfe\n0x00\n" and "hex" not in x["item"]'
expect 0 "8 nodes stored it" dht put --bencoded 'd4:listli1e2:abee' --join "$first"
target=$(sed -n 's/^target //p' "$out")
expect 0 '"list": [' dht get "$target" --join "$first"

# -- a 'no' that cannot be written is an error
if [ -w /dev/full ]; then
    for words in "get --directory runs" "get $(printf %040d 1)" "get $(printf %040d 1) --json" "find --peers zzz"; do
        n_checks=$((n_checks + 1))
        # shellcheck disable=SC2086
        "$hanse" dht $words --join "$first" >/dev/full 2>"$out"
        got=$?
        [ $got -eq 74 ] && grep -q 'standard output: No space left on device' "$out" || fail "hanse dht $words >/dev/full: status $got"
    done
fi

# -- mutable items: their numbers, refusals and salts
expect 0 "seq    1" dht put one --mutable --key "$tmp/k" --join "$first"
check grep -q "key    $key" "$out"
expect 0 "seq    2" dht put two --mutable --key "$tmp/k" --join "$first"
expect 0 "mutable, seq 2" dht get "$key" --join "$first"
check grep -q '^two$' "$out"
check grep -q '^signature [0-9a-f]* (good)$' "$out"
check grep -q 'held by 8 nodes$' "$out"
expect 1 "8 refused with error 302" dht put three --mutable --seq 1 --key "$tmp/k" --join "$first"
check grep -q '0 nodes stored it' "$out"
check grep -q '^what is stored has sequence number 2; to replace it put with --seq 3, or without --seq$' "$out"
expect 1 "8 refused with error 301" dht put three --mutable --cas 1 --key "$tmp/k" --join "$first"
check grep -q '^what is stored has another sequence number: 2; read it again, then put with --cas 2$' "$out"
expect 1 '"stored_seq": 2' dht put three --mutable --cas 1 --key "$tmp/k" --join "$first" --json
expect 0 "8 nodes stored it" dht put three --mutable --cas 2 --seq 9 --key "$tmp/k" --join "$first"
expect 0 '"seq": 9' dht get "$key" --join "$first" --json
check is_json 'x["item"]["text"] == "three" and x["item"]["mutable"] and x["holders"] == 8 and x["false_at"] == 0'
expect 0 "8 nodes stored it" dht put new --mutable --cas 7 --salt t --key "$tmp/k" --join "$first" # nothing to compare with
salt=0123456789012345678901234567890123456789012345678901234567890123
expect 0 "8 nodes stored it" dht put "@$tmp/full" --mutable --salt $salt --key "$tmp/k" --join "$first"
expect 0 "held by 8 nodes" dht get "$key" --salt $salt --join "$first" --output "$tmp/got"
check cmp "$tmp/full" "$tmp/got"
expect 1 "nobody who answered has it" dht get "$key" --salt other --join "$first"
expect 64 "--salt: has 65 bytes" dht get "$key" --salt "${salt}x" --join "$first"

# -- peers
info_hash=2c6b6858d61da9543d4231a71db4b1c9264b0685
expect 1 "0 peers" dht find --peers $info_hash --join "$first"
expect 0 "8 nodes stored it" dht announce $info_hash --port 5000 --join "$first"
expect 0 "127.0.0.1:5000" dht find --peers $info_hash --join "$first"
check grep -q 'told by 8 nodes' "$out"
expect 0 "the SHA-1 of 'foo'; port 5002" dht announce foo --port 5002 --join "$first"
expect 0 "127.0.0.1:5002" dht find --peers foo --join "$first"
expect 0 "8 nodes stored it" dht announce $info_hash --port 5001 --join "$first"
expect 0 '"peers"' dht find --peers $info_hash --join "$first" --json
check is_json 'sorted(p["address"] for p in x["peers"]) == ["127.0.0.1:5000", "127.0.0.1:5001"]'

# -- tables
expect 0 "knows    7 nodes" dht table "$first" --rate 200
check grep -q "$first_id" "$out"
check test "$(grep -c '^bucket [0-9]*: ' "$out")" -ge 1
check test -z "$(grep ' $' "$out")"
expect 0 "of which 7 answer" dht table "$first" --rate 200 --check
expect 0 '"complete": true' dht table "$first" --rate 200 --json
check is_json 'x["nodes"][0]["id_fits"] is None and len(x["nodes"]) == 7 and x["answers"] == x["questions"]'
kill -KILL "$pid"
wait "$pid" 2>/dev/null
expect 0 "of which 6 answer" dht table "$first" --rate 200 --check
check grep -q 'does not answer' "$out"
expect 0 "8 nodes found, 7 answered (88 %)" dht crawl --join "$first"

# -- the directory of experts
start_host "$tmp/h.log" --run "$top/examples/tiny.yaml" --dir "$tmp/h" --listen 127.0.0.1:0 --experts L0.0-1 --join "$first"
host=$address
check within 60 "$hanse" dht get --directory "$top/examples/tiny.yaml" 0 0 --join "$first"
expect 0 "1 entry" dht get --directory "$top/examples/tiny.yaml" 0 0 --join "$first"
check grep -q "$host  *\(cpu\|cpu-int8\|gpu\), over in [0-9]* s, seq .* signature good" "$out"
check grep -q 'L0.1  version 0, epoch 0' "$out"
spoken() { "$hanse" dht get --directory runs --join "$first" | grep 'run tiny'; }
check within 60 spoken
expect 0 "run tiny" dht get --directory runs --join "$first"
run=$(sed -n 's/.*run tiny //p' "$out")
expect 1 "0 entries" dht get --directory "$run" 0 1 --join "$first"
expect 0 '"expert": "L0.0"' dht get --directory "$run" 0 0 --join "$first" --json
check is_json 'len(x["entries"]) == 1 and x["entries"][0]["left_s"] > 100 and len(x["entries"][0]["claims"]) == 2'
check is_json 'x["entries"][0]["hardware"] in ("cpu", "cpu-int8", "gpu")'
expect 0 '"run": "tiny"' dht get --directory runs --join "$first" --json
check is_json "x['entries'][0]['run_id'] == '$run'"

# -- who died is told apart before its entry is over
expect 0 "2 of 4 experts on 1 host; " status --run "$top/examples/tiny.yaml" --join "$first"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
expect 0 "0 of 4 experts on 0 hosts that answer; 2 on 1 that does not; " status --run "$top/examples/tiny.yaml" --join "$first"
check grep -q "$host  *cpu[-int8]*  *no answer  " "$out"
expect 0 '"hosted_by_silent": 2' status --run "$top/examples/tiny.yaml" --join "$first" --json
check is_json 'x["hosted"] == 2 and x["hosts"][0]["rtt_us"] is None'

# -- Ctrl-C ends a node with what it saw, and a crawl with what it knows so far
"$hanse" dht crawl --join "$first" --rate 1 --json >"$tmp/crawl" 2>/dev/null </dev/null &
pid=$!
hosts="$hosts $pid"
within 120 hears_interrupt "$pid"
sleep 2.2
check stop_host "$pid"
cp "$tmp/crawl" "$out"
check is_json 'not x["complete"] and 1 <= x["networks"][0]["answered"] <= 6 and x["networks"][0]["searched_share"] < 1'
check stop_host "$first_pid"
check grep -q ' nodes known' "$tmp/n0"

# -- IPv6, where this machine has it
"$hanse" dht serve --listen '[::1]:0' </dev/null >"$tmp/six" 2>&1 &
pid=$!
hosts="$hosts $pid"
log=$tmp/six
within 120 is_ready_or_over
six=$(sed -n 's/.* ready on \([^ ]*\): .*/\1/p' "$tmp/six")
if [ -n "$six" ]; then
    start_node "$tmp/seven" --listen '[::1]:0' --join "$six"
    two() { "$hanse" dht crawl --join "$six" | grep 'IPv6: 2 nodes found, 2 answered'; }
    check within 60 two
    expect 0 'IPv6: 2 nodes found, 2 answered' dht crawl --join "$six"
    expect 0 'sees us at  [::1]:' dht ping "$six"
    expect 0 '2 nodes stored it' dht put six --join "$six"
    expect 0 '2 of 2 nodes answered' dht find six --join "$six"
    expect 0 'knows    1 node;' dht table "$six" --rate 200
fi

# -- a node that sends what terminals obey
if command -v python3 >/dev/null; then
    python3 - >"$tmp/evil" <<'PY' &
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print("127.0.0.1:%d" % s.getsockname()[1], flush=True)
while True:
    d, a = s.recvfrom(2000)
    t = d[d.index(b"1:t4:") + 5:][:4]
    evil = b"\x1b]0;evil\x07"
    if b"4:ping" in d:
        s.sendto(b"d1:eli203e%d:%se1:t4:%s1:v%d:%s1:y1:ee" % (len(evil), evil, t, len(evil), evil), a)
    else:
        r = b"d2:id20:" + b"\x1b" * 20 + b"5:nodes26:" + b"\x1b" * 20 + bytes([127, 0, 0, 1]) + s.getsockname()[1].to_bytes(2, "big") + b"3:seqi9223372036854775806e5:token2:\x1b[e"
        s.sendto(b"d1:r" + r + b"1:t4:" + t + b"1:v%d:" % len(evil) + evil + b"1:y1:re", a)
PY
    hosts="$hosts $!"
    check within 60 grep : "$tmp/evil"
    evil=$(cat "$tmp/evil")
    for words in "ping $evil" "find x --join $evil" "put x --join $evil" "crawl --join $evil" "table $evil --rate 100" \
        "find --peers x --join $evil"; do
        # shellcheck disable=SC2086
        "$hanse" dht $words >"$out" 2>&1
        case $words in put*) ;; *) check grep -qF '\x1b]0;' "$out" ;; esac
        check test "$(tr -d '\n -~' <"$out" | wc -c)" -eq 0
    done
    # A number that nobody signed is none: with it the item could never be replaced again.
    expect 0 "seq    10" dht put four --mutable --key "$tmp/k" --join "$honest" --join "$evil"
fi
verdict
