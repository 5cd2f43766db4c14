/* Whole reads among up to a hundred holders who answer, late or twice, are silent, err, lie, and come and go on links, while time
 * passes by steps of any size.  Nothing crashes the node, its books stay true, each operation ends exactly once and in time, and what
 * an honest holder gave or listed is among the results.
 *
 * The input: u8 choices (1 links, 2 read only, 4 a second family, 8 upkeep's own walks) | u8 seed | u8 nodes known at the start, the
 * farthest | N_MANNERS manners (fuzz_dht_reads.h), the first for the nearest holders | commands of two bytes: what (5 bits) and a
 * manner (3 bits), an argument. */
#include <assert.h>

#include "fuzz_dht_books.h"
#include "fuzz_dht_reads.h"

#define N_OPEN 64      /* questions that wait to be answered when told */
#define N_AUTO 1024    /* and those that are answered at once */
#define N_CALLS 48     /* operations of an input */
#define N_LINKS 64     /* links of an input */
#define N_ANSWERS 3000 /* answers of an input */
#define N_COMMANDS 96  /* of an input */
#define HONEST_UNTIL_US (SIGNED_EPOCH_US + 290 * 1000000ull)
#define OPERATION_S 8  /* that an operation takes at most */
#define UNASKED_MAX 16 /* true entries taken from a listed holder though nobody asked */

struct question {
    uint8_t holder;
    uint16_t n;
    uint8_t bytes[DHT_ITEM_DATAGRAM_MAX];
};

struct call {
    bool is_open, is_read, has_next, is_settled; /* settled: what honest holders list must come */
    uint64_t deadline_us;
    struct dht_operation *op;
    int given[N_WRITERS]; /* 1 more than the version that an honest answer brought, the newest; 0: none */
};

struct link {
    bool is_open, is_up;
    uint8_t holder;
    size_t n_read;
    uint8_t read[32 + DHT_BULK_TAGS_MAX * DHT_TAG_BYTES]; /* the last question */
    uint32_t old_call;
};

static struct dht *dht;
static struct dht_verified verified; /* outlives nodes */
static uint64_t now_us;
static uint8_t choices;
static struct manner manner[N_MANNERS];
static uint8_t manner_of[N_HOLDERS];
static bool is_true[N_HOLDERS];    /* honest from the start on */
static uint8_t n_asked[N_HOLDERS]; /* questions, for those who answer every other one */
static size_t n_holders, n_answers, n_calls, n_links;
static struct question open_question[N_OPEN], auto_question[N_AUTO];
static size_t n_open, n_auto, auto_at;
static struct call call[N_CALLS];
static struct link link_[N_LINKS];
static uint8_t last_answer[IO_DATAGRAM_MAX];
static size_t n_last_answer;
static uint8_t last_holder;
static bool is_withdrawn[N_WRITERS]; /* somebody said so, or what is soon over */

static bool has_v6(void)
{
    return choices & 4;
}

static struct addr addr_of(size_t i)
{
    return holder_addr(i, has_v6() && i % 2 == 1);
}

static const struct manner *of(size_t i)
{
    return &manner[manner_of[i]];
}

/* -- What the node sends ------------------------------------------------------------------------------------------- */

static void on_datagram(void *ctx, const struct addr *to, const void *bytes, size_t n)
{
    static struct dht_message m;
    size_t i = holder_at(to);
    (void)ctx;
    assert(n <= DHT_ITEM_DATAGRAM_MAX && dht_krpc_decode(&m, bytes, n) == 0);
    if (m.kind != DHT_QUERY || i >= n_holders)
        return;
    enum timing timing = of(i)->timing;
    if (timing == EVERY_OTHER)
        timing = n_asked[i]++ % 2 == 0 ? AT_ONCE : NEVER;
    struct question *q = NULL;
    if (timing == AT_ONCE && n_auto < N_AUTO)
        q = &auto_question[(auto_at + n_auto++) % N_AUTO];
    else if (timing == WHEN_TOLD)
        q = &open_question[n_open++ % N_OPEN];
    is_true[i] &= q != NULL;
    if (!q)
        return;
    q->holder = (uint8_t)i;
    q->n = (uint16_t)n;
    memcpy(q->bytes, bytes, n);
}

static io_link on_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    size_t i = holder_at(to);
    (void)ctx;
    (void)expect;
    assert(i < n_holders);
    if (n_links < N_LINKS)
        link_[n_links] = (struct link){.is_open = true, .holder = (uint8_t)i};
    return ++n_links;
}

static struct link *find_link(io_link number)
{
    return number >= 1 && number <= N_LINKS && number <= n_links ? &link_[number - 1] : NULL;
}

static void on_send(void *ctx, io_link number, struct buf *message, bool is_urgent)
{
    struct link *l = find_link(number);
    struct dht_bulk_read m;
    (void)ctx;
    (void)is_urgent;
    assert(!message->err && number >= 1 && number <= n_links);
    assert(dht_bulk_read_decode(&m, message->bytes, message->n) == 0 && dht_id_equal(&m.key, &fuzz_key));
    if (l) {
        assert(l->is_open && l->is_up && message->n <= sizeof l->read);
        memcpy(l->read, message->bytes, message->n);
        l->n_read = message->n;
    }
    buf_fini(message);
}

static size_t on_queued(void *ctx, io_link number)
{
    (void)ctx;
    (void)number;
    return 0;
}

static void on_close(void *ctx, io_link number)
{
    (void)ctx;
    if (find_link(number)) {
        assert(find_link(number)->is_open);
        find_link(number)->is_open = false;
    }
}

/* -- What it says to its owner ------------------------------------------------------------------------------------- */

static void begin_read(uint8_t how);

static uint64_t seq_of[N_WRITERS]; /* in the results */

static void note_results(const struct dht_entry *entry, size_t n)
{
    memset(seq_of, 0, sizeof seq_of);
    for (size_t i = 0; i < n; i++) {
        size_t w = writer_from(entry[i].writer.byte, sizeof entry[i].writer.byte, false);
        if (w < N_WRITERS && peer_id_equal(&entry[i].writer, &said(w, PLAIN)->entry.writer))
            seq_of[w] = entry[i].seq;
    }
}

/* An entry of a writer that some honest holder gave: a newer one of that writer does as well, and so does that it withdrew. */
static void check_has(size_t w, enum version v)
{
    const struct said *s = said(w, v);
    if (dht_entry_check_time(&s->entry, now_us) == 0 && !is_withdrawn[w])
        assert(seq_of[w] >= s->entry.seq);
}

/* Whom the read came to know as a holder and who is true is not left, and gave all it has before the read ended by itself. */
static void check_holders(const struct call *c)
{
    const struct dht_read *read = c->op->read;
    for (size_t p = 0; p < read->n_pages; p++) {
        size_t i = holder_at(&read->page[p].addr);
        if (i >= n_holders || !is_true[i])
            continue;
        assert(!read->page[p].is_lost);
        for (size_t w = of(i)->first; w < of(i)->first + of(i)->n && now_us < c->deadline_us; w++)
            check_has(w, of(i)->version);
    }
}

static void end_call(struct call *c)
{
    assert(c->is_open);
    c->is_open = false;
}

static void on_read(void *arg, uint64_t at_us, const struct dht_entry *entry, size_t n, size_t n_heard)
{
    struct call *c = arg;
    (void)n_heard;
    assert(at_us == now_us && c->is_read);
    end_call(c);
    for (size_t i = 0; i < n; i++)
        assert(dht_entry_check_time(&entry[i], now_us) == 0 && entry[i].n_bytes > 0 && entry[i].addr.port != 0);
    for (size_t i = 1; i < n; i++)
        assert(peer_id_compare(&entry[i - 1].writer, &entry[i].writer) < 0);
    note_results(entry, n);
    for (size_t w = 0; w < N_WRITERS; w++)
        if (c->given[w] > 0)
            check_has(w, (enum version)(c->given[w] - 1));
    if (c->is_settled)
        check_holders(c);
    if (c->has_next)
        begin_read(0);
}

static void on_some(void *arg, uint64_t at_us, const struct dht_entry *entry, size_t n)
{
    const struct call *c = arg;
    assert(c->is_open && c->is_read && at_us == now_us);
    for (size_t i = 0; i < n; i++)
        assert(entry[i].n_bytes > 0);
}

static void on_stored(void *arg, uint64_t at_us, size_t n_stored)
{
    (void)n_stored;
    assert(at_us == now_us && !((struct call *)arg)->is_read);
    end_call(arg);
}

static struct call *new_call(bool is_read)
{
    if (n_calls == N_CALLS)
        return NULL;
    call[n_calls] = (struct call){.is_open = true, .is_read = is_read, .deadline_us = now_us + OPERATION_S * 1000000ull};
    return &call[n_calls++];
}

static void begin_read(uint8_t how)
{
    struct call *c = new_call(true);
    if (!c)
        return;
    c->has_next = how & 2;
    c->is_settled = true;
    if (how & 1)
        dht_read_early(dht, now_us, &fuzz_key, on_some, on_read, c);
    else
        dht_read(dht, now_us, &fuzz_key, on_read, c);
    c->op = dht->waiting.last;
    assert(c->op->arg == c);
}

static void write_something(uint8_t how)
{
    static const struct addr self = {.family = 4, .ip = {10, 200, 1, 1}, .port = 4100};
    uint8_t bytes[100] = {how};
    size_t n = 1 + how / 3u;
    struct call *c = how % 4 == 2 ? new_call(false) : NULL;
    if (how % 4 == 0)
        dht_publish(dht, now_us, &fuzz_key, &self, bytes, n, NULL, NULL);
    else if (how % 4 == 1)
        dht_withdraw(dht, now_us, &fuzz_key);
    else if (c)
        dht_store_entry(dht, now_us, &fuzz_key, &self, bytes, n, on_stored, c);
    else
        dht_republish(dht, now_us);
}

/* What outdoes the older ones of its writer, and then is not among results itself. */
static bool is_end(enum version v)
{
    return v == WITHDRAWN || v == SHORT;
}

/* Somebody stores with us. */
static void store_here(uint8_t which, enum version v)
{
    static const struct addr from = {.family = 4, .ip = {10, 201}, .port = 1};
    const struct said *s = said(which % N_WRITERS, v);
    if (v == FALSE_SIGNATURE || v == OVER || v == FAR_AHEAD || v == NOWHERE)
        return; /* what answer.c keeps out */
    if (dht_directory_store(&dht->directory, &fuzz_key, &s->entry, (struct dht_span){s->raw, s->n}, &from, now_us) == 0)
        is_withdrawn[which % N_WRITERS] |= is_end(v);
}

/* -- Datagrams ----------------------------------------------------------------------------------------------------- */

static struct call *call_of(const struct dht_operation *op)
{
    for (size_t i = 0; op && op->task == DHT_TASK_READ && i < n_calls; i++)
        if (call[i].is_open && call[i].op == op)
            return &call[i];
    return NULL;
}

static void note(struct call *c, size_t w, enum version v)
{
    if (c->given[w] == 0 || said(w, (enum version)(c->given[w] - 1))->entry.seq < said(w, v)->entry.seq)
        c->given[w] = 1 + (int)v;
}

static bool is_sound(enum version v)
{
    return v == PLAIN || v == NEWER || v == TWIN || v == SHORT;
}

/* Takes down what an answer gives, if the node has to take it: before it is handed over. */
static void note_given(size_t i, const struct answer *a)
{
    struct addr addr = addr_of(i);
    const struct dht_transaction *t = dht_transactions_match(&dht->transactions, a->m.tid, &addr);
    struct dht_operation *op = t ? dht_operation_find(dht, t->operation) : NULL;
    struct call *c = call_of(op);
    const struct manner *x = of(i);
    for (size_t g = 0; g < a->n_given; g++)
        is_withdrawn[a->given[g][0]] |= is_end(a->given[g][1]);
    if (!c || !is_sound(x->version) || (x->lie != NO_LIE && x->lie != LIE_SAME_CURSOR && x->lie != LIE_UNASKED))
        return;
    const struct dht_candidate *candidate = dht_lookup_find(&op->lookup, &addr);
    const struct dht_page *page = dht_read_page(op->read, &addr);
    bool is_step = t->role == DHT_ROLE_STEP && candidate && candidate->step != DHT_STEP_ANSWERED && !x->is_foreign;
    if (is_step || (t->role == DHT_ROLE_PAGE && page->n_unasked + a->n_given <= UNASKED_MAX))
        for (size_t g = 0; g < a->n_given; g++)
            note(c, a->given[g][0], a->given[g][1]);
}

static void hand_over(size_t i)
{
    struct addr addr = addr_of(i);
    n_answers++;
    dht_datagram(dht, now_us, &addr, last_answer, n_last_answer);
}

static void answer(const struct question *question, int error)
{
    static struct dht_message q;
    static struct answer a;
    size_t i = question->holder;
    if (dht_krpc_decode(&q, question->bytes, question->n) != 0 || n_answers >= N_ANSWERS)
        return;
    memset(&a, 0, sizeof a);
    answer_make(&a, of(i), i, &q, n_holders, has_v6());
    if (error) {
        a.m = (struct dht_message){.kind = DHT_ERROR, .tid = q.tid, .error = error};
        a.n_given = 0;
    }
    n_last_answer = dht_krpc_encode(&a.m, last_answer, sizeof last_answer);
    last_holder = (uint8_t)i;
    assert(n_last_answer > 0);
    uint8_t *version = of(i)->is_foreign ? memmem(last_answer, n_last_answer, "1:v4:HN", 7) : NULL;
    if (version)
        version[5] = 'L';
    note_given(i, &a);
    hand_over(i);
}

/* What is answered without being told to, and what follows from it. */
static void follow_up(void)
{
    while (n_auto > 0) {
        struct question q = auto_question[auto_at];
        auto_at = (auto_at + 1) % N_AUTO;
        n_auto--;
        if (n_answers >= N_ANSWERS)
            memset(is_true, 0, sizeof is_true);
        answer(&q, 0);
    }
}

static struct question *held(uint8_t which)
{
    size_t n = n_open < N_OPEN ? n_open : N_OPEN;
    return n > 0 ? &open_question[(n_open - 1 - which % n) % N_OPEN] : NULL;
}

static void answer_held(uint8_t which, int error)
{
    struct question *q = held(which);
    if (!q)
        return;
    struct question copy = *q;
    answer(&copy, error);
    follow_up();
}

/* -- Links --------------------------------------------------------------------------------------------------------- */

static void link_event(struct link *l, struct io_event *event)
{
    event->link = (io_link)(l - link_) + 1;
    event->from = addr_of(l->holder);
    (void)dht_link_event(dht, now_us, event);
    follow_up();
}

static void link_up(struct link *l, bool is_wrong)
{
    struct io_event up = {.kind = IO_LINK_UP, .peer = holder_peer(is_wrong ? l->holder + 1u : l->holder)};
    if (!l->is_open || l->is_up)
        return;
    l->is_up = true;
    link_event(l, &up);
}

static void link_down(struct link *l)
{
    struct io_event down = {.kind = IO_LINK_DOWN, .err = HANSE_ECLOSED};
    if (!l->is_open)
        return;
    l->is_open = false;
    link_event(l, &down);
}

enum link_lie { LINK_TRUE, LINK_FALSE, LINK_CUT, LINK_EMPTY, LINK_REFUSED, LINK_OLD_CALL, LINK_OTHERS, LINK_REPEATS };

/* The read that waits for this link, when what comes on it has to be taken. */
static struct call *waiting_for(const struct link *l, uint32_t number)
{
    const struct dht_bulk *bulk = &dht->bulk;
    io_link own = (io_link)(l - link_) + 1;
    struct addr addr = addr_of(l->holder);
    for (size_t i = 0; i < bulk->n; i++)
        for (size_t j = 0; bulk->link[i].link == own && j < DHT_BULK_CALLS_MAX; j++) {
            struct dht_operation *op = dht_operation_find(dht, bulk->link[i].call[j].operation);
            const struct dht_page *page = op && op->read ? dht_read_page(op->read, &addr) : NULL;
            if (bulk->link[i].call[j].call == number && page && !page->is_lost && page->n_unasked <= UNASKED_MAX)
                return call_of(op);
        }
    return NULL;
}

static bool is_wanted(const struct dht_bulk_read *q, size_t w)
{
    bool is_tagged = q->tags.n == 0;
    for (size_t at = 0; at < q->tags.n && !is_tagged; at += DHT_TAG_BYTES)
        is_tagged = memcmp(said(w, PLAIN)->digest, q->tags.bytes + at, DHT_TAG_BYTES) == 0;
    return is_tagged;
}

static size_t give_all(uint8_t *out, const struct link *l, const struct dht_bulk_read *q, enum link_lie lie, struct call *c)
{
    const struct manner *x = of(l->holder);
    enum version v = lie == LINK_FALSE ? FALSE_SIGNATURE : x->version;
    size_t first = lie == LINK_OTHERS ? 0 : x->first, n = lie == LINK_OTHERS ? N_WRITERS : x->n, n_out = 0;
    for (size_t w = first; w < first + n && lie != LINK_EMPTY; w++) {
        if (lie != LINK_OTHERS && !is_wanted(q, w))
            continue;
        memcpy(out + n_out, said(w, v)->raw, said(w, v)->n);
        n_out += said(w, v)->n;
        is_withdrawn[w] |= is_end(v);
        if (c && is_sound(v))
            note(c, w, v);
    }
    return n_out;
}

static void link_answer(struct link *l, enum link_lie lie)
{
    _Alignas(8) static uint8_t bytes[8 + N_WRITERS * DHT_ENTRY_MAX];
    struct dht_bulk_read q;
    if (!l->is_open || !l->is_up || l->n_read == 0 || dht_bulk_read_decode(&q, l->read, l->n_read) != 0)
        return;
    uint32_t number = lie == LINK_OLD_CALL ? q.call - 1 : q.call;
    struct call *c = lie == LINK_CUT || lie == LINK_REFUSED ? NULL : waiting_for(l, number);
    memset(bytes, 0, 8);
    bytes[0] = DHT_BULK_ENTRIES;
    bytes[1] = lie == LINK_REFUSED;
    memcpy(bytes + 4, &number, 4); /* little-endian, as all machines that fuzz are */
    struct io_event event = {.kind = IO_MESSAGE, .peer = holder_peer(l->holder), .bytes = bytes};
    event.n_bytes = 8 + give_all(bytes + 8, l, &q, lie, c);
    if (lie == LINK_CUT)
        event.n_bytes -= event.n_bytes > 8 ? 5 : 0;
    is_true[l->holder] &= lie == LINK_TRUE || lie == LINK_REFUSED;
    link_event(l, &event);
    if (lie == LINK_REPEATS)
        link_event(l, &event);
}

/* Those that do something by themselves. */
static void move_links(void)
{
    for (size_t i = 0; i < n_links && i < N_LINKS; i++) {
        enum on_link on_link = of(link_[i].holder)->on_link;
        if (on_link == LINK_DOWN)
            link_down(&link_[i]);
        else if (on_link != LINK_WHEN_TOLD)
            link_up(&link_[i], false);
        if (on_link == LINK_ANSWERS && link_[i].n_read > 0) {
            link_answer(&link_[i], LINK_TRUE);
            link_[i].n_read = 0;
        }
    }
}

static struct link *some_link(uint8_t which)
{
    size_t n = n_links < N_LINKS ? n_links : N_LINKS;
    return n > 0 ? &link_[n - 1 - which % n] : NULL;
}

/* -- The script ------------------------------------------------------------------------------------------------------- */

static bool has_open_call(void)
{
    bool is_open = false;
    for (size_t i = 0; i < n_calls; i++)
        is_open |= call[i].is_open;
    return is_open;
}

static void check_in_time(void)
{
    for (size_t i = 0; i < n_calls; i++)
        assert(!call[i].is_open || now_us < call[i].deadline_us);
}

static void settle(void)
{
    follow_up();
    move_links();
    follow_up();
    fuzz_books_check(dht);
}

static void pass(uint64_t us)
{
    now_us += us;
    if (now_us >= HONEST_UNTIL_US)
        memset(is_true, 0, sizeof is_true); /* what they hold is over */
    dht_tick(dht, now_us);
    follow_up();
    check_in_time();
}

static void pass_to_deadline(void)
{
    uint64_t at_us = dht_deadline(dht);
    pass(at_us > now_us && at_us < now_us + 3600000000u ? at_us - now_us : 0);
    settle();
}

static void node_begin(uint8_t seed, size_t n_known)
{
    static const struct io_ops ops = {
        .datagram = on_datagram, .link_open = on_open, .link_send = on_send, .link_queued = on_queued, .link_close = on_close};
    struct io io = {&ops, NULL};
    struct dht_config config = {
        .key = signed_key(0), .port = 4100, .seed = seed, .has_links = choices & 1, .is_read_only = choices & 2};
    assert(dht_new(&config, &io, now_us, &dht) == 0);
    dht->verified = verified;
    verified = (struct dht_verified){0};
    for (size_t i = n_holders - (n_known < n_holders ? n_known : n_holders); i < n_holders; i++) {
        struct addr addr = addr_of(i);
        struct dht_id id = holder_id(i);
        struct dht_half *half = dht_half_of(dht, &addr);
        half->is_wanted = true;
        (void)dht_table_answered(&half->table, &id, &addr, !of(i)->is_foreign, 20000, now_us);
    }
    if (!(choices & 8))
        dht->upkeep.self_us = dht->upkeep.bucket_us = now_us + 3600000000u;
}

/* Its owner has had enough. */
static void node_end(void)
{
    verified = dht->verified;
    dht->verified = (struct dht_verified){0};
    dht_free(dht);
    dht = NULL;
    for (size_t i = 0; i < n_calls; i++)
        call[i] = (struct call){0};
    for (size_t i = 0; i < N_LINKS; i++)
        link_[i].is_open = false;
    n_open = n_auto = 0;
}

static void change_manner(size_t i, uint8_t m)
{
    if (i < n_holders) {
        manner_of[i] = m;
        is_true[i] = false;
    }
}

static void command(uint8_t what, uint8_t m, uint8_t arg)
{
    static const uint32_t step_us[] = {0,      1000,   10000,  50000,   100000,  200000,  400000,   450000,
                                       500000, 600000, 999999, 1500000, 2000000, 3000000, 10000000, 61000000};
    struct link *l = some_link(arg & 15);
    switch (what) {
    case 0:
        for (int i = 0; i <= arg >> 4; i++)
            pass(step_us[arg & 15]);
        break;
    case 1:
        for (int i = 0; i <= arg % 32; i++)
            pass_to_deadline();
        break;
    case 2:
        answer_held(arg, 0);
        break;
    case 3:
        for (int i = 0; i <= arg % N_OPEN; i++)
            answer_held((uint8_t)i, 0);
        break;
    case 4:
        answer_held(arg, m == 0 ? DHT_ERROR_METHOD : 200 + m);
        break;
    case 5:
        if (n_last_answer > 0)
            hand_over(last_holder);
        break;
    case 6:
        change_manner(arg, m);
        break;
    case 7:
        for (size_t i = 0; i < n_holders; i++)
            if (manner_of[i] == m)
                change_manner(i, arg % N_MANNERS);
        break;
    case 8:
        if (l)
            link_up(l, arg & 16);
        break;
    case 9:
        if (l)
            link_answer(l, (enum link_lie)m);
        break;
    case 10:
        if (l)
            link_down(l);
        break;
    case 11:
        begin_read(arg);
        dht_tick(dht, now_us);
        break;
    case 12:
        write_something(arg);
        dht_tick(dht, now_us);
        break;
    case 13:
        store_here(arg, (enum version)m);
        break;
    case 14:
        node_end();
        node_begin(arg, 8 * m);
        break;
    default:
        pass(step_us[arg & 15] * (uint64_t)(1 + m));
    }
}

static void world_begin(struct wire_reader *r)
{
    uint8_t bytes[MANNER_BYTES];
    n_holders = n_answers = n_calls = n_links = n_open = n_auto = auto_at = n_last_answer = 0;
    now_us = SIGNED_EPOCH_US;
    memset(n_asked, 0, sizeof n_asked);
    memset(is_withdrawn, 0, sizeof is_withdrawn);
    memset(call, 0, sizeof call);
    for (uint8_t m = 0; m < N_MANNERS; m++) {
        memset(bytes, 0, sizeof bytes);
        wire_bytes(r, bytes, wire_left(r) < sizeof bytes ? wire_left(r) : sizeof bytes);
        manner[m] = manner_read(bytes);
        for (size_t i = 0; i < manner[m].n_holders && n_holders < N_HOLDERS; i++, n_holders++) {
            manner_of[n_holders] = m;
            is_true[n_holders] = is_honest(&manner[m]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct wire_reader r;
    if (n < 3)
        return 0;
    wire_reader_init(&r, data, n);
    choices = wire_u8(&r);
    uint8_t seed = wire_u8(&r), n_known = wire_u8(&r);
    world_begin(&r);
    node_begin(seed, n_known);
    begin_read(choices >> 4);
    dht_tick(dht, now_us);
    settle();
    for (size_t i = 0; i < N_COMMANDS && wire_left(&r) >= 2; i++) {
        uint8_t what = wire_u8(&r);
        command(what & 31, what >> 5, wire_u8(&r));
        settle();
    }
    for (size_t i = 0; i < 40 && has_open_call(); i++) {
        pass(500000);
        settle();
    }
    assert(!has_open_call() || n_calls == N_CALLS);
    node_end();
    return 0;
}
