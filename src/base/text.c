#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_hex(char *out, const void *bytes, size_t n)
{
    static const char digit[] = "0123456789abcdef";
    const uint8_t *byte = bytes;
    for (size_t i = 0; i < n; i++) {
        *out++ = digit[byte[i] >> 4];
        *out++ = digit[byte[i] & 15];
    }
    *out = 0;
}

/* ctype asks the locale; digits do not depend on it. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool text_unhex(void *out, size_t n, const char *hex)
{
    if (strnlen(hex, 2 * n + 1) != 2 * n)
        return false;
    for (size_t i = 0; i < 2 * n; i++)
        if (hex_value(hex[i]) < 0)
            return false;
    uint8_t *byte = out;
    for (size_t i = 0; i < n; i++)
        byte[i] = (uint8_t)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
    return true;
}

bool text_u64(uint64_t *out, const char *text, uint64_t min, uint64_t max)
{
    uint64_t v = 0;
    if (!is_digit(*text))
        return false;
    for (; is_digit(*text); text++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
            return false;
    if (*text || v < min || v > max)
        return false;
    *out = v;
    return true;
}

/* The number a text starts with, and where it ends.  strtod also takes blanks, hex, inf and nan; we do not. */
static bool leading_number(double *out, const char **end, const char *text)
{
    const char *start = *text == '+' || *text == '-' ? text + 1 : text;
    char *stop;
    if (!is_digit(start[0]) && !(start[0] == '.' && is_digit(start[1])))
        return false;
    if (start[0] == '0' && (start[1] == 'x' || start[1] == 'X'))
        return false;
    double v = strtod(text, &stop);
    if (!isfinite(v))
        return false;
    *out = v;
    *end = stop;
    return true;
}

bool text_double(double *out, const char *text)
{
    const char *end;
    double v;
    if (!leading_number(&v, &end, text) || *end)
        return false;
    *out = v;
    return true;
}

struct unit {
    const char *name;
    double factor;
};

/* A positive number times the unit that follows it, which must be one of `unit`. */
static bool with_unit(double *out, const char *text, const struct unit *unit, size_t n)
{
    const char *end;
    double v;
    if (!leading_number(&v, &end, text) || v < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(end, unit[i].name) == 0) {
            *out = v * unit[i].factor;
            return isfinite(*out);
        }
    return false;
}

bool text_bit_rate(double *out, const char *text)
{
    static const struct unit unit[] = {{"", 1}, {"bit", 1}, {"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}, {"Tbit", 1e12}};
    double rate;
    if (!with_unit(&rate, text, unit, sizeof unit / sizeof *unit))
        return false;
    *out = rate;
    return true;
}

bool text_duration_us(uint64_t *out, const char *text)
{
    static const struct unit unit[] = {{"us", 1}, {"ms", 1e3}, {"s", 1e6}, {"min", 60e6}, {"h", 3600e6}};
    double us;
    if (!with_unit(&us, text, unit, sizeof unit / sizeof *unit) || us > 0x1p53)
        return false;
    *out = (uint64_t)(us + 0.5);
    return true;
}

char *text_size(char *out, size_t out_bytes, double n_bytes)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    size_t i = 0;
    while (i + 1 < sizeof unit / sizeof *unit && n_bytes >= (i == 0 ? 1000 : 999.95)) {
        n_bytes /= 1000;
        i++;
    }
    snprintf(out, out_bytes, i == 0 ? "%.0f %s" : "%.1f %s", n_bytes, unit[i]);
    return out;
}

const char *text_plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

bool text_directs(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } range[] = {{0x80, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},   {0x180e, 0x180e}, {0x200b, 0x200f},
                 {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (code >= range[i].first && code <= range[i].last)
            return true;
    return false;
}

/* The code point of the UTF-8 at `s`, which ends with a NUL, and its bytes; 0 bytes for none. */
static uint32_t code_at(const uint8_t *s, size_t *n)
{
    uint32_t code = s[0];
    *n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (*n == 1)
        return code;
    code &= 0x7fu >> *n;
    for (size_t i = 1; i < *n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            *n = 0;
            return 0;
        }
        code = code << 6 | (s[i] & 0x3fu);
    }
    if (s[0] < 0xc2 || s[0] > 0xf4)
        *n = 0;
    return code;
}

const char *text_plain(char *out, size_t out_bytes, const char *utf8)
{
    char piece[16];
    size_t used = 0, n;
    for (const uint8_t *s = (const uint8_t *)utf8; *s; s += n ? n : 1) {
        uint32_t code = code_at(s, &n);
        if (n == 0 || code < ' ' || code == 0x7f)
            snprintf(piece, sizeof piece, "\\x%02x", *s);
        else if (text_directs(code))
            snprintf(piece, sizeof piece, code > 0xffff ? "\\U%08" PRIx32 : "\\u%04" PRIx32, code);
        else
            snprintf(piece, sizeof piece, "%.*s", (int)n, (const char *)s);
        if (used + strlen(piece) >= out_bytes)
            break;
        memcpy(out + used, piece, strlen(piece));
        used += strlen(piece);
    }
    out[used] = 0;
    return out;
}

size_t text_distance(const char *a, const char *b)
{
    size_t row[TEXT_WORD_MAX + 1];
    size_t n_a = strnlen(a, TEXT_WORD_MAX), n_b = strnlen(b, TEXT_WORD_MAX);
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(replaced, 1 + least(row[j], row[j - 1]));
        }
    }
    return row[n_b];
}
