/* A directory as a disk, its lock and its key. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "net/net.h"
#include "unit.h"

static char root[64];
static struct disk disk;
static char last_line[500];

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static void setup(void)
{
    snprintf(root, sizeof root, "/tmp/hanse-files-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert_int_eq(files_open(root, &disk), 0);
    log_set_sink(keep_line, NULL);
}

static void teardown(void)
{
    char command[100];
    files_close(&disk);
    snprintf(command, sizeof command, "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}

static const char *path(const char *name)
{
    static char out[200];
    snprintf(out, sizeof out, "%s/%s", root, name);
    return out;
}

static int write_text(const char *name, const char *text)
{
    return disk.ops->write(disk.ctx, name, text, strlen(text));
}

static void put(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(path(name), "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    ck_assert_int_eq(chmod(path(name), mode), 0);
}

static int read_text(const char *name, char out[100])
{
    struct buf buf;
    buf_init(&buf, 99);
    int err = disk.ops->read(disk.ctx, name, &buf);
    if (buf.n)
        memcpy(out, buf.bytes, buf.n);
    out[buf.n] = 0;
    buf_fini(&buf);
    return err;
}

START_TEST(what_is_written_is_read)
{
    char text[100];
    ck_assert_int_eq(write_text("a", "one"), 0);
    ck_assert_int_eq(write_text("d/e/f", "two"), 0);
    ck_assert_int_eq(write_text("a", "three"), 0);
    ck_assert_int_eq(write_text("empty", ""), 0);
    ck_assert_int_eq(read_text("a", text), 0);
    ck_assert_str_eq(text, "three");
    ck_assert_int_eq(read_text("d/e/f", text), 0);
    ck_assert_str_eq(text, "two");
    ck_assert_int_eq(read_text("empty", text), 0);
    ck_assert_str_eq(text, "");
    ck_assert(disk.ops->exists(disk.ctx, "a"));
    ck_assert_int_eq(disk.ops->remove(disk.ctx, "a"), 0);
    ck_assert(!disk.ops->exists(disk.ctx, "a"));
    ck_assert_int_eq(disk.ops->remove(disk.ctx, "a"), HANSE_ENOENT);
    ck_assert_int_eq(read_text("a", text), HANSE_ENOENT);
    ck_assert_int_eq(read_text("x/y", text), HANSE_ENOENT);
}
END_TEST

START_TEST(reading_appends_and_keeps_to_the_ceiling)
{
    struct buf buf;
    write_text("a", "12345");
    buf_init(&buf, 9);
    buf_append(&buf, "ab", 2);
    ck_assert_int_eq(disk.ops->read(disk.ctx, "a", &buf), 0);
    ck_assert_uint_eq(buf.n, 7);
    ck_assert_mem_eq(buf.bytes, "ab12345", 7);
    ck_assert_int_eq(disk.ops->read(disk.ctx, "a", &buf), HANSE_EFULL);
    ck_assert_uint_eq(buf.n, 7);
    buf_fini(&buf);
}
END_TEST

static const char *const bad_names[] = {"",     "/etc/passwd", "..",    "../x",     "a/../b",      ".",
                                        "a//b", "a/",          "a/./b", ".new-1-2", "a/.new-file", "a/.."};

START_TEST(names_stay_inside)
{
    char text[100];
    ck_assert_int_eq(write_text(bad_names[_i], "x"), HANSE_EINVAL);
    ck_assert_int_eq(read_text(bad_names[_i], text), HANSE_EINVAL);
    ck_assert_int_eq(disk.ops->remove(disk.ctx, bad_names[_i]), HANSE_EINVAL);
    ck_assert(!disk.ops->exists(disk.ctx, bad_names[_i]));
}
END_TEST

START_TEST(long_names)
{
    char name[DISK_NAME_MAX + 2];
    memset(name, 'x', sizeof name);
    name[100] = name[200] = '/';
    name[DISK_NAME_MAX] = 0;
    ck_assert_int_eq(write_text(name, "x"), 0);
    name[DISK_NAME_MAX] = 'x';
    name[DISK_NAME_MAX + 1] = 0;
    ck_assert_int_eq(write_text(name, "x"), HANSE_EINVAL);
}
END_TEST

START_TEST(symbolic_links_are_not_followed)
{
    char text[100];
    write_text("real/file", "secret");
    ck_assert_int_eq(symlink("real", path("alias")), 0);
    ck_assert_int_eq(symlink("real/file", path("file")), 0);
    ck_assert_int_eq(read_text("alias/file", text), HANSE_EINVAL);
    ck_assert_int_eq(write_text("alias/new", "x"), HANSE_EINVAL);
    ck_assert_int_eq(read_text("file", text), HANSE_EINVAL);
    ck_assert_int_eq(write_text("file", "mine"), 0); /* replaces the link, not what it points to */
    ck_assert_int_eq(read_text("real/file", text), 0);
    ck_assert_str_eq(text, "secret");
    ck_assert_int_eq(read_text("real", text), HANSE_EINVAL); /* a directory */
}
END_TEST

static void append_entry(void *arg, const char *entry)
{
    buf_printf(arg, "%s ", entry);
}

START_TEST(lists_are_in_byte_order)
{
    struct buf list;
    buf_init(&list, 200);
    write_text("d/b", "");
    write_text("d/B", "");
    write_text("d/a/x", "");
    write_text("d/10", "");
    write_text("d/9", "");
    put("d/.new-7-7", "half", 0600);
    ck_assert_int_eq(disk.ops->list(disk.ctx, "d", append_entry, &list), 0);
    ck_assert_int_eq(disk.ops->list(disk.ctx, "", append_entry, &list), 0);
    ck_assert_int_eq(disk.ops->list(disk.ctx, "missing", append_entry, &list), 0);
    ck_assert_int_eq(disk.ops->list(disk.ctx, "missing/too", append_entry, &list), 0);
    ck_assert_int_eq(disk.ops->list(disk.ctx, "../x", append_entry, &list), HANSE_EINVAL);
    ck_assert_uint_eq(list.n, 13);
    ck_assert_mem_eq(list.bytes, "10 9 B a b d ", 13);
    buf_fini(&list);
}
END_TEST

/* A writer killed at any time leaves the old bytes or the new ones; its half-written file is swept by the next holder of the lock. */
START_TEST(a_crash_leaves_old_or_new)
{
    static char big[2][300000];
    memset(big[0], 'o', sizeof big[0]);
    memset(big[1], 'n', sizeof big[1]);
    ck_assert_int_eq(disk.ops->write(disk.ctx, "f", big[0], sizeof big[0]), 0);
    for (int round = 0; round < 20; round++) {
        pid_t pid = fork();
        if (pid == 0)
            for (int i = 1;; i++)
                if (disk.ops->write(disk.ctx, "f", big[i & 1], sizeof big[0]))
                    _exit(1);
        usleep((unsigned)(3000 + 711 * round));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        struct buf buf;
        buf_init(&buf, sizeof big[0]);
        ck_assert_int_eq(disk.ops->read(disk.ctx, "f", &buf), 0);
        ck_assert_uint_eq(buf.n, sizeof big[0]);
        ck_assert(memcmp(buf.bytes, big[0], buf.n) == 0 || memcmp(buf.bytes, big[1], buf.n) == 0);
        buf_fini(&buf);
    }
    write_text("d/x", "");
    put(".new-1-1", "half", 0600);
    put("d/.new-1-2", "half", 0600);
    ck_assert_int_eq(files_lock(root), 0);
    ck_assert_int_ne(access(path(".new-1-1"), F_OK), 0);
    ck_assert_int_ne(access(path("d/.new-1-2"), F_OK), 0);
    ck_assert_int_eq(access(path("d/x"), F_OK), 0);
}
END_TEST

static void *write_often(void *arg)
{
    char text[20];
    for (int i = 0; i < 30; i++) {
        snprintf(text, sizeof text, "%s-%d", (char *)arg, i);
        ck_assert_int_eq(write_text("deep/er/shared", text), 0);
    }
    return NULL;
}

START_TEST(threads_may_write_at_once)
{
    pthread_t a, b;
    char text[100];
    pthread_create(&a, NULL, write_often, "a");
    pthread_create(&b, NULL, write_often, "b");
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    ck_assert_int_eq(read_text("deep/er/shared", text), 0);
    ck_assert(strcmp(text, "a-29") == 0 || strcmp(text, "b-29") == 0);
}
END_TEST

START_TEST(a_lock_has_one_holder)
{
    int status;
    ck_assert_int_eq(files_lock(root), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(files_lock(root) == HANSE_EBUSY && strstr(last_line, "in use by another hanse (process ") ? 7 : 1);
    waitpid(pid, &status, 0);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
    char expected[80];
    ck_assert_int_eq(files_lock(root), HANSE_EBUSY);
    snprintf(expected, sizeof expected, "process %ld)", (long)getpid());
    ck_assert_ptr_nonnull(strstr(last_line, expected));
}
END_TEST

START_TEST(a_lock_ends_with_its_holder)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(files_lock(root));
    waitpid(pid, NULL, 0);
    ck_assert_int_eq(files_lock(root), 0);
}
END_TEST

START_TEST(directories_that_cannot_be)
{
    struct disk other;
    put("file", "", 0600);
    ck_assert_int_eq(files_open(path("file"), &other), HANSE_EINVAL);
    ck_assert_ptr_nonnull(strstr(last_line, "is a file; choose another"));
    ck_assert_int_eq(files_open(path("file/below"), &other), HANSE_EINVAL);
    ck_assert_int_ne(files_open("", &other), 0);
    ck_assert_int_eq(files_open(path("new/and/deep"), &other), 0);
    files_close(&other);
    files_close(&other); /* twice is once */
}
END_TEST

START_TEST(a_key_is_made_once)
{
    struct key *a = NULL, *b = NULL;
    struct stat stat_key;
    ck_assert_int_eq(files_key(root, false, &a), HANSE_ENOENT);
    ck_assert_int_eq(files_key(root, true, &a), 0);
    ck_assert_int_eq(files_key(root, true, &b), 0);
    struct peer_id id_a = key_peer_id(a), id_b = key_peer_id(b);
    ck_assert(peer_id_equal(&id_a, &id_b));
    ck_assert_int_eq(stat(path("key"), &stat_key), 0);
    ck_assert_uint_eq(stat_key.st_mode & 0777, 0600);
    ck_assert_int_eq(stat_key.st_size, 65);
    key_free(a);
    key_free(b);
}
END_TEST

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

struct key_file {
    const char *text;
    mode_t mode;
    int err;
};

static const struct key_file key_files[] = {
    {HEX64 "\n", 0600, 0},
    {HEX64 "\n", 0400, 0},
    {HEX64 "\n", 0640, HANSE_EACCESS},
    {HEX64 "\n", 0604, HANSE_EACCESS},
    {HEX64, 0600, HANSE_ECORRUPT},
    {HEX64 "\n\n", 0600, HANSE_ECORRUPT},
    {HEX64 "0\n", 0600, HANSE_ECORRUPT},
    {"", 0600, HANSE_ECORRUPT},
    {"g0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n", 0600, HANSE_ECORRUPT},
};

START_TEST(only_a_sound_key_file_is_read)
{
    struct key *key = NULL;
    put("key", key_files[_i].text, key_files[_i].mode);
    ck_assert_int_eq(files_key(root, true, &key), key_files[_i].err);
    if (key_files[_i].err)
        ck_assert_ptr_nonnull(strstr(last_line, "key file "));
    else
        key_free(key);
    FILE *file = fopen(path("key"), "r"); /* whatever it was, it was not replaced */
    char text[100] = "";
    ck_assert_uint_le(fread(text, 1, 99, file), 99);
    fclose(file);
    ck_assert_str_eq(text, key_files[_i].text);
}
END_TEST

START_TEST(a_key_behind_a_link_is_refused)
{
    struct key *key;
    put("elsewhere", HEX64 "\n", 0600);
    ck_assert_int_eq(symlink("elsewhere", path("key")), 0);
    ck_assert_int_eq(files_key(root, true, &key), HANSE_EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/files");
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, what_is_written_is_read);
    tcase_add_test(c, reading_appends_and_keeps_to_the_ceiling);
    tcase_add_loop_test(c, names_stay_inside, 0, (int)(sizeof bad_names / sizeof bad_names[0]));
    tcase_add_test(c, long_names);
    tcase_add_test(c, symbolic_links_are_not_followed);
    tcase_add_test(c, lists_are_in_byte_order);
    tcase_add_test(c, a_crash_leaves_old_or_new);
    tcase_add_test(c, threads_may_write_at_once);
    tcase_add_test(c, a_lock_has_one_holder);
    tcase_add_test(c, a_lock_ends_with_its_holder);
    tcase_add_test(c, directories_that_cannot_be);
    tcase_add_test(c, a_key_is_made_once);
    tcase_add_loop_test(c, only_a_sound_key_file_is_read, 0, (int)(sizeof key_files / sizeof key_files[0]));
    tcase_add_test(c, a_key_behind_a_link_is_refused);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
