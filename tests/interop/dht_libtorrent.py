"""tests/interop/dht_libtorrent.py - our DHT nodes and libtorrent's in one overlay on loopback, talking both ways."""
import hashlib

from interop import Ours, Stranger, check, nodes, run, until
from torrent import Torrent

HERE = "127.0.0.1"
LOCAL = {"dht_restrict_routing_ips": False, "dht_restrict_search_ips": False}  # all nodes share an address


def test_raw(node, me):
    answer = me.ask(node.at, "find_node", target=me.id)
    check("find_node is answered with compact nodes", len(nodes(answer)) > 0)
    check("the answer tells us our address and who speaks", len(answer[b"ip"]) == 6 and answer[b"v"][:2] == b"HN")
    answer = me.ask(node.at, "no_such_thing")
    check("an unknown query is answered with 204", answer[b"e"][0] == 204)


def test_items(ours, theirs):
    target, n = ours[1].put("from-us")
    check("we put an immutable item", n >= 3)
    check("libtorrent gets it", theirs[0].get(target) == b"from-us")
    seed = bytes(range(32))
    _, n, *_ = ours[1].put_mutable(seed, "oursalt", 7, "mutable-from-us")
    check("we put a mutable item", n >= 3)
    check("libtorrent gets it", theirs[0].get_mutable(seed, b"oursalt", 7) == b"mutable-from-us")
    target, n = theirs[1].put(b"from-libtorrent")
    check("libtorrent puts an immutable item", n >= 3)
    check("we get it", ours[2].get(target) == (0, "15:from-libtorrent"))
    target, n = theirs[1].put_mutable(seed, b"theirsalt", b"mutable-from-libtorrent")
    check("libtorrent puts a mutable item", n >= 3)
    check("we get it", ours[2].get(target, "theirsalt") == (1, "23:mutable-from-libtorrent"))
    reader = Ours(HERE + ":0", read_only=True)
    reader.join(ours[0].at)
    check("so does a node that keeps nothing itself", reader.get(target, "theirsalt") == (1, "23:mutable-from-libtorrent"))
    check("not under another salt", reader.get(target, "othersalt") is None)


def test_peers(ours, theirs):
    info_hash = hashlib.sha1(b"some torrent").hexdigest()
    check("we announce a peer", ours[0].announce(info_hash) >= 3)
    check("libtorrent finds it", ours[0].at in theirs[2].peers(info_hash))
    info_hash = hashlib.sha1(b"another torrent").hexdigest()
    handle = theirs[2].add(info_hash)

    def is_found():
        handle.force_dht_announce()
        return theirs[2].at in ours[1].peers(info_hash)
    check("libtorrent announces a peer and we find it", until(is_found, 0.3))


def main():
    ours = [Ours(HERE + ":0") for _ in range(3)]
    for node in ours[1:]:
        node.join(ours[0].at)
    check("our nodes find each other", until(lambda: all(node.n_good() >= 2 for node in ours)))
    theirs = [Torrent(HERE, port=0, join=ours[0].at, **LOCAL) for _ in range(3)]
    check("libtorrent's nodes enter our tables (ping both ways)", until(lambda: all(n.n_good() >= 5 for n in ours)))
    check("our nodes enter libtorrent's tables", until(lambda: all(t.n_nodes() >= 3 for t in theirs)))
    test_raw(ours[0], Stranger(HERE))
    test_items(ours, theirs)
    test_peers(ours, theirs)


run(main)
