"""tests/interop/interop.py - what the interop tests share: bencode, a node of ours, raw questions, addresses, checks.

A test that runs in a namespace of its own (lab.sh) gives itself any address it likes.
"""
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

NODE = os.path.join(os.environ.get("top_builddir", "."), "tests/interop/dht_node")
PATIENCE = 120  # seconds for what should happen soon: on a machine that does other things it comes late, and never only if it hangs
n_checks = 0
processes = []
directories = []


def scratch():
    """A directory that goes with the test."""
    directories.append(tempfile.mkdtemp(prefix="hanse-interop-"))
    return directories[-1]


def finish(status):
    """Ends the test; other programs' threads are not waited for."""
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    sys.stdout.flush()
    os._exit(status)


def check(what, ok):
    global n_checks
    n_checks += 1
    print("%s %5.1f s  %s" % ("ok  " if ok else "FAIL", time.monotonic() - start, what), flush=True)
    if not ok:
        finish(1)


def run(main):
    try:
        main()
        print("%d checks" % n_checks)
    except BaseException:  # whatever it is, nothing stays behind
        import traceback
        traceback.print_exc()
        finish(1)
    finish(0)


start = time.monotonic()


def until(holds, pause=0.1):
    """Waits until holds() is true; returns what it said last."""
    end = time.monotonic() + PATIENCE
    while True:
        said = holds()
        if said or time.monotonic() > end:
            return said
        time.sleep(pause)


# -- Bencode ---------------------------------------------------------------------------------------------------

def encode(x):
    if isinstance(x, int):
        return b"i%de" % x
    if isinstance(x, str):
        x = x.encode()
    if isinstance(x, bytes):
        return b"%d:%s" % (len(x), x)
    if isinstance(x, list):
        return b"l" + b"".join(encode(y) for y in x) + b"e"
    pairs = sorted((k.encode() if isinstance(k, str) else k, v) for k, v in x.items())
    return b"d" + b"".join(encode(k) + encode(v) for k, v in pairs) + b"e"


def decode(text):
    def one(i):
        c = text[i:i + 1]
        if c == b"i":
            end = text.index(b"e", i)
            return int(text[i + 1:end]), end + 1
        if c in (b"l", b"d"):
            i += 1
            all_ = []
            while text[i:i + 1] != b"e":
                x, i = one(i)
                all_.append(x)
            return (all_ if c == b"l" else dict(zip(all_[::2], all_[1::2]))), i + 1
        colon = text.index(b":", i)
        end = colon + 1 + int(text[i:colon])
        return text[colon + 1:end], end
    return one(0)[0]


# -- Addresses -------------------------------------------------------------------------------------------------

def give(*ips):
    """Gives this namespace addresses of its own."""
    lines = ["addr add %s dev lo%s" % (ip + ("/128" if ":" in ip else "/32"), " nodad" if ":" in ip else "") for ip in ips]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(["link set lo up"] + lines) + "\n", text=True, check=True)


def public(i, family=4):
    """The i-th of addresses that look like those of strangers: no two in a /16 or a /32, none that libtorrent holds for dark."""
    return "%d.%d.%d.7" % (60 + i, 3 * i + 1, i + 1) if family == 4 else "2a%02x:%x::7" % (i, i + 1)


def at(ip, port):
    return "[%s]:%d" % (ip, port) if ":" in ip else "%s:%d" % (ip, port)


def ip_of(at_):
    return at_.rsplit(":", 1)[0].strip("[]")


def pack(text):
    """The compact form of an IP address, or of "ADDR:PORT"."""
    is_v6 = text.count(":") > 1
    is_bare = "]" not in text if is_v6 else ":" not in text
    ip = socket.inet_pton(socket.AF_INET6 if is_v6 else socket.AF_INET, text if is_bare else ip_of(text))
    return ip if is_bare else ip + int(text.rsplit(":", 1)[1]).to_bytes(2, "big")


# -- BEP 42 ----------------------------------------------------------------------------------------------------

def crc32c(text):
    crc = 0xffffffff
    for byte in text:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def head_of_id(ip, r):
    """The 21 bits that an address allows."""
    mask = bytes([0x03, 0x0f, 0x3f, 0xff]) if ":" not in ip else bytes([1, 3, 7, 15, 31, 63, 127, 255])
    masked = bytearray(a & m for a, m in zip(pack(ip), mask))
    masked[0] |= (r & 7) << 5
    return crc32c(bytes(masked)) >> 11


def fitting_id(ip):
    r = os.urandom(18)
    head = head_of_id(ip, r[17]) << 3 | r[0] & 7
    return head.to_bytes(3, "big") + r[1:]


def fits(node_id, ip):
    return int.from_bytes(node_id[:3], "big") >> 3 == head_of_id(ip, node_id[19])


def nodes(answer, key=b"nodes"):
    """The nodes of an answer: {id: "ADDR:PORT"}."""
    text, n_ip = answer[b"r"].get(key, b""), 4 if key == b"nodes" else 16
    size, family = 22 + n_ip, socket.AF_INET if n_ip == 4 else socket.AF_INET6
    assert len(text) % size == 0
    found = {}
    for i in range(0, len(text), size):
        ip = socket.inet_ntop(family, text[i + 20:i + 20 + n_ip])
        found[text[i:i + 20]] = at(ip, int.from_bytes(text[i + 20 + n_ip:i + size], "big"))
    return found


# -- Raw questions ---------------------------------------------------------------------------------------------

class Stranger:
    """A socket without a node behind it."""

    def __init__(self, ip):
        self.socket = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((ip, 0))
        self.ip, self.port = self.socket.getsockname()[:2]
        self.id = fitting_id(ip)

    def send(self, to, message):
        ip, port = to.rsplit(":", 1)
        self.socket.sendto(encode(message), (ip.strip("[]"), int(port)))

    def ask(self, to, method, seconds=PATIENCE, **fields):
        """The answer, or None.  Questions of others that come meanwhile are left unanswered."""
        tid = os.urandom(2)
        self.send(to, {"t": tid, "y": "q", "q": method, "ro": 1, "a": dict(fields, id=self.id)})
        end = time.monotonic() + seconds
        while select.select([self.socket], [], [], max(0, end - time.monotonic()))[0]:
            answer = decode(self.socket.recv(4096))
            if answer.get(b"t") == tid and answer.get(b"y") != b"q":
                return answer
        return None


# -- Our node --------------------------------------------------------------------------------------------------

class Ours:
    def __init__(self, *at_, read_only=False):
        self.process = subprocess.Popen([NODE] + ["-r"] * read_only + list(at_), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        processes.append(self.process)
        self.port = int(self.read("port"))
        self.at = at_[0].rsplit(":", 1)[0] + ":%d" % self.port

    def read(self, word):
        line = self.process.stdout.readline().strip()
        assert line.split(" ")[0] == word, (word, line, self.process.poll())
        return line[len(word) + 1:]

    def ask(self, command, word=None):
        self.process.stdin.write(command + "\n")
        return self.read(word or command.split(" ")[0])

    def join(self, *at_):
        for one in at_:
            self.ask("join " + one, "ok")

    def n_good(self):
        return int(self.ask("good"))

    def id(self):
        return bytes.fromhex(self.ask("id"))

    def put(self, text):
        """Puts an immutable item; returns its target and how many took it."""
        target = self.ask("put_immutable " + text, "target")
        return target, int(self.read("stored").split()[0])

    def put_mutable(self, seed, salt, seq, text, cas=None):
        """Its target, and how many: took it; refused it for `cas`; refused it for `seq`; and the highest seq that is held."""
        cas = "" if cas is None else " %d" % cas
        target = self.ask("put_mutable %s %s %d %s%s" % (seed.hex(), salt, seq, text, cas), "target")
        return target, *(int(n) for n in self.read("stored").split())

    def get(self, target, salt=""):
        """(seq, bencoded value), or None."""
        said = self.ask("get %s %s" % (target, salt), "item")
        return None if said == "none" else (int(said.split(" ", 1)[0]), said.split(" ", 1)[1])

    def announce(self, info_hash):
        return int(self.ask("announce " + info_hash, "stored"))

    def peers(self, info_hash):
        return self.ask("peers " + info_hash, "peers").split()

    def publish(self, key, text):
        return int(self.ask("publish %s %s" % (key, text), "stored"))

    def entries(self, key):
        return self.ask("read " + key, "read").split()

    def sizes(self):
        """The longest transaction id, token and list of nodes that it has sent."""
        return [int(n) for n in self.ask("sizes").split()]

    def n_private(self, to):
        return int(self.ask("private " + to))


def swarm(ips):
    """Nodes of ours that know each other."""
    all_ = [Ours(at(ip, 4100)) for ip in ips]
    for one in all_[1:]:
        one.join(all_[0].at)
    check("our nodes find each other", until(lambda: min(one.n_good() for one in all_) >= len(all_) - 2))
    return all_


def work(ours, i):
    """What a swarm does all day, over nodes of others too."""
    text, key = "work-%d" % i, os.urandom(20).hex()
    check("a row is published and read", ours[1].publish(key, text) >= 4 and ours[-1].entries(key) == [text])
    target, n = ours[2].put(text)
    check("an item is put and got", n >= 4 and ours[-2].get(target) == (0, "%d:%s" % (len(text), text)))


def test_manners(ours, guests):
    """What others would mind: long fields, and questions that they do not know."""
    tid, token, n_nodes = (max(column) for column in zip(*(one.sizes() for one in ours)))
    check("no transaction id of more than 15 bytes, token of more than 39, list of more than 16 nodes",
          (tid <= 15, token <= 39, n_nodes <= 16) == (True, True, True))
    most = max(one.n_private(guest) for one in ours for guest in guests)
    check("nobody of them was asked our own questions twice by one node (%d)" % most, most <= 1)


def test_lasts(ours, me, guest):
    """A node of another program that ours met a while ago: they still have each other, and it hinders nobody."""
    found = nodes(me.ask(guest, "find_node", target=ours[3].id())).values()
    check("it has kept us in its table (%d)" % len(found), len(set(found) & {one.at for one in ours}) >= 4)
    work(ours, 2)
    check("nodes of ours still hear it", min(one.n_good() for one in ours) >= len(ours) - 1)
    test_manners(ours, [guest])


class Listener:
    """The port of a peer that somebody announced: who finds it, calls."""

    def __init__(self, ip, port):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((ip, port))
        self.socket.listen()

    def hears(self, info_hash):
        """Whether a BitTorrent client calls for this torrent."""
        end = time.monotonic() + PATIENCE
        while select.select([self.socket], [], [], max(0, end - time.monotonic()))[0]:
            caller = self.socket.accept()[0]
            caller.settimeout(3)
            try:
                if bytes.fromhex(info_hash) in caller.recv(68):
                    return True
            except OSError:
                pass
            caller.close()
        return False
