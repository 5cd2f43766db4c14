/**
 * node/meeting.h - a meeting place in a Mainline network, where the peers of a run that know nobody find their first others.
 *
 * A second DHT node (dht/dht.h) beside the overlay's, on the same socket.  It is read-only (BEP 43): what others ask reaches the
 * overlay alone, which must be closed (dht_config.is_closed).  The place is SHA-1 of "hanse-meeting" || run id; hosts
 * announce their port there (BEP 5).
 *
 * It is visited, not lived in: a visit enters through the routers, or who was good last time, looks who is there, announces, and
 * leaves.  A host comes back every 15 minutes, give or take one; whoever knows nobody in the overlay comes back after 3 s, then
 * after growing pauses of up to a minute.
 *
 * What is found are strangers' words: each address is pinged once a visit, a few at a time, in the order of how many others share
 * its subnet, and counts for nothing unless one of ours answers (dht_hint()).  Local addresses found in a public network
 * are passed over.
 *
 * Loop thread only.
 */
#ifndef NODE_MEETING_H
#define NODE_MEETING_H

#include "base/io.h"
#include "dht/dht.h"

#define MEETING_ROUTERS_MAX 16

/** Where a Mainline network is entered. */
struct meeting_routers {
    struct addr addr[MEETING_ROUTERS_MAX];
    size_t n;
    /* Gives one more that has become known meanwhile, such as of a name that was looked up; false: none for now.  May be NULL. */
    bool (*next)(void *arg, uint64_t now_us, struct addr *out);
    void *arg;
};

struct meeting_config {
    const struct key *key;                 /* kept */
    const struct meeting_routers *routers; /* kept */
    struct hash run;
    uint16_t port; /* what a host announces; 0: only looks */
    uint64_t seed;
};

struct meeting;

/** Where the peers of a run meet. */
struct dht_id meeting_place(const struct hash *run);

/** Keeps `io` and `overlay`; begins its first visit at once. */
HANSE_MUST_USE int meeting_new(const struct meeting_config *config, const struct io *io, struct dht *overlay, uint64_t now_us,
                               struct meeting **out);
void meeting_free(struct meeting *meeting);

/** Takes IO_DATAGRAM ahead of the overlay; true when it was an answer to a question of the meeting's.  NULL takes nothing. */
bool meeting_datagram(struct meeting *meeting, uint64_t now_us, const struct addr *from, const uint8_t *bytes, size_t n);

/** To be called when meeting_deadline() has come, and may be at any event. */
void meeting_tick(struct meeting *meeting, uint64_t now_us);

/** IO_NEVER for NULL. */
uint64_t meeting_deadline(const struct meeting *meeting);

/** True while the first visit is under way and the overlay knows nobody: who waits may still meet somebody.  False for NULL. */
bool meeting_is_first(const struct meeting *meeting);

struct meeting_stats {
    size_t n_visits, n_lookups, n_found, n_hints; /* found: addresses in the last lookup */
    size_t n_announced;                           /* nodes that took the last announcement */
    uint64_t n_queries;                           /* that were sent into Mainline */
    bool is_there, was_entered;                   /* entered: somebody in Mainline has answered */
};
struct meeting_stats meeting_stats(const struct meeting *meeting);

#endif
