/* tests/unit/test_sim_remove.c - nodes that are taken out of the world: what others notice, and that nothing of them stays. */
#include <malloc.h>

#include "sim_toy.h"

static struct world *public_world(uint64_t seed)
{
    struct world_config config = {.seed = seed,
                                  .rtt_median_us = 80000,
                                  .rtt_sigma_percent = 60,
                                  .datagram_duplicate = 0.1,
                                  .connect_timeout_us = 5000000,
                                  .is_public = true};
    struct world *world;
    ck_assert_int_eq(world_new(&config, &world), 0);
    return world;
}

static void forget(struct toy *toy)
{
    world_remove(toy->node);
    free(toy);
}

/* i even: addresses in 10/8, odd: all over the internet. */
static struct world *world_of(int i)
{
    return i % 2 ? public_world((uint64_t)i) : toy_world((uint64_t)i);
}

START_TEST(what_it_sent_arrives_and_what_it_is_sent_vanishes)
{
    struct world *world = world_of(_i);
    struct toy *a = toy_new(world), *b = toy_new(world);
    struct addr gone = world_addr(b->node);
    toy_pass(world, 1);
    toy_datagram(b, a, "farewell", 8);
    toy_datagram(a, b, "too late", 8);
    forget(b);
    toy_pass(world, 5000000);
    ck_assert_uint_ge(toy_n(a, IO_DATAGRAM), 1);
    ck_assert(addr_equal(&toy_find(a, IO_DATAGRAM, 0)->from, &gone));
    a->io->ops->datagram(a->io->ctx, &gone, "anybody?", 8);
    a->io->ops->link_open(a->io->ctx, &gone, NULL);
    toy_pass(world, 10000000);
    ck_assert_uint_eq(toy_n(a, IO_LINK_UP), 0);
    ck_assert_int_eq(toy_find(a, IO_LINK_DOWN, 0)->err, HANSE_ETIMEOUT);
    world_free(world);
    free(a);
}
END_TEST

/* At any moment of a link's life, `_i` steps of 10 ms after it was dialed, from either side. */
START_TEST(its_links_go_down)
{
    struct world *world = world_of(_i);
    struct toy *a = toy_new(world), *b = toy_new(world);
    toy_pass(world, 1);
    io_link link = _i & 2 ? toy_open(a, b) : toy_open(b, a);
    toy_pass(world, 10000 * (uint64_t)_i);
    if (_i & 2)
        toy_send(a, link, "hello?", 6, false);
    forget(b);
    toy_pass(world, 20000000);
    bool was_told = toy_n(a, IO_LINK_UP) > 0 || (_i & 2);
    ck_assert_uint_eq(toy_n(a, IO_LINK_DOWN), was_told);
    world_free(world);
    free(a);
}
END_TEST

START_TEST(numbers_and_names_are_not_given_again)
{
    struct world *world = world_of(_i);
    struct world_node *node;
    ck_assert_int_eq(world_add(world, &node), 0);
    struct addr first = world_addr(node);
    struct peer_id peer = key_peer_id(world_key(node));
    world_remove(node);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(world_add(world, &node), 0);
        struct addr addr = world_addr(node);
        struct peer_id other = key_peer_id(world_key(node));
        ck_assert(!addr_equal(&addr, &first));
        ck_assert(!peer_id_equal(&other, &peer));
        world_remove(node);
    }
    world_free(world);
}
END_TEST

#define N_STAY 40
#define N_PASS 8000
#define N_AT_ONCE 60
#define STAYS_BYTES 128 /* of each: its number's place and that of two links, in tables that double */

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void greet_all(struct world *world, struct toy **stay)
{
    size_t n_before = toy_n(stay[0], IO_DATAGRAM), n_after;
    for (size_t i = 1; i < N_STAY; i++)
        toy_datagram(stay[i], stay[0], "still here", 10);
    toy_pass(world, 2000000);
    n_after = toy_n(stay[0], IO_DATAGRAM);
    ck_assert_uint_ge(n_after - n_before, N_STAY - 1);
}

/* Those who pass through talk to those who stay and to each other, and leave in the midst of it. */
START_TEST(the_memory_of_a_world_does_not_grow_with_those_who_went)
{
    struct world *world = public_world((uint64_t)_i);
    struct toy *stay[N_STAY], *pass[N_AT_ONCE] = {0};
    size_t early = 0; /* once what the first ones left has timed out */
    for (size_t i = 0; i < N_STAY; i++)
        stay[i] = toy_new(world);
    for (size_t i = 0; i < N_PASS; i++) {
        struct toy **at = &pass[i % N_AT_ONCE];
        if (*at)
            forget(*at);
        *at = toy_new(world);
        toy_pass(world, 2000);
        toy_datagram(stay[i % N_STAY], *at, "welcome", 7);
        toy_datagram(*at, stay[1 + i % (N_STAY - 1)], "hello", 5);
        toy_open(*at, i % 3 ? stay[i % N_STAY] : *at);
        if (pass[0])
            toy_open(stay[i % N_STAY], pass[0]);
        early = i == N_PASS / 2 ? heap_bytes() : early;
    }
    size_t late = heap_bytes();
    ck_assert_uint_le(late, early + (N_PASS - N_PASS / 2) * STAYS_BYTES);
    greet_all(world, stay);
    for (size_t i = 0; i < N_AT_ONCE; i++)
        forget(pass[i]);
    greet_all(world, stay);
    world_free(world);
    for (size_t i = 0; i < N_STAY; i++)
        free(stay[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/remove");
    TCase *tc = tcase_create("remove");
    tcase_add_loop_test(tc, what_it_sent_arrives_and_what_it_is_sent_vanishes, 0, 4);
    tcase_add_loop_test(tc, its_links_go_down, 0, 40);
    tcase_add_loop_test(tc, numbers_and_names_are_not_given_again, 0, 2);
    tcase_add_loop_test(tc, the_memory_of_a_world_does_not_grow_with_those_who_went, 0, 3);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
