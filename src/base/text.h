/**
 * base/text.h - numbers and hashes to text and back.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

/** Writes 2 n lower-case digits and a NUL to `out`. */
void text_hex(char *out, const void *bytes, size_t n);

/** Reads exactly 2 n digits (then NUL) into `out`; false, with `out` untouched, on anything else. */
bool text_unhex(void *out, size_t n, const char *hex);

/** Reads a whole decimal number in [min, max]; false on anything else, trailing text included. */
bool text_u64(uint64_t *out, const char *text, uint64_t min, uint64_t max);

/** Reads a finite decimal number; false on anything else. */
bool text_double(double *out, const char *text);

/** Reads "20Mbit", "1.5Gbit", "300kbit", "8000" as bits per second; never negative. */
bool text_bit_rate(double *out, const char *text);

/** Reads "80ms", "2s", "500us", "1.5h", "10min" as microseconds; the unit is never left out. */
bool text_duration_us(uint64_t *out, const char *text);

/** Writes "1.2 MB", "345 B", "3.4 GB" (powers of 1000) to `out` and returns it. */
char *text_size(char *out, size_t out_bytes, double n_bytes);

/** The ending of a word that has this number before it: "1 node", "0 nodes", "2 nodes". */
const char *text_plural(uint64_t n);

/**
 * True for a code point that shows nothing but tells the terminal how to show what follows, or breaks the line: right to left, no
 * joining, tags.
 */
bool text_directs(uint32_t code);

/** Writes UTF-8 of strangers for a terminal: what directs it as \u202e, controls and what is no UTF-8 as \xNN; cut where `out` ends. */
const char *text_plain(char *out, size_t out_bytes, const char *utf8);

#define TEXT_WORD_MAX 63

/**
 * Edits (insert, remove, replace a byte) that turn a into b; of longer words the first TEXT_WORD_MAX bytes count.
 * Wagner and Fischer, "The string-to-string correction problem", 1974, with one row kept.
 */
size_t text_distance(const char *a, const char *b);

#endif
