/**
 * net/names.h - looks up the addresses of names without making anybody wait: a thread of its own does it, however long that takes.
 *
 * That none is found is said once, with the remedy; later calls look again, once a minute.  Loop thread only.
 */
#ifndef NET_NAMES_H
#define NET_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define NAMES_MAX 16

struct names;

/** Starts looking up `n` <= NAMES_MAX texts "HOST:PORT"; copies them.  HANSE_EINVAL (logged) for a text of another form, HANSE_ENOMEM. */
HANSE_MUST_USE int names_new(const char *const *text, size_t n, uint64_t now_us, struct names **out);

/** Waits for nothing.  NULL is fine. */
void names_free(struct names *names);

/** Gives one more address that was found, each once a lookup; false: none for now. */
bool names_next(struct names *names, uint64_t now_us, struct addr *out);

#endif
