#include "net/deadlines.h"

#include <assert.h>
#include <stdlib.h>

#include "base/io.h"

int deadlines_init(struct deadlines *all, size_t n_max)
{
    *all = (struct deadlines){.n_max = n_max};
    all->member = calloc(n_max + 1, sizeof *all->member);
    return all->member ? 0 : HANSE_ENOMEM;
}

void deadlines_fini(struct deadlines *all)
{
    free(all->member);
}

static void put(struct deadlines *all, size_t rank, struct deadline *d)
{
    all->member[rank] = d;
    d->rank = rank;
}

static void rise(struct deadlines *all, size_t rank, struct deadline *d)
{
    for (; rank > 1 && all->member[rank / 2]->at_us > d->at_us; rank /= 2)
        put(all, rank, all->member[rank / 2]);
    put(all, rank, d);
}

static void sink(struct deadlines *all, size_t rank, struct deadline *d)
{
    size_t child;
    for (; (child = 2 * rank) <= all->n; rank = child) {
        if (child < all->n && all->member[child + 1]->at_us < all->member[child]->at_us)
            child++;
        if (all->member[child]->at_us >= d->at_us)
            break;
        put(all, rank, all->member[child]);
    }
    put(all, rank, d);
}

/* Where `d` should stand now, when it stands at `rank`. */
static void settle(struct deadlines *all, size_t rank, struct deadline *d)
{
    if (rank > 1 && all->member[rank / 2]->at_us > d->at_us)
        rise(all, rank, d);
    else
        sink(all, rank, d);
}

static void take_out(struct deadlines *all, struct deadline *d)
{
    size_t rank = d->rank;
    struct deadline *last = all->member[all->n--];
    if (rank <= all->n)
        settle(all, rank, last);
    d->rank = 0;
}

void deadlines_set(struct deadlines *all, struct deadline *d, uint64_t at_us)
{
    if (d->rank != 0 && d->at_us == at_us)
        return;
    d->at_us = at_us;
    if (at_us == IO_NEVER) {
        if (d->rank != 0)
            take_out(all, d);
        return;
    }
    if (d->rank == 0) {
        assert(all->n < all->n_max);
        d->rank = ++all->n;
    }
    settle(all, d->rank, d);
}

struct deadline *deadlines_first(const struct deadlines *all)
{
    return all->n > 0 ? all->member[1] : NULL;
}
