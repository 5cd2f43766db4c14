/**
 * cmd/dht_text.h - what strangers sent, as text that no terminal obeys: printable ASCII, and all else as \n or \xNN.
 */
#ifndef CMD_DHT_TEXT_H
#define CMD_DHT_TEXT_H

#include <stdbool.h>

#include "base/buf.h"
#include "dht/dht.h"

#define DHT_TEXT_VERSION_BYTES 128
#define DHT_TEXT_REFUSAL_BYTES 96
#define DHT_TEXT_HEX_BYTES (2 * DHT_ID_BYTES + 1)

/** Writes `n` bytes as text, cut where `out` ends; returns `out`. */
const char *dht_text_escape(char *out, size_t out_bytes, const void *bytes, size_t n);

/** The id in hex; returns `out`. */
const char *dht_text_id(char out[DHT_TEXT_HEX_BYTES], const struct dht_id *id);

/** "libtorrent 2.0.8 (LT\x02\x08)", "hanse, wire revision 1 (HN\x00\x01)", "XY\x01\x02", "unnamed"; returns `out`. */
const char *dht_text_version(char out[DHT_TEXT_VERSION_BYTES], const uint8_t *v, size_t n);

/** True for what is better read escaped than in hex: three quarters of it are printable, newlines, tabs or letters of UTF-8. */
bool dht_text_is_readable(const uint8_t *bytes, size_t n);

/**
 * Appends a bencoded value for people: a readable string escaped, anything else in lines, inner strings quoted.  What is
 * not readable, or not bencoded, is shown as 0x and hex.
 */
void dht_text_value(struct buf *out, const uint8_t *bytes, size_t n);

/** The sentence of a KRPC error code. */
const char *dht_text_error(int code);

/** ", " and the sentence of a code that any question may be answered with; "" for one that belongs to a put, or to nothing. */
const char *dht_text_refusal(char out[DHT_TEXT_REFUSAL_BYTES], int code);

#endif
