#include "cmd/dht_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "dht/bencode.h"
#include "dht/krpc.h"

#define ESCAPED_BYTES 4 /* \xNN */
#define INDENT 2

static bool is_plain(uint8_t byte)
{
    return byte >= ' ' && byte <= '~';
}

/* As printable ASCII; what has no name of its own as \xNN.  Returns the length. */
static size_t escape(char out[ESCAPED_BYTES + 1], uint8_t byte)
{
    if (is_plain(byte) && byte != '\\')
        return (size_t)snprintf(out, ESCAPED_BYTES + 1, "%c", byte);
    if (byte == '\\' || byte == '\n')
        return (size_t)snprintf(out, ESCAPED_BYTES + 1, "\\%c", byte == '\n' ? 'n' : '\\');
    return (size_t)snprintf(out, ESCAPED_BYTES + 1, "\\x%02x", byte);
}

/* How many bytes the letter of UTF-8 has that begins here; 0 for what is none beyond ASCII. */
static size_t letter_bytes(const uint8_t *bytes, size_t n)
{
    size_t size = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
    if (bytes[0] < 0xc2 || bytes[0] > 0xf4 || size > n)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

bool dht_text_is_readable(const uint8_t *bytes, size_t n)
{
    size_t n_binary = 0;
    for (size_t i = 0, size; i < n; i += size ? size : 1) {
        size = letter_bytes(bytes + i, n - i);
        n_binary += size == 0 && !is_plain(bytes[i]) && bytes[i] != '\n' && bytes[i] != '\t';
    }
    return n_binary * 4 <= n;
}

const char *dht_text_escape(char *out, size_t out_bytes, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    size_t used = 0;
    for (size_t i = 0; i < n && used + ESCAPED_BYTES < out_bytes; i++)
        used += escape(out + used, at[i]);
    out[used] = 0;
    return out;
}

const char *dht_text_id(char out[DHT_TEXT_HEX_BYTES], const struct dht_id *id)
{
    text_hex(out, id->byte, sizeof id->byte);
    return out;
}

/* -- Versions ------------------------------------------------------------------------------------------ */

static const struct {
    char head[3];
    const char *name;
} clients[] = {
    {"HN", "hanse"},    {"LT", "libtorrent"},  {"TR", "Transmission"},
    {"A2", "aria2"},    {"UT", "uTorrent"},    {"lt", "libTorrent (rTorrent)"},
    {"JC", "jech/dht"}, {"MO", "MonoTorrent"},
};

/* Which program it is; NULL for one that we do not know. */
static const char *client_of(const uint8_t *v, size_t n)
{
    for (size_t i = 0; n >= 2 && i < sizeof clients / sizeof clients[0]; i++)
        if (memcmp(clients[i].head, v, 2) == 0)
            return clients[i].name;
    return NULL;
}

const char *dht_text_version(char out[DHT_TEXT_VERSION_BYTES], const uint8_t *v, size_t n)
{
    char raw[64];
    const char *client = client_of(v, n);
    dht_text_escape(raw, sizeof raw, v, n);
    if (n == 0)
        snprintf(out, DHT_TEXT_VERSION_BYTES, "unnamed");
    else if (!client)
        snprintf(out, DHT_TEXT_VERSION_BYTES, "%s", raw);
    else if (n == 4 && memcmp(v, "LT", 2) == 0)
        snprintf(out, DHT_TEXT_VERSION_BYTES, "%s %u.%u.%u (%s)", client, v[2], v[3] >> 4, v[3] & 15u, raw);
    else if (n == 4 && memcmp(v, "HN", 2) == 0)
        snprintf(out, DHT_TEXT_VERSION_BYTES, "%s, wire revision %u (%s)", client, v[2] << 8 | v[3], raw);
    else
        snprintf(out, DHT_TEXT_VERSION_BYTES, "%s (%s)", client, raw);
    return out;
}

/* -- Values -------------------------------------------------------------------------------------------- */

struct printer {
    struct buf *out;
    const struct dht_bencode *doc;
};

static void put_hex(struct buf *out, const uint8_t *bytes, size_t n)
{
    buf_printf(out, "0x");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%02x", bytes[i]);
}

static void put_text(struct buf *out, struct dht_span span)
{
    char escaped[ESCAPED_BYTES + 1];
    for (size_t i = 0; i < span.n; i++)
        buf_append(out, escaped, escape(escaped, span.bytes[i]));
}

static void put_string(struct buf *out, struct dht_span span)
{
    if (!dht_text_is_readable(span.bytes, span.n)) {
        put_hex(out, span.bytes, span.n);
        return;
    }
    buf_printf(out, "\"");
    put_text(out, span);
    buf_printf(out, "\"");
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the decoder allows */
static void put_token(const struct printer *p, const struct dht_bencode_token *token, int indent)
{
    const struct dht_bencode_token *end = p->doc->token + token->next;
    bool is_dictionary = token->type == DHT_BENCODE_DICTIONARY;
    if (token->type == DHT_BENCODE_INTEGER) {
        buf_printf(p->out, "%" PRId64, token->integer);
        return;
    }
    if (token->type == DHT_BENCODE_STRING) {
        put_string(p->out, token->string);
        return;
    }
    buf_printf(p->out, is_dictionary ? "{" : "[");
    bool is_empty = token + 1 == end;
    for (const struct dht_bencode_token *e = token + 1; e < end; e = p->doc->token + e->next) {
        buf_printf(p->out, "\n%*s", indent + INDENT, "");
        if (is_dictionary) {
            put_string(p->out, e->string);
            buf_printf(p->out, ": ");
            e++;
        }
        put_token(p, e, indent + INDENT);
    }
    if (!is_empty)
        buf_printf(p->out, "\n%*s", indent, "");
    buf_printf(p->out, is_dictionary ? "}" : "]");
}

void dht_text_value(struct buf *out, const uint8_t *bytes, size_t n)
{
    struct dht_bencode doc;
    if (dht_bencode_read(&doc, bytes, n) != 0) {
        put_hex(out, bytes, n);
        return;
    }
    struct dht_span text = dht_bencode_string(&doc.token[0]);
    struct printer p = {out, &doc};
    if (text.bytes && dht_text_is_readable(text.bytes, text.n))
        put_text(out, text);
    else
        put_token(&p, &doc.token[0], 0);
}

const char *dht_text_error(int code)
{
    switch (code) {
    case DHT_ERROR_SERVER:
        return "the node cannot store it now";
    case DHT_ERROR_PROTOCOL:
        return "the node finds the question malformed, or its token too old";
    case DHT_ERROR_METHOD:
        return "the node does not know this question";
    case DHT_ERROR_V_SIZE:
        return "the value is too large: 1000 bytes, bencoded, is the most";
    case DHT_ERROR_SIGNATURE:
        return "the signature does not fit key, salt, seq and value";
    case DHT_ERROR_SALT_SIZE:
        return "the salt is too long: 64 bytes is the most";
    case DHT_ERROR_CAS:
        return "what is stored there has another sequence number than --cas names";
    case DHT_ERROR_SEQ:
        return "what is stored there is newer, or has this sequence number and another value";
    default:
        return "the node refuses, for a reason of its own";
    }
}

const char *dht_text_refusal(char out[DHT_TEXT_REFUSAL_BYTES], int code)
{
    bool is_general = code >= DHT_ERROR_GENERIC && code <= DHT_ERROR_METHOD;
    snprintf(out, DHT_TEXT_REFUSAL_BYTES, "%s%s", is_general ? ", " : "", is_general ? dht_text_error(code) : "");
    return out;
}
