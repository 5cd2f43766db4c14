/* tests/unit/test_router_exchange.c - exchanges with made-up hosts: who is asked what, and what comes of silence. */
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

static struct fake_host *host_of_link(io_link link)
{
    for (size_t h = 0; h < N_HOSTS; h++)
        if (host[h].link == link)
            return &host[h];
    return NULL;
}

static io_link fake_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    (void)ctx;
    (void)expect;
    struct fake_host *h = &host[to->port - 1];
    h->link = ++next_link;
    h->n_opened++;
    h->is_closed = false;
    return h->link;
}

static void fake_send(void *ctx, io_link link, struct buf *message, bool is_urgent)
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

static void fake_close(void *ctx, io_link link)
{
    (void)ctx;
    struct fake_host *h = host_of_link(link);
    if (h)
        h->is_closed = true;
}

static const struct io_ops ops = {.link_open = fake_open, .link_send = fake_send, .link_close = fake_close};
static const struct io io = {&ops, NULL};

static void event(struct io_event e)
{
    router_event(router, now, &e);
}

static void tick(void)
{
    event((struct io_event){.kind = IO_TICK});
}

static void hello(struct fake_host *h)
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
static void place_experts(void)
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

static void set_up(uint64_t deadline_us)
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

static void tear_down(void)
{
    exchange_free(exchange);
    router_free(router);
    for (size_t h = 0; h < N_HOSTS; h++)
        buf_fini(&host[h].request);
}

static void draw_picks(uint64_t seed)
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

static void on_done(void *arg, uint64_t now_us)
{
    (void)arg;
    (void)now_us;
    n_done++;
}

/* The rows as a trainer gives them to the exchange. */
static struct rows travelling(const float *from)
{
    if (numerics == NUMERICS_F32)
        return (struct rows){.f32 = from};
    struct rows rows = rows_at(numerics, row_bytes[from == gout], N_TOKENS, WIDTH);
    rows_round(kernels, &rows, from, N_TOKENS, WIDTH);
    return rows;
}

/* Row `i` of a request as floats. */
static const float *row_of(const struct rows *rows, size_t i)
{
    static float floats[WIDTH];
    struct rows row = rows_from(rows, i, WIDTH);
    rows_floats(kernels, floats, &row, 1, WIDTH);
    return floats;
}

/* What expert e makes of element v: enough to see where a value came from. */
static float made(uint32_t e, float v)
{
    return v * 10 + (float)e;
}

static struct message_group request_group[MESSAGE_GROUPS_MAX];

static struct message_request request_of(const struct fake_host *h)
{
    struct message_request m = {.group = request_group};
    ck_assert_int_eq(message_request_decode(&m, h->request.bytes, h->request.n), 0);
    return m;
}

/* Rows made from floats, in the form of the answers; they live until the next round of answers. */
static struct rows answer_rows(size_t g, const float *values, size_t n, enum numerics form)
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
static void answer_in(struct fake_host *h, uint8_t status, uint32_t D, const struct fake_host *by, enum numerics form)
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

static void answer_as(struct fake_host *h, uint8_t status, uint32_t D, const struct fake_host *by)
{
    answer_in(h, status, D, by, rows_answer_form(numerics));
}

/* Answers the last request of a host. */
static void answer(struct fake_host *h, uint8_t status)
{
    answer_as(h, status, WIDTH, h);
}

static size_t first_token(uint16_t expert)
{
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        if (pick[s] == (int32_t)expert)
            return s / N_PICKS;
    ck_abort_msg("expert %u was picked by nobody", expert);
}

static void forward(void)
{
    exchange_forward(exchange, now, 0, N_TOKENS, travelling(x), pick, answered, y, true, on_done, NULL);
}

static void check_forward(int missing_host)
{
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++) {
        bool is_there = pick[s] >= 0 && pick[s] % N_HOSTS != missing_host;
        ck_assert_int_eq(answered[s], is_there);
        for (size_t d = 0; is_there && d < WIDTH; d++)
            ck_assert_float_eq(y[s * WIDTH + d], made((uint32_t)pick[s], x[s / N_PICKS * WIDTH + d]));
    }
}

START_TEST(every_slot_gets_its_answer)
{
    numerics = (enum numerics)(_i % N_NUMERICS);
    set_up(500 * MS);
    draw_picks((uint64_t)_i);
    forward();
    ck_assert_int_eq(n_done, 0);
    for (size_t h = 0; h < N_HOSTS; h++) {
        ck_assert_uint_eq(host[h].n_requests, 1); /* one message, however many experts and tokens */
        struct message_request m = request_of(&host[h]);
        ck_assert_uint_le(m.n_rows, N_TOKENS); /* a row travels once */
        answer(&host[h], STATUS_OK);
    }
    ck_assert_int_eq(n_done, 1);
    check_forward(-1);
    exchange_backward(exchange, now, weight, travelling(gout), gx, 0.5f, on_done, NULL);
    for (size_t h = N_HOSTS; h-- > 0;) {
        struct message_request m = request_of(&host[h]);
        ck_assert_uint_eq(m.group[0].version, 5);
        ck_assert_float_eq(m.lr_scale, 0.5f);
        answer(&host[h], STATUS_OK);
    }
    ck_assert_int_eq(n_done, 2);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        for (size_t d = 0; d < WIDTH; d++)
            ck_assert_float_eq(gx[s * WIDTH + d], pick[s] < 0 ? 0 : weight[s] * gout[s / N_PICKS * WIDTH + d]);
    tear_down();
}
END_TEST

START_TEST(silence_ends_at_the_deadline)
{
    set_up(500 * MS);
    draw_picks(1);
    forward();
    answer(&host[0], STATUS_OK);
    answer(&host[2], STATUS_OK);
    now += 499 * MS;
    tick();
    ck_assert_int_eq(n_done, 0);
    ck_assert_uint_eq(router_deadline(router), T0 + 500 * MS);
    now += 1 * MS;
    tick();
    ck_assert_int_eq(n_done, 1);
    check_forward(1);
    ck_assert_uint_eq(host[1].n_cancels, 1);
    ck_assert_uint_eq(router_allowed(router, 0)[1], 0); /* left out for a while ... */
    exchange_backward(exchange, now, weight, travelling(gout), gx, 1, on_done, NULL);
    ck_assert_uint_eq(host[1].n_requests, 1); /* and not told of gradients */
    answer(&host[0], STATUS_OK);
    answer(&host[2], STATUS_OK);
    ck_assert_int_eq(n_done, 2);
    now += 2000 * MS;
    tick();
    ck_assert_uint_eq(router_allowed(router, 0)[1], 1); /* ... and tried again */
    tear_down();
}
END_TEST

START_TEST(late_and_foreign_answers_change_nothing)
{
    set_up(500 * MS);
    draw_picks(2);
    forward();
    struct buf late;
    buf_init(&late, IO_MESSAGE_MAX);
    buf_append(&late, host[1].request.bytes, host[1].request.n);
    now += 600 * MS;
    tick();
    ck_assert_int_eq(n_done, 1);
    buf_clear(&host[1].request);
    buf_append(&host[1].request, late.bytes, late.n);
    answer(&host[1], STATUS_OK); /* too late */
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_int_eq(answered[s], 0);
    buf_clear(&host[2].request);
    buf_append(&host[2].request, late.bytes, late.n);
    answer(&host[2], STATUS_OK); /* host 2 answers what host 1 was asked */
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_int_eq(answered[s], 0);
    ck_assert_int_eq(n_done, 1);
    uint8_t garbage[] = {MESSAGE_FORWARD_REPLY, 1, 2, 3};
    event((struct io_event){
        .kind = IO_MESSAGE, .link = host[0].link, .peer = host[0].id, .bytes = garbage, .n_bytes = sizeof garbage});
    ck_assert(host[0].is_closed);
    buf_fini(&late);
    tear_down();
}
END_TEST

/* Only who was asked can answer, and only in rows of the run's width. */
START_TEST(answers_of_others_or_of_another_width_are_none)
{
    set_up(500 * MS);
    draw_picks(2);
    forward();
    answer_as(&host[1], STATUS_OK, WIDTH, &host[2]);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_int_eq(answered[s], 0);
    struct buf request;
    buf_init(&request, IO_MESSAGE_MAX);
    buf_append(&request, host[1].request.bytes, host[1].request.n);
    answer_as(&host[1], STATUS_OK, WIDTH / 2, &host[1]);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_int_eq(answered[s], 0);
    buf_append(&host[1].request, request.bytes, request.n);
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    check_forward(-1);
    buf_fini(&request);
    tear_down();
}
END_TEST

START_TEST(a_lost_link_ends_its_part_at_once)
{
    set_up(500 * MS);
    draw_picks(3);
    forward();
    answer(&host[0], STATUS_OK);
    answer(&host[1], STATUS_OK);
    event((struct io_event){.kind = IO_LINK_DOWN, .link = host[2].link, .err = HANSE_ECLOSED});
    ck_assert_uint_le(router_deadline(router), now);
    tick();
    ck_assert_int_eq(n_done, 1);
    check_forward(2);
    ck_assert_uint_eq(router_stats(router).n_live, N_EXPERTS - N_EXPERTS / N_HOSTS);
    now += 1000 * MS;
    tick();
    ck_assert_uint_eq(host[2].n_opened, 2); /* dialled again */
    hello(&host[2]);
    ck_assert_uint_eq(router_stats(router).n_live, N_EXPERTS);
    tear_down();
}
END_TEST

START_TEST(sync_waits_and_asks_again)
{
    set_up(0);
    draw_picks(4);
    forward();
    answer(&host[0], STATUS_OK);
    answer(&host[1], STATUS_BUSY);
    event((struct io_event){.kind = IO_LINK_DOWN, .link = host[2].link, .err = HANSE_ECLOSED});
    now += 10000 * MS;
    tick();
    ck_assert_int_eq(n_done, 0);
    answer(&host[1], STATUS_OK); /* the second try */
    hello(&host[2]);             /* dialled by the tick */
    ck_assert_int_eq(n_done, 0);
    answer(&host[2], STATUS_OK);
    ck_assert_int_eq(n_done, 1);
    check_forward(-1);
    tear_down();
}
END_TEST

START_TEST(a_host_that_lost_the_rows_gets_them_again)
{
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    draw_picks(5);
    forward();
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    exchange_backward(exchange, now, weight, travelling(gout), gx, 1, on_done, NULL);
    struct message_request first = request_of(&host[0]);
    ck_assert(!rows_are_there(&first.x));
    answer(&host[0], STATUS_GONE);
    struct message_request again = request_of(&host[0]);
    ck_assert(rows_are_there(&again.x));
    for (size_t d = 0; d < WIDTH; d++) /* the first slot's row is that of its token */
        ck_assert_float_eq(row_of(&again.x, again.group[0].row[0])[d], x[first_token(again.group[0].expert) * WIDTH + d]);
    answer(&host[0], STATUS_OK);
    answer(&host[1], STATUS_OK);
    answer(&host[2], STATUS_GONE);
    answer(&host[2], STATUS_GONE); /* twice is enough */
    ck_assert_int_eq(n_done, 2);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        ck_assert_float_eq(gx[s * WIDTH], pick[s] < 0 || pick[s] % N_HOSTS == 2 ? 0 : weight[s] * gout[s / N_PICKS * WIDTH]);
    tear_down();
}
END_TEST

START_TEST(without_picks_or_hosts_an_exchange_still_ends)
{
    set_up(500 * MS);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++)
        pick[s] = -1;
    forward();
    ck_assert_int_eq(n_done, 0); /* never from inside the call */
    ck_assert_uint_le(router_deadline(router), now);
    tick();
    ck_assert_int_eq(n_done, 1);
    exchange_backward(exchange, now, weight, travelling(gout), gx, 1, on_done, NULL);
    tick();
    ck_assert_int_eq(n_done, 2);
    ck_assert_float_eq(gx[0], 0);
    tear_down();
}
END_TEST

START_TEST(not_here_takes_the_claim_away)
{
    set_up(500 * MS);
    draw_picks(6);
    forward();
    answer(&host[0], STATUS_NOT_HERE);
    answer(&host[1], STATUS_OK);
    answer(&host[2], STATUS_OK);
    ck_assert_int_eq(n_done, 1);
    check_forward(0);
    ck_assert_uint_eq(router_allowed(router, 0)[0], 0);
    tear_down();
}
END_TEST

/* A number that is not finite would cost the step: such an answer is none. */
START_TEST(answers_that_are_not_finite_are_missing)
{
    static const float bad[] = {0.0f / 0.0f, 1.0f / 0.0f, -1.0f / 0.0f};
    set_up(500 * MS);
    draw_picks(7);
    for (size_t t = 0; t < N_TOKENS; t++)
        if (pick[t * N_PICKS] == 1 || pick[t * N_PICKS + 1] == 1)
            x[t * WIDTH + WIDTH - 1] = bad[_i]; /* which host 1 makes more of */
    forward();
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    tick();
    ck_assert_int_eq(n_done, 1);
    ck_assert(host[1].is_closed); /* nor is there anything more to say to who gives it */
    ck_assert_uint_eq(router_allowed(router, 0)[4], 0);
    for (size_t s = 0; s < N_TOKENS * N_PICKS; s++) {
        if (pick[s] == 1)
            ck_assert_int_eq(answered[s], 0);
        for (size_t d = 0; answered[s] && d < WIDTH; d++)
            ck_assert(y[s * WIDTH + d] - y[s * WIDTH + d] == 0);
    }
    ck_assert_uint_gt(router_stats(router).n_reject, 0);
    tear_down();
}
END_TEST

/* Slots or experts that nobody asked for: whoever answers so is not asked again for a while. */
START_TEST(answers_to_other_questions_end_the_link)
{
    set_up(500 * MS);
    draw_picks(8);
    forward();
    struct message_request m = request_of(&host[1]);
    struct message_group group[1] = {{.expert = m.group[0].expert, .n_slots = m.group[0].n_slots, .status = STATUS_BUSY}};
    if (_i == 0)
        group[0].expert = 0;
    else
        group[0].n_slots++;
    struct message_reply reply = {.kind = MESSAGE_FORWARD_REPLY, .call = m.call, .D = WIDTH, .n_groups = 1, .group = group};
    struct buf bytes;
    buf_init(&bytes, IO_MESSAGE_MAX);
    message_reply_encode(&reply, &bytes);
    event((struct io_event){.kind = IO_MESSAGE, .link = host[1].link, .bytes = bytes.bytes, .n_bytes = bytes.n});
    buf_fini(&bytes);
    ck_assert(host[1].is_closed);
    answer(&host[0], STATUS_OK);
    answer(&host[2], STATUS_OK);
    tick();
    ck_assert_int_eq(n_done, 1);
    check_forward(1);
    tear_down();
}
END_TEST

/* Who claims experts and is busy for ever is left out as the silent are; once is forgiven. */
START_TEST(busy_for_ever_is_as_good_as_silent)
{
    set_up(500 * MS);
    draw_picks(9);
    for (int round = 0; round < 8; round++) {
        ck_assert_uint_eq(router_allowed(router, 0)[1], 1);
        forward();
        answer(&host[0], STATUS_OK);
        answer(&host[1], _i == 0 ? STATUS_BUSY : round % 3 ? STATUS_LATE : STATUS_OK);
        answer(&host[2], STATUS_OK);
        ck_assert_int_eq(n_done, round + 1);
        exchange_cancel(exchange);
    }
    ck_assert_uint_eq(router_allowed(router, 0)[1], _i != 0);
    ck_assert_uint_eq(router_allowed(router, 0)[0], 1);
    now += 1000 * MS;
    tick();
    ck_assert_uint_eq(router_allowed(router, 0)[1], 1); /* after a pause it is asked again */
    tear_down();
}
END_TEST

/* A restarted trainer, even a second after one that was as fast as can be, never repeats the name of a call. */
START_TEST(no_two_calls_have_one_name)
{
    static uint64_t seen[3000];
    size_t n = 0;
    for (int life = 0; life < 3; life++) {
        set_up(500 * MS);
        router->sequence += (uint64_t)life * 2000; /* set_up() is always at T0: two milliseconds later each */
        draw_picks(8);
        for (int i = 0; i < 300; i++) {
            forward();
            for (size_t h = 0; h < N_HOSTS; h++) {
                uint64_t call = request_of(&host[h]).call;
                for (size_t j = 0; j < n; j++)
                    if (seen[j] == call)
                        ck_abort_msg("twice: %llx", (unsigned long long)call);
                seen[n++] = call;
                answer(&host[h], STATUS_OK);
            }
        }
        tear_down();
    }
    set_up(500 * MS);
    ck_assert_uint_eq(router->sequence, T0); /* what the above takes for granted */
    tear_down();
}
END_TEST

/* What one host may be asked and may answer, all in one message, counts as it travels. */
START_TEST(what_fits_depends_on_the_form)
{
    static const size_t least[] = {100000, 200000, 200000}, most[] = {131072, 262144, 262144};
    struct exchange *more;
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    router->config.D = 64;
    ck_assert_int_eq(exchange_new(router, most[_i], &more), HANSE_EFULL);
    ck_assert_int_eq(exchange_new(router, least[_i], &more), 0);
    exchange_free(more);
    tear_down();
}
END_TEST

/* An answer in floats to integers, or the other way round. */
START_TEST(answers_in_another_form_end_the_link)
{
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    draw_picks(2);
    forward();
    answer_in(&host[1], STATUS_OK, WIDTH, &host[1], numerics == NUMERICS_F32 ? NUMERICS_I8X2 : NUMERICS_F32);
    ck_assert(host[1].is_closed);
    ck_assert_uint_eq(router_stats(router).n_reject, 1);
    answer(&host[0], STATUS_OK);
    answer(&host[2], STATUS_OK);
    tick();
    ck_assert_int_eq(n_done, 1);
    check_forward(1);
    tear_down();
}
END_TEST

/* The integers that were rounded once are those that hosts see, and a row that could not be is marked for them. */
START_TEST(rows_travel_as_they_are)
{
    numerics = (enum numerics)_i;
    set_up(500 * MS);
    draw_picks(3);
    for (size_t i = 0; i < N_TOKENS * WIDTH; i++)
        x[i] = 1.0f / (float)(i + 1);
    x[5 * WIDTH] = QUANTIZE_MAX;
    struct rows sent = travelling(x);
    forward();
    for (size_t h = 0; h < N_HOSTS; h++) {
        struct message_request m = request_of(&host[h]);
        for (size_t g = 0; g < m.n_groups; g++)
            for (size_t s = 0, t = 0; s < m.group[g].n_slots; s++, t++) {
                while (pick[t * N_PICKS] != m.group[g].expert && pick[t * N_PICKS + 1] != m.group[g].expert)
                    t++;
                struct rows got = rows_from(&m.rows, m.group[g].row[s], WIDTH), was = rows_from(&sent, t, WIDTH);
                ck_assert(rows_equal(&got, &was, 1, WIDTH));
                ck_assert_int_eq(*got.exponent == QUANTIZE_BAD, t == 5);
            }
    }
    tear_down();
}
END_TEST

/* Exponents that no rounding gives would make numbers that are not finite. */
START_TEST(exponents_out_of_range_end_the_link)
{
    static const int8_t bad[] = {-128, QUANTIZE_EXPONENT_MIN - 1, QUANTIZE_EXPONENT_MAX + 1, QUANTIZE_BAD};
    numerics = NUMERICS_I8X1;
    set_up(500 * MS);
    draw_picks(7);
    forward();
    struct message_request m = request_of(&host[1]);
    size_t n = m.group[0].n_slots;
    int8_t exponent[N_TOKENS] = {0}, zeros[N_TOKENS * WIDTH] = {0};
    exponent[n - 1] = bad[_i];
    struct message_group group[1] = {
        {.expert = m.group[0].expert, .n_slots = (uint32_t)n, .values = {NULL, exponent, zeros, zeros}}};
    struct message_reply reply = {
        .kind = MESSAGE_FORWARD_REPLY, .form = NUMERICS_I8X2, .call = m.call, .D = WIDTH, .n_groups = 1, .group = group};
    struct buf bytes;
    buf_init(&bytes, IO_MESSAGE_MAX);
    message_reply_encode(&reply, &bytes);
    event((struct io_event){.kind = IO_MESSAGE, .link = host[1].link, .bytes = bytes.bytes, .n_bytes = bytes.n});
    buf_fini(&bytes);
    ck_assert(host[1].is_closed);
    tear_down();
}
END_TEST

START_TEST(what_fits_no_message_is_refused)
{
    struct exchange *more[ROUTER_EXCHANGES_MAX];
    set_up(500 * MS);
    router->config.D = 64;
    ck_assert_int_eq(exchange_new(router, 131072, &more[0]), HANSE_EFULL);
    ck_assert_int_eq(exchange_new(router, 120000, &more[0]), 0);
    exchange_free(more[0]);
    router->config.D = 1;
    ck_assert_int_eq(exchange_new(router, MESSAGE_ROWS_MAX + 1, &more[0]), HANSE_EFULL);
    ck_assert_int_eq(exchange_new(router, MESSAGE_ROWS_MAX, &more[0]), 0);
    exchange_free(more[0]);
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX - 1; i++)
        ck_assert_int_eq(exchange_new(router, 1, &more[i]), 0);
    ck_assert_int_eq(exchange_new(router, 1, &more[ROUTER_EXCHANGES_MAX - 1]), HANSE_EFULL);
    for (size_t i = 0; i < ROUTER_EXCHANGES_MAX - 1; i++)
        exchange_free(more[i]);
    tear_down();
}
END_TEST

START_TEST(an_exchange_freed_under_way_is_forgotten)
{
    set_up(500 * MS);
    draw_picks(9);
    forward();
    exchange_free(exchange);
    exchange = NULL;
    for (size_t h = 0; h < N_HOSTS; h++)
        answer(&host[h], STATUS_OK);
    now += 600 * MS;
    tick();
    ck_assert_int_eq(n_done, 0);
    tear_down();
}
END_TEST

/* What a checkpoint kept counts on as if nothing had happened, also for experts that were not heard of since. */
START_TEST(balance_is_taken_up_where_it_was)
{
    float bias[N_EXPERTS], other[N_EXPERTS];
    int64_t load[N_EXPERTS];
    set_up(500 * MS);
    for (int life = 0; life < 2; life++) {
        if (life == 1)
            router_balance_set(router, 0, bias, load);
        for (uint32_t e = 0; life == 0 && e < N_EXPERTS - 1; e++)
            router_balance_hear(router, 0, e, 1000);
        if (life == 0) {
            router_balance(router);
            router_balance_get(router, 0, bias, load);
            ck_assert_int_eq(load[0], 1000);
            ck_assert_int_eq(load[N_EXPERTS - 1], -1);
        }
        router_balance_hear(router, 0, 1, 1500);
        router_balance(router);
        if (life == 0) {
            memcpy(other, router_bias(router, 0), sizeof other);
            tear_down();
            set_up(500 * MS);
        }
    }
    ck_assert_mem_eq(other, router_bias(router, 0), sizeof other);
    ck_assert(other[0] > 0 && other[1] < 0 && other[N_EXPERTS - 1] == 0);
    tear_down();
}
END_TEST

START_TEST(balance_raises_what_is_used_too_little)
{
    set_up(500 * MS);
    for (uint32_t e = 0; e < N_EXPERTS; e++)
        router_balance_hear(router, 0, e, 1000);
    router_balance(router);
    ck_assert_float_eq(router_bias(router, 0)[0], 0); /* a first count says nothing yet */
    for (uint32_t e = 0; e < N_EXPERTS; e++)
        router_balance_hear(router, 0, e, 1000 + 100 * e);
    router_balance(router);
    for (uint32_t e = 1; e < N_EXPERTS; e++)
        ck_assert(router_bias(router, 0)[e] <= router_bias(router, 0)[e - 1]);
    ck_assert(router_bias(router, 0)[0] > 0 && router_bias(router, 0)[N_EXPERTS - 1] < 0);
    float before = router_bias(router, 0)[2];
    router_balance_hear(router, 0, 2, 10); /* restarted from a checkpoint */
    router_balance(router);
    ck_assert_float_eq(router_bias(router, 0)[2], before);
    tear_down();
}
END_TEST

int main(void)
{
    if (kernels_choose(NULL, &kernels))
        return EXIT_FAILURE;
    Suite *suite = suite_create("router/exchange");
    TCase *tcase = tcase_create("exchange");
    tcase_add_loop_test(tcase, every_slot_gets_its_answer, 0, 20);
    tcase_add_test(tcase, silence_ends_at_the_deadline);
    tcase_add_test(tcase, late_and_foreign_answers_change_nothing);
    tcase_add_test(tcase, answers_of_others_or_of_another_width_are_none);
    tcase_add_test(tcase, a_lost_link_ends_its_part_at_once);
    tcase_add_test(tcase, sync_waits_and_asks_again);
    tcase_add_loop_test(tcase, a_host_that_lost_the_rows_gets_them_again, 0, N_NUMERICS);
    tcase_add_loop_test(tcase, answers_in_another_form_end_the_link, 0, N_NUMERICS);
    tcase_add_loop_test(tcase, rows_travel_as_they_are, NUMERICS_I8X2, N_NUMERICS);
    tcase_add_loop_test(tcase, exponents_out_of_range_end_the_link, 0, 4);
    tcase_add_loop_test(tcase, what_fits_depends_on_the_form, 0, N_NUMERICS);
    tcase_add_test(tcase, without_picks_or_hosts_an_exchange_still_ends);
    tcase_add_test(tcase, not_here_takes_the_claim_away);
    tcase_add_loop_test(tcase, answers_that_are_not_finite_are_missing, 0, 3);
    tcase_add_loop_test(tcase, answers_to_other_questions_end_the_link, 0, 2);
    tcase_add_loop_test(tcase, busy_for_ever_is_as_good_as_silent, 0, 2);
    tcase_add_test(tcase, no_two_calls_have_one_name);
    tcase_add_test(tcase, what_fits_no_message_is_refused);
    tcase_add_test(tcase, an_exchange_freed_under_way_is_forgotten);
    tcase_add_test(tcase, balance_is_taken_up_where_it_was);
    tcase_add_test(tcase, balance_raises_what_is_used_too_little);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
