#!/usr/bin/python3
"""tests/interop/dht_libtorrent.py - our DHT nodes and libtorrent's in one overlay on loopback, talking both ways.

Skipped (77) where python3-libtorrent is not installed.
"""
import hashlib
import os
import socket
import subprocess
import sys
import time
import warnings

try:
    import libtorrent as lt
except ImportError:
    print("python3-libtorrent is not installed: skipped")
    sys.exit(77)

warnings.simplefilter("ignore", DeprecationWarning)
NODE = os.path.join(os.environ.get("top_builddir", "."), "tests/interop/dht_node")
n_checks = 0


def check(what, ok):
    global n_checks
    n_checks += 1
    print(("ok   " if ok else "FAIL ") + what, flush=True)
    if not ok:
        sys.exit(1)


class Ours:
    def __init__(self):
        self.process = subprocess.Popen([NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.port = int(self.read("port"))

    def read(self, word):
        line = self.process.stdout.readline().strip()
        assert line.split(" ")[0] == word, line
        return line[len(word) + 1:]

    def ask(self, command, word):
        self.process.stdin.write(command + "\n")
        return self.read(word)

    def until_good(self, n, seconds=10):
        end = time.time() + seconds
        while time.time() < end:
            if int(self.ask("good", "good")) >= n:
                return True
            time.sleep(0.05)
        return False


def torrent_session(boot):
    session = lt.session({
        "listen_interfaces": "127.0.0.1:0", "enable_dht": True, "enable_lsd": False, "enable_upnp": False,
        "enable_natpmp": False, "dht_bootstrap_nodes": "127.0.0.1:%d" % boot, "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False, "dht_block_ratelimit": 10000, "dht_upload_rate_limit": 10000000,
        "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification,
    })
    end = time.time() + 10
    while session.listen_port() == 0 and time.time() < end:
        time.sleep(0.02)
    session.add_dht_node(("127.0.0.1", boot))
    return session


def wait_for(session, kind, matches=lambda a: True, seconds=15):
    end = time.time() + seconds
    while time.time() < end:
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if isinstance(alert, kind) and matches(alert):
                return alert
    return None


def private_key(seed):
    """libtorrent's form of an Ed25519 private key: the clamped SHA-512 of the seed."""
    h = bytearray(hashlib.sha512(seed).digest())
    h[0] &= 248
    h[31] = (h[31] & 63) | 64
    return bytes(h)


def public_key(seed):
    pem = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20" + seed
    out = subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], input=pem,
                         capture_output=True, check=True).stdout
    return out[-32:]


def query(port, message):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.sendto(lt.bencode(message), ("127.0.0.1", port))
        try:
            return lt.bdecode(s.recv(2048))
        except socket.timeout:
            return None


def main():
    ours = [Ours() for _ in range(3)]
    for node in ours[1:]:
        node.ask("join %d" % ours[0].port, "ok")
    check("our nodes find each other", all(node.until_good(2) for node in ours))
    theirs = [torrent_session(ours[0].port) for _ in range(3)]
    check("libtorrent's nodes enter our tables (ping both ways)", all(node.until_good(5, 20) for node in ours))
    end = time.time() + 20
    while time.time() < end and not all(s.status().dht_nodes >= 3 for s in theirs):
        time.sleep(0.1)
    check("our nodes enter libtorrent's tables", all(s.status().dht_nodes >= 3 for s in theirs))

    me = b"interop-interop-inte"
    answer = query(ours[0].port, {"t": "aa", "y": "q", "q": "find_node", "a": {"id": me, "target": me}})
    check("find_node is answered with compact nodes", len(answer[b"r"][b"nodes"]) % 26 == 0 and answer[b"r"][b"nodes"])
    check("the answer tells us our address", len(answer[b"ip"]) == 6)
    answer = query(ours[0].port, {"t": "aa", "y": "q", "q": "no_such_thing", "a": {"id": me}})
    check("an unknown query is answered with 204", answer[b"e"][0] == 204)

    target = ours[1].ask("put_immutable from-us", "target")
    check("we put an immutable item", int(ours[1].read("stored")) >= 3)
    theirs[0].dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(target)))
    alert = wait_for(theirs[0], lt.dht_immutable_item_alert)
    check("libtorrent gets it", alert is not None and alert.item["value"] == b"from-us" if alert else False)

    seed = bytes(range(32))
    public = public_key(seed)
    target = ours[1].ask("put_mutable %s oursalt 7 mutable-from-us" % seed.hex(), "target")
    check("we put a mutable item", int(ours[1].read("stored")) >= 3)
    theirs[0].dht_get_mutable_item(public, b"oursalt")
    alert = wait_for(theirs[0], lt.dht_mutable_item_alert, lambda a: a.authoritative)
    check("libtorrent gets it", alert is not None and alert.item["value"] == b"mutable-from-us" and alert.item["seq"] == 7)

    sha = theirs[1].dht_put_immutable_item(b"from-libtorrent")
    alert = wait_for(theirs[1], lt.dht_put_alert)
    check("libtorrent puts an immutable item", alert is not None and alert.num_success >= 3)
    check("we get it", ours[2].ask("get %s" % str(sha), "item") == "0 15:from-libtorrent")

    theirs[1].dht_put_mutable_item(private_key(seed), public, b"mutable-from-libtorrent", b"theirsalt")
    alert = wait_for(theirs[1], lt.dht_put_alert)
    check("libtorrent puts a mutable item", alert is not None and alert.num_success >= 3)
    name = hashlib.sha1(public + b"theirsalt").hexdigest()
    check("we get it", ours[2].ask("get %s theirsalt" % name, "item").endswith(" 23:mutable-from-libtorrent"))
    check("not under another name", ours[2].ask("get %s othersalt" % name, "item") == "none")

    info_hash = hashlib.sha1(b"some torrent").hexdigest()
    check("we announce a peer", int(ours[0].ask("announce %s" % info_hash, "stored")) >= 3)
    theirs[2].dht_get_peers(lt.sha1_hash(bytes.fromhex(info_hash)))
    alert = wait_for(theirs[2], lt.dht_get_peers_reply_alert, lambda a: a.num_peers() > 0)
    check("libtorrent finds it", alert is not None and ("127.0.0.1", ours[0].port) in [tuple(p) for p in alert.peers()])

    info_hash = hashlib.sha1(b"another torrent").hexdigest()
    add = lt.parse_magnet_uri("magnet:?xt=urn:btih:" + info_hash)
    add.save_path = "/nonexistent"
    handle = theirs[2].add_torrent(add)
    wanted = "127.0.0.1:%d" % theirs[2].listen_port()
    end, found = time.time() + 20, ""
    while wanted not in found and time.time() < end:
        handle.force_dht_announce()
        time.sleep(0.3)
        found = ours[1].ask("peers %s" % info_hash, "peers")
    check("libtorrent announces a peer and we find it", wanted in found)

    for node in ours:
        node.process.stdin.write("quit\n")
        node.process.wait(5)
    print("%d checks" % n_checks)
    os._exit(0)  # sessions take seconds to close


main()
