/* Many go at once: what they held is stored anew by those who wrote it, long before it would be its time. */
#include "unit.h"

#include "dht_swarm.h"

#define N 80
#define WRITER 1

static struct dht_id the_key(void)
{
    struct hash run = hash_bytes("a tide", 6);
    return dht_directory_key(&run, "experts", 0, 0);
}

/* All who hold the record vanish, and of the others as many as it takes until `n` are gone. */
static void ebb(struct swarm *s, const struct dht_id *key, size_t n)
{
    size_t n_gone = 0;
    for (size_t i = 0; i < N; i++)
        if (i != WRITER && dht_holds(swarm_node(s, i)->dht, swarm_now(s), key)) {
            swarm_kill(swarm_node(s, i));
            n_gone++;
        }
    ck_assert_uint_ge(n_gone, DHT_K - 1);
    for (size_t i = N; i-- > 0 && n_gone < n;)
        if (i != WRITER && swarm_node(s, i)->dht) {
            swarm_kill(swarm_node(s, i));
            n_gone++;
        }
    ck_assert_uint_eq(n_gone, n);
}

static struct swarm_node *survivor(struct swarm *s)
{
    size_t i = WRITER + 1;
    while (!swarm_node(s, i)->dht)
        i++;
    return swarm_node(s, i);
}

/* Stored for the last time some 45 s after it was published, and by itself not again for at least another 100. */
START_TEST(a_writer_that_sees_many_go_stores_anew)
{
    struct swarm_config config = {.seed = (uint64_t)_i, .delay_min_us = 10000, .delay_spread_us = 60000, .is_public = true};
    struct swarm *s = swarm_new(&config);
    struct dht_id key = the_key();
    struct swarm_read read;
    swarm_grow(s, N, 50000);
    swarm_run(s, 60 * SECOND_US);
    swarm_publish(swarm_node(s, WRITER), &key, "still here");
    swarm_run(s, 50 * SECOND_US);
    ebb(s, &key, N / 2);
    swarm_read(survivor(s), &key, &read);
    bool was_found = swarm_has(&read, swarm_node(s, WRITER), "still here");
    swarm_run(s, 60 * SECOND_US);
    swarm_read(survivor(s), &key, &read);
    ck_assert(swarm_has(&read, swarm_node(s, WRITER), "still here"));
    ck_assert(!was_found || dht_holds(swarm_node(s, WRITER)->dht, swarm_now(s), &key));
    swarm_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-tide");
    TCase *tide = tcase_create("tide");
    tcase_set_timeout(tide, 60);
    tcase_add_loop_test(tide, a_writer_that_sees_many_go_stores_anew, 0, 4);
    suite_add_tcase(suite, tide);
    return unit_run(suite);
}
