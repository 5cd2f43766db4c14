/**
 * net/net.h - drives one step machine with the real world: libuv, UDP, TCP, TLS 1.3, threads, files, signals.
 *
 * One UDP socket and one TCP listener on the same port.  A link is TLS 1.3 both ways with self-signed certificates that
 * carry the peer's Ed25519 key as libp2p does (specs, tls/tls.md: extension 1.3.6.1.4.1.53594.1.1), ALPN "hanse/1".  Messages
 * travel in frames of at most 64 KiB, urgent and small ones between the frames of large ones; bytes in flight and
 * in assembly are bounded per link; a link that says nothing for long is probed and dropped.
 * net_new() .. net_free() belong to one thread, which net_run() makes the loop.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/disk.h"
#include "base/io.h"
#include "base/team.h"
#include "net/cores.h"

struct net;

struct net_config {
    const struct key *key;     /* kept */
    struct addr listen;        /* family 0: no listener, UDP on any port (a trainer) */
    unsigned n_ports;          /* tries ports listen.port .. + n_ports - 1; 1 means just this one */
    unsigned n_workers;        /* threads for io_work, at least 1 */
    const struct cores *cores; /* where they are bound; kept; NULL: nowhere */
    bool is_alone;             /* nobody else computes on this machine: cores_bind() */
    bool catch_signals;        /* SIGINT, SIGTERM: IO_STOP; a second one ends the process at once */
    /* Bounds, 0 for the default. */
    uint64_t handshake_us;   /* a link that is not up after this is dropped, as is a closed one of which nothing moves: 10 s */
    uint64_t probe_us;       /* a link silent for this long is asked for a sign of life: 15 s */
    uint64_t silence_us;     /* one silent for this long is dropped: 45 s */
    unsigned n_incoming_max; /* incoming links at a time: 1024 */
};

/** HANSE_EADDRINUSE, HANSE_EACCESS, ...; logged with the remedy. */
HANSE_MUST_USE int net_new(const struct net_config *config, struct net **out);
void net_free(struct net *net);

/** The effects, for the machine's constructor. */
const struct io *net_io(struct net *net);

/** Through it the threads for io_work help each other; NULL when there is one.  For work to hand to what it calls. */
struct team *net_team(struct net *net);

/** Where we listen (UDP and TCP), or are bound for UDP alone. */
struct addr net_address(const struct net *net);

/** Unix time in us that never goes back. */
uint64_t net_now_us(void);

/** Nanoseconds since some moment, for base/profile.h; never goes back. */
uint64_t net_now_ns(void);

/** Runs until the machine calls io->stopped; returns its err.  The first event is IO_START. */
int net_run(struct net *net, const struct io_machine *machine);

/** Bytes on the wire, messages of links and datagrams since the start, and links that are up now; any thread. */
struct net_stats {
    uint64_t n_bytes_in, n_bytes_out, n_messages_in, n_messages_out, n_datagrams_in, n_datagrams_out, n_links;
};
struct net_stats net_stats(const struct net *net);

/** A directory as a disk; made if missing.  HANSE_EACCESS, HANSE_EIO; logged.  files_close() frees. */
HANSE_MUST_USE int files_open(const char *directory, struct disk *out);
void files_close(struct disk *disk);

/** Holds an exclusive lock on the directory until the process ends: HANSE_EBUSY (logged) when another one has it. */
HANSE_MUST_USE int files_lock(const char *directory);

/** The key of a directory (DIRECTORY/key, mode 0600, 64 hex digits and a newline); made if missing when `create`. */
HANSE_MUST_USE int files_key(const char *directory, bool create, struct key **out);

#endif
