/**
 * base/addr.h - an IP address and port, v4 or v6, as a plain value without padding surprises.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

#define ADDR_TEXT_BYTES 64

struct addr {
    uint8_t family; /* 4, 6, or 0 for none */
    uint8_t ip[16]; /* network order; v4 uses the first four, the rest are 0 */
    uint16_t port;  /* host order */
};

/** Reads "1.2.3.4:4100" or "[::1]:4100" (no names: a lookup would block).  HANSE_EINVAL otherwise. */
HANSE_MUST_USE int addr_parse(struct addr *out, const char *text);

/** Writes the form that addr_parse() reads and returns `out`. */
const char *addr_text(const struct addr *addr, char out[ADDR_TEXT_BYTES]);

bool addr_equal(const struct addr *a, const struct addr *b);

/** 127/8 or ::1. */
bool addr_is_loopback(const struct addr *addr);

/** 0.0.0.0 or ::. */
bool addr_is_unspecified(const struct addr *addr);

/** Loopback, link-local or private ranges: exempt from BEP 42 and from subnet diversity. */
bool addr_is_local(const struct addr *addr);

/** False for addresses of nobody or of many: 0/8, multicast, 224/3 of v4; ::, ff00::/8 and v4 in the guise of v6. */
bool addr_is_unicast(const struct addr *addr);

/** Mainline compact form: 4 or 16 address bytes, then the port big-endian.  Returns 6 or 18. */
size_t addr_compact(const struct addr *addr, uint8_t out[18]);

/** Reads the compact form of `n` = 6 or 18 bytes; false for another length. */
bool addr_from_compact(struct addr *out, const uint8_t *bytes, size_t n);

#endif
