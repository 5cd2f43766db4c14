"""tests/interop/dht_aria2.py - our DHT nodes and an aria2 in one network."""
import hashlib
import subprocess

from interop import (Listener, Stranger, at, check, give, processes, run, scratch, swarm, test_lasts, until, work)

N = 12
DHT_PORT, PEER_PORT = 6881, 6900


def start(ip, known, hashes):
    directory = scratch()
    processes.append(subprocess.Popen(
        ["aria2c", "--interface=" + ip, "--enable-dht=true", "--dht-listen-port=%d" % DHT_PORT, "--listen-port=%d" % PEER_PORT,
         "--dht-entry-point=" + known, "--dht-file-path=%s/dht.dat" % directory, "--dir=" + directory, "--enable-peer-exchange=false",
         "--bt-enable-lpd=false", "--bt-tracker-connect-timeout=5", "--quiet=true"] +
        ["magnet:?xt=urn:btih:" + one for one in hashes], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def main():
    # Its ids do not follow BEP 42, so as a stranger it would be served, and kept in no table.
    ips = ["10.9.%d.1" % i for i in range(N + 2)]
    give(*ips)
    ours = swarm(ips[:N])
    ip, me = ips[N], Stranger(ips[N + 1])
    theirs = at(ip, DHT_PORT)
    its, mine = (hashlib.sha1(name).hexdigest() for name in (b"a torrent of aria2", b"a torrent of ours"))
    listener = Listener(ours[4].at.split(":")[0], 4100)
    check("we announce a peer", ours[4].announce(mine) >= 4)
    start(ip, ours[0].at, [its, mine])
    check("aria2's node answers", until(lambda: me.ask(theirs, "ping", seconds=1)))
    check("it enters our tables", until(lambda: max(one.n_good() for one in ours) == N))
    work(ours, 1)
    check("it finds the peer and calls", listener.hears(mine))
    check("what it announces, we find", until(lambda: at(ip, PEER_PORT) in ours[7].peers(its), 1))
    test_lasts(ours, me, theirs)


run(main)
