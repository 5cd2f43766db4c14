/**
 * cmd/session.h - what the commands that take part in a swarm begin with: the run, kernels, a directory, a key, a network.
 */
#ifndef CMD_SESSION_H
#define CMD_SESSION_H

#include "base/disk.h"
#include "cmd/options.h"
#include "kernels/device.h"
#include "model/run.h"
#include "net/cores.h"
#include "net/names.h"
#include "net/net.h"
#include "node/client.h"

#define SESSION_PORT 4100 /* the first port that is tried, and asked */
#define SESSION_N_PORTS 32

/** What the command line says; start from session_options_default(). */
struct session_options {
    const char *run_file, *isa;
    const char *device; /* NULL: as the wish says */
    const char *dir;    /* NULL: a command that keeps nothing */
    struct options_addrs join;
    const char *mainline; /* where a Mainline network is entered, "" for the well-known routers; NULL: not at all */
    uint64_t n_workers;   /* 0: one a core that we may use */
    bool pins_workers;    /* each to a core of its own */
};

/* Rows for a command's option table, all about a struct session_options o. */
#define SESSION_ROW_RUN(o)                                                                                                       \
    {                                                                                                                            \
        "run", "FILE", OPTIONS_TEXT, &(o).run_file, "the run's description (run.yaml)", 0, 0, true                               \
    }
#define SESSION_ROW_DIR(o)                                                                                                       \
    {                                                                                                                            \
        "dir", "DIR", OPTIONS_TEXT, &(o).dir, "directory of key and checkpoints; made if missing", 0, 0, true                    \
    }
#define SESSION_ROW_JOIN(o)                                                                                                      \
    {                                                                                                                            \
        "join", "ADDR:PORT", OPTIONS_ADDRS, &(o).join,                                                                           \
            "a peer to meet others through; may be repeated (default: ports 4100 to 4131 of this machine)", 0, 0, false          \
    }
#define SESSION_ROW_MAINLINE(o)                                                                                                  \
    {                                                                                                                            \
        "mainline", "[=HOST:PORT,...]", OPTIONS_MAYBE, &(o).mainline,                                                            \
            "meet the peers of this run through the public BitTorrent DHT, entered at these nodes (default: not; without "       \
            "nodes: "                                                                                                            \
            "at its well-known ones)",                                                                                           \
            0, 0, false                                                                                                          \
    }
#define SESSION_ROW_ISA(o)                                                                                                       \
    {                                                                                                                            \
        "isa", "NAME", OPTIONS_TEXT, &(o).isa,                                                                                   \
            "kernels: " KERNELS_NAMES " (default: $HANSE_ISA, else the fastest); all give the same bits", 0, 0, false            \
    }
#define SESSION_ROW_DEVICE(o, what_by_default)                                                                                   \
    {                                                                                                                            \
        "device", "NAME", OPTIONS_TEXT, &(o).device,                                                                             \
            "what computes: cpu, cuda or cuda:N, the GPU that nvidia-smi calls N (default: $HANSE_DEVICE, else " what_by_default \
            "); all give the same bits",                                                                                         \
            0, 0, false                                                                                                          \
    }
#define SESSION_ROW_WORKERS(o)                                                                                                   \
    {                                                                                                                            \
        "workers", "N", OPTIONS_U64, &(o).n_workers, "threads that compute, or with a GPU hand it work (default: one a core)",   \
            1, 1024, false                                                                                                       \
    }
#define SESSION_ROW_PIN(o)                                                                                                       \
    {                                                                                                                            \
        "pin", NULL, OPTIONS_FLAG, &(o).pins_workers,                                                                            \
            "bind each of them to a core of its own: for a machine on which nothing else computes", 0, 0, false                  \
    }

/** How a command wants its session. */
struct session_wish {
    bool wants_lock;     /* nobody else may use the directory meanwhile */
    bool wants_own_key;  /* the directory's key; else a fresh one for this process alone */
    bool wants_device;   /* computes on a GPU without being told to, where there is one */
    bool wants_listener; /* a host: TCP and UDP on `listen`, tried on n_ports ports */
    struct addr listen;
    unsigned n_ports;
};

struct session {
    struct run run;
    const struct kernels *kernels; /* of the CPU */
    const struct kernels *compute; /* the same, or those of a GPU */
    struct device_info gpu;        /* of the latter */
    struct disk disk;
    struct key *key;
    struct cores *cores;
    struct net *net;
    struct addr join[OPTIONS_LIST_MAX];
    size_t n_join;
    bool is_explicit_join;
    struct meeting_routers mainline;
    struct names *names; /* of the routers that were given by name */
    bool has_mainline;
    unsigned n_workers;
    uint64_t seed; /* from the system, for protocol decisions */
};

/** $HANSE_ISA and $HANSE_DEVICE, and nothing else set.  Without a run file session.run is all zeros. */
struct session_options session_options_default(void);

/** 0, or the refusal of options about others that --local would ignore. */
int session_check(const struct options_usage *usage, bool is_local);

/** Opens all that is wished; every error is logged.  session_close() also takes one that failed half way. */
HANSE_MUST_USE int session_open(struct session *session, const struct session_options *options, const struct session_wish *wish);
void session_close(struct session *session);

/** Where to meet others in public, or NULL; points into the session. */
const struct meeting_routers *session_mainline(const struct session *session);

/** How a client of experts is to be set up; points into the session. */
struct client_config session_client(const struct session *session, bool is_local);

#endif
