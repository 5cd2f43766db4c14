#include "cmd/reach.h"

#include <string.h>

/* A range holds what begins with the same bits; the first that fits counts. */
static const struct range {
    uint8_t family, ip[16];
    unsigned n_bits;
    struct reach reach;
} ranges[] = {
    {4, {127}, 8, {REACH_NOBODY, "this machine alone (loopback)"}},
    {4, {10}, 8, {REACH_SITE, "private (RFC 1918)"}},
    {4, {172, 16}, 12, {REACH_SITE, "private (RFC 1918)"}},
    {4, {192, 168}, 16, {REACH_SITE, "private (RFC 1918)"}},
    {4, {169, 254}, 16, {REACH_LINK, "link-local (RFC 3927)"}},
    {4, {100, 64}, 10, {REACH_PROVIDER, "shared by a provider's customers (100.64.0.0/10, RFC 6598)"}},
    {4, {192, 0, 2}, 24, {REACH_NOBODY, "for examples in documents (TEST-NET-1, RFC 5737)"}},
    {4, {198, 51, 100}, 24, {REACH_NOBODY, "for examples in documents (TEST-NET-2, RFC 5737)"}},
    {4, {203, 0, 113}, 24, {REACH_NOBODY, "for examples in documents (TEST-NET-3, RFC 5737)"}},
    {4, {198, 18}, 15, {REACH_NOBODY, "for measuring devices (198.18.0.0/15, RFC 2544)"}},
    {4, {192, 0, 0}, 24, {REACH_NOBODY, "for protocols between neighbours (192.0.0.0/24, RFC 6890)"}},
    {4, {0}, 8, {REACH_NOBODY, "of no machine (0.0.0.0/8)"}},
    {4, {224}, 3, {REACH_NOBODY, "multicast or reserved (224.0.0.0/3)"}},
    {4, {0}, 0, {REACH_PUBLIC, "public"}},
    {6, {0xfc}, 7, {REACH_SITE, "private (unique local, RFC 4193)"}},
    {6, {0xfe, 0x80}, 10, {REACH_LINK, "link-local (RFC 4291)"}},
    {6, {0x20, 0x01, 0x0d, 0xb8}, 32, {REACH_NOBODY, "for examples in documents (2001:db8::/32, RFC 3849)"}},
    {6, {0x3f, 0xff}, 20, {REACH_NOBODY, "for examples in documents (3fff::/20, RFC 9637)"}},
    {6, {0x20}, 3, {REACH_PUBLIC, "public"}},
    {6, {0}, 0, {REACH_NOBODY, "of no public network (outside 2000::/3)"}},
};

static bool holds(const struct range *range, const struct addr *addr)
{
    size_t n = range->n_bits / 8;
    unsigned mask = 0xff00u >> range->n_bits % 8 & 0xff;
    return range->family == addr->family && memcmp(range->ip, addr->ip, n) == 0 &&
           (mask == 0 || (addr->ip[n] & mask) == range->ip[n]);
}

struct reach reach_of(const struct addr *addr)
{
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (holds(&ranges[i], addr))
            return ranges[i].reach;
    return (struct reach){REACH_NOBODY, "no address"};
}
