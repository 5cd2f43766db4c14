/**
 * net/deadlines.h - who wants to be woken when: a binary heap of deadlines, the earliest on top.
 *
 * A member carries its own place in the heap, so that changing one deadline among n costs log n steps and nobody is searched
 * for.  One thread.
 */
#ifndef NET_DEADLINES_H
#define NET_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

/** Embedded in whoever waits; all zeros at the start. */
struct deadline {
    uint64_t at_us;
    size_t rank; /* its place in the heap, from 1; 0: not in it */
};

struct deadlines {
    size_t n, n_max;
    struct deadline **member;
};

/** Room for n_max members.  HANSE_ENOMEM. */
HANSE_MUST_USE int deadlines_init(struct deadlines *all, size_t n_max);
void deadlines_fini(struct deadlines *all);

/** Puts `d` in, or moves it; IO_NEVER takes it out.  Borrows `d` until it is out. */
void deadlines_set(struct deadlines *all, struct deadline *d, uint64_t at_us);

/** The earliest, or NULL. */
struct deadline *deadlines_first(const struct deadlines *all);

#endif
