/* net/certificate.c - making and checking the certificate that carries a peer's key. */
#include <string.h>

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "net/certificate.h"

#define DAY_S 86400
#define LIFE_DAYS 36500 /* the key lives as long as the process; an end date would only break long runs */

/* SEQUENCE of 104 { OCTET STRING of 36 { protobuf: type = Ed25519 (1), data = 32 bytes ... } , OCTET STRING of 64 } */
static const uint8_t proof_head[8] = {0x30, 0x68, 0x04, 0x24, 0x08, 0x01, 0x12, 0x20};
static const uint8_t proof_middle[2] = {0x04, 0x40};
enum { PROOF_KEY_AT = 8, PROOF_MIDDLE_AT = 40, PROOF_SIGNATURE_AT = 42 };

/* What the peer's key signs; gives the bytes (OPENSSL_free). */
static uint8_t *signed_bytes(const X509 *certificate, size_t *n)
{
    size_t n_prefix = strlen(CERTIFICATE_PROOF_PREFIX);
    X509_PUBKEY *spki = X509_get_X509_PUBKEY(certificate);
    int n_spki = i2d_X509_PUBKEY(spki, NULL);
    if (n_spki <= 0)
        return NULL;
    uint8_t *bytes = OPENSSL_malloc(n_prefix + (size_t)n_spki);
    if (!bytes)
        return NULL;
    memcpy(bytes, CERTIFICATE_PROOF_PREFIX, n_prefix);
    uint8_t *at = bytes + n_prefix;
    i2d_X509_PUBKEY(spki, &at);
    *n = n_prefix + (size_t)n_spki;
    return bytes;
}

int certificate_prove(const struct key *host, const X509 *certificate, uint8_t out[CERTIFICATE_PROOF_BYTES])
{
    size_t n;
    uint8_t *bytes = signed_bytes(certificate, &n);
    if (!bytes)
        return HANSE_ENOMEM;
    struct peer_id peer = key_peer_id(host);
    memcpy(out, proof_head, sizeof proof_head);
    memcpy(out + PROOF_KEY_AT, peer.byte, sizeof peer.byte);
    memcpy(out + PROOF_MIDDLE_AT, proof_middle, sizeof proof_middle);
    key_sign_raw(host, bytes, n, out + PROOF_SIGNATURE_AT);
    OPENSSL_free(bytes);
    return 0;
}

static int add_proof(X509 *certificate, const struct key *host)
{
    int err = HANSE_ENOMEM;
    uint8_t proof[CERTIFICATE_PROOF_BYTES];
    ASN1_OBJECT *oid = OBJ_txt2obj(CERTIFICATE_OID, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    if (!oid || !value || certificate_prove(host, certificate, proof))
        goto done;
    if (!ASN1_OCTET_STRING_set(value, proof, sizeof proof))
        goto done;
    extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
    if (extension && X509_add_ext(certificate, extension, -1))
        err = 0;
done:
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    return err;
}

/* A subject that says nothing about the machine, and that is its own issuer. */
static bool set_names(X509 *certificate)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"hanse", -1, -1, 0) &&
           X509_set_issuer_name(certificate, name);
}

int certificate_make(const struct key *host, int64_t now_s, X509 **certificate, EVP_PKEY **key)
{
    int err = HANSE_ENOMEM;
    time_t now = (time_t)now_s;
    X509 *x = X509_new();
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    if (!x || !pkey)
        goto fail;
    if (!X509_set_version(x, X509_VERSION_3) || !ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), (uint64_t)now_s + 1))
        goto fail;
    if (!set_names(x) || !X509_set_pubkey(x, pkey))
        goto fail;
    if (!X509_time_adj_ex(X509_getm_notBefore(x), -1, 0, &now) || !X509_time_adj_ex(X509_getm_notAfter(x), LIFE_DAYS, 0, &now))
        goto fail;
    err = add_proof(x, host);
    if (err)
        goto fail;
    err = HANSE_ENOMEM;
    if (!X509_sign(x, pkey, EVP_sha256()))
        goto fail;
    *certificate = x;
    *key = pkey;
    return 0;
fail:
    X509_free(x);
    EVP_PKEY_free(pkey);
    return err;
}

static bool is_in_time(X509 *certificate, int64_t now_s)
{
    time_t now = (time_t)now_s;
    /* X509_cmp_time yields 0 for a date it cannot read, which then counts as out of time. */
    return X509_cmp_time(X509_get0_notBefore(certificate), &now) < 0 && X509_cmp_time(X509_get0_notAfter(certificate), &now) > 0;
}

/* Signed with its own key by an algorithm still thought sound. */
static bool is_self_signed(X509 *certificate)
{
    int digest, bits;
    if (!X509_get_signature_info(certificate, &digest, NULL, &bits, NULL) || bits < 112)
        return false;
    if (digest != NID_sha256 && digest != NID_sha384 && digest != NID_sha512 && digest != NID_undef)
        return false;
    return X509_verify(certificate, X509_get0_pubkey(certificate)) == 1;
}

/* Every extension but ours that is marked critical must be one OpenSSL knows and found sound. */
static bool has_known_extensions(X509 *certificate, const ASN1_OBJECT *oid)
{
    for (int i = 0; i < X509_get_ext_count(certificate); i++) {
        X509_EXTENSION *extension = X509_get_ext(certificate, i);
        if (OBJ_cmp(X509_EXTENSION_get_object(extension), oid) == 0)
            continue;
        if (X509_EXTENSION_get_critical(extension) && !X509_supported_extension(extension))
            return false;
    }
    if (X509_get_extension_flags(certificate) & EXFLAG_INVALID)
        return false;
    return X509_get_key_usage(certificate) & X509v3_KU_DIGITAL_SIGNATURE; /* all ones when the extension is absent */
}

/* The bytes of the one proof; NULL when there is none, more than one, or it is not laid out for an Ed25519 key. */
static const uint8_t *find_proof(X509 *certificate, const ASN1_OBJECT *oid)
{
    int i = X509_get_ext_by_OBJ(certificate, oid, -1);
    if (i < 0 || X509_get_ext_by_OBJ(certificate, oid, i) >= 0)
        return NULL;
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509_get_ext(certificate, i));
    const uint8_t *bytes = ASN1_STRING_get0_data(value);
    if (ASN1_STRING_length(value) != CERTIFICATE_PROOF_BYTES)
        return NULL;
    if (memcmp(bytes, proof_head, sizeof proof_head) || memcmp(bytes + PROOF_MIDDLE_AT, proof_middle, sizeof proof_middle))
        return NULL;
    return bytes;
}

static bool verify_proof(const X509 *certificate, const uint8_t *proof, struct peer_id *out)
{
    size_t n;
    struct peer_id peer;
    uint8_t *bytes = signed_bytes(certificate, &n);
    if (!bytes)
        return false;
    memcpy(peer.byte, proof + PROOF_KEY_AT, sizeof peer.byte);
    bool is_good = key_verify_raw(&peer, bytes, n, proof + PROOF_SIGNATURE_AT);
    OPENSSL_free(bytes);
    if (is_good)
        *out = peer;
    return is_good;
}

int certificate_check(X509 *certificate, int64_t now_s, struct peer_id *out, const char **why)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(CERTIFICATE_OID, 1);
    if (!oid)
        return HANSE_ENOMEM;
    const uint8_t *proof = find_proof(certificate, oid);
    *why = NULL;
    if (!proof)
        *why = "its certificate does not carry one Ed25519 peer key";
    else if (!is_in_time(certificate, now_s))
        *why = "its certificate is not valid now; compare both clocks";
    else if (!has_known_extensions(certificate, oid))
        *why = "its certificate has an extension that is unknown or does not allow signing";
    else if (!is_self_signed(certificate))
        *why = "its certificate is not signed by itself";
    else if (!verify_proof(certificate, proof, out))
        *why = "its certificate was not signed by the peer key in it";
    ASN1_OBJECT_free(oid);
    return *why ? HANSE_ESIGNATURE : 0;
}
