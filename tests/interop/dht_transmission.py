"""tests/interop/dht_transmission.py - our DHT nodes and a Transmission (jech/dht) in one network."""
import hashlib
import json
import os
import subprocess

from interop import Listener, Stranger, at, check, encode, give, pack, processes, run, scratch, swarm, test_lasts, until, work

N = 12
PORT = 51413
RPC = "127.0.0.1:9091"


def start_daemon(ip, known):
    directory = scratch()
    with open(os.path.join(directory, "settings.json"), "w") as settings:
        json.dump({"bind-address-ipv4": ip, "peer-port": PORT, "dht-enabled": True, "lpd-enabled": False, "pex-enabled": False,
                   "utp-enabled": False, "port-forwarding-enabled": False, "rpc-bind-address": "127.0.0.1",
                   "rpc-whitelist-enabled": False, "encryption": 0, "download-dir": directory,
                   "incomplete-dir-enabled": False}, settings)
    with open(os.path.join(directory, "dht.dat"), "wb") as state:
        state.write(encode({"id": os.urandom(20), "nodes": b"".join(pack(one) for one in known)}))
    processes.append(subprocess.Popen(["transmission-daemon", "--foreground", "--config-dir", directory],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    check("Transmission runs", until(lambda: remote("--session-info").returncode == 0))


def remote(*words):
    return subprocess.run(["transmission-remote", RPC] + list(words), capture_output=True, text=True)


def add(name):
    info_hash = hashlib.sha1(name).hexdigest()
    assert remote("--add", "magnet:?xt=urn:btih:" + info_hash).returncode == 0
    return info_hash


def main():
    # Its ids do not follow BEP 42, so as a stranger it would be served, and kept in no table.
    ips = ["10.9.%d.1" % i for i in range(N + 2)]
    give(*ips)
    ours = swarm(ips[:N])
    ip, me = ips[N], Stranger(ips[N + 1])
    theirs = at(ip, PORT)
    start_daemon(ip, [one.at for one in ours])
    # It announces within 20 s of its own choice, and walks at leisure: the rest is done meanwhile.
    its, mine = add(b"a torrent of Transmission"), add(b"a torrent of ours")
    listener = Listener(ours[4].at.split(":")[0], 4100)
    check("it finds ours, and enters their tables", until(lambda: max(one.n_good() for one in ours) == N))
    work(ours, 1)
    check("we announce a peer", ours[4].announce(mine) >= 4)
    check("Transmission finds it and calls", listener.hears(mine))
    check("a torrent added there is announced, and we find it", until(lambda: theirs in ours[7].peers(its), 1))
    test_lasts(ours, me, theirs)


run(main)
