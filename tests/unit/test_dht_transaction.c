#include "unit.h"

#include <string.h>

#include "dht/transaction.h"

static struct dht_transactions all;
static struct dht_transaction *open_one[DHT_TRANSACTIONS_MAX];
static uint8_t tid[DHT_TRANSACTIONS_MAX][DHT_TID_BYTES];
static size_t n_open;

static struct addr address(unsigned i)
{
    return (struct addr){.family = 4, .ip = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}, .port = 1};
}

static struct dht_transaction *ask(unsigned i, uint64_t soft_us, uint64_t hard_us)
{
    struct dht_transaction *t = dht_transactions_open(&all, tid[n_open]);
    if (!t)
        return NULL;
    t->addr = address(i);
    dht_transactions_time(&all, t, soft_us, hard_us);
    return open_one[n_open++] = t;
}

static void close_one(size_t i)
{
    dht_transactions_close(&all, open_one[i]);
    open_one[i] = open_one[--n_open];
    memcpy(tid[i], tid[n_open], DHT_TID_BYTES);
}

static void setup(void)
{
    n_open = 0;
    dht_transactions_init(&all, 7);
}

static void teardown(void)
{
    dht_transactions_fini(&all);
}

static uint64_t due(const struct dht_transaction *t)
{
    return t->is_late ? t->hard_us : t->soft_us;
}

/* Whatever was opened, closed, late or given another time: the deadline is the least of all, and each answers to its id alone. */
START_TEST(the_first_due_is_the_first_of_all)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "transactions");
    for (int turn = 0; turn < 3000; turn++) {
        uint64_t soft_us = rng_below(&rng, 1000), hard_us = soft_us + rng_below(&rng, 1000), what = rng_below(&rng, 8);
        bool is_growing = turn / 500 % 2 == 0;
        if (what < (is_growing ? 4 : 2))
            (void)ask((unsigned)turn, soft_us, hard_us);
        else if (n_open > 0 && what < 6)
            close_one(rng_below(&rng, n_open));
        else if (n_open > 0 && what == 6)
            dht_transactions_late(&all, open_one[rng_below(&rng, n_open)]);
        else if (n_open > 0)
            dht_transactions_time(&all, open_one[rng_below(&rng, n_open)], soft_us, hard_us);
        uint64_t first_us = UINT64_MAX;
        for (size_t i = 0; i < n_open; i++)
            first_us = due(open_one[i]) < first_us ? due(open_one[i]) : first_us;
        ck_assert_uint_eq(dht_transactions_deadline(&all), first_us);
        if (n_open == 0)
            continue;
        ck_assert_ptr_null(first_us > 0 ? dht_transactions_overdue(&all, first_us - 1) : NULL);
        ck_assert_uint_eq(due(dht_transactions_overdue(&all, first_us)), first_us);
        size_t i = rng_below(&rng, n_open);
        struct dht_span span = {tid[i], DHT_TID_BYTES};
        ck_assert_ptr_eq(dht_transactions_match(&all, span, &open_one[i]->addr), open_one[i]);
        struct addr other = address(5000);
        ck_assert_ptr_null(dht_transactions_match(&all, span, &other));
        tid[i][3] ^= 1;
        ck_assert_ptr_null(dht_transactions_match(&all, span, &open_one[i]->addr));
        tid[i][3] ^= 1;
    }
}
END_TEST

START_TEST(slots_grow_to_their_ceiling_and_are_given_back)
{
    static const uint8_t nobody[DHT_TID_BYTES] = {3, 1, 4, 1};
    struct addr addr = address(1);
    ck_assert_uint_eq(dht_transactions_memory(&all), 0);
    ck_assert_ptr_null(dht_transactions_match(&all, (struct dht_span){nobody, sizeof nobody}, &addr));
    ck_assert_ptr_nonnull(ask(0, 1, 2));
    size_t least = dht_transactions_memory(&all);
    ck_assert_uint_le(least, 1600);
    while (n_open < DHT_TRANSACTIONS_MAX)
        ck_assert_ptr_nonnull(ask((unsigned)n_open, 1, 2));
    uint8_t more[DHT_TID_BYTES];
    ck_assert_ptr_null(dht_transactions_open(&all, more));
    for (size_t i = 0; i < n_open; i++) /* where they were */
        ck_assert_ptr_eq(dht_transactions_match(&all, (struct dht_span){tid[i], DHT_TID_BYTES}, &open_one[i]->addr), open_one[i]);
    close_one(17);
    ck_assert_ptr_nonnull(ask(17, 1, 2));
    while (n_open > 0)
        close_one(n_open / 2);
    ck_assert_uint_eq(dht_transactions_memory(&all), least);
    ck_assert_uint_eq(dht_transactions_deadline(&all), UINT64_MAX);
    ck_assert_ptr_nonnull(ask(1, 1, 2));
}
END_TEST

START_TEST(what_asked_the_same_is_settled_together)
{
    for (unsigned i = 0; i < 60; i++) {
        struct dht_transaction *t = ask(i % 3, i, i);
        t->role = i % 2 ? DHT_ROLE_STEP : DHT_ROLE_STORE;
        t->operation = i % 5;
    }
    struct addr addr = address(1);
    dht_transactions_settle(&all, 4, DHT_ROLE_STEP, &addr);
    ck_assert_uint_eq(all.n, 58); /* 19 and 49 */
    uint64_t last_us = 0;
    for (unsigned i = 0; i < 58; i++) {
        struct dht_transaction *t = dht_transactions_overdue(&all, 1000);
        ck_assert(t->soft_us >= last_us && t->soft_us != 19 && t->soft_us != 49);
        last_us = t->soft_us;
        dht_transactions_close(&all, t);
    }
    ck_assert_ptr_null(dht_transactions_overdue(&all, 1000));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-transaction");
    TCase *test = tcase_create("transaction");
    tcase_add_checked_fixture(test, setup, teardown);
    tcase_add_loop_test(test, the_first_due_is_the_first_of_all, 0, 4);
    tcase_add_test(test, slots_grow_to_their_ceiling_and_are_given_back);
    tcase_add_test(test, what_asked_the_same_is_settled_together);
    suite_add_tcase(suite, test);
    return unit_run(suite);
}
