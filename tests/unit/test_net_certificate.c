/* Certificates: ours are accepted, and each way to be wrong is refused for its own reason. */
#include <string.h>

#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/text.h"
#include "net/certificate.h"
#include "unit.h"

#define NOW 1767225600 /* 2026-01-01 */
#define DAY 86400

static struct key *new_key(uint8_t seed_byte)
{
    uint8_t seed[KEY_SEED_BYTES];
    struct key *key;
    memset(seed, seed_byte, sizeof seed);
    ck_assert_int_eq(key_new(seed, &key), 0);
    return key;
}

/* What a certificate under test has; zeros are a good one. */
struct flaw {
    const char *what, *why;
    long begins_s, ends_s; /* from NOW */
    unsigned n_proofs;     /* one more than given: 0 stands for one */
    int cut;               /* proof bytes to leave out */
    int flip_at;           /* proof byte to spoil, counted from 1 */
    const char *critical;  /* another extension, critical */
    const char *curve;
    bool has_no_proof, is_of_other_key, is_signed_by_other, has_sha1, is_ed25519, is_critical;
};

static void add_proof(X509 *x, const struct key *host, const X509 *proved, const struct flaw *flaw)
{
    uint8_t proof[CERTIFICATE_PROOF_BYTES];
    ck_assert_int_eq(certificate_prove(host, proved, proof), 0);
    if (flaw->flip_at)
        proof[flaw->flip_at - 1] ^= 1;
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    ASN1_OBJECT *oid = OBJ_txt2obj(CERTIFICATE_OID, 1);
    ASN1_OCTET_STRING_set(value, proof, (int)sizeof proof - flaw->cut);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, oid, flaw->is_critical, value);
    ck_assert_int_eq(X509_add_ext(x, extension, -1), 1);
    X509_EXTENSION_free(extension);
    ASN1_OBJECT_free(oid);
    ASN1_OCTET_STRING_free(value);
}

static void add_critical(X509 *x, const char *what)
{
    X509_EXTENSION *extension = NULL;
    if (strchr(what, '=')) {
        char name[40] = {0};
        memcpy(name, what, strcspn(what, "="));
        extension = X509V3_EXT_conf(NULL, NULL, name, strchr(what, '=') + 1);
    } else {
        ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
        ASN1_OBJECT *oid = OBJ_txt2obj(what, 1);
        ASN1_OCTET_STRING_set(value, (const uint8_t *)"\x05\x00", 2);
        extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, value);
        ASN1_OBJECT_free(oid);
        ASN1_OCTET_STRING_free(value);
    }
    ck_assert_ptr_nonnull(extension);
    ck_assert_int_eq(X509_add_ext(x, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static EVP_PKEY *certificate_key(const struct flaw *flaw)
{
    EVP_PKEY *key = flaw->is_ed25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : EVP_EC_gen(flaw->curve ? flaw->curve : "P-256");
    ck_assert_ptr_nonnull(key);
    return key;
}

static X509 *make(const struct key *host, const struct flaw *flaw)
{
    X509 *x = X509_new(), *other = X509_new();
    EVP_PKEY *key = certificate_key(flaw), *other_key = certificate_key(flaw);
    time_t now = NOW;
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_set_pubkey(x, key);
    X509_set_pubkey(other, other_key);
    X509_time_adj_ex(X509_getm_notBefore(x), 0, flaw->begins_s ? flaw->begins_s : -DAY, &now);
    X509_time_adj_ex(X509_getm_notAfter(x), 0, flaw->ends_s ? flaw->ends_s : DAY, &now);
    for (unsigned i = 0; i < flaw->n_proofs + !flaw->has_no_proof; i++)
        add_proof(x, host, flaw->is_of_other_key ? other : x, flaw);
    if (flaw->critical)
        add_critical(x, flaw->critical);
    const EVP_MD *digest = flaw->is_ed25519 ? NULL : flaw->has_sha1 ? EVP_sha1() : EVP_sha256();
    ck_assert_int_gt(X509_sign(x, flaw->is_signed_by_other ? other_key : key, digest), 0);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other_key);
    X509_free(other);
    /* What travels is the encoding; only reading it again fills OpenSSL's caches as a handshake does. */
    uint8_t *der = NULL;
    int n = i2d_X509(x, &der);
    const uint8_t *at = der;
    X509_free(x);
    x = d2i_X509(NULL, &at, n);
    OPENSSL_free(der);
    ck_assert_ptr_nonnull(x);
    return x;
}

static const struct flaw flaws[] = {
    {.what = "a good one"},
    {.what = "an Ed25519 certificate key", .is_ed25519 = true},
    {.what = "a P-384 certificate key", .curve = "P-384"},
    {.what = "a critical proof", .is_critical = true},
    {.what = "key usage for signing", .critical = "keyUsage=critical,digitalSignature"},
    {.what = "expired", .ends_s = -5, .why = "valid now"},
    {.what = "not yet valid", .begins_s = 5, .why = "valid now"},
    {.what = "no proof", .has_no_proof = true, .why = "one Ed25519 peer key"},
    {.what = "two proofs", .n_proofs = 1, .why = "one Ed25519 peer key"},
    {.what = "a short proof", .cut = 1, .why = "one Ed25519 peer key"},
    {.what = "no sequence", .flip_at = 1, .why = "one Ed25519 peer key"},
    {.what = "another kind of key", .flip_at = 6, .why = "one Ed25519 peer key"},
    {.what = "another peer's key", .flip_at = 20, .why = "not signed by the peer key"},
    {.what = "no second string", .flip_at = 41, .why = "one Ed25519 peer key"},
    {.what = "a spoiled signature", .flip_at = 60, .why = "not signed by the peer key"},
    {.what = "a proof of another certificate", .is_of_other_key = true, .why = "not signed by the peer key"},
    {.what = "signed by another key", .is_signed_by_other = true, .why = "not signed by itself"},
    {.what = "signed with SHA-1", .has_sha1 = true, .why = "not signed by itself"},
    {.what = "an unknown critical extension", .critical = "1.2.3.4.5", .why = "unknown"},
    {.what = "key usage without signing", .critical = "keyUsage=critical,keyEncipherment", .why = "unknown"},
};

START_TEST(each_flaw_is_refused)
{
    const struct flaw *flaw = &flaws[_i];
    struct key *host = new_key(3);
    struct peer_id peer = {0}, expected = key_peer_id(host), none = {0};
    const char *why;
    X509 *x = make(host, flaw);
    int err = certificate_check(x, NOW, &peer, &why);
    if (flaw->why) {
        ck_assert_msg(err == HANSE_ESIGNATURE, "%s: got %d", flaw->what, err);
        const char *said = strstr(why, flaw->why);
        ck_assert_msg(said || (strstr(flaw->why, "not signed by the peer") && strstr(why, "was not signed by the peer key")),
                      "%s: said \"%s\"", flaw->what, why);
        ck_assert(peer_id_equal(&peer, &none));
    } else {
        ck_assert_msg(err == 0, "%s: got %d, %s", flaw->what, err, why ? why : "");
        ck_assert(peer_id_equal(&peer, &expected));
    }
    X509_free(x);
    key_free(host);
}
END_TEST

START_TEST(ours_are_good_for_as_long_as_a_process_lives)
{
    struct key *host = new_key(4);
    struct peer_id peer, expected = key_peer_id(host);
    const char *why;
    X509 *x;
    EVP_PKEY *key;
    ck_assert_int_eq(certificate_make(host, NOW, &x, &key), 0);
    ck_assert_int_eq(certificate_check(x, NOW, &peer, &why), 0);
    ck_assert(peer_id_equal(&peer, &expected));
    ck_assert_int_eq(certificate_check(x, NOW - DAY / 2, &peer, &why), 0); /* the other clock is behind */
    ck_assert_int_eq(certificate_check(x, NOW + 3000L * DAY, &peer, &why), 0);
    ck_assert_int_eq(certificate_check(x, NOW - 2 * DAY, &peer, &why), HANSE_ESIGNATURE);
    X509_free(x);
    EVP_PKEY_free(key);
    key_free(host);
}
END_TEST

START_TEST(any_spoiled_byte_is_refused_or_harmless)
{
    struct key *host = new_key(5);
    struct peer_id expected = key_peer_id(host);
    X509 *x;
    EVP_PKEY *key;
    uint8_t *der = NULL;
    ck_assert_int_eq(certificate_make(host, NOW, &x, &key), 0);
    int n = i2d_X509(x, &der), n_refused = 0;
    for (int i = 0; i < n; i++) {
        struct peer_id peer;
        const char *why;
        const uint8_t *at = der;
        der[i] ^= (uint8_t)(1 << i % 8);
        X509 *spoiled = d2i_X509(NULL, &at, n);
        int err = spoiled ? certificate_check(spoiled, NOW, &peer, &why) : HANSE_EPROTO;
        ck_assert_msg(err || peer_id_equal(&peer, &expected), "byte %d makes it another peer's", i);
        n_refused += err != 0;
        X509_free(spoiled);
        der[i] ^= (uint8_t)(1 << i % 8);
    }
    ck_assert_int_ge(n_refused, n - 4); /* all is signed; a few bytes are the lengths of the outermost shell */
    OPENSSL_free(der);
    X509_free(x);
    EVP_PKEY_free(key);
    key_free(host);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/certificate");
    TCase *c = tcase_create("certificate");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, each_flaw_is_refused, 0, (int)(sizeof flaws / sizeof flaws[0]));
    tcase_add_test(c, ours_are_good_for_as_long_as_a_process_lives);
    tcase_add_test(c, any_spoiled_byte_is_refused_or_harmless);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
