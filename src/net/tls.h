/**
 * net/tls.h - TLS 1.3 both ways over memory: bytes from the socket are given in, bytes for it come out in a row.
 * No session resumption, no early data, no renegotiation, no names: a peer is its key.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/key.h"

#define TLS_ALPN "hanse/1"                   /* the version of the link protocol */
#define TLS_RECORD_MAX ((size_t)16384 + 512) /* what one frame may become, with room to spare for handshake messages */

struct tls_context; /* what all connections of a process share: certificate and settings */
struct tls;

/** Where encrypted bytes go; the caller empties it.  A write beyond `max` fails the connection. */
struct tls_out {
    uint8_t *bytes;
    size_t n, max;
};

/** Makes the certificate.  Borrows `key`. */
HANSE_MUST_USE int tls_context_new(const struct key *key, struct tls_context **out);
void tls_context_free(struct tls_context *context);

/** Keeps `out_bytes`; `expect` NULL takes any peer. */
HANSE_MUST_USE int tls_new(struct tls_context *context, bool is_client, const struct peer_id *expect, struct tls_out *out_bytes,
                           struct tls **out);
void tls_free(struct tls *tls);

/** Lends `n` bytes from the socket; call tls_handshake() or tls_read() until they ask for more, before the bytes go away. */
void tls_give(struct tls *tls, const void *bytes, size_t n);

/** `*is_done` true: the peer proved its key.  HANSE_ESIGNATURE, HANSE_EIDENTITY, HANSE_EVERSION, HANSE_EPROTO. */
HANSE_MUST_USE int tls_handshake(struct tls *tls, bool *is_done);

/** Reads up to `n` bytes to `at`; `*n_read` 0 asks for more from the socket.  HANSE_ECLOSED: the peer said goodbye. */
HANSE_MUST_USE int tls_read(struct tls *tls, void *at, size_t n, size_t *n_read);

/** Encrypts all of 1..16384 bytes; needs TLS_RECORD_MAX bytes of room in the tls_out. */
HANSE_MUST_USE int tls_write(struct tls *tls, const void *bytes, size_t n);

/** Says goodbye. */
void tls_bye(struct tls *tls);

/** Who the peer is, after the handshake. */
struct peer_id tls_peer(const struct tls *tls);

/** What went wrong, for a log line. */
const char *tls_why(const struct tls *tls);

#endif
