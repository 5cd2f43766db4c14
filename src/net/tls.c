/* net/tls.c - OpenSSL between two rows of bytes. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/log.h"
#include "net/certificate.h"
#include "net/net.h"
#include "net/tls.h"

/* AES first: with AES-NI it is the fastest by a quarter.  A peer without it may only know the other. */
#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
#define SIGNATURES "ecdsa_secp256r1_sha256:ed25519"
#define GROUPS "X25519"

static const uint8_t alpn[] = {7, 'h', 'a', 'n', 's', 'e', '/', '1'};

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bio;
};

struct tls {
    SSL *ssl;
    const uint8_t *in; /* lent by tls_give() */
    size_t n_in;
    struct tls_out *out;
    struct peer_id peer, expect;
    bool has_expect, has_peer;
    int err; /* of the certificate check, which OpenSSL only passes on as "failed" */
    const char *why;
};

/* ---- a BIO over our own memory: OpenSSL's memory BIO copies once more and grows without bound ---- */

static int bio_read(BIO *bio, char *at, int n)
{
    struct tls *tls = BIO_get_data(bio);
    size_t k = (size_t)n < tls->n_in ? (size_t)n : tls->n_in;
    BIO_clear_retry_flags(bio);
    if (k == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(at, tls->in, k);
    tls->in += k;
    tls->n_in -= k;
    return (int)k;
}

static int bio_write(BIO *bio, const char *bytes, int n)
{
    struct tls *tls = BIO_get_data(bio);
    struct tls_out *out = tls->out;
    BIO_clear_retry_flags(bio);
    if ((size_t)n > out->max - out->n)
        return -1;
    memcpy(out->bytes + out->n, bytes, (size_t)n);
    out->n += (size_t)n;
    return n;
}

static long bio_ctrl(BIO *bio, int command, long n, void *p)
{
    (void)bio, (void)n, (void)p;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "hanse");
    if (!method)
        return NULL;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}

/* ---- what all connections share ---- */

/* Replaces OpenSSL's chain building: one certificate, checked by our rules, and whose it is. */
static int check_peer(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *tls = SSL_get_app_data(ssl);
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store);
    tls->err = HANSE_ESIGNATURE;
    tls->why = "it sent more than one certificate";
    if (chain && sk_X509_num(chain) == 1)
        tls->err = certificate_check(X509_STORE_CTX_get0_cert(store), (int64_t)(net_now_us() / 1000000), &tls->peer, &tls->why);
    if (!tls->err && tls->has_expect && !peer_id_equal(&tls->peer, &tls->expect)) {
        tls->err = HANSE_EIDENTITY;
        tls->why = "another peer answers at this address";
    }
    tls->has_peer = !tls->err;
    X509_STORE_CTX_set_error(store, tls->err ? X509_V_ERR_CERT_REJECTED : X509_V_OK);
    return !tls->err;
}

static int select_alpn(SSL *ssl, const uint8_t **out, uint8_t *n_out, const uint8_t *in, unsigned n_in, void *arg)
{
    (void)ssl, (void)arg;
    uint8_t *chosen;
    if (SSL_select_next_proto(&chosen, n_out, alpn, sizeof alpn, in, n_in) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool configure(SSL_CTX *ssl, X509 *certificate, EVP_PKEY *key)
{
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, check_peer, NULL);
    SSL_CTX_set_alpn_select_cb(ssl, select_alpn, NULL);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) && SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) &&
           SSL_CTX_set_num_tickets(ssl, 0) && SSL_CTX_set_ciphersuites(ssl, CIPHERS) &&
           SSL_CTX_set1_sigalgs_list(ssl, SIGNATURES) && SSL_CTX_set1_groups_list(ssl, GROUPS) &&
           SSL_CTX_set_alpn_protos(ssl, alpn, sizeof alpn) == 0 && SSL_CTX_use_certificate(ssl, certificate) &&
           SSL_CTX_use_PrivateKey(ssl, key);
}

int tls_context_new(const struct key *key, struct tls_context **out)
{
    X509 *certificate = NULL;
    EVP_PKEY *certificate_key = NULL;
    struct tls_context *context = NULL;
    /* A system-wide openssl.cnf must not change what peers agree on; not reading it also saves a few ms. */
    OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    int err = certificate_make(key, (int64_t)(net_now_us() / 1000000), &certificate, &certificate_key);
    if (err)
        goto fail;
    err = HANSE_ENOMEM;
    context = calloc(1, sizeof *context);
    if (!context)
        goto fail;
    context->bio = make_bio_method();
    context->ssl = SSL_CTX_new(TLS_method());
    if (!context->bio || !context->ssl)
        goto fail;
    err = HANSE_EUNSUPPORTED;
    if (!configure(context->ssl, certificate, certificate_key)) {
        log_error("TLS: this OpenSSL refuses TLS 1.3 with X25519 and P-256; install OpenSSL 3");
        goto fail;
    }
    X509_free(certificate);
    EVP_PKEY_free(certificate_key);
    *out = context;
    return 0;
fail:
    X509_free(certificate);
    EVP_PKEY_free(certificate_key);
    tls_context_free(context);
    return err;
}

void tls_context_free(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio);
    free(context);
}

/* ---- one connection ---- */

int tls_new(struct tls_context *context, bool is_client, const struct peer_id *expect, struct tls_out *out_bytes,
            struct tls **out)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        return HANSE_ENOMEM;
    tls->out = out_bytes;
    tls->has_expect = expect != NULL;
    if (expect)
        tls->expect = *expect;
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = BIO_new(context->bio);
    if (!tls->ssl || !bio) {
        BIO_free(bio);
        tls_free(tls);
        return HANSE_ENOMEM;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio); /* one reference serves both ways */
    SSL_set_app_data(tls->ssl, tls);
    if (is_client)
        SSL_set_connect_state(tls->ssl);
    else
        SSL_set_accept_state(tls->ssl);
    *out = tls;
    return 0;
}

void tls_free(struct tls *tls)
{
    if (tls)
        SSL_free(tls->ssl);
    free(tls);
}

void tls_give(struct tls *tls, const void *bytes, size_t n)
{
    assert(tls->n_in == 0);
    tls->in = bytes;
    tls->n_in = n;
}

/* Turns OpenSSL's complaint into ours. */
static int fault(struct tls *tls, int result)
{
    int code = SSL_get_error(tls->ssl, result);
    int reason = ERR_GET_REASON(ERR_peek_error());
    if (code == SSL_ERROR_ZERO_RETURN) {
        tls->why = "the peer closed it";
        return HANSE_ECLOSED;
    }
    if (tls->err)
        return tls->err; /* check_peer() said why */
    const char *text = ERR_reason_error_string(ERR_peek_error());
    tls->why = text ? text : "TLS failed";
    switch (reason) {
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL: /* OpenSSL 3.0.2 has no name for it */
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return HANSE_EVERSION;
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        tls->why = "the peer refused our certificate, or expected another peer here";
        return HANSE_EIDENTITY;
    default:
        return HANSE_EPROTO;
    }
}

static bool has_our_alpn(const struct tls *tls)
{
    const uint8_t *chosen;
    unsigned n;
    SSL_get0_alpn_selected(tls->ssl, &chosen, &n);
    return n == alpn[0] && memcmp(chosen, alpn + 1, n) == 0;
}

int tls_handshake(struct tls *tls, bool *is_done)
{
    *is_done = false;
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result != 1)
        return SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ ? 0 : fault(tls, result);
    if (!has_our_alpn(tls)) {
        tls->why = "it does not speak " TLS_ALPN;
        return HANSE_EVERSION;
    }
    assert(tls->has_peer);
    *is_done = true;
    return 0;
}

int tls_read(struct tls *tls, void *at, size_t n, size_t *n_read)
{
    *n_read = 0;
    ERR_clear_error();
    int result = SSL_read_ex(tls->ssl, at, n, n_read);
    if (result == 1)
        return 0;
    *n_read = 0;
    return SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ ? 0 : fault(tls, result);
}

int tls_write(struct tls *tls, const void *bytes, size_t n)
{
    size_t n_written;
    ERR_clear_error();
    int result = SSL_write_ex(tls->ssl, bytes, n, &n_written);
    if (result != 1)
        return fault(tls, result);
    assert(n_written == n); /* the BIO has room by contract */
    return 0;
}

void tls_bye(struct tls *tls)
{
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

struct peer_id tls_peer(const struct tls *tls)
{
    return tls->peer;
}

const char *tls_why(const struct tls *tls)
{
    return tls->why ? tls->why : "TLS failed";
}
