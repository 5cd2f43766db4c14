#include "node/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "kernels/device.h"
#include "node/host_list.h"
#include "node/host_state.h"

#define WORKS_DEFAULT 4
#define QUEUE_SLOTS_DEFAULT 32768
#define KEPT_BYTES_DEFAULT ((size_t)64 << 20)
#define EXPERT_EPS 1e-8f

/* A start takes less than a second, whoever answers or does not. */
#define JOIN_US 400000u
#define READ_FIRST_US 700000u
#define READY_US 900000u
#define MEETING_US 8000000u /* but where others are met in public first, it waits for them so long */

#define STATUS_US 60000000u
#define STOP_LINGER_US 300000u /* for the withdrawals to arrive */

struct expert_config host_expert_config(const struct run *run)
{
    return (struct expert_config){.D = run->latent,
                                  .H = run->expert_hidden,
                                  .lr = run->expert_lr,
                                  .beta1 = run->expert_beta1,
                                  .beta2 = run->expert_beta2,
                                  .eps = EXPERT_EPS,
                                  .weight_decay = run->expert_weight_decay,
                                  .clip = run->expert_clip,
                                  .warmup_updates = run->expert_warmup,
                                  .slots_per_update = run->slots_per_update,
                                  .max_staleness = run->max_staleness,
                                  .numerics = run->expert_numerics,
                                  .coarse = run->expert_coarse};
}

/* -- Construction ---------------------------------------------------------------------------------- */

struct disk_look {
    struct host *host;
    int err;
};

/* Called for every manifest of the disk; the versions of a name ascend, each of the same run. */
static void look_at_manifest(void *arg, const char *name, uint64_t version)
{
    struct disk_look *look = arg;
    struct host *host = look->host;
    struct checkpoint_info info;
    uint32_t layer, index;
    if (host->is_auto && run_parse_expert_name(host->config.run, name, &layer, &index))
        host_slot(host, layer, index)->has_checkpoint = true;
    if (look->err || checkpoint_info_read(host->disk, name, version, &info) != 0)
        return; /* damage is judged when the expert is loaded */
    if (!hash_equal(&info.run, &host->config.run->id)) {
        char theirs[17], ours[17];
        text_hex(theirs, info.run.byte, 8);
        text_hex(ours, host->config.run->id.byte, 8);
        log_error("checkpoint %s: belongs to run %s, this is run %s; use another --dir, or the run.yaml it was made with", name,
                  theirs, ours);
        look->err = HANSE_ERUN;
    }
}

static int look_at_disk(struct host *host)
{
    struct disk_look look = {.host = host};
    int err = host->disk ? checkpoint_list(host->disk, look_at_manifest, &look) : 0;
    return err ? err : look.err;
}

static int read_list(struct host *host, const char *experts)
{
    host->is_auto = strcmp(experts, "auto") == 0;
    if (host->is_auto)
        return 0;
    bool *is_listed = calloc(host->n_slots, sizeof *is_listed);
    if (!is_listed)
        return HANSE_ENOMEM;
    int err = host_list_parse(host->config.run, experts, is_listed);
    for (size_t i = 0; i < host->n_slots; i++)
        host->slot[i].is_listed = is_listed[i];
    free(is_listed);
    return err;
}

/* What was asked for, and what we kept from before: nobody else has its state. */
static int make_experts(struct host *host)
{
    for (size_t i = 0; i < host->n_slots; i++) {
        struct host_slot *slot = &host->slot[i];
        if (!slot->is_listed && !slot->has_checkpoint)
            continue;
        int err = host_slot_make(host, slot);
        if (host->is_full)
            return host->stats.n_experts > 0 ? 0 : err;
        if (err) {
            char name[32];
            host_slot_name(name, slot);
            log_error("expert %s: not hosted: %s%s", name, hanse_strerror(err),
                      err == HANSE_ECORRUPT || err == HANSE_ESIGNATURE
                          ? "; mend the file named above from a copy, or move manifests/ of this expert away to begin it anew"
                          : "");
            return err == HANSE_ESIGNATURE ? HANSE_ECORRUPT : err;
        }
    }
    return 0;
}

/* Before there are experts. */
static size_t default_device_bytes(void)
{
    uint64_t n_free, n_total;
    return device_memory(&n_free, &n_total) == 0 ? (size_t)(n_free / 4) : KEPT_BYTES_DEFAULT;
}

static void set_config(struct host *host, const struct host_config *config)
{
    host->config = *config;
    if (host->config.works_max == 0)
        host->config.works_max = config->kernels->is_device ? HOST_DEVICE_WORKERS : WORKS_DEFAULT;
    if (host->config.queue_slots_max == 0)
        host->config.queue_slots_max = QUEUE_SLOTS_DEFAULT;
    if (host->config.kept_bytes_max == 0)
        host->config.kept_bytes_max = KEPT_BYTES_DEFAULT;
    host->self = key_peer_id(config->key);
    if (config->kernels->is_device && config->device_bytes_max == 0)
        host->config.device_bytes_max = default_device_bytes();
    rng_init(&host->rng, config->seed, "host");
    host->read_us = host->save.next_us = host->status_us = host->idle_us = IO_NEVER;
}

int host_new(const struct host_config *config, const struct io *io, const struct disk *disk, struct host **out)
{
    if (config->run->n_moe == 0) {
        log_error("run %s: has no layer with experts; there is nothing to host", config->run->name);
        return HANSE_EINVAL;
    }
    int err = HANSE_ENOMEM;
    struct host *host = calloc(1, sizeof *host);
    if (!host)
        goto fail;
    set_config(host, config);
    host->io = io;
    host->disk = disk;
    err = kept_init(&host->kept, host->config.kept_bytes_max);
    if (!err && config->kernels->is_device)
        kept_use_device(&host->kept, config->kernels, host->config.device_bytes_max);
    if (!err)
        err = host_slots_new(host);
    if (!err)
        err = host_rows_new(host);
    if (!err)
        err = read_list(host, config->experts);
    if (!err)
        err = look_at_disk(host);
    if (!err)
        err = make_experts(host);
    if (err)
        goto fail;
    host->config.experts = NULL;
    *out = host;
    return 0;
fail:
    host_free(host);
    return err;
}

void host_free(struct host *host)
{
    if (!host)
        return;
    host_links_free(host);
    host_slots_free(host);
    expert_free(host->save.copy);
    kept_fini(&host->kept);
    meeting_free(host->meeting);
    dht_free(host->dht);
    host_rows_free(host);
    free(host);
}

struct host_stats host_stats(const struct host *host)
{
    struct host_stats stats = host->stats;
    stats.n_nodes = host->dht ? dht_n_good(host->dht) : 0;
    return stats;
}

bool host_is_spare(const struct host *host)
{
    for (size_t i = 0; i < host->n_slots; i++)
        if (host->slot[i].state != SLOT_EMPTY || host->slot[i].rival.until_us <= host->now_us)
            return false;
    return host->is_auto;
}

/* -- Start ----------------------------------------------------------------------------------------- */

static int start_meeting(struct host *host)
{
    struct meeting_config config = {.key = host->config.key,
                                    .routers = host->config.mainline,
                                    .run = host->config.run->id,
                                    .port = host->config.listen.port,
                                    .seed = rng_u64(&host->rng)};
    return host->config.mainline ? meeting_new(&config, host->io, host->dht, host->now_us, &host->meeting) : 0;
}

static void start(struct host *host)
{
    const struct host_config *config = &host->config;
    struct dht_config dht_config = {
        .key = config->key, .port = config->listen.port, .seed = config->seed, .addr = config->listen, .has_links = true};
    dht_config.is_closed = config->mainline != NULL;
    host->start_us = host->began_us = host->now_us;
    int err = dht_new(&dht_config, host->io, host->now_us, &host->dht);
    if (!err)
        err = start_meeting(host);
    if (err) {
        host->phase = HOST_STOPPED;
        host->io->ops->stopped(host->io->ctx, err);
        return;
    }
    for (size_t i = 0; i < config->n_join; i++)
        dht_join(host->dht, host->now_us, &config->join[i]);
    host->save.next_us = host->now_us + (uint64_t)config->run->checkpoint_s * 1000000;
    host->status_us = config->quiet ? IO_NEVER : host->now_us + STATUS_US;
}

static void append_range(struct buf *text, const struct host *host, size_t first, size_t last)
{
    const struct host_slot *slot = &host->slot[first];
    buf_printf(text, "%sL%u.%u", text->n > 0 ? "," : "", slot->layer, slot->index);
    if (last > first)
        buf_printf(text, "-%u", host->slot[last].index);
}

static bool is_hosted(const struct host *host, size_t i)
{
    return host->slot[i].state != SLOT_EMPTY && !host->slot[i].is_leaving;
}

static bool is_news(const struct host *host, size_t i)
{
    return is_hosted(host, i) && !host->slot[i].is_said;
}

/* What the log did not say yet: "L0.0-7,L1.0-7", as --experts takes it. */
static size_t list_news(struct host *host, struct buf *text)
{
    size_t n = 0;
    host->has_news = false;
    for (size_t i = 0; i < host->n_slots; i++) {
        size_t first = i;
        if (!is_news(host, i))
            continue;
        while (i + 1 < host->n_slots && host->slot[i + 1].layer == host->slot[i].layer && is_news(host, i + 1))
            i++;
        append_range(text, host, first, i);
        n += i - first + 1;
        for (; first <= i; first++)
            host->slot[first].is_said = true;
    }
    buf_append(text, "", 1);
    return n;
}

static void say_ready(struct host *host)
{
    char listen[ADDR_TEXT_BYTES];
    struct buf text;
    buf_init(&text, 4096);
    size_t n = list_news(host, &text);
    log_info("hosting %zu of %zu expert%s%s%s on %s; %s", n, host->n_slots, text_plural(host->n_slots),
             n > 0 && !text.err ? ": " : "", n > 0 && !text.err ? (const char *)text.bytes : "",
             addr_text(&host->config.listen, listen), host->has_nodes ? "joined" : "alone, waiting for others to join here");
    buf_fini(&text);
}

/* Experts that another host left, or that nobody ever took. */
static void say_news(struct host *host)
{
    struct buf text;
    buf_init(&text, 4096);
    size_t n = list_news(host, &text);
    if (n > 0)
        log_limited(&host->strangers, host->now_us, LOG_INFO,
                    "hosting %zu more, which no host claimed%s%s; %zu of %zu expert%s now", n, text.err ? "" : ": ",
                    text.err ? "" : (const char *)text.bytes, host->stats.n_experts, host->n_slots, text_plural(host->n_slots));
    buf_fini(&text);
}

static void become_ready(struct host *host)
{
    host->phase = HOST_READY;
    host->stats.is_ready = true;
    if (!host->config.quiet)
        say_ready(host);
    host_claims_hurry(host);
    if (host->config.ready)
        host->config.ready(host->config.ready_arg);
}

static void publish(struct host *host)
{
    host_claims_choose(host);
    host->phase = HOST_PUBLISHING;
    host_announce(host);
}

void host_was_read(struct host *host)
{
    if (host->phase == HOST_READING) {
        publish(host);
    } else if (host->phase == HOST_PUBLISHING || host->phase == HOST_READY) {
        host_claims_choose(host);
        host_announce(host);
    }
}

/* -- Stop ------------------------------------------------------------------------------------------ */

static void begin_stop(struct host *host)
{
    if (host->phase >= HOST_STOPPING)
        return;
    host->phase = HOST_STOPPING;
    host->stop_us = host->now_us + (host->has_nodes ? STOP_LINGER_US : 0);
    host_slots_refuse(host);
    host_withdraw(host);
}

/* What is on the disk stays as it is; nothing that the device still says would make it better. */
void host_lose(struct host *host)
{
    if (host->lost)
        return;
    host->lost = HANSE_EDEVICE;
    log_error("the GPU failed: what it was computing was neither answered nor logged, and every expert stands as in its last "
              "checkpoint; start again, or with --device cpu");
    begin_stop(host);
}

static void step_stop(struct host *host)
{
    if (host->n_works > 0 || host->n_births > 0 || host->first_ready || host_save_is_busy(host))
        return;
    if (!host->is_last_save) {
        host->is_last_save = true;
        host_save_all(host);
        host_slots_start(host);
        if (host_save_is_busy(host))
            return;
    }
    if (host->now_us < host->stop_us)
        return;
    host->phase = HOST_STOPPED;
    host->io->ops->stopped(host->io->ctx, host_save_verdict(host));
}

/* -- Time ------------------------------------------------------------------------------------------ */

static void say_status(struct host *host)
{
    const struct host_stats *s = &host->stats, *t = &host->told;
    double seconds = (double)STATUS_US / 1e6;
    host->status_us = host->now_us + STATUS_US;
    if (s->n_forward_slots != t->n_forward_slots || s->n_backward_slots != t->n_backward_slots || s->n_links != t->n_links)
        log_info("%zu expert%s, %zu link%s, %.0f forward and %.0f backward slots/s, %llu update%s, %llu busy, %llu late",
                 s->n_experts, text_plural(s->n_experts), s->n_links, text_plural(s->n_links),
                 (double)(s->n_forward_slots - t->n_forward_slots) / seconds,
                 (double)(s->n_backward_slots - t->n_backward_slots) / seconds, (unsigned long long)(s->n_updates - t->n_updates),
                 text_plural(s->n_updates - t->n_updates), (unsigned long long)(s->n_busy - t->n_busy),
                 (unsigned long long)(s->n_late - t->n_late));
    host->told = *s;
}

/* Somebody answers for the first time, or again: their claims may quarrel with ours. */
static void look_for_nodes(struct host *host)
{
    bool has_nodes = dht_n_good(host->dht) > 0;
    if (has_nodes && !host->has_nodes && host->phase == HOST_READY)
        host_claims_hurry(host);
    host->has_nodes = has_nodes;
}

/* Who is met in public may be a moment away; a host that believed itself alone would take every expert. */
static bool may_still_meet(const struct host *host)
{
    return meeting_is_first(host->meeting) && host->now_us < host->began_us + MEETING_US;
}

static void step_start(struct host *host)
{
    if (host->phase == HOST_JOINING && may_still_meet(host))
        host->start_us = host->now_us;
    uint64_t waited_us = host->now_us - host->start_us;
    bool is_told_of_nobody = host->config.n_join == 0 && !host->config.mainline;
    if (host->phase == HOST_JOINING && (host->has_nodes || is_told_of_nobody || waited_us >= JOIN_US)) {
        host->phase = HOST_READING;
        host_claims_read(host);
    }
    if (host->phase == HOST_READING && waited_us >= READ_FIRST_US)
        publish(host);
    if (host->phase == HOST_PUBLISHING && ((host->n_publishes == 0 && host->n_births == 0) || waited_us >= READY_US))
        become_ready(host);
}

static void step(struct host *host)
{
    if (!host->dht || host->phase == HOST_STOPPED)
        return;
    if (dht_deadline(host->dht) <= host->now_us)
        dht_tick(host->dht, host->now_us);
    if (meeting_deadline(host->meeting) <= host->now_us)
        meeting_tick(host->meeting, host->now_us);
    look_for_nodes(host);
    host_links_tick(host);
    step_start(host);
    if (host->phase == HOST_READY && host->read_us <= host->now_us)
        host_claims_read(host);
    if (host->phase == HOST_READY && host->has_news && host->n_births == 0 && !host->config.quiet)
        say_news(host);
    if (host->phase < HOST_STOPPING)
        host_save_tick(host);
    if (host->status_us <= host->now_us)
        say_status(host);
    host_slots_start(host);
    if (host->phase == HOST_STOPPING)
        step_stop(host);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t host_deadline(const void *self)
{
    const struct host *host = self;
    if (!host->dht || host->phase == HOST_STOPPED)
        return IO_NEVER;
    uint64_t next = meeting_deadline(host->meeting);
    next = earlier(next, earlier(dht_deadline(host->dht), host_links_deadline(host)));
    next = earlier(next, host->status_us);
    switch (host->phase) {
    case HOST_JOINING:
        return earlier(next, host->start_us + JOIN_US);
    case HOST_READING:
        return earlier(next, host->start_us + READ_FIRST_US);
    case HOST_PUBLISHING:
        return earlier(next, host->start_us + READY_US);
    case HOST_STOPPING:
        return earlier(next, host->stop_us > host->now_us ? host->stop_us : IO_NEVER);
    default:
        return earlier(next, earlier(host->read_us, host_save_deadline(host)));
    }
}

/* -- Events ---------------------------------------------------------------------------------------- */

static void hear_work(struct host *host, struct io_work *work)
{
    if (!host_save_done(host, work))
        host_slots_done(host, work);
}

static void host_event(void *self, uint64_t now_us, const struct io_event *event)
{
    struct host *host = self;
    if (now_us > host->now_us)
        host->now_us = now_us;
    enum dht_link_use use = host->dht ? dht_link_event(host->dht, host->now_us, event) : DHT_LINK_OTHERS;
    if (use != DHT_LINK_OTHERS) {
        if (use == DHT_LINK_GIVEN)
            host_link_touch(host, event->link);
        step(host);
        return;
    }
    switch (event->kind) {
    case IO_START:
        start(host);
        break;
    case IO_DATAGRAM:
        if (host->dht && !meeting_datagram(host->meeting, host->now_us, &event->from, event->bytes, event->n_bytes))
            dht_datagram(host->dht, host->now_us, &event->from, event->bytes, event->n_bytes);
        break;
    case IO_LINK_UP:
        host_link_up(host, event);
        break;
    case IO_LINK_DOWN:
        host_link_down(host, event);
        break;
    case IO_MESSAGE:
        host_link_message(host, event);
        break;
    case IO_WORK_DONE:
        hear_work(host, event->work);
        break;
    case IO_STOP:
        begin_stop(host);
        break;
    case IO_TICK:
        break;
    }
    step(host);
}

struct io_machine host_machine(struct host *host)
{
    return (struct io_machine){.event = host_event, .deadline = host_deadline, .self = host};
}

/* -- Without a network ----------------------------------------------------------------------------- */

int host_request(struct host *host, uint64_t now_us, const struct peer_id *caller, const void *bytes, size_t n, struct buf *reply)
{
    if (now_us > host->now_us)
        host->now_us = now_us;
    enum message_kind kind = message_kind(bytes, n);
    if (kind == MESSAGE_CANCEL)
        return 0; /* nothing ever waits */
    if (kind != MESSAGE_FORWARD && kind != MESSAGE_BACKWARD)
        return HANSE_EPROTO;
    int err = host_request_begin(host, NULL, caller, bytes, n, reply);
    if (!err)
        host_slots_run(host);
    if (!err)
        err = host->lost;
    return err ? err : reply->err;
}
