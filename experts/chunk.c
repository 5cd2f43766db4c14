/**
 * experts/chunk.c - packing, unpacking, and one file a chunk.
 */
#include "experts/chunk.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/log.h"
#include "base/text.h"

/* Of f32 state only exponents pack, and runs of zeros.  Z_RLE finds runs and lets Huffman codes do the rest: as good here as
 * searching for matches, and faster.  Planes of mantissa bits are stored as they are, which makes packing four times and
 * unpacking three times as fast (400 and 850 MB/s) at the same size. */
#define PACK_LEVEL 1
#define PACK_STRATEGY Z_RLE
#define NOISE_SAMPLE 2048 /* bytes looked at to tell noise: of 256 values it shows all */
#define NOISE_VALUES 240  /* and anything worth packing fewer than this */
#define PACK_WINDOW_BITS 15
#define PACK_MEM_LEVEL 9

int chunk_scratch_init(struct chunk_scratch *scratch)
{
    buf_init(&scratch->packed, CHUNK_PACKED_MAX);
    scratch->shuffled = malloc(CHUNK_BYTES);
    return scratch->shuffled ? 0 : HANSE_ENOMEM;
}

void chunk_scratch_fini(struct chunk_scratch *scratch)
{
    free(scratch->shuffled);
    scratch->shuffled = NULL;
    buf_fini(&scratch->packed);
}

const char *chunk_path(char out[CHUNK_PATH_BYTES], const struct hash *name)
{
    char hex[2 * HASH_BYTES + 1];
    text_hex(hex, name->byte, HASH_BYTES);
    snprintf(out, CHUNK_PATH_BYTES, "chunks/%.2s/%s", hex, hex);
    return out;
}

bool chunk_name_parse(struct hash *name, const char *directory, const char *entry)
{
    char path[CHUNK_PATH_BYTES], again[CHUNK_PATH_BYTES];
    struct hash parsed;
    if (strlen(entry) != 2 * HASH_BYTES || strlen(directory) != 2 || !text_unhex(parsed.byte, HASH_BYTES, entry))
        return false;
    snprintf(path, sizeof path, "chunks/%s/%s", directory, entry);
    if (strcmp(path, chunk_path(again, &parsed)) != 0)
        return false;
    *name = parsed;
    return true;
}

static void shuffle(uint8_t *out, const uint8_t *in, size_t n)
{
    size_t quarter = n / 4;
    for (size_t i = 0; i < quarter; i++) {
        out[i] = in[4 * i];
        out[quarter + i] = in[4 * i + 1];
        out[2 * quarter + i] = in[4 * i + 2];
        out[3 * quarter + i] = in[4 * i + 3];
    }
    memcpy(out + 4 * quarter, in + 4 * quarter, n % 4);
}

static void unshuffle(uint8_t *out, const uint8_t *in, size_t n)
{
    size_t quarter = n / 4;
    for (size_t i = 0; i < quarter; i++) {
        out[4 * i] = in[i];
        out[4 * i + 1] = in[quarter + i];
        out[4 * i + 2] = in[2 * quarter + i];
        out[4 * i + 3] = in[3 * quarter + i];
    }
    memcpy(out + 4 * quarter, in + 4 * quarter, n % 4);
}

static bool is_noise(const uint8_t *bytes, size_t n)
{
    bool seen[256] = {false};
    size_t n_values = 0;
    for (size_t i = 0; i < n && i < NOISE_SAMPLE; i++) {
        n_values += !seen[bytes[i]];
        seen[bytes[i]] = true;
    }
    return n_values >= NOISE_VALUES;
}

/* The output has room for the worst case, so deflate() takes all that it is given. */
static void deflate_plane(z_stream *z, uint8_t *bytes, size_t n, int flush)
{
    int err = deflateParams(z, is_noise(bytes, n) ? Z_NO_COMPRESSION : PACK_LEVEL, PACK_STRATEGY);
    assert(err == Z_OK);
    z->next_in = bytes;
    z->avail_in = (uInt)n;
    err = deflate(z, flush);
    assert(err == (flush == Z_FINISH ? Z_STREAM_END : n > 0 ? Z_OK : err) && z->avail_in == 0);
}

int chunk_pack(struct chunk_scratch *scratch, const void *plain, size_t n)
{
    assert(n <= CHUNK_BYTES);
    size_t quarter = n / 4;
    z_stream z = {0};
    buf_clear(&scratch->packed);
    uint8_t *packed = buf_extend(&scratch->packed, CHUNK_PACKED_MAX);
    if (!packed || deflateInit2(&z, PACK_LEVEL, Z_DEFLATED, PACK_WINDOW_BITS, PACK_MEM_LEVEL, PACK_STRATEGY) != Z_OK)
        return HANSE_ENOMEM;
    shuffle(scratch->shuffled, plain, n);
    z.next_out = packed;
    z.avail_out = CHUNK_PACKED_MAX;
    for (size_t i = 0; i < 4; i++)
        deflate_plane(&z, scratch->shuffled + i * quarter, quarter, Z_NO_FLUSH);
    deflate_plane(&z, scratch->shuffled + 4 * quarter, n % 4, Z_FINISH);
    scratch->packed.n = z.total_out;
    deflateEnd(&z);
    return 0;
}

int chunk_unpack(struct chunk_scratch *scratch, void *plain, size_t n_plain, const void *packed, size_t n_packed)
{
    assert(n_plain <= CHUNK_BYTES);
    z_stream z = {0};
    if (n_packed > CHUNK_PACKED_MAX)
        return HANSE_ECORRUPT;
    if (inflateInit(&z) != Z_OK)
        return HANSE_ENOMEM;
    z.next_in = (z_const Bytef *)packed;
    z.avail_in = (uInt)n_packed;
    z.next_out = scratch->shuffled;
    z.avail_out = (uInt)n_plain;
    int end = inflate(&z, Z_FINISH);
    bool is_whole = end == Z_STREAM_END && z.total_out == n_plain && z.avail_in == 0;
    inflateEnd(&z);
    if (!is_whole)
        return HANSE_ECORRUPT;
    unshuffle(plain, scratch->shuffled, n_plain);
    return 0;
}

/* Whether the file holds what its name promises; our caller is about to rely on it, so existence is not enough. */
static bool is_sound(const struct disk *disk, struct chunk_scratch *scratch, const struct hash *name, size_t n, bool *is_there)
{
    char path[CHUNK_PATH_BYTES];
    const char *fault;
    *is_there = disk->ops->exists(disk->ctx, chunk_path(path, name));
    if (!*is_there)
        return false;
    uint8_t *plain = malloc(n > 0 ? n : 1);
    bool is_same = plain && chunk_read(disk, scratch, name, plain, n, &fault) == 0;
    free(plain);
    return is_same;
}

int chunk_write(const struct disk *disk, struct chunk_scratch *scratch, const struct hash *name, const void *plain, size_t n)
{
    char path[CHUNK_PATH_BYTES];
    bool is_there;
    chunk_path(path, name);
    if (is_sound(disk, scratch, name, n, &is_there))
        return 0;
    if (is_there)
        log_warn("%s: its bytes did not match its name; written anew", path);
    int err = chunk_pack(scratch, plain, n);
    if (!err)
        err = disk->ops->write(disk->ctx, path, scratch->packed.bytes, scratch->packed.n);
    if (err)
        log_error("%s: cannot be written: %s", path, hanse_strerror(err));
    return err;
}

int chunk_read(const struct disk *disk, struct chunk_scratch *scratch, const struct hash *name, void *plain, size_t n,
               const char **fault)
{
    char path[CHUNK_PATH_BYTES];
    buf_clear(&scratch->packed);
    int err = disk->ops->read(disk->ctx, chunk_path(path, name), &scratch->packed);
    if (err == HANSE_ENOENT)
        *fault = "is missing; copy it from another host of this run";
    else if (err && err != HANSE_EFULL)
        *fault = "cannot be read; look at the disk and its permissions, or copy it from another host of this run";
    if (err && err != HANSE_EFULL)
        return err;
    if (!err)
        err = chunk_unpack(scratch, plain, n, scratch->packed.bytes, scratch->packed.n);
    if (err == HANSE_ENOMEM) {
        *fault = "cannot be unpacked for want of memory";
        return err;
    }
    struct hash actual = err ? (struct hash){{0}} : hash_bytes(plain, n);
    if (!err && hash_equal(&actual, name))
        return 0;
    *fault = "does not hold what its name says; delete it and copy it from another host of this run";
    return HANSE_ECORRUPT;
}
