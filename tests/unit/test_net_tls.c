/* TLS over memory: two honest ends, and ends that are not. */
#include <string.h>

#include <openssl/ssl.h>

#include "base/random.h"
#include "net/certificate.h"
#include "net/net.h"
#include "net/tls.h"
#include "unit.h"

#define OUT_BYTES 100000

static struct key *new_key(uint8_t seed_byte)
{
    uint8_t seed[KEY_SEED_BYTES];
    struct key *key;
    memset(seed, seed_byte, sizeof seed);
    ck_assert_int_eq(key_new(seed, &key), 0);
    return key;
}

struct end {
    struct key *key;
    struct tls_context *context;
    struct tls_out out;
    struct tls *tls;
    bool is_done;
    int err;
};

static void end_init(struct end *end, uint8_t seed, bool is_client, const struct peer_id *expect)
{
    *end = (struct end){.key = new_key(seed), .out = {.bytes = malloc(OUT_BYTES), .max = OUT_BYTES}};
    ck_assert_int_eq(tls_context_new(end->key, &end->context), 0);
    ck_assert_int_eq(tls_new(end->context, is_client, expect, &end->out, &end->tls), 0);
}

static void end_fini(struct end *end)
{
    tls_free(end->tls);
    tls_context_free(end->context);
    key_free(end->key);
    free(end->out.bytes);
}

static void shake(struct end *end)
{
    if (!end->is_done && !end->err)
        end->err = tls_handshake(end->tls, &end->is_done);
}

/* Carries what `from` wrote to `to`, `cut` bytes at a time, through the handshake. */
static void carry(struct end *from, struct end *to, size_t cut)
{
    for (size_t i = 0; i < from->out.n && !to->err && !to->is_done; i += cut) {
        tls_give(to->tls, from->out.bytes + i, cut < from->out.n - i ? cut : from->out.n - i);
        shake(to);
    }
    from->out.n = 0;
}

static void meet(struct end *a, struct end *b, size_t cut)
{
    for (int i = 0; i < 4; i++) {
        shake(a);
        carry(a, b, cut);
        carry(b, a, cut);
    }
}

START_TEST(two_ends_meet_and_talk)
{
    static const size_t cuts[] = {1, 7, 100, OUT_BYTES};
    struct end a, b;
    uint8_t bytes[16384], got[16384];
    size_t n_read;
    struct key *key_b = new_key(2);
    struct peer_id id_a, id_b = key_peer_id(key_b);
    end_init(&a, 1, true, &id_b);
    end_init(&b, 2, false, NULL);
    meet(&a, &b, cuts[_i]);
    ck_assert_int_eq(a.err, 0);
    ck_assert_int_eq(b.err, 0);
    ck_assert(a.is_done && b.is_done);
    id_a = key_peer_id(a.key);
    struct peer_id seen_a = tls_peer(b.tls), seen_b = tls_peer(a.tls);
    ck_assert(peer_id_equal(&seen_a, &id_a));
    ck_assert(peer_id_equal(&seen_b, &id_b));
    memset(bytes, 9, sizeof bytes);
    ck_assert_int_eq(tls_write(a.tls, bytes, sizeof bytes), 0);
    ck_assert_uint_le(a.out.n, TLS_RECORD_MAX);
    tls_give(b.tls, a.out.bytes, a.out.n);
    ck_assert_int_eq(tls_read(b.tls, got, sizeof got, &n_read), 0);
    ck_assert_uint_eq(n_read, sizeof got);
    ck_assert_mem_eq(got, bytes, sizeof got);
    ck_assert_int_eq(tls_read(b.tls, got, sizeof got, &n_read), 0);
    ck_assert_uint_eq(n_read, 0); /* more from the socket, please */
    a.out.n = 0;
    tls_bye(a.tls);
    tls_give(b.tls, a.out.bytes, a.out.n);
    ck_assert_int_eq(tls_read(b.tls, got, sizeof got, &n_read), HANSE_ECLOSED);
    end_fini(&a);
    end_fini(&b);
    key_free(key_b);
}
END_TEST

START_TEST(another_peer_than_expected)
{
    struct end a, b;
    struct key *other = new_key(3);
    struct peer_id expect = key_peer_id(other);
    end_init(&a, 1, true, &expect);
    end_init(&b, 2, false, NULL);
    meet(&a, &b, OUT_BYTES);
    ck_assert_int_eq(a.err, HANSE_EIDENTITY);
    ck_assert_ptr_nonnull(strstr(tls_why(a.tls), "another peer"));
    ck_assert_int_eq(b.err, HANSE_EIDENTITY); /* told by the alert */
    end_fini(&a);
    end_fini(&b);
    key_free(other);
}
END_TEST

START_TEST(a_spoiled_record_ends_it)
{
    struct end a, b;
    uint8_t bytes[300] = {0};
    size_t n_read;
    end_init(&a, 1, true, NULL);
    end_init(&b, 2, false, NULL);
    meet(&a, &b, OUT_BYTES);
    ck_assert_int_eq(tls_write(a.tls, bytes, sizeof bytes), 0);
    a.out.bytes[5 + _i * 40] ^= 1;
    tls_give(b.tls, a.out.bytes, a.out.n);
    ck_assert_int_eq(tls_read(b.tls, bytes, sizeof bytes, &n_read), HANSE_EPROTO);
    ck_assert_uint_eq(n_read, 0);
    end_fini(&a);
    end_fini(&b);
}
END_TEST

START_TEST(a_spoiled_handshake_ends_it)
{
    struct end a, b;
    struct rng rng;
    rng_init(&rng, (uint64_t)_i, "spoil");
    end_init(&a, 1, true, NULL);
    end_init(&b, 2, false, NULL);
    shake(&a);
    a.out.bytes[rng_below(&rng, 5)] ^= (uint8_t)(1 + rng_below(&rng, 255)); /* a header that cannot be right, or a length */
    carry(&a, &b, OUT_BYTES);
    ck_assert(!b.is_done);
    end_fini(&a);
    end_fini(&b);
}
END_TEST

/* ---- a client of another make ---- */

struct stranger {
    const char *what;
    const uint8_t *alpn;
    unsigned n_alpn;
    bool has_certificate, is_old, is_plain;
    int err; /* of the server */
};

static const struct stranger strangers[] = {
    {"as it should be", (const uint8_t *)"\x07hanse/1", 8, true, false, false, 0},
    {"ours among others", (const uint8_t *)"\x02h2\x07hanse/1", 11, true, false, false, 0},
    {"no certificate", (const uint8_t *)"\x07hanse/1", 8, false, false, false, HANSE_EPROTO},
    {"a plain certificate", (const uint8_t *)"\x07hanse/1", 8, true, false, true, HANSE_ESIGNATURE},
    {"another version", (const uint8_t *)"\x07hanse/2", 8, true, false, false, HANSE_EVERSION},
    {"no version", NULL, 0, true, false, false, HANSE_EVERSION},
    {"TLS 1.2", (const uint8_t *)"\x07hanse/1", 8, true, true, false, HANSE_EVERSION},
};

static void use_certificate(SSL_CTX *context, bool is_plain)
{
    X509 *x;
    EVP_PKEY *key;
    struct key *host = new_key(9);
    ck_assert_int_eq(certificate_make(host, (int64_t)(net_now_us() / 1000000), &x, &key), 0);
    if (is_plain) {
        X509_EXTENSION_free(X509_delete_ext(x, 0));
        ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
    }
    SSL_CTX_use_certificate(context, x);
    SSL_CTX_use_PrivateKey(context, key);
    X509_free(x);
    EVP_PKEY_free(key);
    key_free(host);
}

static SSL_CTX *new_stranger(const struct stranger *s)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (s->alpn)
        SSL_CTX_set_alpn_protos(context, s->alpn, s->n_alpn);
    if (s->is_old)
        SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    if (s->has_certificate)
        use_certificate(context, s->is_plain);
    return context;
}

START_TEST(strangers_are_shown_out)
{
    const struct stranger *s = &strangers[_i];
    struct end b;
    char bytes[10000];
    end_init(&b, 2, false, NULL);
    SSL_CTX *context = new_stranger(s);
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    for (int i = 0; i < 4; i++) {
        SSL_do_handshake(ssl);
        int n = BIO_read(out, bytes, sizeof bytes);
        if (n > 0 && !b.err) {
            tls_give(b.tls, bytes, (size_t)n);
            shake(&b);
        }
        if (b.out.n)
            BIO_write(in, b.out.bytes, (int)b.out.n);
        b.out.n = 0;
    }
    ck_assert_msg(b.err == s->err, "%s: got %d", s->what, b.err);
    ck_assert_int_eq(b.is_done, s->err == 0);
    SSL_free(ssl);
    SSL_CTX_free(context);
    end_fini(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/tls");
    TCase *c = tcase_create("tls");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, two_ends_meet_and_talk, 0, 4);
    tcase_add_test(c, another_peer_than_expected);
    tcase_add_loop_test(c, a_spoiled_record_ends_it, 0, 7);
    tcase_add_loop_test(c, a_spoiled_handshake_ends_it, 0, 20);
    tcase_add_loop_test(c, strangers_are_shown_out, 0, (int)(sizeof strangers / sizeof strangers[0]));
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
