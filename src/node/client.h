/**
 * node/client.h - what every role that uses experts shares: a read-only DHT node, a router, and for `--local` a host of its own.
 *
 * The local host serves one request at a time, on a worker, in the order of asking.  It is waited for however long it takes:
 * a deadline would only tell how slow our own machine is.
 *
 * Not a machine by itself: trainer and reader embed one and pass it their events.  Loop thread only.
 */
#ifndef NODE_CLIENT_H
#define NODE_CLIENT_H

#include "base/disk.h"
#include "base/team.h"
#include "dht/dht.h"
#include "kernels/kernels.h"
#include "model/run.h"
#include "node/meeting.h"
#include "router/router.h"

#define CLIENT_JOIN_MAX 64

struct client;

struct client_config {
    const struct run *run;         /* kept */
    const struct kernels *kernels; /* kept; of the CPU; the router's, and all else's without a device */
    const struct kernels *device;  /* kept; of a GPU, for the trunk and the local host; NULL: both compute with the CPU's */
    struct team *team;             /* kept; the workers', for large products of a trunk on the CPU; NULL: none */
    const struct key *key;         /* kept */
    uint8_t role;                  /* enum message_role */
    struct addr join[CLIENT_JOIN_MAX];
    size_t n_join;
    const struct meeting_routers *mainline; /* where to meet others in public; kept; NULL: nowhere */
    bool is_explicit_join;                  /* the user named the addresses: nobody there is an error sooner */
    bool is_local;                          /* all experts in this process */
    bool is_sync;                           /* wait for every expert */
    uint64_t seed;
};

/** The kernels that trunk and experts are to compute with. */
static inline const struct kernels *client_tensors(const struct client_config *config)
{
    return config->device ? config->device : config->kernels;
}

/** Keeps `io`, `disk` (the local host's checkpoints; unused otherwise).  Errors of host_new() when local. */
HANSE_MUST_USE int client_new(const struct client_config *config, const struct io *io, const struct disk *disk, uint64_t now_us,
                              struct client **out);
void client_free(struct client *client);

/** Takes every event; true when it was an IO_WORK_DONE of the client's own, which nobody else needs to see. */
bool client_event(struct client *client, uint64_t now_us, const struct io_event *event);

/** 0, or HANSE_EDEVICE once the local host's device failed, HANSE_ENOMEM when it has no memory any more (both logged): it answers nothing,
 * and its user must end.  Ask after client_event(). */
int client_err(const struct client *client);

uint64_t client_deadline(const struct client *client);

struct router *client_router(struct client *client);

/** Whether enough experts can be asked. */
enum client_state {
    CLIENT_WAITING, /* not yet; look again at the next event, client_deadline() sees to it */
    CLIENT_READY,   /* all experts live; or, unless sync, at least one a layer and patience is over */
    CLIENT_FAILED   /* nobody there: *err says which error, and it is logged with the remedy */
};
enum client_state client_ready(struct client *client, uint64_t now_us, int *err);

/** Saves the local host's experts behind what it was asked before; without one there is nothing to save. */
void client_save(struct client *client, uint64_t now_us);

/** True from client_save() until all is written; then *err says how it went. */
bool client_is_saving(const struct client *client, int *err);

/** Whatever the local host was asked and has not begun is dropped, and what comes; it still saves. */
void client_stop(struct client *client);

/** A piece of work is out; client_free() must wait for it. */
bool client_is_working(const struct client *client);

#endif
