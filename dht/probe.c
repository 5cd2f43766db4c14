#include "dht/probe.h"

#include <stdlib.h>

#include "dht/node.h"

/* The number of a probe's slot stands in its transaction where others have their operation. */
static struct dht_waiting_probe *free_slot(struct dht_probes *probes)
{
    size_t i = 0;
    while (probes->slot[i].done)
        i++;
    return &probes->slot[i];
}

int dht_probe(struct dht *dht, uint64_t now_us, const struct addr *to, struct dht_message *question, uint64_t timeout_us,
              dht_probe_done *done, void *arg)
{
    struct dht_probes *probes = &dht->probes;
    if (probes->n == DHT_PROBES_MAX)
        return HANSE_EFULL;
    if (!probes->slot)
        probes->slot = calloc(DHT_PROBES_MAX, sizeof *probes->slot);
    if (!probes->slot)
        return HANSE_ENOMEM;
    struct dht_waiting_probe *slot = free_slot(probes);
    struct dht_transaction *t = dht_ask(dht, now_us, to, question, DHT_ROLE_PROBE, (uint64_t)(slot - probes->slot));
    if (!t)
        return HANSE_EFULL;
    dht_transactions_time(&dht->transactions, t, now_us + timeout_us, now_us + timeout_us);
    *slot = (struct dht_waiting_probe){done, arg};
    probes->n++;
    return 0;
}

void dht_probe_over(struct dht *dht, uint64_t now_us, const struct dht_transaction *t, const struct dht_message *m)
{
    struct dht_waiting_probe *slot = &dht->probes.slot[t->operation], probe = *slot;
    struct dht_probe_answer answer = {.from = t->addr, .rtt_us = now_us - t->sent_us, .message = m};
    slot->done = NULL;
    dht->probes.n--;
    probe.done(probe.arg, now_us, &answer);
}

size_t dht_n_probes(const struct dht *dht)
{
    return dht->probes.n;
}
