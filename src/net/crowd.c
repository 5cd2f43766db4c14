/* net/crowd.c - who may come in, and who goes for it when there is room for no more. */
#include "net/crowd.h"

#include <stdlib.h>
#include <string.h>

#include "net/address.h"

/* One address may not take all the places; several peers behind one NAT, or all of them on one machine, are welcome.  The same for the
 * neighbours of one subnet, who may be one owner and as many addresses as there are. */
#define FROM_IP_MAX 32
#define FROM_LOOPBACK_MAX 512
#define FROM_SUBNET_MAX 256
#define HALF_OPEN_FROM_SUBNET_MAX 64

enum reach { REACH_IP, REACH_SUBNET, REACH_ALL };

/* How many there may be of those who count: within reach of the newcomer, and of the half-open ones or of all. */
struct bound {
    size_t max;
    enum reach reach;
    bool is_half_open;
    const char *why;
};

#define N_BOUNDS 5

static void set_bounds(struct bound bound[N_BOUNDS], const struct addr *newcomer, size_t n_max)
{
    size_t ip_max = addr_is_loopback(newcomer) ? FROM_LOOPBACK_MAX : FROM_IP_MAX;
    bool is_local = addr_is_local(newcomer); /* an owner of its own anyway */
    bound[0] = (struct bound){ip_max, REACH_IP, false, "there are many links from its address already"};
    bound[1] = (struct bound){is_local ? SIZE_MAX : FROM_SUBNET_MAX, REACH_SUBNET, false,
                              "its neighbours have many links already"};
    bound[2] = (struct bound){is_local ? SIZE_MAX : HALF_OPEN_FROM_SUBNET_MAX, REACH_SUBNET, true,
                              "too many handshakes are under way with its neighbours"};
    bound[3] = (struct bound){CROWD_HALF_OPEN_MAX, REACH_ALL, true, "too many handshakes are under way"};
    bound[4] = (struct bound){n_max, REACH_ALL, false, "there are as many links as we take in"};
}

static bool counts(const struct bound *bound, const struct crowd_member *member, const struct crowd_member *newcomer)
{
    if (bound->is_half_open && member->is_up)
        return false;
    if (bound->reach == REACH_IP)
        return member->from.family == newcomer->from.family &&
               memcmp(member->from.ip, newcomer->from.ip, sizeof member->from.ip) == 0;
    return bound->reach == REACH_ALL || member->name[CROWD_SUBNET] == newcomer->name[CROWD_SUBNET];
}

static bool is_exceeded(const struct bound *bound, const struct crowd_member *member, size_t n,
                        const struct crowd_member *newcomer)
{
    size_t n_counted = 0;
    for (size_t i = 0; i < n; i++)
        n_counted += counts(bound, &member[i], newcomer);
    return n_counted > bound->max;
}

/* Puts those who count in front, and returns how many they are. */
static size_t pick_out(const struct bound *bound, struct crowd_member *member, size_t n, const struct crowd_member *newcomer)
{
    size_t n_counted = 0;
    for (size_t i = 0; i < n; i++) {
        if (!counts(bound, &member[i], newcomer))
            continue;
        struct crowd_member counted = member[i];
        member[i] = member[n_counted];
        member[n_counted++] = counted;
    }
    return n_counted;
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

/* The numbers of links rise with time. */
static bool goes_before(const struct crowd_member *x, const struct crowd_member *y)
{
    for (size_t width = 0; width < CROWD_WIDTHS; width++)
        if (x->n[width] != y->n[width])
            return x->n[width] > y->n[width];
    return x->keep_us != y->keep_us ? x->keep_us < y->keep_us : x->link < y->link;
}

/* All make up the crowds, those of use and the newcomer, too: so who comes in crowds takes the places of its own crowd. */
static io_link who_goes(struct crowd_member *member, size_t n, io_link newcomer, uint64_t now_us)
{
    const struct crowd_member *goes = NULL;
    qsort(member, n, sizeof *member, by_subnet);
    count(member, n, CROWD_SUBNET);
    count(member, n, CROWD_BLOCK);
    for (size_t i = 0; i < n; i++)
        if (member[i].link != newcomer && member[i].keep_us <= now_us && (!goes || goes_before(&member[i], goes)))
            goes = &member[i];
    return goes ? goes->link : 0;
}

static void name(struct crowd_member *member)
{
    uint64_t subnet = address_subnet(&member->from);
    member->name[CROWD_SUBNET] = subnet;
    member->name[CROWD_BLOCK] = subnet >> (member->from.family == 4 ? 8 : 16);
}

const char *crowd_refuses(struct crowd_member *member, size_t n, io_link newcomer, size_t n_max, uint64_t now_us, io_link *goes)
{
    struct crowd_member self = {0};
    struct bound bound[N_BOUNDS];
    *goes = 0;
    for (size_t i = 0; i < n; i++) {
        name(&member[i]);
        if (member[i].link == newcomer)
            self = member[i];
    }
    set_bounds(bound, &self.from, n_max);
    for (size_t i = 0; i < N_BOUNDS; i++) {
        if (!is_exceeded(&bound[i], member, n, &self))
            continue;
        *goes = who_goes(member, pick_out(&bound[i], member, n, &self), newcomer, now_us);
        return *goes ? NULL : bound[i].why;
    }
    return NULL;
}
