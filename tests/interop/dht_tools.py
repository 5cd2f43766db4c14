#!/usr/bin/python3
"""tests/interop/dht_tools.py - hanse dht as somebody uses it to look at a swarm of libtorrent alone, on loopback.

Skipped (77) where python3-libtorrent is not installed.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings

try:
    import libtorrent as lt
except ImportError:
    print("python3-libtorrent is not installed: skipped")
    sys.exit(77)

warnings.simplefilter("ignore", DeprecationWarning)
HANSE = os.path.abspath(os.path.join(os.environ.get("top_builddir", "."), "hanse"))
N_SESSIONS = 6
PATIENCE = 120  # seconds for what should happen soon, on a machine that does other things
n_checks = 0


def check(what, ok, shown=""):
    global n_checks
    n_checks += 1
    print(("ok   " if ok else "FAIL ") + what, flush=True)
    if not ok:
        print(shown)
        sys.exit(1)


def hanse(*words):
    """Status and output of hanse dht, the output as JSON where it was asked for."""
    p = subprocess.run([HANSE, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
    text = p.stdout.decode("ascii")
    return p.returncode, json.loads(text) if "--json" in words and p.returncode == 0 else text


def torrent_session(boot):
    settings = {
        "listen_interfaces": "127.0.0.1:0", "enable_dht": True, "enable_lsd": False, "enable_upnp": False,
        "enable_natpmp": False, "dht_bootstrap_nodes": "", "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False, "dht_block_ratelimit": 10000, "dht_upload_rate_limit": 10000000,
        "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification,
    }
    if boot:
        settings["dht_bootstrap_nodes"] = "127.0.0.1:%d" % boot
    session = lt.session(settings)
    end = time.time() + PATIENCE
    while session.listen_port() == 0 and time.time() < end:
        time.sleep(0.02)
    if boot:
        session.add_dht_node(("127.0.0.1", boot))
    return session


def wait_for(session, kind, matches=lambda a: True):
    end = time.time() + PATIENCE
    while time.time() < end:
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if isinstance(alert, kind) and matches(alert):
                return alert
    return None


def until(what, holds):
    """Asks again until holds() returns something that is true, and returns it."""
    end, got = time.time() + PATIENCE, None
    while not got and time.time() < end:
        got = holds()
        time.sleep(0 if got else 0.2)
    check(what, bool(got))
    return got


def crawl(join):
    status, x = hanse("dht", "crawl", "--join", join, "--json")
    return x if status == 0 and x["networks"][0]["answered"] == N_SESSIONS else None


def main():
    sessions = [torrent_session(0)]
    boot = sessions[0].listen_port()
    for _ in range(N_SESSIONS - 1):
        sessions.append(torrent_session(boot))
    join = "127.0.0.1:%d" % boot

    status, x = hanse("dht", "ping", join)
    check("ping names libtorrent", status == 0 and "libtorrent " in x and "(LT" in x and "sees us at  127.0.0.1:" in x, x)
    check("with its release", ".".join(lt.__version__.split(".")[:2]) in x, x)
    x = until("crawl finds them all", lambda: crawl(join))
    check("at their ports", sorted(n["address"] for n in x["nodes"]) ==
          sorted("127.0.0.1:%d" % s.listen_port() for s in sessions), x)
    check("which are libtorrent", all(n["program"].startswith("libtorrent ") for n in x["nodes"]), x)
    status, x = hanse("dht", "find", "anything", "--join", join, "--json")
    check("find walks to all of them", status == 0 and len(x["nodes"]) == N_SESSIONS, x)
    status, x = hanse("dht", "table", join, "--rate", "200", "--json")
    check("table shows whom one knows", status == 0 and x["complete"] and len(x["nodes"]) >= 3, x)

    # libtorrent takes whoever writes with a good token into its table, read-only or not, and waits long for those who left: so
    # what it does itself comes before what we write.
    sha = sessions[2].dht_put_immutable_item(b"from libtorrent")
    check("libtorrent puts", wait_for(sessions[2], lt.dht_put_alert) is not None)
    status, x = hanse("dht", "get", str(sha), "--join", join)
    check("get reads that", status == 0 and x.startswith("from libtorrent\n"), x)
    info_hash = hashlib.sha1(b"a torrent of theirs").hexdigest()
    add = lt.parse_magnet_uri("magnet:?xt=urn:btih:" + info_hash)
    add.save_path = "/nonexistent"
    handle = sessions[5].add_torrent(add)
    wanted = "127.0.0.1:%d" % sessions[5].listen_port()

    def finds_peer():
        handle.force_dht_announce()
        return wanted in hanse("dht", "find", "--peers", info_hash, "--join", join)[1]

    until("find --peers finds libtorrent's own", finds_peer)

    status, x = hanse("dht", "put", "from hanse", "--join", join, "--json")
    check("put: they store an item", status == 0 and x["write"]["stored"] == N_SESSIONS, x)
    sessions[1].dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(x["target"])))
    alert = wait_for(sessions[1], lt.dht_immutable_item_alert)
    check("libtorrent gets it", alert is not None and alert.item["value"] == b"from hanse")
    status, x = hanse("dht", "get", x["target"], "--join", join, "--json")
    check("get reads it back", status == 0 and x["item"]["text"] == "from hanse" and x["holders"] == N_SESSIONS, x)

    with tempfile.TemporaryDirectory() as tmp:
        status, x = hanse("key", "new", "--dir", tmp)
        key = x.split()[0]
        full = os.path.join(tmp, "full")
        with open(full, "w", encoding="ascii") as f:
            f.write("x" * 996)
        write = ("dht", "put", "--mutable", "--salt", "salt", "--key", tmp, "--join", join)
        status, x = hanse(*write, "@" + full, "--json")
        check("put: a mutable one of 1000 bytes", status == 0 and x["write"]["stored"] == N_SESSIONS and x["seq"] == 1, x)
        status, x = hanse(*write, "second", "--json")
        check("put: its successor", status == 0 and x["write"]["stored"] == N_SESSIONS and x["seq"] == 2, x)
        sessions[3].dht_get_mutable_item(bytes.fromhex(key), b"salt")
        alert = wait_for(sessions[3], lt.dht_mutable_item_alert)
        check("libtorrent gets it", alert is not None and alert.item["value"] == b"second" and alert.item["seq"] == 2)
        status, x = hanse("dht", "get", key, "--salt", "salt", "--join", join, "--json")
        check("get reads it", status == 0 and x["item"]["text"] == "second" and x["item"]["seq"] == 2 and
              x["holders"] == N_SESSIONS and x["false_at"] == 0, x)
        status, x = hanse(*write, "late", "--seq", "1")
        check("an old seq is refused with 302", status == 1 and "%d refused with error 302" % N_SESSIONS in x, x)
        status, x = hanse(*write, "wrong", "--cas", "7")
        check("a wrong cas with 301", status == 1 and "%d refused with error 301" % N_SESSIONS in x and
              "another sequence number: 2; read it again, then put with --cas 2" in x, x)
        status, x = hanse(*write, "right", "--cas", "2", "--json")
        check("the right one is taken", status == 0 and x["write"]["stored"] == N_SESSIONS and x["seq"] == 3, x)

    info_hash = hashlib.sha1(b"a torrent").hexdigest()
    status, x = hanse("dht", "announce", info_hash, "--port", "5000", "--join", join, "--json")
    check("announce: they store a peer", status == 0 and x["write"]["stored"] == N_SESSIONS, x)
    sessions[4].dht_get_peers(lt.sha1_hash(bytes.fromhex(info_hash)))
    alert = wait_for(sessions[4], lt.dht_get_peers_reply_alert, lambda a: a.num_peers() > 0)
    check("libtorrent finds it", alert is not None and ("127.0.0.1", 5000) in [tuple(p) for p in alert.peers()])
    print("%d checks" % n_checks)
    os._exit(0)  # sessions take seconds to close


main()
