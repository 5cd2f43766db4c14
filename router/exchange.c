/*
 * router/exchange.c - one microbatch at one MoE layer: who is asked what, and which slot an answer belongs to.
 *
 * The picks (N, K) are sorted by expert, the experts by host.  A slot is t * K + k.  Each host gets one message; it carries a
 * token's row once even when several of the host's experts want it.  The order of slots within an expert is that
 * of the tokens, whoever hosts it, so an expert's bits do not depend on how experts are spread over hosts.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "router/state.h"

/* A call is named by the forward's sequence number, its exchange and its ask: a name that this process, and those that had its key
 * before, never gave to another (router_new() begins the sequence at the time of day, in microseconds). */
#define CALL_BITS 10
#define CALL_MASK (((uint64_t)1 << CALL_BITS) - 1)
_Static_assert(ROUTER_EXCHANGES_MAX <= 1 << CALL_BITS && MESSAGE_GROUPS_MAX <= 1 << CALL_BITS, "a call names both");

#define RETRY_US 50000u      /* sync mode: a refused ask is repeated after this */
#define SYNC_WAIT_MS 600000u /* sync mode: what we tell hosts about our patience */
#define URGENT_BYTES ((size_t)32 << 10)
#define ASLEEP_US 250000u /* a tick that comes so late tells of our own sleep, not of silent hosts */

enum phase { PHASE_IDLE, PHASE_FORWARD, PHASE_BETWEEN, PHASE_BACKWARD };
enum ask_state { ASK_NONE, ASK_WAITING, ASK_RETRY, ASK_DONE };

/* One expert's part of an ask. */
struct part {
    uint32_t expert;
    size_t first_slot, n_slots; /* in exchange->slot */
    uint64_t version;           /* of its forward */
    bool is_answered;           /* in the present phase */
    bool has_forward;
};

/* What one host is asked. */
struct ask {
    int peer_i;
    enum ask_state state;
    uint64_t call;
    size_t first_part, n_parts;
    size_t first_row, n_rows; /* in exchange->row_token */
    uint64_t sent_us, retry_us;
    bool with_x; /* the host lost the rows: send them with the gradient */
};

struct exchange {
    struct router *router;
    size_t index, N_max, N;
    uint32_t moe;
    enum phase phase;
    uint64_t deadline_us;
    bool is_extended; /* we slept past the deadline, and gave the answers that lie here one more */
    size_t n_asks, n_parts, n_rows;
    struct ask *ask;       /* up to E */
    struct part *part;     /* up to E */
    uint32_t *slot;        /* (N, K) sorted by host, expert, token */
    uint32_t *slot_row;    /* (N, K) row of that slot within its ask */
    uint32_t *row_token;   /* (N, K) at most: token of each row, ask after ask */
    float *slot_weight;    /* (N, K) in the order of slot */
    uint32_t *token_row;   /* (N) row of a token within the ask being built */
    uint32_t *token_mark;  /* (N) ask number + 1 for which token_row holds */
    void *bytes;           /* behind gather */
    struct rows gather[2]; /* (N, D) each: rows of a message, and those sent again */
    struct rows x, gout;
    const int32_t *pick;
    uint8_t *answered;
    struct rows y, gx; /* of the caller, to be filled in */
    float lr_scale;
    bool keep;
    void (*done)(void *arg, uint64_t now_us);
    void *arg;
};

static int free_index(const struct router *router)
{
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX; i++)
        if (!router->exchange[i])
            return (int)i;
    return -1;
}

/* One host may have all experts, so every row, and every answer, must fit in one message. */
static int check_fit(const struct router *router, size_t N)
{
    uint64_t E = router->config.E, D = router->config.D, n_slots = (uint64_t)N * router->config.K;
    enum numerics form = router->config.numerics, answer = rows_answer_form(form);
    uint64_t ask_bytes = 64 + 16 * E + 8 * n_slots + 2 * (uint64_t)rows_bytes(form, N, D); /* a gradient with its rows */
    uint64_t reply_bytes = 64 + (32 + rows_bytes(answer, 1, 0)) * E + rows_bytes(answer, n_slots, D);
    uint64_t bytes = ask_bytes > reply_bytes ? ask_bytes : reply_bytes;
    if (bytes <= IO_MESSAGE_MAX && N <= MESSAGE_ROWS_MAX)
        return 0;
    log_error("a microbatch of %zu tokens makes messages of up to %llu MiB, and %zu is the most: raise trainer.microbatches", N,
              (unsigned long long)(bytes >> 20), IO_MESSAGE_MAX >> 20);
    return HANSE_EFULL;
}

static bool make_gather(struct exchange *x, size_t N)
{
    enum numerics form = x->router->config.numerics;
    size_t D = x->router->config.D, n_bytes = rows_bytes(form, N, D);
    x->bytes = calloc(2, n_bytes);
    for (size_t i = 0; x->bytes && i < 2; i++)
        x->gather[i] = rows_at(form, (uint8_t *)x->bytes + i * n_bytes, N, D);
    return x->bytes;
}

int exchange_new(struct router *router, size_t N, struct exchange **out)
{
    size_t E = router->config.E, K = router->config.K;
    int index = free_index(router), err = check_fit(router, N);
    if (err)
        return err;
    if (index < 0) {
        log_error("microbatches times MoE layers is more than %d: lower trainer.microbatches", ROUTER_EXCHANGES_MAX);
        return HANSE_EFULL;
    }
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return HANSE_ENOMEM;
    x->router = router;
    x->index = (size_t)index;
    x->N_max = N;
    x->ask = calloc(E, sizeof *x->ask);
    x->part = calloc(E, sizeof *x->part);
    x->slot = calloc(N * K, sizeof *x->slot);
    x->slot_row = calloc(N * K, sizeof *x->slot_row);
    x->row_token = calloc(N * K, sizeof *x->row_token);
    x->slot_weight = calloc(N * K, sizeof *x->slot_weight);
    x->token_row = calloc(N, sizeof *x->token_row);
    x->token_mark = calloc(N, sizeof *x->token_mark);
    router->exchange[index] = x;
    if (!x->ask || !x->part || !x->slot || !x->slot_row || !x->row_token || !x->slot_weight || !x->token_row || !x->token_mark ||
        !make_gather(x, N)) {
        exchange_free(x);
        return HANSE_ENOMEM;
    }
    *out = x;
    return 0;
}

void exchange_free(struct exchange *x)
{
    if (!x)
        return;
    x->router->exchange[x->index] = NULL;
    free(x->ask);
    free(x->part);
    free(x->slot);
    free(x->slot_row);
    free(x->row_token);
    free(x->slot_weight);
    free(x->token_row);
    free(x->token_mark);
    free(x->bytes);
    free(x);
}

/* -- Sorting picks into asks ------------------------------------------------------------------------- */

static struct target *target_of(const struct exchange *x, uint32_t expert)
{
    return &x->router->target[(size_t)x->moe * x->router->config.E + expert];
}

/* Appends the slots of one expert, tokens ascending, as a part of the ask under construction. */
static void add_part(struct exchange *x, struct ask *ask, uint32_t ask_number, uint32_t expert, const uint32_t *slot, size_t n)
{
    struct part *part = &x->part[x->n_parts++];
    size_t first = part == x->part ? 0 : part[-1].first_slot + part[-1].n_slots;
    *part = (struct part){.expert = expert, .first_slot = first, .n_slots = n};
    for (size_t i = 0; i < n; i++) {
        uint32_t token = slot[i] / x->router->config.K;
        if (x->token_mark[token] != ask_number) {
            x->token_mark[token] = ask_number;
            x->token_row[token] = (uint32_t)ask->n_rows++;
            x->row_token[x->n_rows++] = token;
        }
        x->slot[first + i] = slot[i];
        x->slot_row[first + i] = x->token_row[token];
    }
    ask->n_parts++;
}

/* Counting sort of the picks by expert: by_expert gets the slots, start[e] where expert e's begin (E + 1 of them). */
static void sort_slots(const struct exchange *x, uint32_t *by_expert, size_t *start)
{
    size_t E = x->router->config.E, n = x->N * x->router->config.K;
    memset(start, 0, (E + 2) * sizeof *start);
    for (size_t s = 0; s < n; s++)
        if (x->pick[s] >= 0)
            start[x->pick[s] + 2]++;
    for (size_t e = 2; e < E + 2; e++)
        start[e] += start[e - 1];
    for (size_t s = 0; s < n; s++)
        if (x->pick[s] >= 0)
            by_expert[start[x->pick[s] + 1]++] = (uint32_t)s;
}

/* One ask for each host of a picked expert, in the order in which experts name them. */
static int make_asks(struct exchange *x)
{
    struct router *router = x->router;
    size_t E = router->config.E;
    uint32_t *by_expert = malloc((x->N * router->config.K + 1) * sizeof *by_expert);
    size_t *start = malloc((E + 2) * sizeof *start);
    uint8_t *is_taken = calloc(E, 1);
    int err = by_expert && start && is_taken ? 0 : HANSE_ENOMEM;
    x->n_asks = x->n_parts = x->n_rows = 0;
    memset(x->token_mark, 0, x->N * sizeof *x->token_mark);
    if (!err)
        sort_slots(x, by_expert, start);
    for (uint32_t e = 0; !err && e < E; e++) {
        int peer_i = target_of(x, e)->peer_i;
        if (is_taken[e] || start[e + 1] == start[e] || peer_i < 0)
            continue;
        struct ask *ask = &x->ask[x->n_asks++];
        *ask = (struct ask){.peer_i = peer_i, .first_part = x->n_parts, .first_row = x->n_rows};
        ask->call = router->sequence << 2 * CALL_BITS | (uint64_t)x->index << CALL_BITS | (uint64_t)(x->n_asks - 1);
        for (uint32_t f = e; f < E; f++) {
            if (is_taken[f] || start[f + 1] == start[f] || target_of(x, f)->peer_i != peer_i)
                continue;
            is_taken[f] = 1;
            add_part(x, ask, (uint32_t)x->n_asks, f, by_expert + start[f], start[f + 1] - start[f]);
        }
    }
    router->sequence++;
    free(by_expert);
    free(start);
    free(is_taken);
    return err;
}

/* -- Asking ------------------------------------------------------------------------------------------ */

static void gather_rows(const struct exchange *x, const struct ask *ask, const struct rows *from, const struct rows *to)
{
    rows_gather(to, from, &x->row_token[ask->first_row], ask->n_rows, x->router->config.D);
}

/* The parts that this message asks about: in a backward only those whose forward was answered, in a retry only those
 * that still lack an answer. */
static size_t fill_groups(const struct exchange *x, const struct ask *ask, struct message_group *group)
{
    size_t n = 0;
    for (size_t p = ask->first_part; p < ask->first_part + ask->n_parts; p++) {
        const struct part *part = &x->part[p];
        if (part->is_answered || (x->phase == PHASE_BACKWARD && !part->has_forward))
            continue;
        group[n++] = (struct message_group){.expert = (uint16_t)part->expert,
                                            .n_slots = (uint32_t)part->n_slots,
                                            .version = part->version,
                                            .row = &x->slot_row[part->first_slot],
                                            .weight = &x->slot_weight[part->first_slot]};
    }
    return n;
}

static uint32_t patience_ms(const struct exchange *x)
{
    if (x->router->config.deadline_us == 0)
        return SYNC_WAIT_MS;
    if (x->deadline_us <= x->router->now_us)
        return 1;
    return (uint32_t)((x->deadline_us - x->router->now_us) / 1000 + 1);
}

static void send_ask(struct exchange *x, struct ask *ask)
{
    struct router *router = x->router;
    struct peer *peer = &router->peer[ask->peer_i];
    if (peer->state != PEER_READY && peer->state != PEER_LOCAL) {
        /* Without a link: sync mode waits for it (router_exchange_peer_ready), else the slots are missing. */
        ask->state = router->config.deadline_us == 0 ? ASK_RETRY : ASK_DONE;
        ask->retry_us = IO_NEVER;
        return;
    }
    bool is_backward = x->phase == PHASE_BACKWARD, is_suspect = !router_peer_can_be_asked(router, peer);
    if (is_suspect && !is_backward) {
        ask->state = ASK_DONE; /* it fell silent after the gate chose */
        return;
    }
    struct message_request m = {.kind = is_backward ? MESSAGE_BACKWARD : MESSAGE_FORWARD,
                                .keep = x->keep,
                                .layer = (uint16_t)x->moe,
                                .wait_ms = patience_ms(x),
                                .call = ask->call,
                                .n_rows = (uint32_t)ask->n_rows,
                                .D = router->config.D,
                                .form = router->config.numerics,
                                .lr_scale = x->lr_scale,
                                .rows = x->gather[0],
                                .group = router->group};
    m.n_groups = fill_groups(x, ask, router->group);
    gather_rows(x, ask, is_backward ? &x->gout : &x->x, &m.rows);
    if (is_backward && ask->with_x) {
        m.x = x->gather[1];
        gather_rows(x, ask, &x->x, &m.x);
    }
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_request_encode(&m, &message);
    ask->sent_us = router->now_us;
    ask->state = message.err || is_suspect ? ASK_DONE : ASK_WAITING; /* a silent host is told of gradients, but not waited for */
    if (!message.err)
        router_peer_send(router, peer, &message, message.n <= URGENT_BYTES);
    if (ask->state == ASK_WAITING)
        router_peer_asked(router, peer, x->deadline_us);
    buf_fini(&message);
}

static void begin(struct exchange *x, enum phase phase, uint64_t now_us, void (*done)(void *arg, uint64_t now_us), void *arg)
{
    struct router *router = x->router;
    router->now_us = now_us > router->now_us ? now_us : router->now_us;
    x->phase = phase;
    x->done = done;
    x->arg = arg;
    x->is_extended = false;
    x->deadline_us = router->config.deadline_us ? router->now_us + router->config.deadline_us : IO_NEVER;
    for (size_t p = 0; p < x->n_parts; p++)
        x->part[p].is_answered = false;
}

/* Answers are wanted as floats, or as they travel. */
static bool can_take(const struct exchange *x, const struct rows *to)
{
    return to->f32 || rows_form(to) == rows_answer_form(x->router->config.numerics);
}

void exchange_forward(struct exchange *x, uint64_t now_us, uint32_t moe, size_t N, struct rows rows, const int32_t *pick,
                      uint8_t *answered, struct rows y, bool keep, void (*done)(void *arg, uint64_t now_us), void *arg)
{
    size_t K = x->router->config.K;
    assert(N <= x->N_max && rows_form(&rows) == x->router->config.numerics && can_take(x, &y) &&
           (x->phase == PHASE_IDLE || x->phase == PHASE_BETWEEN));
    x->moe = moe;
    x->N = N;
    x->x = rows;
    x->pick = pick;
    x->answered = answered;
    x->y = y;
    x->keep = keep;
    memset(answered, 0, N * K);
    if (make_asks(x) != 0)
        x->n_asks = 0;
    begin(x, PHASE_FORWARD, now_us, done, arg);
    for (size_t s = 0; s < N * K; s++)
        x->router->stats.n_slots += pick[s] >= 0;
    for (size_t a = 0; a < x->n_asks; a++)
        send_ask(x, &x->ask[a]);
}

void exchange_backward(struct exchange *x, uint64_t now_us, const float *weight, struct rows gout, struct rows gx, float lr_scale,
                       void (*done)(void *arg, uint64_t now_us), void *arg)
{
    size_t K = x->router->config.K,
           n_slots = x->n_parts ? x->part[x->n_parts - 1].first_slot + x->part[x->n_parts - 1].n_slots : 0;
    assert(x->phase == PHASE_BETWEEN && can_take(x, &gx));
    x->gout = gout;
    x->gx = gx;
    x->lr_scale = lr_scale;
    rows_clear(&gx, x->N * K, x->router->config.D);
    for (size_t s = 0; s < n_slots; s++)
        x->slot_weight[s] = weight[x->slot[s]];
    begin(x, PHASE_BACKWARD, now_us, done, arg);
    for (size_t a = 0; a < x->n_asks; a++) {
        struct ask *ask = &x->ask[a];
        ask->with_x = false;
        ask->state = ASK_DONE;
        if (fill_groups(x, ask, x->router->group) > 0)
            send_ask(x, ask);
    }
}

void exchange_cancel(struct exchange *x)
{
    for (size_t a = 0; a < x->n_asks && x->phase != PHASE_IDLE; a++) {
        struct buf message;
        buf_init(&message, IO_MESSAGE_MAX);
        message_cancel_encode(x->ask[a].call, &message);
        router_peer_send(x->router, &x->router->peer[x->ask[a].peer_i], &message, true);
        buf_fini(&message);
    }
    x->phase = PHASE_IDLE;
    x->n_asks = 0;
}

/* -- Ending ------------------------------------------------------------------------------------------ */

static void count_missing(struct exchange *x)
{
    struct router_stats *stats = &x->router->stats;
    for (size_t p = 0; p < x->n_parts; p++) {
        const struct part *part = &x->part[p];
        if (x->phase == PHASE_FORWARD && !part->is_answered)
            stats->n_missed += part->n_slots;
        if (x->phase == PHASE_BACKWARD && part->has_forward)
            stats->n_grad_slots += part->n_slots;
        if (x->phase == PHASE_BACKWARD && part->has_forward && !part->is_answered)
            stats->n_grad_missed += part->n_slots;
    }
}

static bool is_waiting(const struct exchange *x)
{
    for (size_t a = 0; a < x->n_asks; a++)
        if (x->ask[a].state == ASK_WAITING || x->ask[a].state == ASK_RETRY)
            return true;
    return false;
}

static void finish(struct exchange *x)
{
    count_missing(x);
    x->phase = x->phase == PHASE_FORWARD ? PHASE_BETWEEN : PHASE_IDLE;
    x->done(x->arg, x->router->now_us);
}

/* -- Answers ----------------------------------------------------------------------------------------- */

static struct part *part_of(struct exchange *x, const struct ask *ask, const struct message_group *group)
{
    for (size_t p = ask->first_part; p < ask->first_part + ask->n_parts; p++)
        if (x->part[p].expert == group->expert && x->part[p].n_slots == group->n_slots)
            return &x->part[p];
    return NULL;
}

static void scatter(const struct exchange *x, const struct part *part, const struct rows *values, const struct rows *to)
{
    size_t D = x->router->config.D;
    for (size_t s = 0; s < part->n_slots; s++) {
        struct rows row = rows_from(values, s, D), place = rows_from(to, x->slot[part->first_slot + s], D);
        if (to->f32)
            rows_floats(x->router->config.kernels, (float *)place.f32, &row, 1, D);
        else
            rows_copy(&place, &row, 1, D);
    }
}

static void take(struct exchange *x, struct part *part, const struct message_group *group)
{
    struct router_stats *stats = &x->router->stats;
    part->is_answered = true;
    if (x->phase == PHASE_BACKWARD) {
        scatter(x, part, &group->values, &x->gx);
        stats->staleness_sum += (uint64_t)group->staleness * part->n_slots;
        return;
    }
    scatter(x, part, &group->values, &x->y);
    part->has_forward = true;
    part->version = group->version;
    for (size_t s = 0; s < part->n_slots; s++)
        x->answered[x->slot[part->first_slot + s]] = 1;
}

/* Decides about a part that was not computed: worth another try, or missing. */
static bool is_worth_retry(struct exchange *x, struct ask *ask, const struct message_group *group)
{
    struct router *router = x->router;
    bool is_sync = router->config.deadline_us == 0;
    switch (group->status) {
    case STATUS_GONE:
        router->stats.n_gone++;
        ask->retry_us = router->now_us;
        if (ask->with_x || x->phase != PHASE_BACKWARD)
            return false;
        ask->with_x = true;
        return true;
    case STATUS_NOT_HERE:
        if (!is_sync)
            router_directory_not_here(router, x->moe, group->expert, ask->peer_i);
        break;
    case STATUS_BUSY:
        router->stats.n_busy++;
        break;
    case STATUS_LATE:
        router->stats.n_late++;
        break;
    default:
        router->stats.n_reject++;
        return false;
    }
    ask->retry_us = router->now_us + RETRY_US;
    return is_sync;
}

/* An honest host never says this: an expert or slots that it was not asked for, or numbers that are not finite or larger than any
 * that an expert gives.  What is usable has been looked at. */
static bool is_false(const struct exchange *x, const struct part *part, const struct message_group *group, bool is_usable)
{
    if (!part)
        return true;
    return group->status == STATUS_OK && !is_usable && !rows_are_sane(&group->values, part->n_slots, x->router->config.D);
}

/* The rest of its asks is lost with the link. */
static void leave(struct router *router, int peer_i, const char *why)
{
    char name[9];
    router->stats.n_reject++;
    log_limited(&router->strangers, router->now_us, LOG_WARN, "host %s: %s; leaving it",
                peer_id_short(&router->peer[peer_i].id, name), why);
    router_peer_leave(router, peer_i);
}

static void take_reply(struct exchange *x, struct ask *ask, const struct message_reply *reply)
{
    struct router *router = x->router;
    struct peer *peer = &router->peer[ask->peer_i];
    bool is_retry = false, is_of_use = false;
    for (size_t g = 0; g < reply->n_groups; g++) {
        const struct message_group *group = &reply->group[g];
        struct part *part = part_of(x, ask, group);
        bool is_ok = part && group->status == STATUS_OK;
        bool is_usable = is_ok && rows_are_usable(&group->values, part->n_slots, router->config.D);
        if (is_false(x, part, group, is_usable)) {
            leave(router, ask->peer_i, part ? "its answer is not finite, or far too large" : "it answers what it was not asked");
            return;
        }
        if (part->is_answered)
            continue;
        if (is_usable) {
            take(x, part, group);
            router_balance_hear(router, x->moe, group->expert, group->load);
            is_of_use = true;
        } else if (is_ok) {
            router->stats.n_reject++; /* an honest host's expert may have gone astray: do without it, as when it says REJECT */
        } else {
            is_retry |= is_worth_retry(x, ask, group);
        }
    }
    if (is_of_use)
        router_peer_answered(router, peer, router->now_us - ask->sent_us);
    else if (!is_retry)
        router_peer_useless(router, peer);
    ask->state = is_retry ? ASK_RETRY : ASK_DONE;
    if (is_retry)
        router->stats.n_retries++;
    if (is_retry && ask->retry_us <= router->now_us)
        send_ask(x, ask);
    if (!is_waiting(x))
        finish(x);
}

void router_exchange_reply(struct router *router, int peer_i, const uint8_t *bytes, size_t n)
{
    struct message_reply reply = {.group = router->group};
    if (message_reply_decode(&reply, bytes, n) != 0) {
        if (router->peer[peer_i].state != PEER_LOCAL)
            router_peer_leave(router, peer_i);
        return;
    }
    size_t index = reply.call >> CALL_BITS & CALL_MASK, a = reply.call & CALL_MASK;
    struct exchange *x = index < ROUTER_EXCHANGES_MAX ? router->exchange[index] : NULL;
    if (!x || a >= x->n_asks || x->ask[a].call != reply.call || x->ask[a].peer_i != peer_i || x->ask[a].state != ASK_WAITING)
        return; /* an answer that nobody waits for any more */
    enum message_kind expected = x->phase == PHASE_FORWARD ? MESSAGE_FORWARD_REPLY : MESSAGE_BACKWARD_REPLY;
    if (reply.kind != expected || (x->phase != PHASE_FORWARD && x->phase != PHASE_BACKWARD) || reply.D != router->config.D)
        return;
    if (reply.form != rows_answer_form(router->config.numerics)) {
        leave(router, peer_i, "its answer is in another form than the run's");
        return;
    }
    take_reply(x, &x->ask[a], &reply);
}

/* -- Links and time ---------------------------------------------------------------------------------- */

static bool is_running(const struct exchange *x)
{
    return x && (x->phase == PHASE_FORWARD || x->phase == PHASE_BACKWARD);
}

void router_exchange_peer_lost(struct router *router, int peer_i)
{
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX; i++) {
        struct exchange *x = router->exchange[i];
        if (!is_running(x))
            continue;
        for (size_t a = 0; a < x->n_asks; a++) {
            struct ask *ask = &x->ask[a];
            if (ask->peer_i != peer_i || (ask->state != ASK_WAITING && ask->state != ASK_RETRY))
                continue;
            ask->state = router->config.deadline_us == 0 ? ASK_RETRY : ASK_DONE;
            ask->retry_us = IO_NEVER;
        }
        if (!is_waiting(x))
            x->deadline_us = router->now_us; /* finishes at the next tick */
    }
}

void router_exchange_peer_ready(struct router *router, int peer_i)
{
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX; i++) {
        struct exchange *x = router->exchange[i];
        for (size_t a = 0; is_running(x) && a < x->n_asks; a++) {
            if (x->ask[a].peer_i != peer_i || x->ask[a].state != ASK_RETRY)
                continue;
            router->stats.n_retries++;
            send_ask(x, &x->ask[a]);
        }
    }
}

static void expire(struct exchange *x)
{
    struct router *router = x->router;
    for (size_t a = 0; a < x->n_asks; a++) {
        struct ask *ask = &x->ask[a];
        if (ask->state == ASK_WAITING) {
            struct buf message;
            buf_init(&message, IO_MESSAGE_MAX);
            message_cancel_encode(ask->call, &message);
            router_peer_send(router, &router->peer[ask->peer_i], &message, true);
            buf_fini(&message);
            router_peer_missed(router, &router->peer[ask->peer_i]);
        }
        ask->state = ASK_DONE;
    }
    finish(x);
}

/* The process was stopped, or the machine slept: all deadlines passed at once, and the answers lie unread. */
static void extend(struct exchange *x)
{
    x->is_extended = true;
    x->deadline_us = x->router->now_us + x->router->config.deadline_us;
}

void router_exchange_tick(struct router *router)
{
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX; i++) {
        struct exchange *x = router->exchange[i];
        if (!is_running(x))
            continue;
        for (size_t a = 0; a < x->n_asks; a++)
            if (x->ask[a].state == ASK_RETRY && x->ask[a].retry_us <= router->now_us)
                send_ask(x, &x->ask[a]);
        bool is_late = x->deadline_us <= router->now_us;
        if (!is_waiting(x))
            finish(x);
        else if (is_late && !x->is_extended && router->now_us - x->deadline_us >= ASLEEP_US)
            extend(x);
        else if (is_late)
            expire(x);
    }
}

uint64_t router_exchange_deadline(const struct router *router)
{
    uint64_t next = IO_NEVER;
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX; i++) {
        const struct exchange *x = router->exchange[i];
        if (!is_running(x))
            continue;
        uint64_t when = is_waiting(x) ? x->deadline_us : router->now_us;
        for (size_t a = 0; a < x->n_asks; a++)
            if (x->ask[a].state == ASK_RETRY && x->ask[a].retry_us < when)
                when = x->ask[a].retry_us;
        next = when < next ? when : next;
    }
    return next;
}
