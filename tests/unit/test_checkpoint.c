/* tests/unit/test_checkpoint.c - what was saved is what is loaded, whatever the disk did in between. */
#include "checkpoint_play.h"
#include "kernels/ref/ref.h"

static struct play_state s;
static struct memory_disk d, broken;
static struct heard heard;

static int load(struct memory_disk *from, const char *name, struct checkpoint_info *info)
{
    state_fill(&s, 999);
    return checkpoint_load(&from->disk, name, NULL, info, s.tensor, 3);
}

static void setup(void)
{
    memory_disk_init(&d);
    memory_disk_init(&broken);
    log_listen(&heard);
}

static void teardown(void)
{
    log_set_sink(NULL, NULL);
    memory_disk_fini(&d);
    memory_disk_fini(&broken);
}

START_TEST(test_save_and_load)
{
    struct checkpoint_info info, by_version;
    struct hash first = {{0}}, zero = {{0}};
    struct key *key = play_key(1);
    struct peer_id host = key_peer_id(key);
    ck_assert_int_eq(load(&d, "T.2", &info), HANSE_ENOENT);
    for (uint64_t v = 1; v <= 3; v++) {
        ck_assert_int_eq(state_save(&d, "T.2", 0, v, 40 + v), 0);
        ck_assert_int_eq(load(&d, "T.2", &info), 0);
        ck_assert(state_is(&s, 40 + v));
        ck_assert(info.version == v && info.epoch == 0 && info.time_us == 1000 + v && peer_id_equal(&info.host, &host));
        ck_assert_uint_eq(info.n_bytes, (STATE_FLOATS + STATE_BIG) * 4 + 16);
        ck_assert(info.log_head.byte[31] == 3 && info.run.byte[0] == 9 && strcmp(info.name, "T.2") == 0);
        ck_assert_int_eq(hash_equal(&info.parent, &zero), v == 1);
        ck_assert(!hash_equal(&info.parent, &first) || v == 1);
        first = info.parent;
        ck_assert_int_eq(checkpoint_verify(&d.disk, "T.2", v, &by_version), 0);
        ck_assert_int_eq(memcmp(&info, &by_version, sizeof info), 0);
    }
    ck_assert_int_eq(checkpoint_load_version(&d.disk, "T.2", 2, NULL, &info, s.tensor, 3), 0);
    ck_assert(state_is(&s, 42) && info.version == 2);
    ck_assert_int_eq(checkpoint_load_version(&d.disk, "T.2", 4, NULL, &info, s.tensor, 3), HANSE_ENOENT);
    ck_assert_int_eq(checkpoint_info_read(&d.disk, "T.2", 4, &info), HANSE_ENOENT);
    ck_assert_int_eq(heard.n, 0);
    key_free(key);
}
END_TEST

/* The parent is the hash of the first line of the manifest before, as anyone can compute it. */
START_TEST(test_parent)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    ck_assert_int_eq(state_save(&d, "T.2", 0, 2, 2), 0);
    struct buf *line = &memory_disk_file(&d, "manifests/T.2/00000000000000000001")->bytes;
    struct hash expected = hash_bytes(line->bytes, (size_t)((uint8_t *)memchr(line->bytes, '\n', line->n) - line->bytes));
    ck_assert_int_eq(checkpoint_info_read(&d.disk, "T.2", 2, &info), 0);
    ck_assert(hash_equal(&expected, &info.parent));
    ck_assert_int_eq(state_save(&d, "T.2", 0, 2, 3), 0); /* again: not its own parent */
    ck_assert_int_eq(checkpoint_info_read(&d.disk, "T.2", 2, &info), 0);
    ck_assert(hash_equal(&expected, &info.parent));
}
END_TEST

/* The root is of the state alone, and is the Merkle root over the chunks' hashes. */
START_TEST(test_root)
{
    struct checkpoint_info a = play_info("T.2", 0, 1), b = play_info("L0.0", 7, 9);
    struct key *key[2] = {play_key(1), play_key(2)};
    struct hash leaf[4], root;
    b.run.byte[5] = 1;
    b.log_head.byte[0] = 77;
    state_fill(&s, 1);
    ck_assert_int_eq(checkpoint_save(&d.disk, key[0], &a, s.tensor, 3), 0);
    ck_assert_int_eq(checkpoint_save(&d.disk, key[1], &b, s.tensor, 3), 0);
    leaf[0] = hash_bytes(s.small, sizeof s.small);
    leaf[1] = hash_bytes(s.big, CHUNK_BYTES);
    leaf[2] = hash_bytes((uint8_t *)s.big + CHUNK_BYTES, CHUNK_BYTES / 2);
    leaf[3] = hash_bytes(s.counter, sizeof s.counter);
    root = hash_merkle(leaf, 4);
    ck_assert(hash_equal(&root, &a.root) && hash_equal(&root, &b.root));
    ck_assert_int_eq(checkpoint_root(&ref_kernels, s.tensor, 3, &root), 0);
    ck_assert(hash_equal(&root, &a.root));
    s.counter[1]++;
    ck_assert_int_eq(checkpoint_root(&ref_kernels, s.tensor, 3, &root), 0);
    ck_assert(!hash_equal(&root, &a.root));
    key_free(key[0]);
    key_free(key[1]);
}
END_TEST

START_TEST(test_chunks_are_shared)
{
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    ck_assert_uint_eq(d.n_writes, 5);
    ck_assert_int_eq(state_save(&d, "T.3", 0, 1, 1), 0);
    ck_assert_uint_eq(d.n_writes, 6); /* the manifest alone */
}
END_TEST

/* A chunk that another checkpoint shares and that rotted meanwhile is not relied upon. */
START_TEST(test_rotten_chunk_is_replaced)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    ck_assert(strncmp(d.file[0].name, "chunks/", 7) == 0);
    d.file[0].bytes.bytes[20] ^= 1;
    ck_assert_int_eq(state_save(&d, "T.3", 0, 1, 1), 0);
    ck_assert_int_eq(heard.n, 1);
    ck_assert_int_eq(load(&d, "T.2", &info), 0);
    ck_assert(state_is(&s, 1));
}
END_TEST

START_TEST(test_wrong_kind)
{
    struct checkpoint_info info;
    struct hash run = {{9}}, other = {{8}};
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    state_fill(&s, 2);
    ck_assert_int_eq(checkpoint_load(&d.disk, "T.2", &run, &info, s.tensor, 3), 0);
    ck_assert_int_eq(heard.n, 0);
    ck_assert_int_eq(checkpoint_load(&d.disk, "T.2", &other, &info, s.tensor, 3), HANSE_ERUN);
    ck_assert_ptr_nonnull(strstr(heard.text, "another run"));
    ck_assert_int_eq(checkpoint_load(&d.disk, "T.2", &run, &info, s.tensor, 2), HANSE_EINVAL);
    s.tensor[0].dim[0] = 10;
    s.tensor[0].dim[1] = 30;
    ck_assert_int_eq(checkpoint_load(&d.disk, "T.2", &run, &info, s.tensor, 3), HANSE_EINVAL);
    state_fill(&s, 2);
    s.tensor[0].type = CHECKPOINT_I64;
    ck_assert_int_eq(checkpoint_load(&d.disk, "T.2", &run, &info, s.tensor, 3), HANSE_EINVAL);
    state_fill(&s, 2);
    s.tensor[2].name = "state.other";
    ck_assert_int_eq(checkpoint_load(&d.disk, "T.2", &run, &info, s.tensor, 3), HANSE_EINVAL);
    ck_assert_int_eq(heard.n, 5);
    state_fill(&s, 2);
    ck_assert(state_is(&s, 2));
}
END_TEST

START_TEST(test_save_refused)
{
    static const char *const name[] = {"", ".hidden", "a/b", "..", "with space", "name-of-32-bytes-is-one-too-long"};
    struct key *key = play_key(1);
    struct checkpoint_info info, out;
    state_fill(&s, 1);
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        info = play_info("T.2", 0, 1);
        memcpy(info.name, name[i], strnlen(name[i], sizeof info.name));
        info.name[strnlen(name[i], sizeof info.name - 1)] = 0;
        if (i < 5)
            ck_assert_int_eq(checkpoint_save(&d.disk, key, &info, s.tensor, 3), HANSE_EINVAL);
        ck_assert_int_eq(checkpoint_load(&d.disk, name[i], NULL, &out, s.tensor, 3), HANSE_EINVAL);
        ck_assert_int_eq(checkpoint_verify(&d.disk, name[i], 1, &out), HANSE_EINVAL);
        ck_assert_int_eq(checkpoint_prune(&d.disk, name[i]), HANSE_EINVAL);
    }
#define REFUSED(change)                                                                                                          \
    state_fill(&s, 1);                                                                                                           \
    info = play_info("T.2", 0, 1);                                                                                               \
    change;                                                                                                                      \
    ck_assert_int_eq(checkpoint_save(&d.disk, key, &info, s.tensor, 3), HANSE_EINVAL)
    REFUSED(info.version = (uint64_t)INT64_MAX + 1);
    REFUSED(s.tensor[0].name = "quote\"d");
    REFUSED(s.tensor[0].name = "");
    REFUSED(s.tensor[1].n_dims = 0);
    REFUSED(s.tensor[1].n_dims = 5);
    REFUSED(s.tensor[1].dim[0] = 0);
    REFUSED(s.tensor[1].dim[0] = SIZE_MAX);
    ck_assert_uint_eq(d.n, 0);
    key_free(key);
}
END_TEST

/* Whatever write the machine dies at, the checkpoint before can be loaded; and nothing is left in the way of the next. */
START_TEST(test_crash_at_every_write)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    for (size_t at = 0; at <= 5; at++) {
        memory_disk_copy(&broken, &d);
        broken.fail_from = at;
        broken.fail_err = at % 2 ? HANSE_EFULL : HANSE_EIO;
        int err = state_save(&broken, "T.2", 0, 2, 2);
        ck_assert_int_eq(err, at < 5 ? broken.fail_err : 0);
        ck_assert_int_eq(load(&broken, "T.2", &info), 0);
        ck_assert(state_is(&s, at < 5 ? 1 : 2) && info.version == (at < 5 ? 1 : 2));
        broken.fail_from = MEMORY_DISK_NEVER;
        ck_assert_int_eq(state_save(&broken, "T.2", 0, 2, 2), 0);
        ck_assert_int_eq(load(&broken, "T.2", &info), 0);
        ck_assert(state_is(&s, 2));
        memory_disk_fini(&broken);
    }
    ck_assert_int_eq(heard.n, 5);
}
END_TEST

START_TEST(test_disk_full)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    size_t used = d.n_bytes;
    d.capacity = used + used / 2;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 2, 2), HANSE_EFULL);
    ck_assert_int_eq(load(&d, "T.2", &info), 0);
    ck_assert(state_is(&s, 1) && info.version == 1);
}
END_TEST

/* A disk that says "written" and forgets: then the older checkpoint is used, and the log says which file is missing. */
START_TEST(test_lost_write)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    memory_disk_copy(&broken, &d);
    broken.lose = (size_t)_i;
    ck_assert_int_eq(state_save(&broken, "T.2", 0, 2, 2), 0);
    ck_assert_int_eq(load(&broken, "T.2", &info), 0);
    ck_assert(state_is(&s, 1) && info.version == 1);
    if (_i == 4) /* the manifest: nobody can know that there was one */
        return;
    ck_assert_int_eq(heard.n, 2);
    ck_assert(strncmp(heard.text, "chunks/", 7) == 0 && strstr(heard.text, "is missing") && strstr(heard.text, "T.2: version 1"));
    ck_assert_int_eq(checkpoint_verify(&broken.disk, "T.2", 2, &info), HANSE_ECORRUPT);
}
END_TEST

enum damage { CUT, EMPTY, LONGER, FLIP_FIRST, FLIP_MIDDLE, FLIP_LAST, REMOVE, N_DAMAGE };

static void do_damage(struct memory_disk *on, size_t file_i, enum damage damage)
{
    struct buf *b = &on->file[file_i].bytes;
    if (damage == CUT || damage == EMPTY)
        b->n = damage == CUT ? b->n - 1 : 0;
    if (damage == LONGER)
        buf_append(b, "\0", 1);
    if (damage == FLIP_FIRST || damage == FLIP_MIDDLE || damage == FLIP_LAST)
        b->bytes[damage == FLIP_FIRST ? 0 : damage == FLIP_MIDDLE ? b->n / 2 : b->n - 1] ^= 4;
    if (damage == REMOVE)
        memory_disk_remove(on, on->file[file_i].name);
}

/* Each file of the newest checkpoint damaged in each way: the older one is used, the log names the file, all files stay. */
START_TEST(test_damage)
{
    struct checkpoint_info info;
    char name[DISK_NAME_MAX];
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    memory_disk_copy(&broken, &d);
    ck_assert_int_eq(state_save(&d, "T.2", 0, 2, 2), 0);
    for (size_t i = 0; i < d.n; i++) {
        struct memory_disk copy;
        if (memory_disk_file(&broken, d.file[i].name))
            continue; /* the older checkpoint needs it */
        memory_disk_copy(&copy, &d);
        memcpy(name, copy.file[i].name, sizeof name);
        do_damage(&copy, i, (enum damage)_i);
        size_t n_files = copy.n;
        log_listen(&heard);
        ck_assert_int_eq(load(&copy, "T.2", &info), 0);
        ck_assert(state_is(&s, 1) && info.version == 1);
        bool is_unseen = _i == REMOVE && strncmp(name, "manifests/", 10) == 0;
        ck_assert_int_eq(heard.n, is_unseen ? 0 : 2);
        ck_assert(is_unseen || strncmp(heard.text, name, strlen(name)) == 0);
        ck_assert_int_eq(checkpoint_verify(&copy.disk, "T.2", 1, &info), 0);
        ck_assert_int_ne(checkpoint_verify(&copy.disk, "T.2", 2, &info), 0);
        ck_assert_uint_eq(copy.n, n_files);
        memory_disk_fini(&copy);
    }
}
END_TEST

/* With nothing older to fall back on, the error is told and is not that there is none. */
START_TEST(test_damage_of_the_only_one)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    d.file[0].bytes.bytes[9] ^= 1;
    ck_assert_int_eq(load(&d, "T.2", &info), HANSE_ECORRUPT);
    memory_disk_remove(&d, d.file[0].name);
    ck_assert_int_eq(load(&d, "T.2", &info), HANSE_ECORRUPT);
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    memory_disk_file(&d, "manifests/T.2/00000000000000000001")->bytes.n--;
    ck_assert_int_eq(load(&d, "T.2", &info), HANSE_ECORRUPT);
}
END_TEST

/* Every chunk that is damaged is named, not the first alone. */
START_TEST(test_verify_tells_all)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    d.file[0].bytes.bytes[9] ^= 1;
    d.file[2].bytes.n = 3;
    ck_assert_int_eq(checkpoint_verify(&d.disk, "T.2", 1, &info), HANSE_ECORRUPT);
    ck_assert_int_eq(heard.n, 2);
    ck_assert(strstr(heard.text, d.file[0].name) && strstr(heard.text, d.file[2].name));
}
END_TEST

START_TEST(test_newest_is_of_the_highest_epoch)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 100, 1), 0);
    ck_assert_int_eq(state_save(&d, "T.2", 1, 95, 2), 0);
    ck_assert_int_eq(load(&d, "T.2", &info), 0);
    ck_assert(state_is(&s, 2) && info.version == 95 && info.epoch == 1);
}
END_TEST

static void add_line(void *arg, const char *name, uint64_t version)
{
    buf_printf(arg, "%s@%d ", name, (int)version);
}

static bool list_is(struct memory_disk *on, const char *expected)
{
    struct buf text;
    buf_init(&text, 4096);
    ck_assert_int_eq(checkpoint_list(&on->disk, add_line, &text), 0);
    bool is = text.n == strlen(expected) && memcmp(text.bytes ? text.bytes : (uint8_t *)"", expected, text.n) == 0;
    buf_fini(&text);
    return is;
}

START_TEST(test_list)
{
    ck_assert(list_is(&d, ""));
    ck_assert_int_eq(state_save(&d, "T.2", 0, 10, 1), 0);
    ck_assert_int_eq(state_save(&d, "L0.1", 0, 9, 1), 0);
    ck_assert_int_eq(state_save(&d, "T.2", 0, 9, 1), 0);
    ck_assert_int_eq(memory_disk_write(&d, "manifests/T.2/README", "x", 1), 0);
    ck_assert_int_eq(memory_disk_write(&d, "manifests/T.2/99999999999999999999", "x", 1), 0);
    ck_assert_int_eq(memory_disk_write(&d, "manifests/bad name/00000000000000000001", "x", 1), 0);
    ck_assert(list_is(&d, "L0.1@9 T.2@9 T.2@10 "));
}
END_TEST

START_TEST(test_prune)
{
    struct checkpoint_info info;
    for (uint64_t v = 1; v <= 6; v++)
        ck_assert_int_eq(state_save(&d, "T.2", 0, v, v), 0);
    ck_assert_int_eq(state_save(&d, "T.3", 0, 1, 2), 0); /* the chunks of T.2@2 are its own too */
    ck_assert_int_eq(memory_disk_write(&d, "chunks/ab/notes", "x", 1), 0);
    ck_assert_int_eq(checkpoint_prune(&d.disk, "T.2"), 0);
    ck_assert(list_is(&d, "T.2@4 T.2@5 T.2@6 T.3@1 "));
    for (uint64_t v = 4; v <= 6; v++)
        ck_assert_int_eq(checkpoint_verify(&d.disk, "T.2", v, &info), 0);
    ck_assert_int_eq(load(&d, "T.3", &info), 0);
    ck_assert(state_is(&s, 2));
    ck_assert(memory_disk_exists(&d, "chunks/ab/notes"));
    ck_assert_uint_eq(d.n, 4 + 4 * 4 + 1);
    memory_disk_remove(&d, "manifests/T.3/00000000000000000001");
    ck_assert_int_eq(checkpoint_prune(&d.disk, "T.3"), 0);
    ck_assert_uint_eq(d.n, 3 + 3 * 4 + 1);
}
END_TEST

/* A crash between the removal of a manifest and that of its chunks leaves garbage that the next pruning takes. */
START_TEST(test_prune_takes_orphans)
{
    ck_assert_int_eq(state_save(&d, "T.2", 0, 1, 1), 0);
    d.fail_from = d.n_writes + 3;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 2, 2), HANSE_EIO);
    ck_assert_uint_eq(d.n, 5 + 3);
    ck_assert_int_eq(checkpoint_prune(&d.disk, "T.2"), 0);
    ck_assert_uint_eq(d.n, 5);
}
END_TEST

/* While a manifest is damaged its chunks are unknown, so none is removed; once superfluous, it goes. */
START_TEST(test_prune_spares_the_damaged)
{
    struct checkpoint_info info;
    ck_assert_int_eq(state_save(&d, "T.2", 0, 5, 5), 0);
    ck_assert_int_eq(state_save(&d, "T.3", 0, 1, 1), 0);
    memory_disk_file(&d, "manifests/T.3/00000000000000000001")->bytes.bytes[5] ^= 1;
    for (uint64_t v = 6; v <= 8; v++)
        ck_assert_int_eq(state_save(&d, "T.2", 0, v, v), 0);
    size_t n = d.n;
    ck_assert_int_eq(checkpoint_prune(&d.disk, "T.2"), 0);
    ck_assert_uint_eq(d.n, n - 1);
    ck_assert(heard.n == 2 && strstr(heard.text, "manifests/T.3/00000000000000000001"));
    memory_disk_file(&d, "manifests/T.3/00000000000000000001")->bytes.bytes[5] ^= 1;
    ck_assert_int_eq(checkpoint_verify(&d.disk, "T.3", 1, &info), 0);
    memory_disk_file(&d, "manifests/T.3/00000000000000000001")->bytes.bytes[5] ^= 1;
    for (uint64_t v = 2; v <= 4; v++)
        ck_assert_int_eq(state_save(&d, "T.3", 0, v, v), 0);
    ck_assert_int_eq(checkpoint_prune(&d.disk, "T.3"), 0);
    ck_assert(list_is(&d, "T.2@6 T.2@7 T.2@8 T.3@2 T.3@3 T.3@4 "));
    ck_assert_uint_eq(d.n, 6 + 6 * 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_save_and_load);
    tcase_add_test(t, test_parent);
    tcase_add_test(t, test_root);
    tcase_add_test(t, test_chunks_are_shared);
    tcase_add_test(t, test_rotten_chunk_is_replaced);
    tcase_add_test(t, test_wrong_kind);
    tcase_add_test(t, test_save_refused);
    tcase_add_test(t, test_crash_at_every_write);
    tcase_add_test(t, test_disk_full);
    tcase_add_loop_test(t, test_lost_write, 0, 5);
    tcase_add_loop_test(t, test_damage, 0, N_DAMAGE);
    tcase_add_test(t, test_damage_of_the_only_one);
    tcase_add_test(t, test_verify_tells_all);
    tcase_add_test(t, test_newest_is_of_the_highest_epoch);
    tcase_add_test(t, test_list);
    tcase_add_test(t, test_prune);
    tcase_add_test(t, test_prune_takes_orphans);
    tcase_add_test(t, test_prune_spares_the_damaged);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
