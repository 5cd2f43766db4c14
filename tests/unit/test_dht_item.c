#include "unit.h"

#include <string.h>

#include "base/text.h"
#include "dht/item.h"

/* The three test vectors of BEP 44. */
#define PUBLIC "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548"

static struct dht_item vector(const char *salt, const char *signature)
{
    struct dht_item item = {.is_mutable = signature != NULL, .n_salt = strlen(salt), .n_v = 15};
    memcpy(item.salt, salt, item.n_salt);
    memcpy(item.v, "12:Hello World!", 15);
    if (item.is_mutable) {
        item.seq = 1;
        ck_assert(text_unhex(item.key, 32, PUBLIC));
        ck_assert(text_unhex(item.signature, 64, signature));
    }
    return item;
}

static const struct {
    const char *salt, *signature, *target;
} vectors[] = {
    {"",
     "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
     "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
     "4a533d47ec9c7d95b1ad75f576cffc641853b750"},
    {"foobar",
     "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
     "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
     "411eba73b6f087ca51a3795d9c8c938d365e32c1"},
    {"", NULL, "e5f96f6f38320f0f33959cb4d3d656452117aadb"},
};

static const struct addr home = {.family = 4, .ip = {10, 0, 0, 1}, .port = 5};

START_TEST(the_vectors_of_bep44_verify)
{
    struct dht_item item = vector(vectors[_i].salt, vectors[_i].signature);
    struct dht_id target = dht_item_target(&item), wanted;
    ck_assert(text_unhex(wanted.byte, sizeof wanted.byte, vectors[_i].target));
    ck_assert_mem_eq(target.byte, wanted.byte, sizeof wanted.byte);
    ck_assert(dht_item_verify(&item));
    item.v[3] ^= 1;
    ck_assert(dht_item_verify(&item) == !item.is_mutable);
    item.v[3] ^= 1;
    item.seq++;
    ck_assert(dht_item_verify(&item) == !item.is_mutable);
    item.seq--;
    item.v[0] = 'x';
    ck_assert(!dht_item_verify(&item));
}
END_TEST

static struct dht_item signed_item(const struct key *key, uint64_t seq, const char *v)
{
    struct dht_item item = {.is_mutable = true, .seq = seq, .n_v = strlen(v)};
    memcpy(item.v, v, item.n_v);
    dht_item_sign(&item, key);
    ck_assert(dht_item_verify(&item));
    return item;
}

START_TEST(the_rules_of_seq_and_cas_hold)
{
    static const uint8_t seed[KEY_SEED_BYTES] = {7};
    struct dht_items items;
    struct key *key;
    ck_assert_int_eq(key_new(seed, &key), 0);
    dht_items_init(&items);
    struct dht_item two = signed_item(key, 2, "1:a"), two_other = signed_item(key, 2, "1:b"), three = signed_item(key, 3, "1:c"),
                    one = signed_item(key, 1, "1:d");
    struct dht_id target = dht_item_target(&two);
    uint64_t cas = 1;
    ck_assert_int_eq(dht_items_store(&items, &two, NULL, &home, 10), 0);
    ck_assert_int_eq(dht_items_store(&items, &two, NULL, &home, 20), 0);
    ck_assert_int_eq(dht_items_store(&items, &two_other, NULL, &home, 20), DHT_ERROR_SEQ);
    ck_assert_int_eq(dht_items_store(&items, &one, NULL, &home, 20), DHT_ERROR_SEQ);
    ck_assert_int_eq(dht_items_store(&items, &three, &cas, &home, 20), DHT_ERROR_CAS);
    cas = 2;
    ck_assert_int_eq(dht_items_store(&items, &three, &cas, &home, 20), 0);
    ck_assert_int_eq(dht_items_store(&items, &three, &cas, &home, 20), 0); /* again: its answer was lost */
    ck_assert_uint_eq(dht_items_find(&items, &target, 30)->seq, 3);
    ck_assert_ptr_null(dht_items_find(&items, &target, 20 + DHT_ITEM_US));
    dht_items_expire(&items, 20 + DHT_ITEM_US);
    ck_assert_uint_eq(items.n, 0);
    dht_items_fini(&items);
    key_free(key);
}
END_TEST

START_TEST(the_oldest_makes_way_when_the_store_is_full)
{
    struct dht_items items;
    struct dht_item item = {.n_v = 6};
    dht_items_init(&items);
    memcpy(item.v, "4:\0\0\0\0", 6);
    struct dht_id first = dht_item_target(&item);
    for (size_t i = 0; i <= DHT_ITEMS_MAX; i++) {
        memcpy(item.v + 2, &i, 4);
        ck_assert_int_eq(dht_items_store(&items, &item, NULL, &home, i), 0);
        ck_assert(items.n <= DHT_ITEMS_MAX);
        ck_assert((dht_items_find(&items, &first, i) != NULL) == (i < DHT_ITEMS_MAX));
    }
    for (size_t i = 1; i <= DHT_ITEMS_MAX; i++) {
        memcpy(item.v + 2, &i, 4);
        struct dht_id target = dht_item_target(&item);
        const struct dht_item *found = dht_items_find(&items, &target, DHT_ITEMS_MAX);
        ck_assert(found && memcmp(found->v, item.v, item.n_v) == 0);
    }
    ck_assert_uint_eq(items.capacity, DHT_ITEMS_MAX);
    dht_items_fini(&items);
}
END_TEST

START_TEST(one_subnet_loses_its_own_oldest)
{
    struct dht_items items;
    struct dht_item item = {.n_v = 6}, mine = {.n_v = 3};
    struct addr flood = {.family = 4, .ip = {80, 1, 1, 1}, .port = 5}, neighbour = {.family = 4, .ip = {80, 1, 2, 1}, .port = 5};
    dht_items_init(&items);
    memcpy(item.v, "4:\0\0\0\0", 6);
    memcpy(mine.v, "1:m", 3);
    ck_assert_int_eq(dht_items_store(&items, &mine, NULL, &neighbour, 0), 0);
    for (size_t i = 0; i < 3 * DHT_ITEMS_MAX; i++) {
        memcpy(item.v + 2, &i, 4);
        flood.ip[3] = (uint8_t)i;
        ck_assert_int_eq(dht_items_store(&items, &item, NULL, &flood, 1 + i), 0);
    }
    struct dht_id target = dht_item_target(&mine), last = dht_item_target(&item);
    ck_assert_uint_eq(items.n, 1 + DHT_ITEMS_SUBNET_MAX);
    ck_assert_ptr_nonnull(dht_items_find(&items, &target, DHT_ITEMS_MAX));
    ck_assert_ptr_nonnull(dht_items_find(&items, &last, DHT_ITEMS_MAX));
    dht_items_expire(&items, DHT_ITEM_US + 3 * DHT_ITEMS_MAX);
    ck_assert_uint_eq(items.n, 0);
    ck_assert_uint_eq(items.subnets.n, 0);
    dht_items_fini(&items);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-item");
    TCase *all = tcase_create("item");
    tcase_add_loop_test(all, the_vectors_of_bep44_verify, 0, 3);
    tcase_add_test(all, the_rules_of_seq_and_cas_hold);
    tcase_add_test(all, the_oldest_makes_way_when_the_store_is_full);
    tcase_add_test(all, one_subnet_loses_its_own_oldest);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
