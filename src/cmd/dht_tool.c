#include "cmd/dht_tool.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cmd/dht_text.h"
#include "cmd/session.h"
#include "dht/id.h"
#include "net/address.h"

#define HOST_MAX 253 /* bytes of a name in the DNS */
#define TIMEOUT_MAX_S 86400.0
#define SHORT_S 1.0 /* in less a node far away may be there and yet not answer */

struct dht_tool_options dht_tool_defaults(double timeout_s)
{
    return (struct dht_tool_options){.timeout_s = timeout_s};
}

bool dht_tool_check(const struct options_usage *usage, const struct dht_tool_options *options)
{
    if (!(options->timeout_s > 0 && options->timeout_s <= TIMEOUT_MAX_S)) {
        (void)options_refuse(usage, "--timeout %g: must be seconds, more than 0 and at most %g", options->timeout_s,
                             TIMEOUT_MAX_S);
        return false;
    }
    for (size_t i = 0; i < options->join.n; i++)
        if (!dht_tool_is_address(options->join.text[i])) {
            (void)options_refuse(usage,
                                 "--join %s: must be a host and port such as 192.0.2.7:6881, [2001:db8::7]:6881 or name:6881",
                                 options->join.text[i]);
            return false;
        }
    return true;
}

/* -- Addresses ----------------------------------------------------------------------------------------- */

/* Cuts "host:port" in two. */
static bool split(const char *text, char host[HOST_MAX + 1], const char **port)
{
    const char *colon = strrchr(text, ':');
    uint64_t number;
    if (!colon || colon == text || colon - text > HOST_MAX || memchr(text, ':', (size_t)(colon - text)) ||
        !text_u64(&number, colon + 1, 1, UINT16_MAX))
        return false;
    snprintf(host, HOST_MAX + 1, "%.*s", (int)(colon - text), text);
    *port = colon + 1;
    return true;
}

bool dht_tool_is_address(const char *text)
{
    struct addr addr;
    char host[HOST_MAX + 1];
    const char *port;
    if (addr_parse(&addr, text) == 0)
        return addr.port != 0;
    return split(text, host, &port);
}

size_t dht_tool_resolve(const char *text, struct addr *out, size_t max)
{
    char host[HOST_MAX + 1];
    const char *port;
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    size_t n = 0;
    if (max > 0 && addr_parse(out, text) == 0)
        return 1;
    if (!split(text, host, &port)) {
        log_error("%s: is no host and port such as name:6881", text);
        return 0;
    }
    int failed = getaddrinfo(host, port, &hints, &list);
    if (failed) {
        log_error("%s: %s; check the name, or give the address itself", host, gai_strerror(failed));
        return 0;
    }
    for (const struct addrinfo *at = list; at && n < max; at = at->ai_next) {
        out[n] = address_from_socket(at->ai_addr);
        n += out[n].family != 0;
    }
    freeaddrinfo(list);
    return n;
}

static int find_joins(struct dht_tool *tool)
{
    const struct options_texts *join = &tool->options.join;
    for (size_t i = 0; i < join->n; i++) {
        size_t n = dht_tool_resolve(join->text[i], tool->join + tool->n_join, DHT_TOOL_JOIN_MAX - tool->n_join);
        if (n == 0)
            return HANSE_EUNREACHABLE;
        tool->n_join += n;
    }
    for (unsigned i = 0; join->n == 0 && i < SESSION_N_PORTS; i++)
        tool->join[tool->n_join++] = (struct addr){.family = 4, .ip = {127, 0, 0, 1}, .port = (uint16_t)(SESSION_PORT + i)};
    return 0;
}

unsigned dht_tool_want(const struct dht_tool *tool)
{
    unsigned want = 0;
    for (size_t i = 0; i < tool->n_join; i++)
        want |= tool->join[i].family == 6 ? DHT_WANT_6 : DHT_WANT_4;
    return want;
}

int dht_tool_explain_nobody(const struct dht_tool *tool)
{
    char text[ADDR_TEXT_BYTES], why[DHT_TEXT_REFUSAL_BYTES];
    struct addr by;
    int error = dht_last_error(tool->dht, &by);
    const char *longer = tool->options.timeout_s < SHORT_S ? ", or wait longer with --timeout" : "";
    if (tool->is_interrupted) {
        log_error("interrupted before there was an answer");
        return hanse_exit_status(HANSE_EINTERRUPTED);
    }
    if (error)
        log_error("%s answers, but refuses the question: error %d%s", addr_text(&by, text), error, dht_text_refusal(why, error));
    else if (tool->options.join.n == 0)
        log_error("nobody answered on ports %u to %u of this machine; name a node with --join HOST:PORT, or start one with "
                  "'hanse dht serve'",
                  SESSION_PORT, SESSION_PORT + SESSION_N_PORTS - 1);
    else if (tool->n_join == 1)
        log_error("%s did not answer; check address and port, and that a firewall lets UDP through%s",
                  addr_text(&tool->join[0], text), longer);
    else
        log_error("none of the %zu addresses of --join answered; check address and port, and that a firewall lets UDP through%s",
                  tool->n_join, longer);
    return DHT_TOOL_NOTHING;
}

/* -- Ids ------------------------------------------------------------------------------------------------ */

/* What looks like an id that lost a digit is not meant as text. */
static bool is_torn_id(const char *text)
{
    size_t n = strlen(text);
    return n >= 32 && strspn(text, "0123456789abcdefABCDEF") == n;
}

int dht_tool_read_id(const struct options_usage *usage, const char *text, struct dht_id *out, bool *is_text)
{
    *is_text = false;
    if (text_unhex(out->byte, sizeof out->byte, text))
        return 0;
    if (is_torn_id(text) || *text == 0)
        return options_refuse(usage, "'%s': an id has 40 hex digits, this has %zu", text, strlen(text));
    hash_sha1(out->byte, text, strlen(text));
    *is_text = true;
    return 0;
}

/* -- The node and its loop ------------------------------------------------------------------------------ */

static int open_own_key(const char *dir, struct key **out)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/key", dir);
    if (access(path, F_OK) == 0 || errno != ENOENT)
        return files_key(dir, false, out);
    log_error("%s: there is none yet; 'hanse key new --dir %s' makes one", path, dir);
    return HANSE_ENOENT;
}

static int open_key(struct dht_tool *tool)
{
    uint8_t seed[KEY_SEED_BYTES];
    if (tool->options.key_dir)
        return open_own_key(tool->options.key_dir, &tool->key);
    if (getentropy(seed, sizeof seed) != 0)
        return HANSE_EIO;
    int err = key_new(seed, &tool->key);
    explicit_bzero(seed, sizeof seed);
    return err;
}

int dht_tool_open(struct dht_tool *tool, const struct dht_tool_options *options, const struct dht_tool_wish *wish)
{
    memset(tool, 0, sizeof *tool);
    tool->options = *options;
    tool->timeout_us = (uint64_t)(options->timeout_s * 1e6);
    rng_init_from_system(&tool->rng);
    int err = open_key(tool);
    if (!err && wish->needs_join)
        err = find_joins(tool);
    if (err)
        return err;
    struct net_config net = {.key = tool->key, .listen = wish->listen, .n_ports = 1, .n_workers = 1, .catch_signals = true};
    err = net_new(&net, &tool->net);
    if (err)
        return err;
    tool->io = net_io(tool->net);
    struct dht_config config = {.key = tool->key, .is_read_only = !wish->serves, .has_links = true, .seed = rng_u64(&tool->rng)};
    config.port = net_address(tool->net).port;
    return dht_new(&config, tool->io, net_now_us(), &tool->dht);
}

void dht_tool_close(struct dht_tool *tool)
{
    dht_free(tool->dht);
    net_free(tool->net);
    key_free(tool->key);
}

void dht_tool_end(struct dht_tool *tool, int err)
{
    if (tool->is_over)
        return;
    tool->is_over = true;
    tool->wake_us = IO_NEVER;
    tool->io->ops->stopped(tool->io->ctx, err);
}

static void tool_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct dht_tool *tool = self;
    if (event->kind == IO_STOP) {
        tool->is_interrupted = true;
        dht_tool_end(tool, 0);
        return;
    }
    enum dht_link_use use = dht_link_event(tool->dht, now_us, event);
    if (tool->link)
        tool->link(tool, now_us, event, use);
    if (event->kind == IO_DATAGRAM)
        dht_datagram(tool->dht, now_us, &event->from, event->bytes, event->n_bytes);
    dht_tick(tool->dht, now_us);
    if (!tool->is_over)
        tool->step(tool, now_us);
}

static uint64_t tool_deadline(const void *self)
{
    const struct dht_tool *tool = self;
    uint64_t deadline_us = dht_deadline(tool->dht);
    return tool->wake_us < deadline_us ? tool->wake_us : deadline_us;
}

int dht_tool_run(struct dht_tool *tool)
{
    struct io_machine machine = {tool_event, tool_deadline, tool};
    tool->start_us = tool->wake_us = net_now_us();
    int err = net_run(tool->net, &machine);
    uint64_t n_malformed = dht_stats(tool->dht).n_malformed;
    if (n_malformed > 0)
        log_warn("%" PRIu64 " datagram%s came with no message of this protocol, and were left out", n_malformed,
                 text_plural(n_malformed));
    return err;
}

/* -- Saying --------------------------------------------------------------------------------------------- */

int dht_tool_print_json(json_t *document)
{
    if (!document)
        return HANSE_ENOMEM;
    json_dumpf(document, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9)); /* much of it is strangers' */
    putchar('\n');
    json_decref(document);
    return 0;
}

void dht_tool_json_text(json_t *object, const char *key, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_object_set_new(object, key, json_string(text));
}

json_t *dht_tool_fit_json(const struct dht_id *id, const struct addr *addr)
{
    return addr_is_local(addr) ? json_null() : json_boolean(dht_id_fits(id, addr));
}

int dht_tool_status(int err, bool has_found)
{
    if (err && err != HANSE_EUNREACHABLE)
        return hanse_exit_status(err);
    return !err && has_found ? 0 : DHT_TOOL_NOTHING;
}
