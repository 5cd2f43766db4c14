#include "base/hash.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

/* OpenSSL 3 looks an algorithm up by name at each use unless it was fetched before; once is enough. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256, *sha1;

static void forget(void)
{
    EVP_MD_free(sha256);
    EVP_MD_free(sha1);
}

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    assert(sha256 && sha1);
    OPENSSL_atexit(forget);
}

static const EVP_MD *sha256_md(void)
{
    pthread_once(&once, fetch);
    return sha256;
}

struct hash hash_bytes(const void *bytes, size_t n)
{
    struct hash hash;
    int ok = EVP_Digest(n ? bytes : "", n, hash.byte, NULL, sha256_md(), NULL);
    assert(ok == 1);
    return hash;
}

void hash_sha1(uint8_t out[20], const void *bytes, size_t n)
{
    pthread_once(&once, fetch);
    int ok = EVP_Digest(n ? bytes : "", n, out, NULL, sha1, NULL);
    assert(ok == 1);
}

void hash_begin(struct hash_stream *stream)
{
    EVP_MD_CTX *state = EVP_MD_CTX_new();
    assert(state);
    int ok = EVP_DigestInit_ex2(state, sha256_md(), NULL);
    assert(ok == 1);
    stream->state = state;
}

void hash_add(struct hash_stream *stream, const void *bytes, size_t n)
{
    assert(stream->state);
    if (n == 0)
        return;
    int ok = EVP_DigestUpdate(stream->state, bytes, n);
    assert(ok == 1);
}

struct hash hash_end(struct hash_stream *stream)
{
    struct hash hash;
    assert(stream->state);
    int ok = EVP_DigestFinal_ex(stream->state, hash.byte, NULL);
    assert(ok == 1);
    EVP_MD_CTX_free(stream->state);
    stream->state = NULL;
    return hash;
}

static struct hash leaf_node(const struct hash *leaf)
{
    uint8_t bytes[1 + HASH_BYTES] = {0x00};
    memcpy(bytes + 1, leaf->byte, HASH_BYTES);
    return hash_bytes(bytes, sizeof bytes);
}

static struct hash inner_node(const struct hash *left, const struct hash *right)
{
    uint8_t bytes[1 + 2 * HASH_BYTES] = {0x01};
    memcpy(bytes + 1, left->byte, HASH_BYTES);
    memcpy(bytes + 1 + HASH_BYTES, right->byte, HASH_BYTES);
    return hash_bytes(bytes, sizeof bytes);
}

/*
 * The roots of the complete subtrees so far wait on a stack, one for each set bit of the number of
 * leaves read: a new leaf joins as many as that number has trailing ones.  What is left at the end
 * joins from the right, which is where an odd one rises unpaired.
 */
struct hash hash_merkle(const struct hash *leaf, size_t n)
{
    struct hash waiting[8 * sizeof n];
    size_t n_waiting = 0;
    for (size_t i = 0; i < n; i++) {
        struct hash node = leaf_node(&leaf[i]);
        for (size_t bits = i; bits & 1; bits >>= 1)
            node = inner_node(&waiting[--n_waiting], &node);
        waiting[n_waiting++] = node;
    }
    if (n_waiting == 0)
        return hash_bytes(NULL, 0);
    struct hash root = waiting[--n_waiting];
    while (n_waiting > 0)
        root = inner_node(&waiting[--n_waiting], &root);
    return root;
}

bool hash_equal(const struct hash *a, const struct hash *b)
{
    return memcmp(a->byte, b->byte, HASH_BYTES) == 0;
}
