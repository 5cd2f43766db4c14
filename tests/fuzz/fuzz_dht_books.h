/**
 * tests/fuzz/fuzz_dht_books.h - what a node has noted down of its reads, held against itself: between events a holder is waited for
 * exactly as long as something is under way to it, and nobody is asked for what is not missing.
 */
#ifndef TESTS_FUZZ_DHT_BOOKS_H
#define TESTS_FUZZ_DHT_BOOKS_H

#include <assert.h>
#include <string.h>

#include "dht/operation.h"

/* The holders that are asked by datagrams, a late question and its repeat counted twice. */
static inline size_t find_asked(const struct dht *dht, const struct dht_operation *op,
                                const struct addr *asked[DHT_TRANSACTIONS_MAX])
{
    const struct dht_transactions *all = &dht->transactions;
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++) {
        const struct dht_transaction *t =
            &all->block[all->heap[i] / DHT_TRANSACTIONS_BLOCK][all->heap[i] % DHT_TRANSACTIONS_BLOCK];
        if (t->operation == op->number && t->role == DHT_ROLE_PAGE)
            asked[n++] = &t->addr;
    }
    return n;
}

/* A holder is waited for exactly as long as something is under way to it. */
static inline void check_pages(const struct dht *dht, const struct dht_operation *op)
{
    const struct addr *asked[DHT_TRANSACTIONS_MAX];
    size_t n_asked_now = find_asked(dht, op, asked), n_busy = 0, n_counted = 0;
    for (size_t i = 0; i < op->read->n_pages; i++) {
        const struct dht_page *page = &op->read->page[i];
        bool is_asked = page->state == DHT_PAGE_LISTS || page->state == DHT_PAGE_FETCHES;
        size_t n = 0;
        for (size_t j = 0; j < n_asked_now; j++)
            n += addr_equal(asked[j], &page->addr);
        assert(is_asked ? n == 1 || n == 2 : n == 0);
        assert(page->state == DHT_PAGE_IDLE || !page->is_lost);
        n_busy += page->state != DHT_PAGE_IDLE;
        n_counted += n;
    }
    assert(op->n_in_air == n_busy && n_counted == n_asked_now);
}

static inline void check_missing(const struct dht_read *read)
{
    for (size_t i = 0; i < read->n_missing; i++) {
        const struct dht_missing *m = &read->missing[i];
        assert(i == 0 || memcmp(m[-1].digest, m->digest, DHT_DIGEST_BYTES) < 0);
        assert((m->holders & ~m->named) == 0);
        assert(m->page_i == UINT8_MAX || (m->page_i < read->n_pages && read->page[m->page_i].state != DHT_PAGE_IDLE));
    }
}

static inline void fuzz_books_check(const struct dht *dht)
{
    size_t n = 0;
    for (const struct dht_operation *op = dht->running.first; op; op = op->next, n++)
        if (op->read) {
            check_pages(dht, op);
            check_missing(op->read);
        }
    assert(n == dht->n_running);
    for (const struct dht_operation *op = dht->waiting.first; op; op = op->next)
        n++;
    assert(n == dht->n_operations && dht->window.size >= DHT_WINDOW_MIN && dht->window.size <= DHT_WINDOW_MAX);
    assert(dht_memory(dht) > 0);
}

#endif
