/**
 * tests/unit/exchange_stage.h - a router with an exchange among made-up hosts: what they are asked, and what they answer.
 *
 * Expert e lives on host e % N_HOSTS.  `numerics` is set before set_up(), which puts small integers into x and gout: every form holds
 * those as they are.
 */
#ifndef TESTS_EXCHANGE_STAGE_H
#define TESTS_EXCHANGE_STAGE_H

#include "router/router.h"

#include <string.h>

#include "router/state.h"
#include "tests/unit/unit.h"

#define N_HOSTS 3
#define N_EXPERTS 6
#define N_PICKS 2
#define WIDTH 4
#define N_TOKENS 16
#define MS 1000u
#define T0 ((uint64_t)1700000000 * 1000000)

/* A host as the router sees it: an open link and the last request on it. */
struct fake_host {
    struct peer_id id;
    io_link link;
    struct buf request;
    size_t n_requests, n_cancels, n_opened;
    bool is_closed;
};

static struct fake_host host[N_HOSTS];
static io_link next_link;
static struct router *router;
static struct exchange *exchange;
static uint64_t now;
static int n_done;
static enum numerics numerics = NUMERICS_F32;
static const struct kernels *kernels;
static uint8_t row_bytes[2][4 * N_TOKENS * (WIDTH + 2)]; /* of x and gout where they travel as integers */
static float x[N_TOKENS * WIDTH], y[N_TOKENS * N_PICKS * WIDTH], gx[N_TOKENS * N_PICKS * WIDTH], gout[N_TOKENS * WIDTH],
    weight[N_TOKENS * N_PICKS];
static int32_t pick[N_TOKENS * N_PICKS];
static uint8_t answered[N_TOKENS * N_PICKS];

static inline struct fake_host *host_of_link(io_link link)
{
    for (size_t h = 0; h < N_HOSTS; h++)
        if (host[h].link == link)
            return &host[h];
    return NULL;
}

static inline io_link fake_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    (void)ctx;
    (void)expect;
    struct fake_host *h = &host[to->port - 1];
    h->link = ++next_link;
    h->n_opened++;
    h->is_closed = false;
    return h->link;
}

static inline void fake_send(void *ctx, io_link link, struct buf *message, bool is_urgent)
{
    (void)ctx;
    (void)is_urgent;
    struct fake_host *h = host_of_link(link);
    enum message_kind kind = message_kind(message->bytes, message->n);
    if (h && (kind == MESSAGE_FORWARD || kind == MESSAGE_BACKWARD)) {
        buf_move(&h->request, message);
        h->n_requests++;
    }
    if (h && kind == MESSAGE_CANCEL)
        h->n_cancels++;
    buf_fini(message);
}

static inline void fake_close(void *ctx, io_link link)
{
    (void)ctx;
    struct fake_host *h = host_of_link(link);
    if (h)
        h->is_closed = true;
}

static const struct io_ops ops = {.link_open = fake_open, .link_send = fake_send, .link_close = fake_close};
static const struct io io = {&ops, NULL};

static inline void event(struct io_event e)
{
    router_event(router, now, &e);
}

static inline void tick(void)
{
    event((struct io_event){.kind = IO_TICK});
}

static inline void hello(struct fake_host *h)
{
    struct message_hello m = {.role = ROLE_HOST, .version = MESSAGE_VERSION};
    struct buf bytes;
    buf_init(&bytes, 1000);
    message_hello_encode(&m, &bytes);
    event((struct io_event){.kind = IO_LINK_UP, .link = h->link, .peer = h->id});
    event((struct io_event){.kind = IO_MESSAGE, .link = h->link, .peer = h->id, .bytes = bytes.bytes, .n_bytes = bytes.n});
    buf_fini(&bytes);
}

/* Expert e lives on host e % N_HOSTS, as the directory would have it. */
static inline void place_experts(void)
{
    for (size_t h = 0; h < N_HOSTS; h++) {
        host[h] = (struct fake_host){.id = {{(uint8_t)(h + 1)}}};
        buf_init(&host[h].request, IO_MESSAGE_MAX);
        int peer_i = router_peer_add(router, &host[h].id);
        router->peer[peer_i].addr = (struct addr){.family = 4, .ip = {127, 0, 0, 1}, .port = (uint16_t)(h + 1)};
        for (size_t e = h; e < N_EXPERTS; e += N_HOSTS) {
            router->target[e].claim[0] = (struct claim){.peer_i = (uint32_t)peer_i};
            router->target[e].n_claims = 1;
            router->peer[peer_i].n_claims++;
        }
    }
    tick();
    for (size_t h = 0; h < N_HOSTS; h++)
        hello(&host[h]);
}

static inline void set_up(uint64_t deadline_us)
{
    struct router_config config = {.role = ROLE_TRAINER,
                                   .n_moe = 1,
                                   .E = N_EXPERTS,
                                   .K = N_PICKS,
                                   .D = WIDTH,
                                   .numerics = numerics,
                                   .kernels = kernels,
                                   .deadline_us = deadline_us,
                                   .bias_rate = 0.1f};
    now = T0;
    n_done = 0;
    next_link = 0;
    ck_assert_int_eq(router_new(&config, &io, NULL, now, &router), 0);
    ck_assert_int_eq(exchange_new(router, N_TOKENS, &exchange), 0);
    place_experts();
    for (size_t i = 0; i < N_TOKENS * WIDTH; i++) { /* small integers, which every form holds as they are */
        x[i] = (float)i;
        gout[i] = (float)(i % 7) - 3;
    }
    memset(gx, 0xff, sizeof gx);
}

static inline void tear_down(void)
{
    exchange_free(exchange);
    router_free(router);
    for (size_t h = 0; h < N_HOSTS; h++)
        buf_fini(&host[h].request);
}

static inline void draw_picks(uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "picks");
    for (size_t t = 0; t < N_TOKENS; t++) {
        pick[t * N_PICKS] = (int32_t)rng_below(&rng, N_EXPERTS);
        pick[t * N_PICKS + 1] = (int32_t)(((uint64_t)pick[t * N_PICKS] + 1 + rng_below(&rng, N_EXPERTS - 1)) % N_EXPERTS);
        if (rng_below(&rng, 8) == 0)
            pick[t * N_PICKS + 1] = -1;
        weight[t * N_PICKS] = 0.25f;
        weight[t * N_PICKS + 1] = 0.5f;
    }
}

static inline void on_done(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    n_done++;
}

/* The rows as a trainer gives them to the exchange. */
static inline struct rows travelling(const float *from)
{
    if (numerics == NUMERICS_F32)
        return (struct rows){.f32 = from};
    struct rows rows = rows_at(numerics, row_bytes[from == gout], N_TOKENS, WIDTH);
    rows_round(kernels, &rows, from, N_TOKENS, WIDTH);
    return rows;
}

/* Row `i` of a request as floats. */
static inline const float *row_of(const struct rows *rows, size_t i)
{
    static float floats[WIDTH];
    struct rows row = rows_from(rows, i, WIDTH);
    rows_floats(kernels, floats, &row, 1, WIDTH);
    return floats;
}

/* What expert e makes of element v: enough to see where a value came from. */
static inline float made(uint32_t e, float v)
{
    return v * 10 + (float)e;
}

static struct message_group request_group[MESSAGE_GROUPS_MAX];

static inline struct message_request request_of(const struct fake_host *h)
{
    struct message_request m = {.group = request_group};
    ck_assert_int_eq(message_request_decode(&m, h->request.bytes, h->request.n), 0);
    return m;
}

/* Rows made from floats, in the form of the answers; they live until the next round of answers. */
static inline struct rows answer_rows(size_t g, const float *values, size_t n, enum numerics form)
{
    static float bytes[N_EXPERTS][N_TOKENS * (WIDTH + 2)];
    struct rows rows = rows_at(form, bytes[g], n, WIDTH);
    if (form == NUMERICS_F32)
        memcpy(bytes[g], values, sizeof *values * n * WIDTH);
    else
        rows_round(kernels, &rows, values, n, WIDTH);
    return rows;
}

/* Answers a request, `status` for all its groups, rows `D` wide, through the link of `by`. */
static inline void answer_in(struct fake_host *h, uint8_t status, uint32_t D, const struct fake_host *by, enum numerics form)
{
    struct message_request m = request_of(h);
    bool is_backward = m.kind == MESSAGE_BACKWARD;
    struct message_group group[N_EXPERTS];
    for (size_t g = 0; g < m.n_groups; g++) {
        float values[N_TOKENS * WIDTH];
        for (size_t s = 0; s < m.group[g].n_slots; s++)
            for (size_t d = 0; d < WIDTH; d++) {
                float v = row_of(&m.rows, m.group[g].row[s])[d];
                values[s * WIDTH + d] = is_backward ? m.group[g].weight[s] * v : made(m.group[g].expert, v);
            }
        group[g] = (struct message_group){.expert = m.group[g].expert,
                                          .n_slots = m.group[g].n_slots,
                                          .version = 5,
                                          .staleness = 2,
                                          .load = 100,
                                          .status = status,
                                          .values = answer_rows(g, values, m.group[g].n_slots, form)};
    }
    struct message_reply reply = {.kind = is_backward ? MESSAGE_BACKWARD_REPLY : MESSAGE_FORWARD_REPLY,
                                  .form = form,
                                  .call = m.call,
                                  .D = D,
                                  .n_groups = m.n_groups,
                                  .group = group};
    struct buf bytes;
    buf_init(&bytes, IO_MESSAGE_MAX);
    message_reply_encode(&reply, &bytes);
    if (by == h)
        buf_clear(&h->request);
    event((struct io_event){.kind = IO_MESSAGE, .link = by->link, .peer = by->id, .bytes = bytes.bytes, .n_bytes = bytes.n});
    buf_fini(&bytes);
}

static inline void answer_as(struct fake_host *h, uint8_t status, uint32_t D, const struct fake_host *by)
{
    answer_in(h, status, D, by, rows_answer_form(numerics));
}

/* Answers the last request of a host. */
static inline void answer(struct fake_host *h, uint8_t status)
{
    answer_as(h, status, WIDTH, h);
}

static inline size_t first_token(uint16_t expert)
{
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        if (pick[s] == (int32_t)expert)
            return s / N_PICKS;
    ck_abort_msg("expert %u was picked by nobody", expert);
}

static inline void forward(void)
{
    exchange_forward(exchange, now, 0, N_TOKENS, travelling(x), pick, answered, (struct rows){.f32 = y}, true, on_done, NULL);
}

static inline void check_forward(int missing_host)
{
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++) {
        bool is_there = pick[s] >= 0 && pick[s] % N_HOSTS != missing_host;
        ck_assert_int_eq(answered[s], is_there);
        for (size_t d = 0; is_there && d < WIDTH; d++)
            ck_assert_float_eq(y[s * WIDTH + d], made((uint32_t)pick[s], x[s / N_PICKS * WIDTH + d]));
    }
}

#endif
