/* net/names.c - getaddrinfo() in a detached thread; what both sides share goes with the last of them. */
#include "net/names.h"

#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "net/address.h"

#define AGAIN_US ((uint64_t)60 * 1000000)
#define ADDRS_MAX 64
#define HOST_BYTES 256

struct name {
    char host[HOST_BYTES], port[6];
    int failed; /* what getaddrinfo() said; 0: found */
};

/* Of one lookup; the thread and its owner each hold it. */
struct lookup {
    pthread_mutex_t mutex;
    unsigned n_owners;
    bool is_over;
    size_t n_names, n_addrs;
    struct name name[NAMES_MAX];
    struct addr addr[ADDRS_MAX];
};

struct names {
    size_t n;
    struct name name[NAMES_MAX];
    struct lookup *lookup; /* under way, or its addresses are being given; NULL: none */
    size_t n_given;
    uint64_t again_us;
    bool is_said;
};

static void let_go(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->mutex);
    unsigned n_left = --lookup->n_owners;
    pthread_mutex_unlock(&lookup->mutex);
    if (n_left > 0)
        return;
    pthread_mutex_destroy(&lookup->mutex);
    free(lookup);
}

/* Without the lock: nobody else looks before it is over. */
static void look_up(struct lookup *lookup, struct name *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    name->failed = getaddrinfo(name->host, name->port, &hints, &found);
    for (struct addrinfo *one = found; !name->failed && one && lookup->n_addrs < ADDRS_MAX; one = one->ai_next)
        if (one->ai_family == AF_INET || one->ai_family == AF_INET6)
            lookup->addr[lookup->n_addrs++] = address_from_socket(one->ai_addr);
    if (!name->failed)
        freeaddrinfo(found);
}

static void *run(void *arg)
{
    struct lookup *lookup = arg;
    for (size_t i = 0; i < lookup->n_names; i++)
        look_up(lookup, &lookup->name[i]);
    pthread_mutex_lock(&lookup->mutex);
    lookup->is_over = true;
    pthread_mutex_unlock(&lookup->mutex);
    let_go(lookup);
    return NULL;
}

static int begin(struct names *names, uint64_t now_us)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);
    pthread_t thread;
    names->again_us = now_us + AGAIN_US;
    names->n_given = 0;
    if (!lookup)
        return HANSE_ENOMEM;
    pthread_mutex_init(&lookup->mutex, NULL);
    lookup->n_owners = 2;
    lookup->n_names = names->n;
    memcpy(lookup->name, names->name, sizeof lookup->name);
    if (pthread_create(&thread, NULL, run, lookup) != 0) {
        pthread_mutex_destroy(&lookup->mutex);
        free(lookup);
        return HANSE_ENOMEM;
    }
    pthread_detach(thread);
    names->lookup = lookup;
    return 0;
}

static bool split(struct name *name, const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0, n_port = colon ? strlen(colon + 1) : 0;
    if (n == 0 || n >= sizeof name->host || n_port == 0 || n_port >= sizeof name->port)
        return false;
    memcpy(name->host, text, n);
    memcpy(name->port, colon + 1, n_port);
    unsigned long port = strtoul(name->port, NULL, 10);
    return strspn(name->port, "0123456789") == n_port && port > 0 && port <= UINT16_MAX;
}

int names_new(const char *const *text, size_t n, uint64_t now_us, struct names **out)
{
    int err = HANSE_EINVAL;
    struct names *names = calloc(1, sizeof *names);
    if (!names)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (i == NAMES_MAX || !split(&names->name[names->n++], text[i])) {
            log_error("'%s' is not HOST:PORT", text[i]);
            goto fail;
        }
    err = begin(names, now_us);
    if (err)
        goto fail;
    *out = names;
    return 0;
fail:
    names_free(names);
    return err;
}

void names_free(struct names *names)
{
    if (!names)
        return;
    if (names->lookup)
        let_go(names->lookup);
    free(names);
}

/* One name that was found is enough; of none, the first stands for all: one resolver answers for them. */
static void say_failures(struct names *names)
{
    const struct lookup *lookup = names->lookup;
    for (size_t i = 0; i < lookup->n_names && lookup->n_addrs == 0 && !names->is_said; i++)
        if (lookup->name[i].failed) {
            names->is_said = true;
            log_warn("%s: %s; check the network and /etc/resolv.conf, or name a node by its address with --mainline=ADDR:PORT",
                     lookup->name[i].host, gai_strerror(lookup->name[i].failed));
        }
}

static bool is_over(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->mutex);
    bool over = lookup->is_over;
    pthread_mutex_unlock(&lookup->mutex);
    return over;
}

bool names_next(struct names *names, uint64_t now_us, struct addr *out)
{
    if (!names->lookup && now_us >= names->again_us)
        (void)begin(names, now_us); /* without a thread now: in a minute */
    if (!names->lookup || !is_over(names->lookup))
        return false;
    if (names->n_given < names->lookup->n_addrs) {
        *out = names->lookup->addr[names->n_given++];
        return true;
    }
    say_failures(names);
    let_go(names->lookup);
    names->lookup = NULL;
    return false;
}
