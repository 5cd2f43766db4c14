"""tests/interop/dht_roles.py - libtorrent as storer, getter and bystander of our nodes, and both judged by the same questions.

Every node has an address of its own that looks public, so BEP 42 and the rules of subnets hold as they do outside.
"""
import hashlib
import subprocess
import tempfile

from interop import Ours, Stranger, at, check, encode, fits, give, ip_of, nodes, public, run, until
from torrent import Torrent, mesh, pkcs8, public_key

N = 8  # as many as store a record
SEED = bytes(range(32))
# Nodes with ids that BEP 42 does not allow are kept out.
STRICT = {"dht_enforce_node_id": True, "dht_prefer_verified_node_ids": True}


def sign(seed, text):
    with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as message:
        key.write(pkcs8(seed))
        key.flush()
        message.write(text)
        message.flush()
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key.name, "-keyform", "DER", "-in", message.name],
                              capture_output=True, check=True).stdout


def until_all(wanted, store):
    """Stores, and says what came of it, once wanted() holds of that.  A node of ours does not wait for those who are late for a
    second time, after half a second in all: on a busy machine it may take another attempt until everybody has answered."""
    said = []

    def is_done():
        said[:] = [store()]
        return wanted(said[0])
    until(is_done)
    return said[0]


def by_all(said):
    return (said if isinstance(said, int) else said[1]) >= N


class Places:
    """Addresses that nobody has yet, one after the other."""

    def __init__(self, n):
        self.n = 0
        give(*[public(i, family) for i in range(n) for family in (4, 6)])

    def ip(self):
        self.n += 1
        return public(self.n - 1)

    def both(self):
        self.n += 1
        return public(self.n - 1), public(self.n - 1, 6)


def torrents(places):
    all_ = mesh(N, lambda: Torrent(places.ip(), **STRICT))
    check("libtorrent's nodes find each other", all_)
    return all_


def test_storers(places):
    """Our nodes only ask; whatever is kept is kept by libtorrent."""
    theirs = torrents(places)
    writer, reader = (Ours(at(places.ip(), 0), read_only=True) for _ in range(2))
    writer.join(theirs[0].at)
    reader.join(theirs[3].at)
    check("our read-only nodes know them", until(lambda: min(writer.n_good(), reader.n_good()) >= N - 1))
    target, n = until_all(by_all, lambda: writer.put("kept-by-others"))
    check("an item is put on eight of them", n == N)
    check("a reader finds it", reader.get(target) == (0, "14:kept-by-others"))
    for seq, text in ((4, "first"), (9, "second")):
        target, n, *_ = until_all(by_all, lambda: writer.put_mutable(SEED, "salt", seq, text))
        check("a mutable item of seq %d is put on eight" % seq, n == N)
        check("a reader finds it", reader.get(target, "salt") == (seq, "%d:%s" % (len(text), text)))
    said = until_all(lambda said: said[3] == N, lambda: writer.put_mutable(SEED, "salt", 5, "older"))
    check("nobody takes an older one", said[1:] == (0, 0, N, 9))
    said = until_all(lambda said: said[2] == N, lambda: writer.put_mutable(SEED, "salt", 10, "third", cas=4))
    check("nor another for what is not there", said[1:] == (0, N, 0, 9))
    check("what they hold stays", reader.get(target, "salt")[0] == 9)
    check("libtorrent reads it too", theirs[5].get_mutable(SEED, b"salt", 9) == b"second")
    taken = []  # in one attempt, or the rest in another
    until_all(lambda said: taken.append(said[1]) or sum(taken) >= N, lambda: writer.put_mutable(SEED, "salt", 10, "third", cas=9))
    check("with its number, they take it %s" % taken, sum(taken) >= N)
    check("libtorrent reads that one", theirs[5].get_mutable(SEED, b"salt", 10) == b"third")
    name = hashlib.sha1(b"a swarm").hexdigest()
    check("a peer is announced on eight of them", until_all(by_all, lambda: writer.announce(name)) == N)
    check("a reader finds it", reader.peers(name) == [writer.at])
    test_read_only(places, theirs, reader)
    test_ids(theirs, writer)
    check("libtorrent was asked a private question at most once",
          max(node.n_private(t.at) for node in (writer, reader) for t in theirs) <= 1)


def test_read_only(places, theirs, node):
    """(One that also wrote is taken in by libtorrent all the same, for its token proves its address.)"""
    me, own = Stranger(places.ip()), node.id()
    found = [nodes(me.ask(t.at, "find_node", target=own)) for t in theirs]
    check("libtorrent's tables are not empty", all(found))
    check("a read-only node is in none of them", not any(own in f or node.at in f.values() for f in found))
    check("and answers nothing", me.ask(node.at, "ping", seconds=1) is None)


def test_ids(theirs, node):
    ip = ip_of(node.at)
    check("libtorrent tells us our address", node.ask("external") == node.at)
    check("our id fits it (BEP 42)", fits(node.id(), ip) and not fits(node.id(), "9.9.9.9"))


def test_getters(places):
    """Our nodes keep, libtorrent's asks: one that knows nobody but ours."""
    first = Ours(at(places.ip(), 0))
    ours = [first] + [Ours(at(places.ip(), 0)) for _ in range(N + 3)]
    for node in ours[1:]:
        node.join(first.at)
    check("our nodes find each other", until(lambda: min(n.n_good() for n in ours) >= N))
    target, _ = ours[1].put("from-our-store")
    ours[2].put_mutable(SEED, "salt", 3, "mutable")
    name = hashlib.sha1(b"another swarm").hexdigest()
    check("a peer is announced on eight of them", until_all(by_all, lambda: ours[3].announce(name)) >= N)
    getter = Torrent(places.ip(), join=ours[4].at, **STRICT)
    check("libtorrent's table takes them in, strict about ids", until(lambda: getter.n_nodes() >= N))
    check("it gets an item", getter.get(target) == b"from-our-store")
    check("it gets a mutable item", getter.get_mutable(SEED, b"salt", 3) == b"mutable")
    check("it finds a peer", getter.peers(name) == [ours[3].at])
    target, n = until_all(by_all, lambda: getter.put(b"from the guest"))
    check("it puts an item on eight of ours (%d)" % n, n == N)
    check("we get it", ours[7].get(target) == (0, "14:from the guest"))
    target, n = getter.put_mutable(SEED, b"salt", b"changed")
    check("it puts the next of a mutable item", n == N and ours[8].get(target, "salt") == (4, "7:changed"))


def test_bystanders(places):
    """Both kinds in one network: items of each are found by each, whoever is nearest."""
    theirs = torrents(places)
    ours = [Ours(at(places.ip(), 0)) for _ in range(N)]
    for node in ours:
        node.join(theirs[0].at)
    check("they grow together", until(lambda: min(n.n_good() for n in ours) >= 2 * N - 4) and
          until(lambda: min(t.n_nodes() for t in theirs) >= N))
    for i in range(3):
        target, n = until_all(by_all, lambda: ours[i].put("ours-%d" % i))
        check("item %d of ours is stored on eight (%d)" % (i, n), n >= N)
        check("we find it", ours[i + 3].get(target) == (0, "6:ours-%d" % i))
        check("libtorrent finds it", theirs[i + 3].get(target) == b"ours-%d" % i)
        target, n = until_all(by_all, lambda: theirs[i].put(b"theirs-%d" % i))
        check("item %d of theirs is stored on eight (%d)" % (i, n), n >= N)
        check("we find it", ours[i + 4].get(target) == (0, "8:theirs-%d" % i))
        check("libtorrent finds it", theirs[i + 4].get(target) == b"theirs-%d" % i)
    name = hashlib.sha1(b"a common swarm").hexdigest()
    ours[1].announce(name)
    handle = theirs[1].add(name)

    def both_found():
        handle.force_dht_announce()
        wanted = {ours[1].at, theirs[1].at}
        return wanted <= set(ours[6].peers(name)) and wanted <= set(theirs[6].peers(name))
    check("announced by each, found by each", until(both_found, 0.3))
    test_judges(places, ours[0], theirs[0])


def test_judges(places, ours, theirs):
    """The same questions to both: the same answers."""
    me, public_ = Stranger(places.ip()), public_key(SEED)
    target = hashlib.sha1(public_ + b"judged").digest()

    def token(of):
        return me.ask(of.at, "get", target=target)[b"r"][b"token"]

    def put(of, seq, value, salt=b"judged", forged=False, **fields):
        signed = b"4:salt" + encode(salt) + b"3:seq" + encode(seq) + b"1:v" + encode(value)
        signature = sign(SEED, signed)
        if forged:
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        whole = {"k": public_, "salt": salt, "seq": seq, "sig": signature, "v": value, "token": token(of)}
        answer = me.ask(of.at, "put", **{**whole, **fields})
        return answer[b"e"][0] if b"e" in answer else 0

    for what, node in (("ours", ours), ("libtorrent", theirs)):
        ask = [("takes an item", 0, dict(seq=5, value=b"x")),
               ("again the same", 0, dict(seq=5, value=b"x")),
               ("refuses a lower seq with 302", 302, dict(seq=4, value=b"y")),
               ("refuses a wrong cas with 301", 301, dict(seq=6, value=b"y", cas=4)),
               ("takes the right cas", 0, dict(seq=6, value=b"y", cas=5)),
               ("refuses a forged signature with 206", 206, dict(seq=7, value=b"z", forged=True)),
               ("refuses a value of 1001 bytes with 205", 205, dict(seq=8, value=b"z" * 997)),
               ("refuses a salt of 65 bytes with 207", 207, dict(seq=8, value=b"z", salt=b"s" * 65)),
               ("refuses a wrong token with 203", 203, dict(seq=9, value=b"z", token=b"12345678"))]
        for sentence, error, fields in ask:
            got = put(node, **fields)
            check("%s %s%s" % (what, sentence, "" if got == error else " (said %d)" % got), got == error)
        got = me.ask(node.at, "get", target=target)
        check(what + " holds what it took", (got[b"r"][b"seq"], got[b"r"][b"v"]) == (6, b"y"))
        check(what + " does not repeat what we have", b"v" not in me.ask(node.at, "get", target=target, seq=6)[b"r"])
        other = hashlib.sha1(b"announced").digest()
        good = me.ask(node.at, "get_peers", info_hash=other)[b"r"][b"token"]
        answer = me.ask(node.at, "announce_peer", info_hash=other, port=77, token=b"12345678")
        check(what + " refuses an announcement with a wrong token (203)", answer[b"e"][0] == 203)
        answer = me.ask(node.at, "announce_peer", info_hash=other, port=77, token=good)
        check(what + " takes one with the right token", b"r" in answer)
        answer = me.ask(node.at, "get_peers", info_hash=other)
        check(what + " gives it out", answer[b"r"][b"values"] == [bytes(int(b) for b in me.ip.split(".")) + b"\0M"])
        check(what + " says who it is and how it sees us", len(answer[b"v"]) == 4 and len(answer[b"ip"]) == 6)
        check(what + " has an id that fits its address", fits(answer[b"r"][b"id"], ip_of(node.at)))


def test_v6(places):
    """BEP 32: two families side by side."""
    theirs = mesh(4, lambda: Torrent(*places.both()))
    check("libtorrent's nodes of two families find each other", theirs)
    pairs = [places.both() for _ in range(4)]
    ours = [Ours(at(v4, 4100), at(v6, 4100)) for v4, v6 in pairs]
    for node in ours:
        node.join(*theirs[0].all_at)
    check("ours find them and each other", until(lambda: min(n.n_good() for n in ours) >= 2 * 7))
    four, six = Stranger(places.ip()), Stranger(places.both()[1])
    for what, to4, to6 in (("ours", ours[1].at, at(pairs[1][1], 4100)), ("libtorrent", *theirs[1].all_at)):
        answers = {}
        for family, who, to in ((4, four, to4), (6, six, to6)):
            for want in ([], ["n4"], ["n6"], ["n4", "n6"]):
                fields = {"want": want} if want else {}
                r = who.ask(to, "find_node", target=who.id, **fields, pad="." * 200)[b"r"]
                answers[family, "".join(want)] = (len(r.get(b"nodes", b"")) > 0, len(r.get(b"nodes6", b"")) > 0)
        check(what + ": asked over IPv4, nodes", answers[4, ""] == (True, False))
        check(what + ": asked over IPv6, nodes6", answers[6, ""] == (False, True))
        for family in (4, 6):
            said = [answers[family, w] for w in ("n4", "n6", "n4n6")]
            check(what + ": over IPv%d, what is wanted" % family, said == [(True, False), (False, True), (True, True)])
    place = places.both()[1]
    alone, guest = Ours(at(place, 4100)), Torrent(places.both()[1], join=at(pairs[2][1], 4100))
    alone.join(theirs[1].all_at[1])
    check("nodes with IPv6 alone come in", until(lambda: alone.n_good() >= 5 and guest.n_nodes() >= 4))
    target, _ = alone.put("over-six")
    check("an item put over IPv6 is found by libtorrent", guest.get(target) == b"over-six")
    target, _ = guest.put(b"back over six")
    check("and the other way", alone.get(target) == (0, "13:back over six"))
    name = hashlib.sha1(b"a swarm of six").hexdigest()
    alone.announce(name)
    check("a peer with IPv6 alone is announced and found", at(place, 4100) in guest.peers(name))
    check("libtorrent tells us our IPv6 address", alone.ask("external") == at(place, 4100))


def main():
    places = Places(60)
    test_storers(places)
    test_getters(places)
    test_bystanders(places)
    test_v6(places)


run(main)
