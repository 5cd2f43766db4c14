#include "unit.h"

#include <string.h>

#include "base/key.h"
#include "base/text.h"

/* RFC 8032, section 7.1, tests 1 to 3. */
static const struct {
    const char *seed, *public_half, *message, *signature;
} vector[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

static struct key *key_of(const char *hex)
{
    uint8_t seed[KEY_SEED_BYTES];
    struct key *key;
    ck_assert(text_unhex(seed, sizeof seed, hex));
    ck_assert_int_eq(key_new(seed, &key), 0);
    return key;
}

START_TEST(signatures_are_those_of_the_rfc)
{
    uint8_t message[2], signature[KEY_SIGNATURE_BYTES];
    char hex[2 * KEY_SIGNATURE_BYTES + 1];
    size_t n = strlen(vector[_i].message) / 2;
    struct key *key = key_of(vector[_i].seed);
    struct peer_id peer = key_peer_id(key);
    text_hex(hex, peer.byte, sizeof peer.byte);
    ck_assert_str_eq(hex, vector[_i].public_half);
    ck_assert(text_unhex(message, n, vector[_i].message));
    key_sign_raw(key, message, n, signature);
    text_hex(hex, signature, sizeof signature);
    ck_assert_str_eq(hex, vector[_i].signature);
    ck_assert(key_verify_raw(&peer, message, n, signature));
    key_free(key);
}
END_TEST

START_TEST(any_changed_bit_is_noticed)
{
    struct key *key = key_of(vector[0].seed);
    struct peer_id peer = key_peer_id(key);
    uint8_t message[4] = "abc", signature[KEY_SIGNATURE_BYTES];
    uint8_t bit = (uint8_t)(1 << _i % 8);
    key_sign(key, "call", message, sizeof message, signature);
    ck_assert(key_verify(&peer, "call", message, sizeof message, signature));
    signature[_i / 8] ^= bit;
    ck_assert(!key_verify(&peer, "call", message, sizeof message, signature));
    signature[_i / 8] ^= bit;
    message[_i / 8 % 4] ^= bit;
    ck_assert(!key_verify(&peer, "call", message, sizeof message, signature));
    message[_i / 8 % 4] ^= bit;
    peer.byte[_i / 8 % 32] ^= bit;
    ck_assert(!key_verify(&peer, "call", message, sizeof message, signature));
    key_free(key);
}
END_TEST

START_TEST(a_tag_keeps_signatures_apart)
{
    struct key *key = key_of(vector[1].seed);
    struct peer_id peer = key_peer_id(key);
    uint8_t signature[KEY_SIGNATURE_BYTES];
    key_sign(key, "call", "x", 1, signature);
    ck_assert(key_verify(&peer, "call", "x", 1, signature));
    ck_assert(!key_verify(&peer, "receipt", "x", 1, signature));
    ck_assert(!key_verify(&peer, "cal", "lx", 2, signature));
    ck_assert(!key_verify_raw(&peer, "x", 1, signature));
    ck_assert(key_verify_raw(&peer, "call\0x", 6, signature));
    key_free(key);
}
END_TEST

START_TEST(long_messages_sign_as_short_ones)
{
    enum { N = 100000 };
    struct key *key = key_of(vector[1].seed);
    struct peer_id peer = key_peer_id(key);
    uint8_t signature[KEY_SIGNATURE_BYTES];
    uint8_t *message = calloc(N, 1);
    ck_assert_ptr_nonnull(message);
    key_sign(key, "log", message, N, signature);
    ck_assert(key_verify(&peer, "log", message, N, signature));
    message[N - 1] = 1;
    ck_assert(!key_verify(&peer, "log", message, N, signature));
    free(message);
    key_free(key);
}
END_TEST

START_TEST(garbage_for_a_peer_verifies_nothing)
{
    struct peer_id peer;
    uint8_t signature[KEY_SIGNATURE_BYTES];
    memset(&peer, _i, sizeof peer);
    memset(signature, 0xff - _i, sizeof signature);
    ck_assert(!key_verify(&peer, "call", "x", 1, signature));
}
END_TEST

START_TEST(the_seed_comes_back)
{
    struct key *key = key_of(vector[2].seed);
    uint8_t seed[KEY_SEED_BYTES];
    char hex[2 * KEY_SEED_BYTES + 1];
    key_seed(key, seed);
    text_hex(hex, seed, sizeof seed);
    ck_assert_str_eq(hex, vector[2].seed);
    key_free(key);
    key_free(NULL);
}
END_TEST

START_TEST(peer_ids_have_an_order_and_a_short_form)
{
    struct peer_id a = {{0xde, 0xad, 0xbe, 0xef, 1}}, b = {{0xde, 0xad, 0xbe, 0xef, 2}}, same = a;
    char out[9];
    ck_assert_str_eq(peer_id_short(&a, out), "deadbeef");
    ck_assert(peer_id_equal(&a, &same) && !peer_id_equal(&a, &b));
    ck_assert_int_eq(peer_id_compare(&a, &b), -1);
    ck_assert_int_eq(peer_id_compare(&b, &a), 1);
    ck_assert_int_eq(peer_id_compare(&a, &same), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/key");
    TCase *tcase = tcase_create("key");
    tcase_add_loop_test(tcase, signatures_are_those_of_the_rfc, 0, 3);
    tcase_add_loop_test(tcase, any_changed_bit_is_noticed, 0, 8 * KEY_SIGNATURE_BYTES);
    tcase_add_test(tcase, a_tag_keeps_signatures_apart);
    tcase_add_test(tcase, long_messages_sign_as_short_ones);
    tcase_add_loop_test(tcase, garbage_for_a_peer_verifies_nothing, 2, 32);
    tcase_add_test(tcase, the_seed_comes_back);
    tcase_add_test(tcase, peer_ids_have_an_order_and_a_short_form);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
