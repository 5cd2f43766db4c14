/* tests/unit/test_checkpoint_chunk.c - chunks come back as they went in, and nothing else passes for one. */
#include <stdio.h>

#include "base/random.h"
#include "base/text.h"
#include "experts/chunk.h"
#include "memory_disk.h"

static uint8_t plain[CHUNK_BYTES], back[CHUNK_BYTES + 1];
static struct chunk_scratch scratch;
static struct memory_disk d;

static void setup(void)
{
    ck_assert_int_eq(chunk_scratch_init(&scratch), 0);
    memory_disk_init(&d);
}

static void teardown(void)
{
    chunk_scratch_fini(&scratch);
    memory_disk_fini(&d);
}

enum content { ZEROS, NOISE, NOISE_THEN_ZEROS, ZEROS_THEN_NOISE, FLOATS, N_CONTENT };

static void fill(enum content content, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "chunk");
    memset(plain, 0, sizeof plain);
    if (content == FLOATS)
        for (size_t i = 0; i < CHUNK_BYTES / 4; i++) {
            float x = rng_unit(&rng) - 0.5f;
            memcpy(plain + 4 * i, &x, 4);
        }
    else if (content != ZEROS)
        rng_bytes(&rng, plain, sizeof plain);
    if (content == NOISE_THEN_ZEROS)
        memset(plain + CHUNK_BYTES / 2, 0, CHUNK_BYTES / 2);
    if (content == ZEROS_THEN_NOISE)
        memset(plain, 0, CHUNK_BYTES / 2);
}

static const size_t size[] = {0, 1, 3, 4, 5, 1023, 4096, 65537, CHUNK_BYTES - 1, CHUNK_BYTES};

START_TEST(test_round_trip)
{
    fill((enum content)_i, (uint64_t)_i);
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        ck_assert_int_eq(chunk_pack(&scratch, plain, size[i]), 0);
        struct buf packed;
        buf_init(&packed, CHUNK_PACKED_MAX);
        buf_append(&packed, scratch.packed.bytes, scratch.packed.n);
        memset(back, 0xee, sizeof back);
        ck_assert_int_eq(chunk_unpack(&scratch, back, size[i], packed.bytes, packed.n), 0);
        ck_assert(memcmp(back, plain, size[i]) == 0 && back[size[i]] == 0xee);
        if (size[i] < CHUNK_BYTES) /* of another size: it holds less, or more and must not write it */
            ck_assert_int_eq(chunk_unpack(&scratch, back, size[i] + 1, packed.bytes, packed.n), HANSE_ECORRUPT);
        if (size[i] > 0)
            ck_assert_int_eq(chunk_unpack(&scratch, back, size[i] - 1, packed.bytes, packed.n), HANSE_ECORRUPT);
        buf_append(&packed, "", 1);
        ck_assert_int_eq(chunk_unpack(&scratch, back, size[i], packed.bytes, packed.n), HANSE_ECORRUPT);
        buf_fini(&packed);
    }
}
END_TEST

START_TEST(test_packs)
{
    fill(ZEROS, 0);
    ck_assert_int_eq(chunk_pack(&scratch, plain, CHUNK_BYTES), 0);
    ck_assert_uint_lt(scratch.packed.n, CHUNK_BYTES / 100);
    fill(FLOATS, 0);
    ck_assert_int_eq(chunk_pack(&scratch, plain, CHUNK_BYTES), 0);
    ck_assert_uint_lt(scratch.packed.n, CHUNK_BYTES * 9 / 10);
    fill(NOISE, 0);
    ck_assert_int_eq(chunk_pack(&scratch, plain, CHUNK_BYTES), 0);
    ck_assert_uint_lt(scratch.packed.n, CHUNK_BYTES + CHUNK_BYTES / 1000);
}
END_TEST

/* Bytes that would inflate to far more than asked for, or are no zlib at all. */
START_TEST(test_unpack_refused)
{
    uint8_t bomb[4096];
    fill(ZEROS, 0);
    ck_assert_int_eq(chunk_pack(&scratch, plain, CHUNK_BYTES), 0);
    size_t n = scratch.packed.n;
    ck_assert_uint_lt(n, sizeof bomb);
    memcpy(bomb, scratch.packed.bytes, n);
    memset(back, 0xee, sizeof back);
    ck_assert_int_eq(chunk_unpack(&scratch, back, 16, bomb, n), HANSE_ECORRUPT);
    ck_assert(back[0] == 0xee && back[16] == 0xee);
    for (size_t cut = 0; cut < n; cut++)
        ck_assert_int_eq(chunk_unpack(&scratch, back, CHUNK_BYTES, bomb, cut), HANSE_ECORRUPT);
    static uint8_t large[CHUNK_PACKED_MAX + 1];
    ck_assert_int_eq(chunk_unpack(&scratch, back, 16, large, sizeof large), HANSE_ECORRUPT);
}
END_TEST

/* Flip each bit of a small chunk's file: it is refused, or unpacks to the very same bytes. */
START_TEST(test_every_bit)
{
    const char *fault;
    fill(FLOATS, 3);
    struct hash name = hash_bytes(plain, 64);
    ck_assert_int_eq(chunk_write(&d.disk, &scratch, &name, plain, 64), 0);
    struct buf *file = &d.file[0].bytes;
    for (size_t i = 0; i < 8 * file->n; i++) {
        file->bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        int err = chunk_read(&d.disk, &scratch, &name, back, 64, &fault);
        ck_assert(err == HANSE_ECORRUPT || (err == 0 && memcmp(back, plain, 64) == 0));
        file->bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    ck_assert_int_eq(chunk_read(&d.disk, &scratch, &name, back, 64, &fault), 0);
    ck_assert_int_eq(chunk_read(&d.disk, &scratch, &name, back, 63, &fault), HANSE_ECORRUPT);
}
END_TEST

/* Sound zlib of the right size that is not what the name says. */
START_TEST(test_another_chunk_under_the_name)
{
    char path[CHUNK_PATH_BYTES];
    const char *fault;
    fill(FLOATS, 3);
    struct hash name = hash_bytes(plain, 64);
    ck_assert_int_eq(chunk_pack(&scratch, plain + 64, 64), 0);
    ck_assert_int_eq(memory_disk_write(&d, chunk_path(path, &name), scratch.packed.bytes, scratch.packed.n), 0);
    ck_assert_int_eq(chunk_read(&d.disk, &scratch, &name, back, 64, &fault), HANSE_ECORRUPT);
    ck_assert_ptr_nonnull(strstr(fault, "delete it"));
    memory_disk_remove(&d, path);
    ck_assert_int_eq(chunk_read(&d.disk, &scratch, &name, back, 64, &fault), HANSE_ENOENT);
    ck_assert_ptr_nonnull(strstr(fault, "missing"));
}
END_TEST

START_TEST(test_names)
{
    char path[CHUNK_PATH_BYTES], hex[65], directory[3];
    struct hash name = hash_bytes("x", 1), parsed;
    text_hex(hex, name.byte, HASH_BYTES);
    ck_assert_str_eq(chunk_path(path, &name), "chunks/2d/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
    snprintf(directory, sizeof directory, "%.2s", hex);
    ck_assert(chunk_name_parse(&parsed, directory, hex) && hash_equal(&parsed, &name));
    ck_assert(!chunk_name_parse(&parsed, "2e", hex));
    ck_assert(!chunk_name_parse(&parsed, "2", hex));
    ck_assert(!chunk_name_parse(&parsed, directory, "2d"));
    hex[1] = 'D';
    ck_assert(!chunk_name_parse(&parsed, "2D", hex));
    hex[1] = 'g';
    ck_assert(!chunk_name_parse(&parsed, "2g", hex));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint_chunk");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_round_trip, 0, N_CONTENT);
    tcase_add_test(t, test_packs);
    tcase_add_test(t, test_unpack_refused);
    tcase_add_test(t, test_every_bit);
    tcase_add_test(t, test_another_chunk_under_the_name);
    tcase_add_test(t, test_names);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
