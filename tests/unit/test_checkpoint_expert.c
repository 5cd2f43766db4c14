/* tests/unit/test_checkpoint_expert.c - an expert that was saved and loaded goes on with the same bits, and others can read it. */
#include "checkpoint_play.h"
#include "device_play.h"
#include "experts/safetensors.h"
#include "expert_play.h"

static struct memory_disk d;
static struct heard heard;
static struct key *key;
static const struct hash run = {{9}};

static void setup(void)
{
    memory_disk_init(&d);
    key = play_key(1);
    log_listen(&heard);
}

static void teardown(void)
{
    log_set_sink(NULL, NULL);
    key_free(key);
    memory_disk_fini(&d);
}

static struct expert *fresh(const char *name)
{
    struct expert_config c = play_config(11, 14);
    return play_expert(NULL, &c, name);
}

static struct hash root_of(const struct expert *x)
{
    struct hash root;
    ck_assert_int_eq(expert_root(x, &root), 0);
    return root;
}

static void save(const struct expert *x, struct checkpoint_info *info)
{
    *info = play_info("", 0, 0);
    ck_assert_int_eq(expert_save(x, &d.disk, key, info), 0);
}

/* One backward more, without its update: the chain is part of the state. */
static void leave_chain(struct expert *x)
{
    struct play_rows rows;
    struct rng rng;
    rng_init(&rng, 5, "chain");
    play_draw(&rows, &rng, 5, x->config.D);
    play_backward(x, &rows, x->version - 1);
}

START_TEST(test_goes_on)
{
    struct expert *x = fresh("L3.17"), *y = fresh("L3.17");
    struct checkpoint_info info, loaded;
    struct peer_id caller = {{1}};
    play_train(x, 1, 20);
    leave_chain(x);
    x->epoch = 4;
    expert_log_backward(x, &caller, 1, 2, 3);
    save(x, &info);
    ck_assert(info.version == 20 && info.epoch == 4 && strcmp(info.name, "L3.17") == 0);
    ck_assert_int_eq(expert_load(y, &d.disk, &run, &loaded), 0);
    ck_assert_int_eq(memcmp(&info, &loaded, sizeof info), 0);
    ck_assert(y->epoch == 4 && hash_equal(&x->log_head, &y->log_head));
    for (uint64_t i = 0; i < 3; i++) {
        struct hash a = play_state(x), b = play_state(y);
        ck_assert(hash_equal(&a, &b));
        play_train(x, 2 + i, 10);
        play_train(y, 2 + i, 10);
    }
    expert_free(x);
    expert_free(y);
}
END_TEST

/* The state of version 7 is the same whether or not it was ever on a disk; so an auditor can start anywhere. */
START_TEST(test_replay_from_a_version)
{
    struct expert *x = fresh("L3.17"), *y = fresh("L3.17");
    struct checkpoint_info info;
    for (uint64_t i = 0; i < 3; i++) {
        play_train(x, i, 7);
        save(x, &info);
    }
    struct hash end = root_of(x);
    ck_assert(hash_equal(&end, &info.root));
    ck_assert_int_eq(expert_load_version(y, &d.disk, &run, 7, &info), 0);
    ck_assert_int_eq(y->version, 7);
    play_train(y, 1, 7);
    play_train(y, 2, 7);
    struct hash again = root_of(y);
    ck_assert(hash_equal(&end, &again));
    ck_assert_int_eq(expert_load_version(y, &d.disk, &run, 8, &info), HANSE_ENOENT);
    again = root_of(y);
    ck_assert(hash_equal(&end, &again));
    expert_free(x);
    expert_free(y);
}
END_TEST

/* The root depends on all that decides later bits and on nothing else. */
START_TEST(test_root)
{
    struct expert *x = fresh("L3.17"), *y = fresh("L3.17");
    struct peer_id caller = {{1}};
    play_train(x, 1, 5);
    play_train(y, 1, 5);
    leave_chain(x);
    leave_chain(y);
    expert_log_backward(x, &caller, 1, 2, 3);
    y->epoch = 3;
    struct hash a = root_of(x), b = root_of(y);
    ck_assert(hash_equal(&a, &b));
    float *const f[] = {x->param, x->moment1, x->moment2, x->grad, &x->lr_scale_sum, &x->beta1_power, &x->beta2_power};
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        float old = *f[i];
        *f[i] += 1;
        b = root_of(x);
        ck_assert(!hash_equal(&a, &b));
        *f[i] = old;
    }
    x->version++;
    b = root_of(x);
    ck_assert(!hash_equal(&a, &b));
    x->version--;
    x->n_slots++;
    b = root_of(x);
    ck_assert(!hash_equal(&a, &b));
    x->n_slots--;
    x->grad_slots++;
    b = root_of(x);
    ck_assert(!hash_equal(&a, &b));
    expert_free(x);
    expert_free(y);
}
END_TEST

/* A thousand updates, root after root the same on every set of kernels. */
START_TEST(test_roots_everywhere)
{
    struct expert_config c = play_config(13, 21);
    if (!play_kernels(kernels_name[_i])) /* not on this machine */
        return;
    struct expert *a = play_expert("ref", &c, "L0.0"), *b = play_expert(kernels_name[_i], &c, "L0.0");
    for (uint64_t i = 0; i < 20; i++) {
        play_train(a, i, 50);
        play_train(b, i, 50);
        struct hash ra = root_of(a), rb = root_of(b);
        ck_assert(hash_equal(&ra, &rb));
    }
    expert_free(a);
    expert_free(b);
}
END_TEST

START_TEST(test_load_fails_whole)
{
    struct expert *x = fresh("L3.17");
    struct checkpoint_info info;
    ck_assert_int_eq(expert_load(x, &d.disk, &run, &info), HANSE_ENOENT);
    play_train(x, 1, 3);
    save(x, &info);
    play_train(x, 1, 3);
    struct hash before = play_state(x);
    const struct hash other_run = {{1}};
    ck_assert_int_eq(expert_load(x, &d.disk, &other_run, &info), HANSE_ERUN);
    for (size_t i = 0; i < d.n; i++) {
        d.file[i].bytes.bytes[d.file[i].bytes.n / 2] ^= 1;
        ck_assert_int_lt(expert_load(x, &d.disk, &run, &info), 0);
        struct hash after = play_state(x);
        ck_assert(hash_equal(&before, &after));
        d.file[i].bytes.bytes[d.file[i].bytes.n / 2] ^= 1;
    }
    struct expert_config wider = play_config(11, 15);
    struct expert *y = play_expert(NULL, &wider, "L3.17");
    ck_assert_int_eq(expert_load(y, &d.disk, &run, &info), HANSE_EINVAL);
    ck_assert_int_eq(expert_load(x, &d.disk, &run, &info), 0);
    ck_assert_int_eq(x->version, 3);
    expert_free(x);
    expert_free(y);
}
END_TEST

/* Signed, and with counters or numbers that no expert can have. */
START_TEST(test_senseless_state)
{
    enum { SENSIBLE = 12 };
    static const float huge = 0x1p100f;
    struct expert *x = fresh("L3.17");
    struct checkpoint_info info;
    size_t last = expert_n_params(&x->config) - 1;
    play_train(x, 1, 3);
    float *const at[] = {x->param,   x->param + last,   x->moment1 + 5, x->moment1 + last,
                         x->moment2, x->moment2 + last, x->grad + last, x->grad};
    const float value[] = {NAN, huge, -INFINITY, -huge, -0x1p-100f, NAN, INFINITY, NAN};
    if (_i >= 4 && _i < SENSIBLE)
        *at[_i - 4] = value[_i - 4];
    if (_i == 0)
        x->beta1_power = 2;
    if (_i == 1)
        x->n_slots = UINT64_MAX;
    if (_i == 2)
        x->lr_scale_sum = -1;
    if (_i == 3)
        x->beta2_power = __builtin_nanf("");
    save(x, &info);
    struct hash before = play_state(x);
    ck_assert_int_eq(expert_load(x, &d.disk, &run, &info), _i == SENSIBLE ? 0 : HANSE_ECORRUPT);
    struct hash after = play_state(x);
    ck_assert(hash_equal(&before, &after) && heard.n == (_i < SENSIBLE));
    expert_free(x);
}
END_TEST

/* y = W x as other programs do it, from the exported file alone. */
static void foreign_forward(const struct safetensors *file, const char *prefix, size_t D, size_t H, const float *row, double *y)
{
    static const char *const matrix[3] = {"gate", "up", "down"};
    float W[3][PLAY_WIDTH_MAX * PLAY_WIDTH_MAX];
    for (size_t i = 0; i < 3; i++) {
        char name[128];
        const uint8_t *bytes;
        size_t dim[2] = {i == 2 ? D : H, i == 2 ? H : D};
        snprintf(name, sizeof name, "%s.%s_proj.weight", prefix, matrix[i]);
        ck_assert_int_eq(safetensors_find(file, name, CHECKPOINT_F32, dim, 2, &bytes), 0);
        memcpy(W[i], bytes, D * H * sizeof(float));
    }
    for (size_t i = 0; i < D; i++)
        y[i] = 0;
    for (size_t j = 0; j < H; j++) {
        double g = 0, u = 0;
        for (size_t i = 0; i < D; i++) {
            g += (double)W[0][j * D + i] * row[i];
            u += (double)W[1][j * D + i] * row[i];
        }
        float h;
        float g32 = (float)g, u32 = (float)u;
        play_kernels("ref")->swiglu(&h, &g32, &u32, 1);
        for (size_t i = 0; i < D; i++)
            y[i] += (double)W[2][i * H + j] * h;
    }
}

static const struct {
    const char *name, *prefix;
} export_name[] = {
    {"L3.17", "model.layers.3.mlp.experts.17"}, {"L3.017", "L3.017"}, {"L3", "L3"}, {"L3.17x", "L3.17x"}, {"T.2", "T.2"}};

START_TEST(test_export)
{
    struct expert *x = fresh(export_name[_i].name);
    struct checkpoint_info info;
    struct play_rows rows;
    struct rng rng;
    struct buf out;
    struct safetensors file;
    float y[11];
    double expected[11];
    const uint8_t *bytes;
    buf_init(&out, 1 << 20);
    ck_assert_int_eq(checkpoint_export(&d.disk, NULL, &out), HANSE_ENOENT);
    play_train(x, 1, 30);
    save(x, &info);
    ck_assert_int_eq(checkpoint_export(&d.disk, x->name, &out), 0);
    ck_assert_int_eq(safetensors_open(&file, out.bytes, out.n), 0);
    ck_assert_uint_eq(file.n_data, 3 * 11 * 14 * 4);
    ck_assert_uint_eq((size_t)(file.data - out.bytes) % 8, 0);
    rng_init(&rng, 1, "export");
    play_draw(&rows, &rng, 1, 11);
    ck_assert_int_eq(play_forward(x, y, rows.x, rows.work, 1), 0);
    foreign_forward(&file, export_name[_i].prefix, 11, 14, rows.x, expected);
    for (size_t i = 0; i < 11; i++)
        ck_assert_double_eq_tol(y[i], expected[i], 1e-5);
    size_t three = 3;
    ck_assert_int_eq(safetensors_find(&file, "state.counters", CHECKPOINT_I64, &three, 1, &bytes), HANSE_ENOENT);
    safetensors_close(&file);
    buf_fini(&out);
    expert_free(x);
}
END_TEST

START_TEST(test_export_all)
{
    static const char *const name[] = {"L0.0", "L0.1", "L1.0"};
    struct checkpoint_info info;
    struct buf out;
    struct safetensors file;
    struct hash state[3];
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < 3; i++) {
        struct expert *x = fresh(name[i]);
        for (uint64_t j = 0; j < 2; j++) {
            play_train(x, i + j, 3);
            save(x, &info);
            state[i] = hash_bytes(x->param, expert_n_params(&x->config) * 4);
        }
        expert_free(x);
    }
    buf_append(&out, "before", 6); /* it appends */
    ck_assert_int_eq(checkpoint_export(&d.disk, NULL, &out), 0);
    ck_assert_int_eq(safetensors_open(&file, out.bytes + 6, out.n - 6), 0);
    ck_assert_uint_eq(file.n_data, 3 * 3 * 11 * 14 * 4);
    for (size_t i = 0; i < 3; i++) {
        struct expert *y = fresh(name[i]);
        ck_assert_int_eq(expert_import(y, out.bytes + 6, out.n - 6), 0);
        struct hash again = hash_bytes(y->param, expert_n_params(&y->config) * 4);
        ck_assert(hash_equal(&again, &state[i]));
        ck_assert_uint_eq(y->version, 0);
        expert_free(y);
    }
    safetensors_close(&file);
    size_t n = out.n;
    struct buf small;
    buf_init(&small, n / 2);
    ck_assert_int_eq(checkpoint_export(&d.disk, NULL, &small), HANSE_EFULL);
    ck_assert_uint_eq(small.n, 0);
    ck_assert_int_eq(heard.n, 0);
    buf_fini(&small);
    buf_fini(&out);
}
END_TEST

/* A damaged newest checkpoint is passed over, and two tensors of one name are not put into one file. */
START_TEST(test_export_refused)
{
    struct expert *x = fresh("T.1");
    struct checkpoint_info info;
    struct buf out;
    buf_init(&out, 1 << 20);
    save(x, &info);
    struct hash old = hash_bytes(x->param, expert_n_params(&x->config) * 4);
    play_train(x, 1, 3);
    save(x, &info);
    memory_disk_file(&d, "manifests/T.1/00000000000000000003")->bytes.n--;
    ck_assert_int_eq(checkpoint_export(&d.disk, "T.1", &out), 0);
    ck_assert_int_eq(heard.n, 1);
    ck_assert_int_eq(expert_import(x, out.bytes, out.n), 0);
    struct hash now = hash_bytes(x->param, expert_n_params(&x->config) * 4);
    ck_assert(hash_equal(&old, &now));
    float one = 1;
    struct checkpoint_tensor twin = {"T.1.up_proj.weight", CHECKPOINT_F32, 1, {1}, &one, NULL};
    info = play_info("T.2", 0, 1);
    ck_assert_int_eq(checkpoint_save(&d.disk, key, &info, &twin, 1), 0);
    buf_clear(&out);
    ck_assert_int_eq(checkpoint_export(&d.disk, NULL, &out), HANSE_EEXIST);
    ck_assert_uint_eq(out.n, 0);
    buf_fini(&out);
    expert_free(x);
}
END_TEST

/* A safetensors file with this header and n bytes of data. */
static int import(struct expert *x, const char *header, size_t n_data)
{
    uint8_t *bytes = calloc(1, 8 + strlen(header) + n_data);
    bytes[0] = (uint8_t)strlen(header);
    bytes[1] = (uint8_t)(strlen(header) >> 8);
    memcpy(bytes + 8, header, strlen(header));
    int err = expert_import(x, bytes, 8 + strlen(header) + n_data);
    free(bytes);
    return err;
}

#define ENTRY(name, rows, cols, from, to)                                                                                        \
    "\"T.1." name "_proj.weight\":{\"dtype\":\"F32\",\"shape\":[" rows "," cols "],\"data_offsets\":[" from "," to "]}"
#define GATE ENTRY("gate", "14", "11", "0", "616")
#define UP ENTRY("up", "14", "11", "616", "1232")
#define DOWN ENTRY("down", "11", "14", "1232", "1848")

START_TEST(test_import_refused)
{
    struct expert *x = fresh("T.1");
    struct hash before = play_state(x);
    ck_assert_int_eq(import(x, "{" GATE "," UP "}", 1848), HANSE_ENOENT);
    ck_assert_int_eq(import(x, "{" GATE "," UP "," ENTRY("down", "14", "11", "1232", "1848") "}", 1848), HANSE_EINVAL);
    ck_assert_int_eq(import(x, "{" GATE "," UP "," DOWN "}", 1847), HANSE_ECORRUPT);
    ck_assert_int_eq(import(x, "{" GATE "," UP "," ENTRY("down", "11", "14", "1233", "1848") "}", 1848), HANSE_ECORRUPT);
    ck_assert_int_eq(import(x, "{" GATE "," UP "," ENTRY("down", "11", "14", "-1", "615") "}", 1848), HANSE_ECORRUPT);
    ck_assert_int_eq(import(x, "{" GATE "," UP "," ENTRY("down", "11", "14", "1848", "1232") "}", 1848), HANSE_ECORRUPT);
    ck_assert_int_eq(import(x, "{" GATE "," UP "," DOWN "," DOWN "}", 1848), HANSE_ECORRUPT);
    ck_assert_int_eq(import(x, "{" GATE "," UP "," DOWN, 1848), HANSE_ECORRUPT);
    ck_assert_int_eq(import(x, "[]", 1848), HANSE_ECORRUPT);
    ck_assert_int_eq(expert_import(x, "\0\0\0\0\0\0\0", 7), HANSE_ECORRUPT);
    ck_assert_int_eq(expert_import(x, "\377\377\377\377\377\377\377\377{}", 10), HANSE_ECORRUPT);
    struct hash after = play_state(x);
    ck_assert(hash_equal(&before, &after));
    ck_assert_int_eq(import(x, "{" GATE "," UP "," DOWN "}", 1848), 0);
    ck_assert(x->kernels->sum_squares(x->param, expert_n_params(&x->config)) == 0);
    expert_free(x);
}
END_TEST

/* What a newborn on a device holds is about to be overwritten: none of it is fetched. */
START_TEST(test_loads_to_a_device)
{
    struct expert_config c = play_config(11, 14);
    c.numerics = (enum numerics)_i;
    struct expert *x = play_expert(NULL, &c, "L3.17"), *y;
    struct checkpoint_info info;
    struct hash birth = hash_bytes("a run", 5);
    play_train(x, 1, 20);
    leave_chain(x);
    save(x, &info);
    ck_assert_int_eq(expert_new(&c, device_play(), &birth, "L3.17", &y), 0);
    ck_assert_int_eq(expert_load(y, &d.disk, &run, &info), 0);
    ck_assert_uint_eq(played.n_gets, 0);
    struct hash a = root_of(x), b = root_of(y);
    ck_assert(hash_equal(&a, &b));
    ck_assert_uint_eq(y->version, 20);
    expert_free(x);
    expert_free(y);
    device_play_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint_expert");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_goes_on);
    tcase_add_test(t, test_replay_from_a_version);
    tcase_add_test(t, test_root);
    tcase_add_loop_test(t, test_roots_everywhere, 0, N_KERNELS);
    tcase_add_test(t, test_load_fails_whole);
    tcase_add_loop_test(t, test_loads_to_a_device, 0, N_NUMERICS);
    tcase_add_loop_test(t, test_senseless_state, 0, 13);
    tcase_add_loop_test(t, test_export, 0, sizeof export_name / sizeof *export_name);
    tcase_add_test(t, test_export_all);
    tcase_add_test(t, test_export_refused);
    tcase_add_test(t, test_import_refused);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
