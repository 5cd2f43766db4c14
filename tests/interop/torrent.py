"""tests/interop/torrent.py - DHT nodes of libtorrent, and keys in its form.  Skips the test where python3-libtorrent is missing."""
import hashlib
import subprocess
import sys
import time
import warnings

try:
    import libtorrent as lt
except ImportError:
    print("python3-libtorrent is not installed (apt-get install python3-libtorrent): skipped")
    sys.exit(77)

from interop import PATIENCE, at, ip_of, until

warnings.simplefilter("ignore", DeprecationWarning)


PORT = 6881


class Torrent:
    """A session with nothing but a DHT node, on one address of each family at most."""

    def __init__(self, *ips, port=PORT, join=None, **settings):
        """`join` is an "ADDR:PORT", or several."""
        joins = [join] if isinstance(join, str) else join or []
        self.session = lt.session(dict({
            "listen_interfaces": ",".join(at(ip, port) for ip in ips), "enable_dht": True, "enable_lsd": False,
            "enable_upnp": False, "enable_natpmp": False, "dht_bootstrap_nodes": ",".join(joins),
            "dht_block_ratelimit": 10000, "dht_upload_rate_limit": 10000000,
            "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification,
        }, **settings))
        assert until(lambda: self.session.listen_port() != 0, 0.02)
        self.port = self.session.listen_port()
        self.at = at(ips[0], self.port)
        self.all_at = [at(ip, self.port) for ip in ips]

    def know(self, *at_):
        """Tells it of nodes.  (Those it was started with are routers, which never enter its table.)"""
        for one in at_:
            self.session.add_dht_node((ip_of(one), int(one.rsplit(":", 1)[1])))

    def n_nodes(self):
        return self.session.status().dht_nodes

    def wait_for(self, kind, matches=lambda a: True):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.session.wait_for_alert(200)
            for alert in self.session.pop_alerts():
                if isinstance(alert, kind) and matches(alert):
                    return alert
        return None

    def put(self, text):
        """Puts an immutable item; returns its target and how many took it."""
        target = self.session.dht_put_immutable_item(text)
        alert = self.wait_for(lt.dht_put_alert)
        return str(target), alert.num_success if alert else 0

    def put_mutable(self, seed, salt, text):
        """Its seq is one more than what it finds."""
        public = public_key(seed)
        self.session.dht_put_mutable_item(private_key(seed), public, text, salt)
        alert = self.wait_for(lt.dht_put_alert)
        return hashlib.sha1(public + salt).hexdigest(), alert.num_success if alert else 0

    def get(self, target):
        self.session.dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(target)))
        alert = self.wait_for(lt.dht_immutable_item_alert)
        return alert.item["value"] if alert else None

    def get_mutable(self, seed, salt, seq):
        """The value of this seq; None when it does not come."""
        self.session.dht_get_mutable_item(public_key(seed), salt)
        alert = self.wait_for(lt.dht_mutable_item_alert, lambda a: a.item["seq"] == seq)
        return alert.item["value"] if alert else None

    def peers(self, info_hash):
        self.session.dht_get_peers(lt.sha1_hash(bytes.fromhex(info_hash)))
        alert = self.wait_for(lt.dht_get_peers_reply_alert, lambda a: a.num_peers() > 0)
        return [at(*p) for p in alert.peers()] if alert else []

    def add(self, info_hash):
        """A torrent without metadata; returns what announces it (session.dht_announce cannot be called in 2.0.8)."""
        add = lt.parse_magnet_uri("magnet:?xt=urn:btih:" + info_hash)
        add.save_path = "/nonexistent"
        return self.session.add_torrent(add)


def mesh(n, make):
    """n nodes that know each other.  They learn their own addresses on the way, and take other ids."""
    all_ = [make() for _ in range(n)]

    def is_meshed():
        for one in all_:
            one.know(*[at_ for other in all_ if other is not one for at_ in other.all_at])
        return min(one.n_nodes() for one in all_) >= (n - 1) * len(all_[0].all_at)
    return all_ if until(is_meshed, 0.5) else None


def private_key(seed):
    """libtorrent's form of an Ed25519 private key: the clamped SHA-512 of the seed."""
    h = bytearray(hashlib.sha512(seed).digest())
    h[0] &= 248
    h[31] = (h[31] & 63) | 64
    return bytes(h)


def pkcs8(seed):
    return b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20" + seed


def public_key(seed):
    out = subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], input=pkcs8(seed),
                         capture_output=True, check=True).stdout
    return out[-32:]
