/* tests/unit/test_checkpoint_manifest.c - manifests are read exactly, and nothing that was not signed is believed. */
#include "base/text.h"
#include "checkpoint_play.h"

static struct key *key;
static struct buf bytes;
static float data[8];

/* Two tensors, two chunks: small enough to try every byte of. */
static struct manifest *make(struct buf *out)
{
    struct checkpoint_tensor tensor[2] = {{"a.weight", CHECKPOINT_F32, 2, {2, 3}, data, NULL},
                                          {"state.n", CHECKPOINT_I64, 1, {1}, data, NULL}};
    struct manifest *m;
    ck_assert_int_eq(manifest_new(tensor, 2, &m), 0);
    uint64_t n_bytes = m->info.n_bytes;
    m->info = play_info("L0.1", 2, 7);
    m->info.n_bytes = n_bytes;
    m->chunk[0] = hash_bytes("a", 1);
    m->chunk[1] = hash_bytes("b", 1);
    m->info.root = hash_merkle(m->chunk, 2);
    ck_assert_int_eq(manifest_encode(m, key, out), 0);
    return m;
}

static void setup(void)
{
    key = play_key(1);
    buf_init(&bytes, MANIFEST_BYTES_MAX);
}

static void teardown(void)
{
    key_free(key);
    buf_fini(&bytes);
}

static int decode(const void *from, size_t n)
{
    struct manifest *m = NULL;
    const char *fault = NULL;
    int err = manifest_decode(from, n, &m, &fault);
    ck_assert(err == 0 ? m != NULL : m == NULL && fault != NULL);
    manifest_free(m);
    return err;
}

START_TEST(test_round_trip)
{
    const char *fault;
    struct manifest *in = make(&bytes), *out;
    ck_assert_int_eq(manifest_decode(bytes.bytes, bytes.n, &out, &fault), 0);
    ck_assert_int_eq(memcmp(&in->info, &out->info, sizeof in->info), 0);
    ck_assert(hash_equal(&in->id, &out->id));
    ck_assert(out->n_tensors == 2 && out->n_chunks == 2);
    ck_assert_int_eq(memcmp(in->chunk, out->chunk, 2 * HASH_BYTES), 0);
    for (size_t i = 0; i < 2; i++) {
        const struct manifest_tensor *a = &in->tensor[i], *b = &out->tensor[i];
        ck_assert_str_eq(a->name, b->name);
        ck_assert(a->type == b->type && a->n_dims == b->n_dims && memcmp(a->dim, b->dim, sizeof a->dim) == 0);
        ck_assert(a->offset == b->offset && a->n_bytes == b->n_bytes && a->chunk_at == b->chunk_at && a->n_chunks == b->n_chunks);
    }
    manifest_free(in);
    manifest_free(out);
}
END_TEST

START_TEST(test_every_cut)
{
    manifest_free(make(&bytes));
    for (size_t n = 0; n < bytes.n; n++) {
        uint8_t *exact = malloc(n + 1); /* so that a sanitizer sees a byte too far */
        memcpy(exact, bytes.bytes, n);
        ck_assert_int_lt(decode(exact, n), 0);
        free(exact);
    }
    ck_assert_int_eq(decode(bytes.bytes, bytes.n), 0);
}
END_TEST

START_TEST(test_every_bit)
{
    manifest_free(make(&bytes));
    for (size_t i = 0; i < 8 * bytes.n; i++) {
        bytes.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        int err = decode(bytes.bytes, bytes.n);
        ck_assert(err == HANSE_ECORRUPT || err == HANSE_ESIGNATURE || err == HANSE_EVERSION);
        bytes.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    buf_append(&bytes, "\n", 1);
    ck_assert_int_eq(decode(bytes.bytes, bytes.n), HANSE_ECORRUPT);
}
END_TEST

START_TEST(test_foreign_signature)
{
    struct key *own = key;
    key = play_key(2);
    manifest_free(make(&bytes)); /* sound, by another host */
    ck_assert_int_eq(decode(bytes.bytes, bytes.n), 0);
    struct buf mixed;
    buf_init(&mixed, MANIFEST_BYTES_MAX);
    struct key *other = key;
    key = own;
    manifest_free(make(&mixed));
    size_t n_line = mixed.n - 129;
    memcpy(mixed.bytes + n_line, bytes.bytes + bytes.n - 129, 129); /* our line, the other's signature */
    ck_assert_int_eq(decode(mixed.bytes, mixed.n), HANSE_ESIGNATURE);
    buf_fini(&mixed);
    key_free(other);
}
END_TEST

/* Replaces the first `from` in the line by `to`, signs anew, and decodes: what a host could make up. */
static int forged(const char *from, const char *to)
{
    static char line[MANIFEST_BYTES_MAX], text[2 * KEY_SIGNATURE_BYTES + 1];
    uint8_t signature[KEY_SIGNATURE_BYTES];
    buf_clear(&bytes);
    manifest_free(make(&bytes));
    size_t n = bytes.n - 2 * KEY_SIGNATURE_BYTES - 2;
    memcpy(line, bytes.bytes, n);
    line[n] = 0;
    char *at = strstr(line, from);
    ck_assert_msg(at != NULL, "no %s in %s", from, line);
    size_t before = (size_t)(at - line);
    buf_clear(&bytes);
    buf_append(&bytes, line, before);
    buf_append(&bytes, to, strlen(to));
    buf_append(&bytes, at + strlen(from), n - before - strlen(from));
    key_sign(key, MANIFEST_TAG, bytes.bytes, bytes.n, signature);
    text_hex(text, signature, sizeof signature);
    buf_printf(&bytes, "\n%s\n", text);
    return decode(bytes.bytes, bytes.n);
}

static const struct {
    const char *from, *to;
    int err;
} forgery[] = {
    {"\"version\":7", "\"version\":8", 0},
    {"{\"format\"", "  { \"format\" ", 0}, /* the bytes are what is signed, their spelling is free */
    {"\"format\":1", "\"format\":2", HANSE_EVERSION},
    {"\"format\":1", "\"format\":\"1\"", HANSE_ECORRUPT},
    {"\"format\":1,", "", HANSE_ECORRUPT},
    {"\"epoch\":2,", "", HANSE_ECORRUPT},
    {"\"epoch\":2", "\"epoch\":4294967296", HANSE_ECORRUPT},
    {"\"epoch\":2", "\"epoch\":-1", HANSE_ECORRUPT},
    {"\"epoch\":2", "\"epoch\":2.0", HANSE_ECORRUPT},
    {"\"epoch\":2", "\"epoch\":2,\"more\":1", HANSE_ECORRUPT},
    {"\"epoch\":2", "\"epoch\":2,\"epoch\":2", HANSE_ECORRUPT},
    {"\"epoch\"", "\"Epoch\"", HANSE_ECORRUPT},
    {"\"version\":7", "\"version\":-7", HANSE_ECORRUPT},
    {"\"version\":7", "\"version\":9223372036854775808", HANSE_ECORRUPT},
    {"\"version\":7", "\"version\":7e0", HANSE_ECORRUPT},
    {"\"version\":7", "\"version\":null", HANSE_ECORRUPT},
    {"L0.1", "../x", HANSE_ECORRUPT},
    {"L0.1", ".L0", HANSE_ECORRUPT},
    {"L0.1", "", HANSE_ECORRUPT},
    {"L0.1", "abcdefghijklmnopqrstuvwxyzabcdef", HANSE_ECORRUPT},
    {"L0.1", "L0\\u0000.1", HANSE_ECORRUPT},
    {"\"root\":\"", "\"root\":\"00", HANSE_ECORRUPT},
    {"\"parent\":\"0", "\"parent\":\"1", 0},
    {"\"parent\":\"0", "\"parent\":\"A", HANSE_ECORRUPT},
    {"\"parent\":\"0", "\"parent\":\"x", HANSE_ECORRUPT},
    {"\"parent\":\"0", "\"parent\":\"", HANSE_ECORRUPT},
    {"\"n_bytes\":32", "\"n_bytes\":33", HANSE_ECORRUPT},
    {"\"n_bytes\":24", "\"n_bytes\":20", HANSE_ECORRUPT},
    {"\"type\"", "\"more\":1,\"type\"", HANSE_ECORRUPT},
    {"a.weight", "a weight", HANSE_ECORRUPT},
    {"\"F32\"", "\"F16\"", HANSE_ECORRUPT},
    {"\"F32\"", "\"I64\"", HANSE_ECORRUPT},
    {"[2,3]", "[3,2]", 0},
    {"[2,3]", "[2,4]", HANSE_ECORRUPT},
    {"[2,3]", "[]", HANSE_ECORRUPT},
    {"[2,3]", "[1,1,1,2,3]", HANSE_ECORRUPT},
    {"[2,3]", "[-2,-3]", HANSE_ECORRUPT},
    {"[2,3]", "[0,3]", HANSE_ECORRUPT},
    {"[2,3]", "6", HANSE_ECORRUPT},
    {"[2,3]", "[4294967296,4294967296]", HANSE_ECORRUPT},
    {"[2,3]", "[4611686018427387904,8,1,1]", HANSE_ECORRUPT}, /* its bytes are 0 modulo 2^64 */
    {"\"offset\":0", "\"offset\":4", HANSE_ECORRUPT},
    {"\"offset\":24", "\"offset\":20", HANSE_ECORRUPT},
    {",24]", ",25]", HANSE_ECORRUPT},
    {",24]", "]", HANSE_ECORRUPT},
    {",24]", ",24,1]", HANSE_ECORRUPT},
    {"[[\"", "[[\"00", HANSE_ECORRUPT},
    {"\"chunks\":[", "\"chunks\":[[\"\",1],", HANSE_ECORRUPT},
    {"\"chunks\":", "\"pieces\":", HANSE_ECORRUPT},
    {"\"tensors\":[", "\"tensors\":[{},", HANSE_ECORRUPT},
    {"\"tensors\":[", "\"tensors\":[[],", HANSE_ECORRUPT},
    {"\"tensors\":", "\"tensors\":{},\"tensor\":", HANSE_ECORRUPT},
    {"{\"format\"", "[{\"format\"", HANSE_ECORRUPT},
    {"\"format\":1", "\"format\":1\n", HANSE_ECORRUPT},
};

START_TEST(test_forgery)
{
    ck_assert_int_eq(forged(forgery[_i].from, forgery[_i].to), forgery[_i].err);
}
END_TEST

/* A made-up root fits neither chunk nor signature, and depth or length cannot be used against the reader. */
START_TEST(test_extremes)
{
    char root[80], hex[65];
    struct manifest *m = make(&bytes);
    text_hex(hex, m->info.root.byte, HASH_BYTES);
    snprintf(root, sizeof root, "\"root\":\"%s\"", hex);
    ck_assert_int_eq(forged(root, "\"root\":\"0000000000000000000000000000000000000000000000000000000000000000\""),
                     HANSE_ECORRUPT);
    manifest_free(m);
    static char deep[MANIFEST_BYTES_MAX + 2];
    memset(deep, '[', sizeof deep);
    ck_assert_int_eq(forged("[2,3]", (deep[100000] = 0, deep)), HANSE_ECORRUPT);
    memset(deep, ' ', sizeof deep);
    deep[sizeof deep - 1] = '\n';
    ck_assert_int_eq(decode(deep, sizeof deep), HANSE_ECORRUPT);
    ck_assert_int_eq(decode("", 0), HANSE_ECORRUPT);
}
END_TEST

START_TEST(test_place)
{
    struct memory_disk d;
    struct manifest *m;
    struct heard heard;
    memory_disk_init(&d);
    manifest_free(make(&bytes));
    log_listen(&heard);
    ck_assert_int_eq(memory_disk_write(&d, "manifests/L0.1/00000000000000000007", bytes.bytes, bytes.n), 0);
    ck_assert_int_eq(memory_disk_write(&d, "manifests/L0.1/00000000000000000008", bytes.bytes, bytes.n), 0);
    ck_assert_int_eq(memory_disk_write(&d, "manifests/L0.2/00000000000000000007", bytes.bytes, bytes.n), 0);
    ck_assert_int_eq(manifest_read(&d.disk, "L0.1", 8, &m), HANSE_ECORRUPT);
    ck_assert_int_eq(manifest_read(&d.disk, "L0.2", 7, &m), HANSE_ECORRUPT);
    ck_assert_int_eq(heard.n, 2);
    ck_assert_ptr_nonnull(strstr(heard.text, "manifests/L0.2/00000000000000000007: belongs to another"));
    ck_assert_int_eq(manifest_read(&d.disk, "L0.1", 9, &m), HANSE_ENOENT);
    ck_assert_int_eq(manifest_read(&d.disk, "L0.1", 7, &m), 0);
    ck_assert_int_eq(heard.n, 2);
    log_set_sink(NULL, NULL);
    manifest_free(m);
    memory_disk_fini(&d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint_manifest");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_round_trip);
    tcase_add_test(t, test_every_cut);
    tcase_add_test(t, test_every_bit);
    tcase_add_test(t, test_foreign_signature);
    tcase_add_loop_test(t, test_forgery, 0, sizeof forgery / sizeof *forgery);
    tcase_add_test(t, test_extremes);
    tcase_add_test(t, test_place);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
