#include "unit.h"

#include "dht/foreign.h"

static struct addr at(size_t i)
{
    return (struct addr){.family = i % 2 ? 4 : 6, .ip = {80, (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 4100};
}

START_TEST(the_latest_64_of_others_are_known)
{
    struct dht_foreign foreign = {0};
    struct addr addr;
    for (size_t i = 0; i < 200; i++) {
        addr = at(i);
        ck_assert(!dht_foreign_has(&foreign, &addr));
        dht_foreign_note(&foreign, &addr, false);
        dht_foreign_note(&foreign, &addr, false); /* once is enough */
        ck_assert(dht_foreign_has(&foreign, &addr));
        struct addr other = at(i >= DHT_FOREIGN_MAX - 1 ? i - (DHT_FOREIGN_MAX - 1) : 0);
        ck_assert(dht_foreign_has(&foreign, &other));
    }
    addr = at(0);
    ck_assert(!dht_foreign_has(&foreign, &addr));
    addr = at(199);
    addr.port++;
    ck_assert(!dht_foreign_has(&foreign, &addr)); /* another program there */
}
END_TEST

START_TEST(who_turns_out_to_be_ours_is_asked_again)
{
    struct dht_foreign foreign = {0};
    struct addr addr = at(7);
    dht_foreign_note(&foreign, &addr, true);
    ck_assert(!dht_foreign_has(&foreign, &addr));
    dht_foreign_note(&foreign, &addr, false);
    dht_foreign_note(&foreign, &addr, true);
    ck_assert(!dht_foreign_has(&foreign, &addr));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dht-foreign");
    TCase *all = tcase_create("foreign");
    tcase_add_test(all, the_latest_64_of_others_are_known);
    tcase_add_test(all, who_turns_out_to_be_ours_is_asked_again);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
