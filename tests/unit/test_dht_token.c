#include "unit.h"

#include <string.h>

#include "dht/token.h"

#define NOW_US ((uint64_t)1000 * 1000000)

static const struct addr somebody = {.family = 4, .ip = {80, 1, 2, 3}, .port = 7};
static const struct dht_id key = {{1}};

static bool is_good(struct dht_tokens *tokens, const struct addr *addr, const struct dht_id *for_key, uint64_t now_us,
                    const uint8_t *token, size_t n)
{
    return dht_tokens_check(tokens, addr, for_key, now_us, (struct dht_span){token, n});
}

START_TEST(a_token_is_for_one_ip_and_one_key)
{
    struct dht_tokens tokens;
    uint8_t token[DHT_OWN_TOKEN_BYTES];
    struct addr other = somebody, port = somebody;
    struct dht_id other_key = {{2}};
    dht_tokens_init(&tokens, 1, NOW_US);
    dht_tokens_make(&tokens, &somebody, &key, NOW_US, token);
    other.ip[3]++;
    port.port++;
    ck_assert(is_good(&tokens, &somebody, &key, NOW_US, token, sizeof token));
    ck_assert(is_good(&tokens, &port, &key, NOW_US, token, sizeof token));
    ck_assert(!is_good(&tokens, &other, &key, NOW_US, token, sizeof token));
    ck_assert(!is_good(&tokens, &somebody, &other_key, NOW_US, token, sizeof token));
    ck_assert(!is_good(&tokens, &somebody, &key, NOW_US, token, sizeof token - 1));
    ck_assert(!is_good(&tokens, &somebody, &key, NOW_US, NULL, 0));
    token[_i] ^= 1;
    ck_assert(!is_good(&tokens, &somebody, &key, NOW_US, token, sizeof token));
}
END_TEST

START_TEST(a_token_lives_five_to_ten_minutes)
{
    struct dht_tokens tokens;
    uint8_t token[DHT_OWN_TOKEN_BYTES];
    uint64_t made_us = NOW_US + (uint64_t)_i * 60 * 1000000; /* anywhere within the life of a secret */
    dht_tokens_init(&tokens, 1, NOW_US);
    dht_tokens_make(&tokens, &somebody, &key, made_us, token);
    ck_assert(is_good(&tokens, &somebody, &key, made_us + DHT_TOKEN_US, token, sizeof token));
    ck_assert(!is_good(&tokens, &somebody, &key, made_us + 2 * DHT_TOKEN_US, token, sizeof token));
}
END_TEST

START_TEST(a_token_does_not_outlive_a_long_sleep)
{
    struct dht_tokens tokens;
    uint8_t token[DHT_OWN_TOKEN_BYTES];
    dht_tokens_init(&tokens, 1, NOW_US);
    dht_tokens_make(&tokens, &somebody, &key, NOW_US, token);
    ck_assert(!is_good(&tokens, &somebody, &key, NOW_US + 100 * DHT_TOKEN_US, token, sizeof token));
    dht_tokens_make(&tokens, &somebody, &key, NOW_US + 100 * DHT_TOKEN_US, token);
    ck_assert(is_good(&tokens, &somebody, &key, NOW_US + 101 * DHT_TOKEN_US, token, sizeof token));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-token");
    TCase *all = tcase_create("token");
    tcase_add_loop_test(all, a_token_is_for_one_ip_and_one_key, 0, DHT_OWN_TOKEN_BYTES);
    tcase_add_loop_test(all, a_token_lives_five_to_ten_minutes, 0, 5);
    tcase_add_test(all, a_token_does_not_outlive_a_long_sleep);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
