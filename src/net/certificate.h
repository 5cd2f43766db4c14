/**
 * net/certificate.h - a self-signed certificate that proves which Ed25519 key its holder has.
 * libp2p specs, tls/tls.md: the certificate has a key of its own (P-256, fresh in every process); the extension
 * 1.3.6.1.4.1.53594.1.1 carries the peer's key and its signature over "libp2p-tls-handshake:" || SubjectPublicKeyInfo.
 * So the peer's key signs once a process and stays out of TLS.
 */
#ifndef NET_CERTIFICATE_H
#define NET_CERTIFICATE_H

#include <openssl/x509.h>

#include "base/key.h"

#define CERTIFICATE_OID "1.3.6.1.4.1.53594.1.1"
#define CERTIFICATE_PROOF_PREFIX "libp2p-tls-handshake:"
#define CERTIFICATE_PROOF_BYTES 106 /* DER: SEQUENCE { OCTET STRING (36: the peer's key), OCTET STRING (64: signature) } */

/** Makes a certificate for `host`, valid from a day before `now_s` (Unix time), and its private key.  Gives both (X509_free, EVP_PKEY_free). */
HANSE_MUST_USE int certificate_make(const struct key *host, int64_t now_s, X509 **certificate, EVP_PKEY **key);

/** Writes the extension's bytes that bind `host` to the public key of `certificate`.  HANSE_ENOMEM. */
HANSE_MUST_USE int certificate_prove(const struct key *host, const X509 *certificate, uint8_t out[CERTIFICATE_PROOF_BYTES]);

/**
 * Checks a stranger's certificate at `now_s` and tells whose it is.  HANSE_ESIGNATURE with `*why` (a fixed sentence) when it
 * is expired, not signed by itself, has no or several proofs, a proof of another key, or a critical extension unknown here.
 */
HANSE_MUST_USE int certificate_check(X509 *certificate, int64_t now_s, struct peer_id *out, const char **why);

#endif
