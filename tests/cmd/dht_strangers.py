"""Nodes that a test of hanse dht meets.

  dht_strangers.py refuse [CODE]               answers every question with error CODE, or 203
  dht_strangers.py mute                        answers the way, and is silent to everything else
  dht_strangers.py invent                      names 16 new nodes whenever it is asked for some
  dht_strangers.py runs DHT_NODE JOIN N NAME   N nodes, each of which publishes a run of its own, NAME and a number, that nobody hosts

Prints "ready on ADDRESS", or "ready", and goes on until its standard input ends.
"""
import hashlib
import os
import re
import select
import socket
import struct
import subprocess
import sys


def string_behind(datagram, key):
    at = re.search(b"%d:%s(\\d+):" % (len(key), key), datagram)
    return datagram[at.end() : at.end() + int(at.group(1))] if at else b""


def pair(text):
    return b"%d:%s" % (len(text), text)


def invented(n):
    return b"".join(os.urandom(20) + bytes([11]) + os.urandom(3) + b"\x10\x04" for _ in range(n))


def answer(datagram, role, code):
    tid, method = string_behind(datagram, b"t"), string_behind(datagram, b"q")
    if role == "refuse":
        return b"d1:eli%de13:Invalid tokene1:t" % code + pair(tid) + b"1:y1:ee"
    if method not in (b"ping", b"find_node"):
        return b""
    nodes = b"5:nodes" + pair(invented(16 if role == "invent" else 0)) if method == b"find_node" else b""
    return b"d1:rd2:id" + pair(b"m" * 20) + nodes + b"e1:t" + pair(tid) + b"1:v4:HN\0\2" + b"1:y1:re"


def play(role, code):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    print("ready on 127.0.0.1:%d" % udp.getsockname()[1], flush=True)
    while True:
        ready, _, _ = select.select([udp, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        datagram, asker = udp.recvfrom(2048)
        said = answer(datagram, role, code)
        if said:
            udp.sendto(said, asker)


def publish_runs(program, join, n, name):
    key = hashlib.sha1(b"hanse-directory" + bytes(32) + b"runs" + bytes(9)).hexdigest()
    nodes = []
    for i in range(n):
        node = subprocess.Popen([program, "127.0.0.1:0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        node.stdin.write("join %s\n" % join)
        node.stdin.flush()
        nodes.append(node)
    for i, node in enumerate(nodes):
        title = name.encode("utf-8", "surrogateescape") + (b"%d" % i if n > 1 else b"")
        run = struct.pack("<BBHI", 1, 0, 2, 8) + hashlib.sha256(title).digest() + title
        node.stdin.write("publish_hex %s %s\n" % (key, run.hex()))
        node.stdin.flush()
    for node in nodes:
        while not node.stdout.readline().startswith("stored"):
            pass
    print("ready", flush=True)
    sys.stdin.read()
    for node in nodes:
        node.kill()


if sys.argv[1] == "runs":
    publish_runs(sys.argv[2], sys.argv[3], int(sys.argv[4]), os.fsdecode(os.fsencode(sys.argv[5])))
else:
    play(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 203)
