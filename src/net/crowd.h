/**
 * net/crowd.h - of many who wait to come in, who goes when there is room for no more.
 *
 * Addresses cost nothing to whoever owns a subnet, and little to whoever owns a block of subnets.  So somebody of the most crowded
 * subnet goes; of equally crowded ones, somebody of the most crowded block; then who has waited for longest.  A newcomer stays for
 * as long as others take to open as many connections as may wait.
 */
#ifndef NET_CROWD_H
#define NET_CROWD_H

#include "base/addr.h"
#include "base/io.h"

enum crowd_width { CROWD_SUBNET, CROWD_BLOCK, CROWD_WIDTHS };

/** One who waits; the numbers of links rise with time. */
struct crowd_member {
    io_link link;
    uint64_t name[CROWD_WIDTHS]; /* of the subnet (address_subnet()), and of the /16 or /32 around it */
    size_t n[CROWD_WIDTHS];      /* who share it */
};

struct crowd_member crowd_member(io_link link, const struct addr *from);

/** Who goes of the `n` >= 1 members, which it sorts and counts. */
io_link crowd_goes(struct crowd_member *member, size_t n);

#endif
