#include "dht/bencode.h"

#include <assert.h>
#include <string.h>

struct cursor {
    struct dht_bencode *doc;
    const uint8_t *at;
    const uint8_t *end;
};

static int read_value(struct cursor *c, unsigned depth);

/* Digits up to `stop`, without leading zeros.  The magnitude stays below 2^63 for either sign: nobody sends INT64_MIN. */
static int read_digits(struct cursor *c, char stop, uint64_t *out)
{
    const uint8_t *first = c->at;
    uint64_t v = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        unsigned digit = *c->at++ - (unsigned)'0';
        if (v > ((uint64_t)INT64_MAX - digit) / 10)
            return HANSE_EPROTO;
        v = v * 10 + digit;
    }
    size_t n = (size_t)(c->at - first);
    if (n == 0 || (n > 1 && *first == '0') || c->at == c->end || *c->at != (uint8_t)stop)
        return HANSE_EPROTO;
    c->at++;
    *out = v;
    return 0;
}

static int read_integer(struct cursor *c, struct dht_bencode_token *token)
{
    c->at++;
    bool is_negative = c->at < c->end && *c->at == '-';
    if (is_negative)
        c->at++;
    uint64_t v;
    int err = read_digits(c, 'e', &v);
    if (err || (is_negative && v == 0))
        return HANSE_EPROTO;
    token->type = DHT_BENCODE_INTEGER;
    token->integer = is_negative ? -(int64_t)v : (int64_t)v;
    return 0;
}

static int read_string(struct cursor *c, struct dht_bencode_token *token)
{
    uint64_t n;
    int err = read_digits(c, ':', &n);
    if (err || n > (size_t)(c->end - c->at))
        return HANSE_EPROTO;
    token->type = DHT_BENCODE_STRING;
    token->string = (struct dht_span){c->at, (size_t)n};
    c->at += n;
    return 0;
}

static bool is_before(struct dht_span a, struct dht_span b)
{
    int order = memcmp(a.bytes, b.bytes, a.n < b.n ? a.n : b.n);
    return order < 0 || (order == 0 && a.n < b.n);
}

static int read_list(struct cursor *c, unsigned depth)
{
    while (c->at < c->end && *c->at != 'e') {
        int err = read_value(c, depth + 1);
        if (err)
            return err;
    }
    return 0;
}

static int read_dictionary(struct cursor *c, unsigned depth)
{
    struct dht_span last = {NULL, 0};
    while (c->at < c->end && *c->at != 'e') {
        size_t key_i = c->doc->n_tokens;
        int err = read_value(c, depth + 1);
        if (err)
            return err;
        const struct dht_bencode_token *key = &c->doc->token[key_i];
        if (key->type != DHT_BENCODE_STRING || (last.bytes && !is_before(last, key->string)))
            return HANSE_EPROTO;
        last = key->string;
        err = read_value(c, depth + 1);
        if (err)
            return err;
    }
    return 0;
}

static int read_nested(struct cursor *c, struct dht_bencode_token *token, unsigned depth)
{
    bool is_list = *c->at++ == 'l';
    token->type = is_list ? DHT_BENCODE_LIST : DHT_BENCODE_DICTIONARY;
    int err = is_list ? read_list(c, depth) : read_dictionary(c, depth);
    if (err || c->at == c->end)
        return HANSE_EPROTO;
    c->at++;
    return 0;
}

static int read_value(struct cursor *c, unsigned depth)
{
    if (depth > DHT_BENCODE_DEPTH_MAX || c->doc->n_tokens == DHT_BENCODE_TOKENS_MAX || c->at == c->end)
        return HANSE_EPROTO;
    struct dht_bencode_token *token = &c->doc->token[c->doc->n_tokens++];
    const uint8_t *start = c->at;
    int err;
    if (*start == 'i')
        err = read_integer(c, token);
    else if (*start == 'l' || *start == 'd')
        err = read_nested(c, token, depth);
    else
        err = read_string(c, token);
    if (err)
        return err;
    token->raw = (struct dht_span){start, (size_t)(c->at - start)};
    token->next = (uint16_t)c->doc->n_tokens;
    return 0;
}

int dht_bencode_read(struct dht_bencode *doc, const void *bytes, size_t n)
{
    struct cursor c = {.doc = doc, .at = bytes, .end = (const uint8_t *)bytes + n};
    doc->n_tokens = 0;
    if (n == 0)
        return HANSE_EPROTO;
    int err = read_value(&c, 1);
    if (err)
        return err;
    return c.at == c.end ? 0 : HANSE_EPROTO;
}

const struct dht_bencode_token *dht_bencode_find(const struct dht_bencode *doc, const struct dht_bencode_token *dictionary,
                                                 const char *key)
{
    if (!dictionary || dictionary->type != DHT_BENCODE_DICTIONARY)
        return NULL;
    size_t n = strlen(key);
    size_t i = (size_t)(dictionary - doc->token) + 1;
    while (i < dictionary->next) {
        const struct dht_bencode_token *name = &doc->token[i];
        if (name->string.n == n && name->string.bytes[0] == (uint8_t)key[0] && memcmp(name->string.bytes, key, n) == 0)
            return &doc->token[i + 1];
        i = doc->token[i + 1].next;
    }
    return NULL;
}

const struct dht_bencode_token *dht_bencode_each(const struct dht_bencode *doc, const struct dht_bencode_token *list,
                                                 const struct dht_bencode_token *element)
{
    if (!list || list->type != DHT_BENCODE_LIST)
        return NULL;
    size_t i = element ? element->next : (size_t)(list - doc->token) + 1;
    return i < list->next ? &doc->token[i] : NULL;
}

struct dht_span dht_bencode_string(const struct dht_bencode_token *token)
{
    if (!token || token->type != DHT_BENCODE_STRING)
        return (struct dht_span){NULL, 0};
    return token->string;
}

bool dht_bencode_integer(const struct dht_bencode_token *token, int64_t min, int64_t max, int64_t *out)
{
    if (!token || token->type != DHT_BENCODE_INTEGER || token->integer < min || token->integer > max)
        return false;
    *out = token->integer;
    return true;
}

void dht_bencode_writer_init(struct dht_bencode_writer *w, void *bytes, size_t max)
{
    *w = (struct dht_bencode_writer){.bytes = bytes, .max = max};
}

void dht_bencode_put_raw(struct dht_bencode_writer *w, const void *bytes, size_t n)
{
    if (w->is_full || n > w->max - w->n) {
        w->is_full = true;
        return;
    }
    if (n > 0)
        memcpy(w->bytes + w->n, bytes, n);
    w->n += n;
}

/* The digits of `v` and then `stop`; `text` is filled from its end.  Returns where they begin. */
#define DIGITS_MAX 21
static size_t digits(uint8_t text[DIGITS_MAX], uint64_t v, char stop)
{
    size_t at = DIGITS_MAX;
    text[--at] = (uint8_t)stop;
    do {
        text[--at] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return at;
}

void dht_bencode_put_integer(struct dht_bencode_writer *w, int64_t v)
{
    uint8_t text[DIGITS_MAX];
    size_t at = digits(text, v < 0 ? -(uint64_t)v : (uint64_t)v, 'e');
    dht_bencode_put_raw(w, "i-", v < 0 ? 2 : 1);
    dht_bencode_put_raw(w, text + at, DIGITS_MAX - at);
}

void dht_bencode_put_string(struct dht_bencode_writer *w, const void *bytes, size_t n)
{
    uint8_t text[DIGITS_MAX];
    size_t at = digits(text, n, ':');
    dht_bencode_put_raw(w, text + at, DIGITS_MAX - at);
    dht_bencode_put_raw(w, bytes, n);
}

void dht_bencode_put_text(struct dht_bencode_writer *w, const char *text)
{
    dht_bencode_put_string(w, text, strlen(text));
}

void dht_bencode_put_mark(struct dht_bencode_writer *w, char mark)
{
    assert(mark == 'd' || mark == 'l' || mark == 'e');
    dht_bencode_put_raw(w, &mark, 1);
}

void dht_bencode_put_pair(struct dht_bencode_writer *w, const char *key, struct dht_span value)
{
    if (!value.bytes)
        return;
    dht_bencode_put_text(w, key);
    dht_bencode_put_string(w, value.bytes, value.n);
}

void dht_bencode_put_number(struct dht_bencode_writer *w, const char *key, int64_t v)
{
    dht_bencode_put_text(w, key);
    dht_bencode_put_integer(w, v);
}
