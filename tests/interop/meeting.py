"""tests/interop/meeting.py - hanse --mainline with libtorrent nodes standing for the public DHT."""
import json
import os
import signal
import subprocess

from interop import PATIENCE, Stranger, at, check, give, ip_of, nodes, processes, public, run, scratch, until
from torrent import Torrent, mesh

N = 9
HANSE = os.path.join(os.environ.get("top_builddir", "."), "hanse")
RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/tiny.yaml")
DIR = scratch()


def hanse(*words):
    return subprocess.run([HANSE] + list(words), capture_output=True, text=True, timeout=PATIENCE)


class Host:
    def __init__(self, name, ip, *words):
        self.log = open(os.path.join(DIR, name + ".log"), "w+")
        self.process = subprocess.Popen([HANSE, "host", "--run", RUN, "--dir", os.path.join(DIR, name), "--listen", at(ip, 4100)] +
                                        list(words), stdout=self.log, stderr=subprocess.STDOUT)
        processes.append(self.process)

    def text(self):
        with open(self.log.name) as log:
            return log.read()

    def is_ready(self):
        return " ready on " in self.text()


def main():
    ips = [public(i) for i in range(N + 5)]
    give(*ips)
    free = iter(ips)
    theirs = mesh(N, lambda: Torrent(next(free)))
    check("a Mainline network of libtorrent nodes", theirs)
    door = "--mainline=%s,%s" % (theirs[0].at, theirs[4].at)
    first = Host("first", next(free), door)
    check("the first host is ready, alone", until(first.is_ready) and "alone so far" in first.text())
    second = Host("second", next(free), door)
    ready = until(second.is_ready)
    check("the second is ready and has met it", ready and "joined 1 peer" in second.text())

    def status():
        said = hanse("status", "--run", RUN, door, "--json")
        return json.loads(said.stdout) if said.returncode == 0 else {}
    check("whoever asks in Mainline sees both share the experts",
          until(lambda: status().get("hosted") == 4 and len(status()["hosts"]) == 2, 1))
    seen = status()
    check("and no node that is not ours", seen["dht_nodes"] == 2)
    text = os.path.join(DIR, "text.txt")
    with open(text, "w") as out:
        for i in range(400):
            out.write("the captain sold %d barrels of salt and %d of herring\n" % (i * 7919 % 97, i * 104729 % 89))
    said = hanse("train", "--run", RUN, "--dir", os.path.join(DIR, "trainer"), "--data", text, "--steps", "20", door)
    check("a trainer meets them and trains", said.returncode == 0 and "stopped after step 20" in said.stdout)
    said = hanse("eval", "--run", RUN, "--dir", os.path.join(DIR, "trainer"), "--data", text, "--windows", "4", door)
    check("eval does", said.returncode == 0 and "bpb" in said.stdout)
    me = Stranger(next(free))
    check("a host answers no stranger", all(me.ask(at(ip, 4100), "ping", seconds=0.5) is None for ip in ips[N:N + 2]))
    said = hanse("status", "--run", RUN, "--mainline=%s" % at(ips[-1], 9))
    check("a network that is not there is said with the remedy", said.returncode != 0 and "--mainline=ADDR:PORT" in said.stderr)
    for host in (first, second):
        host.process.send_signal(signal.SIGINT)
        check("a host ends in order", host.process.wait(PATIENCE) == 0 and "experts saved" in host.text())


run(main)
