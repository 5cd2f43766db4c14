/**
 * dht/foreign.h - nodes of other programs that we met lately, so that they are not asked what only ours understand.
 *
 * 64 of them, as 32 bits of a hash each; two that share one do no harm: a node of ours is then asked the way only, once.
 */
#ifndef DHT_FOREIGN_H
#define DHT_FOREIGN_H

#include "dht/dht.h"

#define DHT_FOREIGN_MAX 64

struct dht_foreign {
    size_t n; /* ever */
    uint32_t mark[DHT_FOREIGN_MAX];
};

bool dht_foreign_has(const struct dht_foreign *foreign, const struct addr *addr);

/** It answered, as one of ours or not. */
void dht_foreign_note(struct dht_foreign *foreign, const struct addr *addr, bool is_ours);

#endif
