/* node/client.c - a DHT node, a router, and the local host behind the same messages. */
#include "node/client.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/profile.h"
#include "base/text.h"
#include "node/host.h"

#define PATIENCE_US 8000000u /* for experts without a host, when others are there */
#define NOBODY_US 10000000u  /* for the first answer of anybody */
#define NOBODY_EXPLICIT_US 5000000u
#define NOBODY_MET_US 30000000u /* where others are met in public: hosts that begin now may take so long to be found */
#define NO_EXPERTS_US 15000000u /* for a first expert, when the DHT answers */
#define TRIES_MAX 200           /* of a request for which a device has no memory: others may need it for a moment */
#define REFUSED_US 5000000u     /* for a host that does not refuse us, once one did */

/* A request to the local host, in line for the one worker that serves it. */
struct local_request {
    struct local_request *next;
    struct buf message; /* empty: save */
};

struct client {
    struct client_config config;
    const struct io *io;
    struct dht *dht;
    struct meeting *meeting; /* NULL: none */
    struct router *router;
    struct host *host;
    struct peer_id self;
    struct io_work work; /* of the local host */
    bool is_working;
    struct local_request *first, *last, *current;
    struct buf reply;
    int served_err;
    unsigned n_tries; /* of the request in service that failed */
    bool is_saving, is_stopped;
    int save_err, err;
    uint64_t start_us, now_us;
    uint64_t serve_us; /* when the request that is served was handed to the worker */
    bool is_said;
};

/* -- The local host ---------------------------------------------------------------------------------- */

static void serve(struct io_work *work)
{
    struct client *client = work->owner;
    struct buf *message = &client->current->message;
    profile_enter(message->n == 0 ? PROFILE_OTHER : PROFILE_MESSAGE);
    if (message->n == 0)
        client->served_err = host_save(client->host, client->serve_us);
    else
        client->served_err = host_request(client->host, client->serve_us, &client->self, message->bytes, message->n,
                                          &client->reply);
}

static void serve_next(struct client *client)
{
    if (client->is_working || !client->first)
        return;
    client->current = client->first;
    client->first = client->current->next;
    if (!client->first)
        client->last = NULL;
    client->is_working = true;
    client->serve_us = client->now_us;
    buf_clear(&client->reply);
    client->work = (struct io_work){.run = serve, .owner = client, .cost_us = 1000};
    client->io->ops->work(client->io->ctx, &client->work);
}

static void free_request(struct local_request *request)
{
    if (request)
        buf_fini(&request->message);
    free(request);
}

/* Appends a request; without a message it is a save. */
static int queue_local(struct client *client, struct buf *message)
{
    struct local_request *request = calloc(1, sizeof *request);
    if (!request)
        return HANSE_ENOMEM;
    buf_init(&request->message, IO_MESSAGE_MAX);
    if (message)
        buf_move(&request->message, message);
    if (client->last)
        client->last->next = request;
    else
        client->first = request;
    client->last = request;
    serve_next(client);
    return 0;
}

static void send_local(void *arg, struct buf *message)
{
    struct client *client = arg;
    if (!client->is_stopped && queue_local(client, message) != 0)
        log_error("no memory for a request to the experts of this process: the step will not end");
    buf_fini(message);
}

/* A request that found no memory stays first in line: later there may be some. */
static void serve_again(struct client *client)
{
    client->current->next = client->first;
    client->first = client->current;
    client->last = client->last ? client->last : client->current;
    client->current = NULL;
    serve_next(client);
}

static void served(struct client *client, uint64_t now_us)
{
    bool is_save = client->current->message.n == 0;
    client->is_working = false;
    if (!is_save && client->served_err == HANSE_EDEVICE) { /* nothing that we are asked can be answered any more */
        client->err = HANSE_EDEVICE;
        client_stop(client);
    }
    client->n_tries = !is_save && client->served_err ? client->n_tries + 1 : 0;
    if (client->config.device && client->n_tries == TRIES_MAX) {
        client->err = client->served_err;
        client_stop(client);
    }
    if (!is_save && client->served_err && !client->is_stopped) {
        assert(client->served_err == HANSE_ENOMEM);
        serve_again(client);
        return;
    }
    if (is_save) {
        client->is_saving = false;
        client->save_err = client->served_err;
    }
    free_request(client->current);
    client->current = NULL;
    struct buf reply;
    buf_init(&reply, IO_MESSAGE_MAX);
    buf_move(&reply, &client->reply);
    buf_init(&client->reply, IO_MESSAGE_MAX);
    serve_next(client);
    if (reply.n > 0 && !client->is_stopped)
        router_deliver(client->router, now_us, reply.bytes, reply.n);
    buf_fini(&reply);
}

/* "L0.0-7,L1.0-7": every expert of the run. */
static void list_all(const struct run *run, struct buf *out)
{
    for (uint32_t moe = 0; moe < run->n_moe; moe++)
        buf_printf(out, "%sL%u.0-%u", moe ? "," : "", moe, run->experts - 1);
    buf_append(out, "", 1);
}

static int add_local_host(struct client *client, const struct disk *disk)
{
    const struct client_config *config = &client->config;
    struct buf list;
    buf_init(&list, 1 << 16);
    list_all(config->run, &list);
    struct host_config host_config = {.run = config->run,
                                      .kernels = client_tensors(config),
                                      .key = config->key,
                                      .experts = list.err ? NULL : (const char *)list.bytes,
                                      .seed = config->seed,
                                      .works_max = 1, /* a request at a time: host_request() */
                                      .queue_slots_max = SIZE_MAX / 4,
                                      .kept_bytes_max = (size_t)256 << 20,
                                      .quiet = true};
    int err = list.err ? list.err : host_new(&host_config, client->io, disk, &client->host);
    buf_fini(&list);
    if (!err)
        router_add_local(client->router, &client->self, send_local, client);
    return err;
}

/* -- Life -------------------------------------------------------------------------------------------- */

static int start_dht(struct client *client, uint64_t now_us)
{
    const struct client_config *config = &client->config;
    struct dht_config dht_config = {.key = config->key, .is_read_only = true, .seed = config->seed, .has_links = true};
    dht_config.is_closed = config->mainline != NULL;
    int err = dht_new(&dht_config, client->io, now_us, &client->dht);
    for (size_t i = 0; !err && i < config->n_join; i++)
        dht_join(client->dht, now_us, &config->join[i]);
    struct meeting_config meeting = {
        .key = config->key, .routers = config->mainline, .run = config->run->id, .seed = config->seed};
    if (!err && config->mainline)
        err = meeting_new(&meeting, client->io, client->dht, now_us, &client->meeting);
    return err;
}

int client_new(const struct client_config *config, const struct io *io, const struct disk *disk, uint64_t now_us,
               struct client **out)
{
    int err = HANSE_ENOMEM;
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        goto fail;
    client->config = *config;
    client->io = io;
    client->self = key_peer_id(config->key);
    client->start_us = client->now_us = now_us;
    buf_init(&client->reply, IO_MESSAGE_MAX);
    err = config->is_local ? 0 : start_dht(client, now_us);
    if (err)
        goto fail;
    struct router_config router_config = {
        .run = config->run->id,
        .role = config->role,
        .n_moe = config->run->n_moe,
        .E = config->run->experts,
        .K = config->run->chosen,
        .D = config->run->latent,
        .numerics = config->run->expert_numerics,
        .kernels = config->kernels,
        .deadline_us = config->is_sync || config->is_local ? 0 : (uint64_t)config->run->deadline_ms * 1000,
        .bias_rate = config->run->bias_rate};
    err = router_new(&router_config, io, client->dht, now_us, &client->router);
    if (!err && config->is_local)
        err = add_local_host(client, disk);
    if (err)
        goto fail;
    *out = client;
    return 0;
fail:
    client_free(client);
    return err;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    free_request(client->current);
    while (client->first) {
        struct local_request *next = client->first->next;
        free_request(client->first);
        client->first = next;
    }
    router_free(client->router);
    meeting_free(client->meeting);
    dht_free(client->dht);
    host_free(client->host);
    buf_fini(&client->reply);
    free(client);
}

bool client_event(struct client *client, uint64_t now_us, const struct io_event *event)
{
    client->now_us = now_us;
    if (event->kind == IO_WORK_DONE) {
        if (event->work != &client->work)
            return false;
        served(client, now_us);
        return true;
    }
    if (client->dht && dht_link_event(client->dht, now_us, event))
        return false;
    if (meeting_deadline(client->meeting) <= now_us)
        meeting_tick(client->meeting, now_us);
    if (event->kind == IO_DATAGRAM && meeting_datagram(client->meeting, now_us, &event->from, event->bytes, event->n_bytes))
        return false;
    if (client->dht && event->kind == IO_DATAGRAM)
        dht_datagram(client->dht, now_us, &event->from, event->bytes, event->n_bytes);
    if (client->dht && event->kind == IO_TICK)
        dht_tick(client->dht, now_us);
    router_event(client->router, now_us, event);
    return false;
}

int client_err(const struct client *client)
{
    return client->err;
}

uint64_t client_deadline(const struct client *client)
{
    uint64_t next = router_deadline(client->router);
    if (client->dht && dht_deadline(client->dht) < next)
        next = dht_deadline(client->dht);
    if (meeting_deadline(client->meeting) < next)
        next = meeting_deadline(client->meeting);
    return next;
}

struct router *client_router(struct client *client)
{
    return client->router;
}

void client_save(struct client *client, uint64_t now_us)
{
    client->now_us = now_us;
    client->save_err = 0;
    if (!client->host)
        return;
    client->is_saving = true;
    client->save_err = queue_local(client, NULL);
    client->is_saving &= client->save_err == 0;
}

bool client_is_saving(const struct client *client, int *err)
{
    *err = client->save_err;
    return client->is_saving;
}

void client_stop(struct client *client)
{
    struct local_request **at = &client->first;
    client->is_stopped = true;
    client->last = NULL;
    while (*at) {
        struct local_request *request = *at;
        if (request->message.n == 0) {
            client->last = request;
            at = &request->next;
            continue;
        }
        *at = request->next;
        free_request(request);
    }
}

bool client_is_working(const struct client *client)
{
    return client->is_working;
}

/* -- Are there enough experts? ----------------------------------------------------------------------- */

static bool every_layer_has_one(const struct client *client)
{
    const struct run *run = client->config.run;
    for (uint32_t moe = 0; moe < run->n_moe; moe++) {
        const uint8_t *allowed = router_allowed(client->router, moe);
        if (!memchr(allowed, 1, run->experts))
            return false;
    }
    return true;
}

static enum client_state fail_nobody(struct client *client, int *err)
{
    char text[ADDR_TEXT_BYTES] = "the default ports of this machine";
    if (client->meeting) {
        log_error(
            meeting_stats(client->meeting).was_entered
                ? "no host of this run is announced in Mainline, or none that answers: start one (hanse host --mainline ...) "
                  "with a port that others can reach"
                : "no Mainline node answers: check that a firewall lets UDP out, or name one with --mainline=ADDR:PORT");
        *err = HANSE_EUNREACHABLE;
        return CLIENT_FAILED;
    }
    if (client->config.is_explicit_join && client->config.n_join > 0)
        addr_text(&client->config.join[0], text);
    log_error("nobody answers at %s%s: start a host there (hanse host --run FILE --dir DIR), or name one with --join ADDR:PORT",
              text, client->config.n_join > 1 && client->config.is_explicit_join ? " and the other --join addresses" : "");
    *err = HANSE_EUNREACHABLE;
    return CLIENT_FAILED;
}

static enum client_state judge(struct client *client, uint64_t waited_us, int *err)
{
    struct router_stats stats = router_stats(client->router);
    if (stats.n_live == 0 && *router_refusal(client->router) && waited_us > REFUSED_US) {
        log_error("every host refused; the last said: %s", router_refusal(client->router));
        *err = HANSE_ERUN;
        return CLIENT_FAILED;
    }
    uint64_t nobody_us = client->config.is_explicit_join ? NOBODY_EXPLICIT_US : NOBODY_US;
    if (client->config.mainline)
        nobody_us = NOBODY_MET_US;
    if (stats.n_dht_nodes == 0 && stats.n_live == 0 && waited_us > nobody_us)
        return fail_nobody(client, err);
    if (stats.n_live == 0 && waited_us > (client->config.mainline ? NOBODY_MET_US : NO_EXPERTS_US)) {
        char id[17];
        run_short_id(client->config.run, id);
        log_error("among %zu peer%s none hosts an expert of run %s: start hosts with the same run.yaml", stats.n_dht_nodes,
                  text_plural(stats.n_dht_nodes), id);
        *err = HANSE_EUNREACHABLE;
        return CLIENT_FAILED;
    }
    if (waited_us > PATIENCE_US && !client->is_said) {
        client->is_said = true;
        log_warn("%zu of %zu expert%s hosted so far%s", stats.n_live, stats.n_experts, text_plural(stats.n_experts),
                 client->config.is_sync ? "; --sync waits for all of them (start more hosts, or check --experts)" : "");
    }
    return CLIENT_WAITING;
}

enum client_state client_ready(struct client *client, uint64_t now_us, int *err)
{
    struct router_stats stats = router_stats(client->router);
    uint64_t waited_us = now_us - client->start_us;
    /* In sync mode a claim is enough for the router, but the first question needs links; of those that are slow, one is enough. */
    bool is_linked = client->config.is_local ||
                     (stats.n_hosts > 0 && (router_n_unlinked(client->router) == 0 || waited_us > PATIENCE_US));
    if (stats.n_live == stats.n_experts && is_linked)
        return CLIENT_READY;
    if (!client->config.is_sync && waited_us > PATIENCE_US && every_layer_has_one(client)) {
        log_warn("starting with %zu of %zu experts; the others join when their hosts appear", stats.n_live, stats.n_experts);
        return CLIENT_READY;
    }
    return judge(client, waited_us, err);
}
