/* cmd/session.c - opens run, kernels, directory, key and network in that order, the cheapest refusals first. */
#include "cmd/session.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "cmd/gpu.h"
#include "node/host.h"

struct session_options session_options_default(void)
{
    return (struct session_options){.isa = getenv("HANSE_ISA"), .device = getenv("HANSE_DEVICE")};
}

static int fresh_key(struct key **out)
{
    uint8_t seed[KEY_SEED_BYTES];
    if (getentropy(seed, sizeof seed) != 0)
        return HANSE_EIO;
    int err = key_new(seed, out);
    explicit_bzero(seed, sizeof seed);
    return err;
}

/* Without --join the first ports of this machine are asked: with every default, peers on one machine find each other. */
static void choose_join(struct session *session, const struct options_addrs *join)
{
    session->is_explicit_join = join->n > 0;
    session->n_join = join->n;
    memcpy(session->join, join->addr, join->n * sizeof *join->addr);
    for (unsigned i = 0; join->n == 0 && i < SESSION_N_PORTS; i++)
        session->join[session->n_join++] = (struct addr){.family = 4, .ip = {127, 0, 0, 1}, .port = (uint16_t)(SESSION_PORT + i)};
}

/* Those that clients have used for long, and that say how to find others. */
static const char well_known[] = "router.bittorrent.com:6881,dht.transmissionbt.com:6881,dht.libtorrent.org:25401";

static bool next_router(void *arg, uint64_t now_us, struct addr *out)
{
    return names_next(arg, now_us, out);
}

/* Addresses are taken as they are; names are looked up meanwhile. */
static int choose_mainline(struct session *session, const char *list)
{
    char text[1024], *rest = text, *one;
    const char *name[MEETING_ROUTERS_MAX];
    size_t n = 0, n_names = 0;
    if (!list)
        return 0;
    list = *list ? list : well_known;
    if (strlen(list) >= sizeof text) {
        log_error("--mainline: more than %zu characters", sizeof text - 1);
        return HANSE_EINVAL;
    }
    session->has_mainline = true;
    memcpy(text, list, strlen(list) + 1);
    while ((one = strsep(&rest, ","))) {
        if (n++ == MEETING_ROUTERS_MAX) {
            log_error("--mainline: more than %d nodes", MEETING_ROUTERS_MAX);
            return HANSE_EINVAL;
        }
        if (addr_parse(&session->mainline.addr[session->mainline.n], one) == 0)
            session->mainline.n++;
        else
            name[n_names++] = one;
    }
    int err = n_names > 0 ? names_new(name, n_names, net_now_us(), &session->names) : 0;
    session->mainline.next = session->names ? next_router : NULL;
    session->mainline.arg = session->names;
    return err;
}

static int open_directory(struct session *session, const char *dir, const struct session_wish *wish)
{
    if (!dir)
        return fresh_key(&session->key);
    int err = files_open(dir, &session->disk);
    if (!err && wish->wants_lock)
        err = files_lock(dir);
    if (!err)
        err = wish->wants_own_key ? files_key(dir, true, &session->key) : fresh_key(&session->key);
    return err;
}

static bool is_said(const char *text)
{
    return text && *text;
}

static int open_gpu(struct session *session, int index)
{
    int err = gpu_open(index, &session->compute, &session->gpu);
    if (err)
        session->compute = session->kernels;
    return err;
}

/* Whoever names a set of the CPU's kernels means the CPU.  A GPU that was not asked for by name is done without if it fails. */
static int choose_device(struct session *session, const struct session_options *options, const struct session_wish *wish)
{
    int index = -1;
    session->compute = session->kernels;
    if (is_said(options->device)) {
        int err = device_parse(options->device, &index);
        return err || index < 0 ? err : open_gpu(session, index);
    }
    bool wants = wish->wants_device || session->run.trunk == RUN_TRUNK_BF16;
    if (!wants || is_said(options->isa) || device_count(NULL) == 0)
        return 0;
    if (open_gpu(session, 0) != 0)
        log_warn("going on with the CPU; --device cpu says so beforehand, and hanse doctor looks at the GPU");
    return 0;
}

static unsigned n_workers(const struct session *session, const struct session_options *options)
{
    unsigned n = cores_n_workers(session->cores);
    if (options->n_workers)
        return (unsigned)options->n_workers;
    return session->compute->is_device && n < HOST_DEVICE_WORKERS ? HOST_DEVICE_WORKERS : n;
}

int session_check(const struct options_usage *usage, bool is_local)
{
    const struct options_only only = {"join mainline", "experts on hosts, not to --local", !is_local};
    return options_check(usage, &only, 1);
}

int session_open(struct session *session, const struct session_options *options, const struct session_wish *wish)
{
    memset(session, 0, sizeof *session);
    int err = options->run_file ? run_read(options->run_file, &session->run) : 0;
    if (!err)
        err = choose_mainline(session, options->mainline);
    if (!err)
        err = kernels_choose(is_said(options->isa) ? options->isa : NULL, &session->kernels);
    if (!err)
        err = choose_device(session, options, wish);
    if (!err)
        err = open_directory(session, options->dir, wish);
    if (!err)
        err = cores_new(&session->cores);
    if (err)
        return err;
    choose_join(session, &options->join);
    session->n_workers = n_workers(session, options);
    struct rng rng;
    rng_init_from_system(&rng);
    session->seed = rng_u64(&rng);
    struct net_config config = {.key = session->key,
                                .n_ports = 1,
                                .n_workers = session->n_workers,
                                .cores = session->cores,
                                .is_alone = options->pins_workers,
                                .catch_signals = true};
    if (wish->wants_listener) {
        config.listen = wish->listen;
        config.n_ports = wish->n_ports;
    }
    return net_new(&config, &session->net);
}

void session_close(struct session *session)
{
    net_free(session->net);
    names_free(session->names);
    cores_free(session->cores);
    key_free(session->key);
    files_close(&session->disk);
}

const struct meeting_routers *session_mainline(const struct session *session)
{
    return session->has_mainline ? &session->mainline : NULL;
}

struct client_config session_client(const struct session *session, bool is_local)
{
    struct client_config config = {.run = &session->run,
                                   .kernels = session->kernels,
                                   .device = session->compute->is_device ? session->compute : NULL,
                                   .team = net_team(session->net),
                                   .key = session->key,
                                   .n_join = session->n_join,
                                   .mainline = session_mainline(session),
                                   .is_explicit_join = session->is_explicit_join,
                                   .is_local = is_local,
                                   .seed = session->seed};
    _Static_assert(sizeof config.join == sizeof session->join, "a client joins as many as a command line can name");
    memcpy(config.join, session->join, sizeof config.join);
    return config;
}
