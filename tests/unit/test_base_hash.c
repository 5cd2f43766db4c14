#include "unit.h"

#include <string.h>

#include "base/hash.h"
#include "base/text.h"

static void check_hash(struct hash hash, const char *wanted)
{
    char hex[2 * HASH_BYTES + 1];
    text_hex(hex, hash.byte, HASH_BYTES);
    ck_assert_str_eq(hex, wanted);
}

/* FIPS 180-2, appendix B, and the empty message. */
START_TEST(sha256_is_that_of_the_standard)
{
    static const char *const two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    check_hash(hash_bytes("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_hash(hash_bytes(two_blocks, strlen(two_blocks)), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check_hash(hash_bytes(NULL, 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

START_TEST(a_million_letters_in_pieces)
{
    char piece[1000];
    struct hash_stream stream;
    memset(piece, 'a', sizeof piece);
    hash_begin(&stream);
    hash_add(&stream, NULL, 0);
    for (int i = 0; i < 1000; i++)
        hash_add(&stream, piece, sizeof piece);
    check_hash(hash_end(&stream), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    ck_assert_ptr_null(stream.state);
}
END_TEST

START_TEST(sha1_is_that_of_the_standard)
{
    uint8_t out[20];
    char hex[41];
    hash_sha1(out, "abc", 3);
    text_hex(hex, out, 20);
    ck_assert_str_eq(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
}
END_TEST

#define N_LEAVES_MAX 70

/* Leaf i is SHA-256 of the one byte i. */
static void make_leaves(struct hash leaf[N_LEAVES_MAX])
{
    for (size_t i = 0; i < N_LEAVES_MAX; i++) {
        uint8_t byte = (uint8_t)i;
        leaf[i] = hash_bytes(&byte, 1);
    }
}

static struct hash tagged(uint8_t tag, const struct hash *a, const struct hash *b)
{
    struct hash_stream stream;
    hash_begin(&stream);
    hash_add(&stream, &tag, 1);
    hash_add(&stream, a->byte, HASH_BYTES);
    if (b)
        hash_add(&stream, b->byte, HASH_BYTES);
    return hash_end(&stream);
}

/* The recursive definition of RFC 6962, section 2.1: split at the largest power of two below n. */
static struct hash merkle_by_definition(const struct hash *leaf, size_t n)
{
    if (n == 0)
        return hash_bytes(NULL, 0);
    if (n == 1)
        return tagged(0, leaf, NULL);
    size_t k = 1;
    while (2 * k < n)
        k *= 2;
    struct hash left = merkle_by_definition(leaf, k), right = merkle_by_definition(leaf + k, n - k);
    return tagged(1, &left, &right);
}

START_TEST(merkle_roots_follow_the_definition)
{
    struct hash leaf[N_LEAVES_MAX];
    make_leaves(leaf);
    struct hash root = hash_merkle(leaf, (size_t)_i), wanted = merkle_by_definition(leaf, (size_t)_i);
    ck_assert(hash_equal(&root, &wanted));
}
END_TEST

START_TEST(merkle_roots_are_pinned)
{
    struct hash leaf[N_LEAVES_MAX];
    make_leaves(leaf);
    check_hash(hash_merkle(NULL, 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_hash(hash_merkle(leaf, 1), "d9de27625445003d8a9739a851e3ff8d41c0683630b4d63a88327a6aaa37c409");
    check_hash(hash_merkle(leaf, 2), "604d540f09268b91672ab011394d5266ccd7d4484d0d109411a55848126a1b2c");
    check_hash(hash_merkle(leaf, 3), "d1f13800048f5909d4043fc0c152f6643280cba608b672715e56ce159a20629f");
    check_hash(hash_merkle(leaf, 7), "bee2275db16667589a4515f63e0d053a2fa602c1d9f9703e98920a5bdad59baf");
    check_hash(hash_merkle(leaf, 9), "aaba260cc2c4084b1d745f8817ad3d3350c5b005d8283bc3246396eee0ad9538");
}
END_TEST

START_TEST(every_leaf_and_its_place_matter)
{
    struct hash leaf[N_LEAVES_MAX], swap;
    make_leaves(leaf);
    struct hash root = hash_merkle(leaf, 13), other;
    leaf[_i].byte[31] ^= 1;
    other = hash_merkle(leaf, 13);
    ck_assert(!hash_equal(&root, &other));
    leaf[_i].byte[31] ^= 1;
    swap = leaf[_i];
    leaf[_i] = leaf[(_i + 1) % 13];
    leaf[(_i + 1) % 13] = swap;
    other = hash_merkle(leaf, 13);
    ck_assert(!hash_equal(&root, &other));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/hash");
    TCase *tcase = tcase_create("hash");
    tcase_add_test(tcase, sha256_is_that_of_the_standard);
    tcase_add_test(tcase, a_million_letters_in_pieces);
    tcase_add_test(tcase, sha1_is_that_of_the_standard);
    tcase_add_loop_test(tcase, merkle_roots_follow_the_definition, 0, N_LEAVES_MAX + 1);
    tcase_add_test(tcase, merkle_roots_are_pinned);
    tcase_add_loop_test(tcase, every_leaf_and_its_place_matter, 0, 13);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
