/* tests/unit/test_router_directory.c - who is asked for which expert, as entries of a made-up DHT come and go. */
#include "tests/unit/router_stage.h"

#define READS_MAX 64
#define SAID_MAX 2048

/* A DHT that answers when told to, with what was said. */
struct dht {
    struct {
        uint32_t moe, row;
        void (*done)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked);
        void *arg;
    } read[READS_MAX];
    size_t n_reads, n_reads_ever;
};

struct said {
    uint32_t moe, row;
    struct dht_entry entry;
};

static struct dht dht;
static struct said said[SAID_MAX];
static size_t n_said;
static struct dht_entry found[SAID_MAX];

struct dht_id dht_directory_key(const struct hash *run, const char *kind, uint32_t layer, uint32_t row)
{
    (void)run;
    ck_assert_str_eq(kind, "experts");
    return (struct dht_id){{(uint8_t)layer, (uint8_t)row}};
}

void dht_read(struct dht *d, uint64_t now_us, const struct dht_id *key,
              void (*done)(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked), void *arg)
{
    (void)now_us;
    ck_assert_uint_lt(d->n_reads, READS_MAX);
    d->read[d->n_reads].moe = key->byte[0];
    d->read[d->n_reads].row = key->byte[1];
    d->read[d->n_reads].done = done;
    d->read[d->n_reads++].arg = arg;
    d->n_reads_ever++;
}

size_t dht_n_good(const struct dht *d)
{
    (void)d;
    return 1;
}

static struct peer_id id_of(uint16_t who)
{
    return (struct peer_id){{(uint8_t)(who >> 8), (uint8_t)who}};
}

/* Peer `who` is reached at port `who` unless it says otherwise. */
static struct dht_entry *say(uint16_t who, uint32_t moe, uint32_t row, const struct message_claim *claim, size_t n_claims)
{
    struct said *s = &said[n_said++];
    ck_assert_uint_le(n_said, SAID_MAX);
    *s = (struct said){.moe = moe, .row = row};
    s->entry = (struct dht_entry){.writer = id_of(who),
                                  .addr = {.family = 4, .ip = {127, 0, 0, 1}, .port = who},
                                  .seq = stage_now,
                                  .expiry_s = (uint32_t)(stage_now / 1000000) + DHT_DIRECTORY_TTL_S};
    uint8_t bytes[MESSAGE_CLAIMS_BYTES];
    s->entry.n_bytes = (uint16_t)message_claims_encode(claim, n_claims, bytes);
    memcpy(s->entry.bytes, bytes, s->entry.n_bytes);
    return &s->entry;
}

static struct dht_entry *say_one(uint16_t who, uint8_t index, uint8_t epoch, uint32_t version)
{
    struct message_claim claim = {.index = index, .epoch = epoch, .version = version};
    return say(who, 0, 0, &claim, 1);
}

/* Ends all reads under way. */
static void answer_reads(size_t n_asked)
{
    size_t n_reads = dht.n_reads;
    dht.n_reads = 0;
    for (size_t r = 0; r < n_reads; r++) {
        size_t n = 0;
        for (size_t i = 0; i < n_said; i++)
            if (said[i].moe == dht.read[r].moe && said[i].row == dht.read[r].row)
                found[n++] = said[i].entry;
        dht.read[r].done(dht.read[r].arg, stage_now, found, n_asked ? n : 0, n_asked);
    }
}

/* Far enough that the directory is read again, calm or not. */
static void read_again(void)
{
    for (int i = 0; i < 2; i++) {
        stage_wait(21000 * MS);
        answer_reads(1);
    }
}

static void set_up(uint32_t n_moe, uint32_t E)
{
    n_said = 0;
    memset(&dht, 0, sizeof dht);
    stage_now = STAGE_T0;
    stage_set_up(n_moe, E, 500 * MS, &dht, NULL);
}

static void first_read(void)
{
    stage_tick();
    answer_reads(1);
    stage_tick();
}

/* The port of the peer that is asked; 0 for nobody. */
static uint16_t asked(uint32_t moe, uint32_t expert)
{
    int32_t i = stage_router->target[moe * stage_router->config.E + expert].peer_i;
    return i < 0 ? 0 : stage_router->peer[i].addr.port;
}

static void tear_down(void)
{
    router_free(stage_router);
}

START_TEST(what_is_claimed_is_dialled_and_asked)
{
    set_up(1, 2);
    say_one(7, 0, 0, 0);
    first_read();
    ck_assert_uint_eq(stage_peer[7].n_opened, 1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0); /* not before it greeted */
    stage_greet(7);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[1], 0);
    ck_assert_uint_eq(router_stats(stage_router).n_live, 1);
    ck_assert_uint_eq(router_stats(stage_router).n_hosts, 1);
    tear_down();
}
END_TEST

/* Reachability first, then epoch, version, peer id. */
START_TEST(the_better_claim_is_asked)
{
    set_up(1, 1);
    say_one(1, 0, 3, 9);
    say_one(2, 0, 2, 50);
    say_one(3, 0, 2, 50);
    say_one(4, 0, 2, 40);
    first_read();
    ck_assert_uint_eq(asked(0, 0), 1);
    static const uint16_t order[] = {4, 2, 3, 1}; /* each that greets is better than those before */
    for (size_t i = 0; i < 4; i++) {
        stage_greet(order[i]);
        ck_assert_uint_eq(asked(0, 0), order[i]);
        ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    }
    for (size_t i = 4; i-- > 1;) {
        stage_down(order[i]);
        ck_assert_uint_eq(asked(0, 0), order[i - 1]);
    }
    stage_down(order[0]);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
    tear_down();
}
END_TEST

/* More quarrel over an expert than are remembered: the weakest gives way, wherever it stands. */
START_TEST(the_weakest_of_many_claims_gives_way)
{
    set_up(1, 1);
    for (uint16_t i = 0; i < 8; i++) {
        uint16_t who = (uint16_t)(1 + (i * 5 + (uint16_t)_i) % 8);
        say_one(who, 0, 0, who);
    }
    first_read();
    ck_assert_uint_eq(stage_router->target[0].n_claims, ROUTER_CLAIMS_MAX);
    for (uint16_t who = 1; who <= 8; who++) {
        ck_assert_uint_eq(stage_peer[who].n_opened, who > 4);
        int i = router_peer_find(stage_router, &(struct peer_id){{0, (uint8_t)who}});
        ck_assert_uint_eq(stage_router->peer[i].n_claims, who > 4);
    }
    tear_down();
}
END_TEST

/* Great claims at addresses where nobody is: once they were dialled in vain, a true one gets its place. */
START_TEST(made_up_claims_keep_no_true_one_out)
{
    set_up(1, 1);
    for (uint16_t who = 100; who < 104; who++)
        say_one(who, 0, 255, UINT32_MAX);
    say_one(7, 0, 0, 0);
    first_read();
    ck_assert_uint_eq(stage_peer[7].n_opened, 0);
    for (uint16_t who = 100; who < 104; who++)
        stage_down(who);
    stage_wait(500 * MS);
    answer_reads(1);
    ck_assert_uint_eq(stage_peer[7].n_opened, 1);
    stage_greet(7);
    ck_assert_uint_eq(asked(0, 0), 7);
    read_again();
    ck_assert_uint_eq(asked(0, 0), 7);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    tear_down();
}
END_TEST

START_TEST(a_claim_that_is_not_repeated_ends)
{
    set_up(1, 2);
    struct message_claim both[] = {{.index = 0}, {.index = 1}};
    say(7, 0, 0, both, 2);
    say_one(8, 1, 1, 0);
    first_read();
    stage_greet(7);
    stage_greet(8);
    ck_assert_uint_eq(asked(0, 0), 7);
    ck_assert_uint_eq(asked(0, 1), 8);
    n_said = 0;
    say(7, 0, 0, both + 1, 1); /* gives the first away; of 8 nothing is heard */
    read_again();
    ck_assert_uint_eq(asked(0, 0), 0);
    ck_assert_uint_eq(asked(0, 1), 8); /* its link says more than a lost entry */
    stage_down(8);
    read_again();
    ck_assert_uint_eq(asked(0, 1), 7); /* now it is gone */
    ck_assert_uint_eq(stage_router->target[1].n_claims, 1);
    tear_down();
}
END_TEST

/* A read that found nothing may have missed everything; what has expired is over all the same. */
START_TEST(a_vanished_host_is_forgotten_when_its_entry_expires)
{
    set_up(1, 1);
    say_one(7, 0, 0, 0);
    first_read();
    stage_greet(7);
    n_said = 0;
    stage_down(7);
    read_again();
    ck_assert_uint_eq(asked(0, 0), 7);
    stage_wait(1000 * MS);
    ck_assert_uint_gt(stage_peer[7].n_opened, 1);
    stage_down(7);
    stage_now += (uint64_t)DHT_DIRECTORY_TTL_S * 1000000;
    read_again();
    stage_down(7);
    read_again();
    ck_assert_uint_eq(asked(0, 0), 0);
    size_t n_opened = stage_peer[7].n_opened;
    read_again();
    ck_assert_uint_eq(stage_peer[7].n_opened, n_opened); /* and not dialled any more */
    tear_down();
}
END_TEST

START_TEST(an_unanswered_read_changes_nothing)
{
    set_up(1, 1);
    say_one(7, 0, 0, 0);
    first_read();
    n_said = 0;
    stage_wait(500 * MS);
    answer_reads(0);
    ck_assert_uint_eq(asked(0, 0), 7);
    ck_assert_uint_eq(router_stats(stage_router).n_reads, 1);
    tear_down();
}
END_TEST

START_TEST(a_host_that_restarted_is_dialled_at_once)
{
    set_up(1, 1);
    say_one(7, 0, 0, 0);
    first_read();
    for (int i = 0; i < 12; i++) { /* the pauses have grown */
        stage_down(7);
        stage_wait(120000 * MS);
    }
    size_t n = stage_peer[7].n_opened;
    stage_down(7);
    stage_now += 2000 * MS;
    n_said = 0;
    struct dht_entry *entry = say_one(7, 0, 0, 1);
    if (_i == 1)
        entry->addr.port = 9;
    stage_tick();
    answer_reads(1);
    ck_assert_uint_eq(stage_peer[7].n_opened + stage_peer[9].n_opened, n + 1);
    ck_assert_uint_eq(stage_peer[9].n_opened, _i == 1);
    /* older news are none */
    n_said = 0;
    entry = say_one(7, 0, 0, 1);
    entry->seq -= 1;
    entry->addr.port = 11;
    stage_down(_i == 1 ? 9 : 7);
    read_again();
    ck_assert_uint_eq(stage_peer[11].n_opened, 0);
    tear_down();
}
END_TEST

/* However often a peer speaks, it is dialled at most once a second. */
START_TEST(news_cannot_make_us_dial_all_the_time)
{
    set_up(1, 1);
    say_one(7, 0, 0, 0);
    first_read();
    size_t before = stage_peer[7].n_opened;
    for (int i = 0; i < 200; i++) {
        stage_down(7);
        n_said = 0;
        stage_now += 100 * MS;
        say_one(7, 0, 0, 0);
        stage_tick();
        answer_reads(1);
    }
    ck_assert_uint_le(stage_peer[7].n_opened - before, 22 + 5);
    tear_down();
}
END_TEST

/* A dial into the void, begun before the host came back, is given up. */
START_TEST(a_dial_that_hangs_gives_way_to_news)
{
    set_up(1, 1);
    say_one(7, 0, 0, 0);
    first_read();
    ck_assert_uint_eq(stage_peer[7].n_opened, 1);
    n_said = 0;
    stage_now += 3000 * MS;
    say_one(7, 0, 0, 0);
    stage_tick();
    answer_reads(1);
    ck_assert_uint_eq(stage_peer[7].n_closed, 1);
    ck_assert_uint_eq(stage_peer[7].n_opened, 2);
    stage_greet(7);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    tear_down();
}
END_TEST

START_TEST(every_row_of_every_layer_is_read)
{
    set_up(2, 130); /* three rows each, the last with two experts */
    struct message_claim claim[] = {{.index = 0}, {.index = 1}, {.index = 2}, {.index = 63}};
    for (uint32_t moe = 0; moe < 2; moe++)
        for (uint32_t row = 0; row < 3; row++)
            say((uint16_t)(10 + moe * 3 + row), moe, row, claim, 4);
    stage_tick();
    ck_assert_uint_eq(dht.n_reads, 6);
    stage_wait(10000 * MS);
    ck_assert_uint_eq(dht.n_reads, 6); /* no more while these are under way */
    answer_reads(1);
    for (uint16_t port = 10; port < 16; port++)
        stage_greet(port);
    for (uint32_t moe = 0; moe < 2; moe++)
        for (uint32_t e = 0; e < 130; e++) {
            uint32_t i = e % 64;
            ck_assert_uint_eq(asked(moe, e), i < 3 || i == 63 ? 10 + moe * 3 + e / 64 : 0);
        }
    ck_assert_uint_eq(router_stats(stage_router).n_live, 2 * 10);
    tear_down();
}
END_TEST

/* The rows where nothing is missing are left in peace, until their usual time. */
START_TEST(what_is_missing_is_looked_for)
{
    set_up(1, 128);
    struct message_claim all[MESSAGE_ROW_EXPERTS];
    for (uint8_t i = 0; i < MESSAGE_ROW_EXPERTS; i++)
        all[i] = (struct message_claim){.index = i};
    say(7, 0, 0, all, MESSAGE_ROW_EXPERTS);
    first_read();
    stage_greet(7);
    ck_assert_uint_eq(dht.n_reads_ever, 2);
    stage_wait(500 * MS);
    ck_assert_uint_eq(dht.n_reads, 1);
    ck_assert_uint_eq(dht.read[0].row, 1);
    answer_reads(1);
    size_t before = dht.n_reads_ever;
    for (int i = 0; i < 200; i++) { /* a hundred seconds in vain: less and less often */
        stage_wait(500 * MS);
        answer_reads(1);
    }
    ck_assert_uint_ge(dht.n_reads_ever - before, 20);
    ck_assert_uint_le(dht.n_reads_ever - before, 40);
    say(8, 0, 1, all, MESSAGE_ROW_EXPERTS);
    stage_wait(5000 * MS);
    answer_reads(1);
    stage_greet(8);
    ck_assert_uint_eq(router_stats(stage_router).n_live, 128);
    stage_wait(4000 * MS); /* what was planned when it was missing */
    answer_reads(1);
    before = dht.n_reads_ever;
    for (int i = 0; i < 2; i++) {
        stage_wait(9900 * MS);
        ck_assert_uint_eq(dht.n_reads, 0); /* calm */
        stage_wait(100 * MS);
        ck_assert_uint_eq(dht.n_reads, 1);
        answer_reads(1);
    }
    ck_assert_uint_eq(dht.n_reads_ever, before + 2);
    stage_down(8);
    stage_wait(500 * MS);
    ck_assert_uint_eq(dht.n_reads_ever, before + 3); /* hurry */
    tear_down();
}
END_TEST

/* Nothing is missing: one row at a time, each in its turn, and with many no more than two a second. */
START_TEST(while_all_is_well_rows_are_read_in_turn)
{
    uint32_t n_moe = _i ? 4 : 1, n_each = _i ? 15 : 5, n_rows = n_moe * n_each;
    uint64_t step_us = (_i ? 500 : 4000) * MS;
    size_t n_of_row[4][15] = {0};
    struct message_claim all[MESSAGE_ROW_EXPERTS];
    set_up(n_moe, n_each * MESSAGE_ROW_EXPERTS);
    for (uint8_t i = 0; i < MESSAGE_ROW_EXPERTS; i++)
        all[i] = (struct message_claim){.index = i};
    for (uint32_t row = 0; row < n_rows; row++)
        say(7, row / n_each, row % n_each, all, MESSAGE_ROW_EXPERTS);
    stage_tick();
    ck_assert_uint_eq(dht.n_reads, n_rows); /* the first time */
    answer_reads(1);
    stage_tick();
    stage_greet(7);
    stage_wait(step_us);
    answer_reads(1);
    for (uint32_t i = 0; i < 3 * n_rows; i++) {
        stage_wait(step_us - 1);
        ck_assert_uint_eq(dht.n_reads, 0);
        ck_assert_uint_le(router_deadline(stage_router), stage_now + 1);
        stage_wait(1);
        ck_assert_uint_eq(dht.n_reads, 1);
        n_of_row[dht.read[0].moe][dht.read[0].row]++;
        answer_reads(1);
    }
    for (uint32_t row = 0; row < n_rows; row++)
        ck_assert_uint_eq(n_of_row[row / n_each][row % n_each], 3);
    tear_down();
}
END_TEST

/* A host that denies its own claims again and again does not make us read without end. */
START_TEST(denials_are_looked_up_at_a_bounded_rate)
{
    set_up(1, 1);
    say_one(7, 0, 0, 0);
    first_read();
    stage_greet(7);
    size_t before = dht.n_reads_ever;
    for (int i = 0; i < 100; i++) {
        router_directory_not_here(stage_router, 0, 0, 0);
        ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
        stage_wait(10 * MS);
        answer_reads(1);
    }
    ck_assert_uint_ge(dht.n_reads_ever - before, 1);
    ck_assert_uint_le(dht.n_reads_ever - before, 4);
    tear_down();
}
END_TEST

START_TEST(the_view_tells_what_is_known_of_each_live_expert)
{
    struct router_expert view[4];
    set_up(2, 3);
    struct message_claim claims[] = {{.index = 0, .version = 5, .load = 3}, {.index = 2, .epoch = 1, .version = 9}};
    struct dht_entry *entry = say(7, 1, 0, claims, 2);
    message_claims_set_hardware(entry->bytes, HARDWARE_GPU);
    say_one(8, 1, 0, 2);
    first_read();
    ck_assert_uint_eq(router_view(stage_router, view, 4), 0); /* an entry alone is nobody */
    stage_now += 40 * MS;
    stage_greet(7);
    ck_assert_uint_eq(router_view(stage_router, view, 4), 2);
    ck_assert(view[0].moe == 1 && view[0].expert == 0 && view[1].moe == 1 && view[1].expert == 2);
    ck_assert(view[0].version == 5 && view[0].load == 192 && view[0].epoch == 0 && view[1].epoch == 1 && view[1].version == 9);
    ck_assert(view[0].addr.port == 7 && view[0].hardware == HARDWARE_GPU && view[0].peer.byte[1] == 7);
    ck_assert_uint_eq(view[0].rtt_us, 20 * MS);
    stage_now += 20 * MS;
    stage_greet(8);
    ck_assert_uint_eq(router_view(stage_router, view, 1), 3); /* one is written */
    ck_assert(view[0].moe == 0 && view[0].expert == 1 && view[0].hardware == HARDWARE_UNKNOWN && view[0].rtt_us == 30 * MS);
    stage_down(7);
    ck_assert_uint_eq(router_view(stage_router, view, 4), 1);
    stage_event((struct io_event){.kind = IO_TICK});
    ck_assert_uint_eq(router_view(stage_router, view, 4), 1);
    tear_down();
}
END_TEST

/* The link stands, and nothing comes over it; the directory says nothing new. */
START_TEST(a_claim_ends_with_its_entry_unless_its_host_speaks)
{
    struct router_expert view[4];
    set_up(1, 2);
    say_one(7, 0, 0, 1);
    say_one(8, 1, 0, 1);
    first_read();
    stage_greet(7);
    stage_greet(8);
    n_said = 0; /* cut off */
    uint64_t cut_us = stage_now;
    while (stage_now < cut_us + (uint64_t)300 * 1000 * MS - 10000 * MS) {
        stage_wait(10000 * MS);
        answer_reads(0);
        ck_assert_uint_eq(router_view(stage_router, view, 4), 2);
        stage_router->peer[1].heard_us = stage_now; /* the second answers calls */
    }
    stage_wait(20000 * MS);
    answer_reads(0);
    ck_assert_uint_eq(router_view(stage_router, view, 4), 1);
    ck_assert_uint_eq(view[0].expert, 1);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 0);
    say_one(7, 0, 0, 2); /* it speaks again */
    stage_wait(20000 * MS);
    answer_reads(1);
    ck_assert_uint_eq(router_view(stage_router, view, 4), 2);
    tear_down();
}
END_TEST

START_TEST(nonsense_in_the_directory_is_passed_over)
{
    set_up(2, 2);
    struct message_claim far[] = {{.index = 1}, {.index = 2}, {.index = 63}};
    say(7, 0, 0, far, 3);                /* experts that the run does not have */
    say_one(8, 0, 0, 0)->bytes[0] = 3;   /* another format */
    say_one(9, 0, 0, 0)->n_bytes = 3;    /* cut short */
    say_one(10, 0, 0, 0)->addr.port = 0; /* nowhere */
    first_read();
    ck_assert_uint_eq(stage_router->n_peers, 1);
    ck_assert_uint_eq(asked(0, 0), 0);
    ck_assert_uint_eq(asked(0, 1), 7);
    ck_assert_uint_eq(asked(1, 0), 0); /* nor those of the next layer */
    ck_assert_uint_eq(asked(1, 1), 0);
    tear_down();
}
END_TEST

/* More peers than there are places: those that are nowhere give way, and what is linked stays. */
START_TEST(a_full_table_forgets_those_that_never_answered)
{
    set_up(1, 320);
    struct message_claim one = {.index = 0};
    say(7, 0, 0, &one, 1);
    first_read();
    stage_greet(7);
    n_said = 0;
    for (uint32_t i = 0; i < 1200; i++) { /* four for each expert */
        struct message_claim claim = {.index = (uint8_t)(i / 4 % 64), .epoch = 9};
        say((uint16_t)(100 + i), 0, i / 4 / 64, &claim, 1);
    }
    stage_wait(500 * MS);
    answer_reads(1);
    ck_assert_uint_eq(stage_router->n_peers, ROUTER_PEERS_MAX);
    for (uint16_t port = 100; port < 1300; port++)
        if (stage_peer[port].n_opened > 0)
            stage_down(port);
    n_said = 0;
    struct message_claim late = {.index = 63};
    say(3000, 0, 4, &late, 1);
    for (int i = 0; i < 100 && stage_peer[3000].n_opened == 0; i++) {
        stage_wait(1000 * MS);
        answer_reads(1);
        for (uint16_t port = 100; port < 1300; port++)
            if (stage_peer[port].link && stage_peer[port].n_opened > 0)
                stage_down(port);
    }
    ck_assert_uint_eq(stage_peer[3000].n_opened, 1);
    stage_greet(3000);
    ck_assert_uint_eq(asked(0, 319), 3000);
    ck_assert_uint_eq(router_allowed(stage_router, 0)[0], 1);
    size_t n_claims = 0, n_known = 0;
    for (size_t e = 0; e < 320; e++)
        n_claims += stage_router->target[e].n_claims;
    for (size_t i = 0; i < stage_router->n_peers; i++)
        n_known += stage_router->peer[i].n_claims;
    ck_assert_uint_eq(n_claims, n_known);
    tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router/directory");
    TCase *tcase = tcase_create("directory");
    tcase_add_test(tcase, what_is_claimed_is_dialled_and_asked);
    tcase_add_test(tcase, the_better_claim_is_asked);
    tcase_add_loop_test(tcase, the_weakest_of_many_claims_gives_way, 0, 8);
    tcase_add_test(tcase, made_up_claims_keep_no_true_one_out);
    tcase_add_test(tcase, a_claim_that_is_not_repeated_ends);
    tcase_add_test(tcase, a_vanished_host_is_forgotten_when_its_entry_expires);
    tcase_add_test(tcase, an_unanswered_read_changes_nothing);
    tcase_add_loop_test(tcase, a_host_that_restarted_is_dialled_at_once, 0, 2);
    tcase_add_test(tcase, news_cannot_make_us_dial_all_the_time);
    tcase_add_test(tcase, a_dial_that_hangs_gives_way_to_news);
    tcase_add_test(tcase, every_row_of_every_layer_is_read);
    tcase_add_test(tcase, what_is_missing_is_looked_for);
    tcase_add_loop_test(tcase, while_all_is_well_rows_are_read_in_turn, 0, 2);
    tcase_add_test(tcase, denials_are_looked_up_at_a_bounded_rate);
    tcase_add_test(tcase, nonsense_in_the_directory_is_passed_over);
    tcase_add_test(tcase, the_view_tells_what_is_known_of_each_live_expert);
    tcase_add_test(tcase, a_claim_ends_with_its_entry_unless_its_host_speaks);
    tcase_add_test(tcase, a_full_table_forgets_those_that_never_answered);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
