#include "base/key.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

struct key {
    uint8_t seed[KEY_SEED_BYTES];
    struct peer_id peer;
    EVP_PKEY *pair; /* made once: expanding the seed costs as much as a signature */
};

int key_new(const uint8_t seed[KEY_SEED_BYTES], struct key **out)
{
    size_t n = sizeof(struct peer_id);
    struct key *key = calloc(1, sizeof *key);
    if (!key)
        goto fail;
    memcpy(key->seed, seed, KEY_SEED_BYTES);
    key->pair = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, seed, KEY_SEED_BYTES);
    if (!key->pair || EVP_PKEY_get_raw_public_key(key->pair, key->peer.byte, &n) != 1)
        goto fail;
    *out = key;
    return 0;
fail:
    key_free(key);
    return HANSE_ENOMEM;
}

void key_free(struct key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pair);
    OPENSSL_cleanse(key, sizeof *key);
    free(key);
}

struct peer_id key_peer_id(const struct key *key)
{
    return key->peer;
}

void key_seed(const struct key *key, uint8_t out[KEY_SEED_BYTES])
{
    memcpy(out, key->seed, KEY_SEED_BYTES);
}

/* A signer that cannot sign has no answer to give; only want of memory leads here. */
void key_sign_raw(const struct key *key, const void *bytes, size_t n, uint8_t out[KEY_SIGNATURE_BYTES])
{
    size_t n_signature = KEY_SIGNATURE_BYTES;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert(ctx);
    int ok = EVP_DigestSignInit(ctx, NULL, NULL, NULL, key->pair) == 1 &&
             EVP_DigestSign(ctx, out, &n_signature, n ? bytes : (const void *)"", n) == 1;
    assert(ok && n_signature == KEY_SIGNATURE_BYTES);
    EVP_MD_CTX_free(ctx);
}

bool key_verify_raw(const struct peer_id *peer, const void *bytes, size_t n, const uint8_t signature[KEY_SIGNATURE_BYTES])
{
    EVP_PKEY *public_half = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, peer->byte, sizeof peer->byte);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_good = public_half && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, public_half) == 1 &&
                   EVP_DigestVerify(ctx, signature, KEY_SIGNATURE_BYTES, n ? bytes : (const void *)"", n) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(public_half);
    return is_good;
}

/* tag || 0 || bytes in one piece, which is what Ed25519 wants; in `small` when it fits, else malloc'ed. */
struct tagged {
    uint8_t small[512];
    uint8_t *bytes;
    size_t n;
};

static bool tagged_init(struct tagged *t, const char *tag, const void *bytes, size_t n)
{
    size_t n_tag = strlen(tag) + 1;
    t->n = n_tag + n;
    t->bytes = t->n <= sizeof t->small ? t->small : malloc(t->n);
    if (!t->bytes)
        return false;
    memcpy(t->bytes, tag, n_tag);
    if (n > 0)
        memcpy(t->bytes + n_tag, bytes, n);
    return true;
}

static void tagged_fini(struct tagged *t)
{
    if (t->bytes != t->small)
        free(t->bytes);
}

void key_sign(const struct key *key, const char *tag, const void *bytes, size_t n, uint8_t out[KEY_SIGNATURE_BYTES])
{
    struct tagged t;
    bool ok = tagged_init(&t, tag, bytes, n);
    assert(ok);
    key_sign_raw(key, t.bytes, t.n, out);
    tagged_fini(&t);
}

bool key_verify(const struct peer_id *peer, const char *tag, const void *bytes, size_t n,
                const uint8_t signature[KEY_SIGNATURE_BYTES])
{
    struct tagged t;
    if (!tagged_init(&t, tag, bytes, n))
        return false;
    bool is_good = key_verify_raw(peer, t.bytes, t.n, signature);
    tagged_fini(&t);
    return is_good;
}

bool peer_id_equal(const struct peer_id *a, const struct peer_id *b)
{
    return memcmp(a->byte, b->byte, sizeof a->byte) == 0;
}

int peer_id_compare(const struct peer_id *a, const struct peer_id *b)
{
    int order = memcmp(a->byte, b->byte, sizeof a->byte);
    return (order > 0) - (order < 0);
}

const char *peer_id_short(const struct peer_id *peer, char out[9])
{
    text_hex(out, peer->byte, 4);
    return out;
}
