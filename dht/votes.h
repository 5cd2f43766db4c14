/**
 * dht/votes.h - what others say our address is ("ip" of BEP 42), and what most of them say.
 *
 * One vote a public subnet, the sixteen latest count.  Only neighbours may say that our address is a local one.
 * All zeros at the start; memory comes with the votes.
 */
#ifndef DHT_VOTES_H
#define DHT_VOTES_H

#include "dht/dht.h"

#define DHT_VOTES_MAX 16

struct dht_votes {
    size_t n, capacity;
    struct dht_vote {
        struct addr voter, said;
    } * vote; /* oldest first */
};

void dht_votes_fini(struct dht_votes *votes);

void dht_votes_add(struct dht_votes *votes, const struct addr *voter, const struct addr *said);

/** The address most often said and how many said it; 0 and `out` untouched while nobody has. */
size_t dht_votes_winner(const struct dht_votes *votes, struct addr *out);

#endif
