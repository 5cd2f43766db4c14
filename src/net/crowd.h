/**
 * net/crowd.h - who may come in, and who goes for it when there is room for no more.
 *
 * Addresses cost nothing to whoever owns a subnet, and little to whoever owns a block of subnets.  So somebody of the most crowded
 * subnet goes; of equally crowded ones, somebody of the most crowded block; then who has been of no use for longest.  A newcomer
 * stays for as long as others take to open as many links as there are useless ones.  That is all the grace there is: with more, whoever
 * opens his links anew in time would never be without.  Who is of use stays, however many come.
 *
 * No clock and no memory of its own: the listener asks with a list of all who are there.
 */
#ifndef NET_CROWD_H
#define NET_CROWD_H

#include "base/addr.h"
#include "base/io.h"

#define CROWD_HALF_OPEN_MAX 256 /* each costs a handshake's memory, and soon its arithmetic */

enum crowd_width { CROWD_SUBNET, CROWD_BLOCK, CROWD_WIDTHS };

/** An incoming link. */
struct crowd_member {
    io_link link;
    struct addr from;
    bool is_up;       /* it has shown that it means it */
    uint64_t keep_us; /* it stays until then, and has been of no use since when that is over */
    /* for crowd.c */
    uint64_t name[CROWD_WIDTHS]; /* of the subnet (address_subnet()), and of the /16 or /32 around it */
    size_t n[CROWD_WIDTHS];      /* who share it */
};

/**
 * Why the link `newcomer`, one of the `n` members, may not come in where `n_max` are welcome; NULL when it may.  Then `*goes` is who
 * has to go for it, 0 for nobody; with that one gone, ask again.  Puts the members into another order.
 */
const char *crowd_refuses(struct crowd_member *member, size_t n, io_link newcomer, size_t n_max, uint64_t now_us, io_link *goes);

#endif
