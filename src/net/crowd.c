/* net/crowd.c - of many who wait to come in, who goes when there is room for no more. */
#include "net/crowd.h"

#include <stdlib.h>

#include "net/address.h"

struct crowd_member crowd_member(io_link link, const struct addr *from)
{
    uint64_t subnet = address_subnet(from);
    return (struct crowd_member){.link = link, .name = {subnet, subnet >> (from->family == 4 ? 8 : 16)}};
}

/* The names of a block's subnets begin alike, so this keeps blocks together, too. */
static int by_subnet(const void *a, const void *b)
{
    const struct crowd_member *x = a, *y = b;
    return (x->name[CROWD_SUBNET] > y->name[CROWD_SUBNET]) - (x->name[CROWD_SUBNET] < y->name[CROWD_SUBNET]);
}

static void count(struct crowd_member *member, size_t n, enum crowd_width width)
{
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first; end < n && member[end].name[width] == member[first].name[width]; end++) {
        }
        for (size_t i = first; i < end; i++)
            member[i].n[width] = end - first;
    }
}

static bool goes_before(const struct crowd_member *x, const struct crowd_member *y)
{
    for (size_t width = 0; width < CROWD_WIDTHS; width++)
        if (x->n[width] != y->n[width])
            return x->n[width] > y->n[width];
    return x->link < y->link;
}

io_link crowd_goes(struct crowd_member *member, size_t n)
{
    const struct crowd_member *goes = member;
    qsort(member, n, sizeof *member, by_subnet);
    count(member, n, CROWD_SUBNET);
    count(member, n, CROWD_BLOCK);
    for (size_t i = 1; i < n; i++)
        goes = goes_before(&member[i], goes) ? &member[i] : goes;
    return goes->link;
}
