#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "model/data.h"
#include "tests/unit/unit.h"

static void ignore_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

/* n bytes of which any few in a row tell where they stand. */
static struct data made(size_t n)
{
    struct data data = {.bytes = malloc(n), .n = n, .n_train = n / 10 * 9 + n % 10 * 9 / 10};
    for (size_t i = 0; i < n; i++)
        data.bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    return data;
}

START_TEST(a_file_is_read_and_split)
{
    char file[] = "/tmp/hanse-data-XXXXXX";
    struct data data;
    int fd = mkstemp(file);
    ck_assert_int_ge(fd, 0);
    char text[109];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i + 150);
    ck_assert_int_eq(write(fd, text, sizeof text), sizeof text);
    ck_assert_int_eq(data_read(file, 9, &data), 0);
    ck_assert_uint_eq(data.n, 109);
    ck_assert_uint_eq(data.n_train, 98); /* floor(98.1) */
    ck_assert_mem_eq(data.bytes, text, sizeof text);
    data_fini(&data);
    log_set_sink(ignore_line, NULL);
    ck_assert_int_eq(data_read(file, 10, &data), HANSE_EINVAL);
    ck_assert_int_eq(data_read("/tmp", 4, &data), HANSE_EINVAL);
    ck_assert_int_eq(data_read("/nowhere/at/all", 4, &data), HANSE_ENOENT);
    log_set_sink(NULL, NULL);
    close(fd);
    unlink(file);
}
END_TEST

START_TEST(a_batch_is_a_function_of_seed_step_and_row)
{
    enum { T = 8, B = 6 };
    struct data data = made(1000);
    int32_t token[B * T], target[B * T], again[T], again_target[T];
    data_batch(&data, 7, 3, 0, B, T, token, target);
    for (size_t row = 0; row < B; row++) {
        data_batch(&data, 7, 3, row, 1, T, again, again_target);
        ck_assert_mem_eq(again, token + row * T, sizeof again);
        ck_assert_mem_eq(again_target, target + row * T, sizeof again);
        ck_assert_mem_eq(token + row * T + 1, target + row * T, sizeof *token * (T - 1));
    }
    data_batch(&data, 8, 3, 0, 1, T, again, again_target);
    ck_assert_mem_ne(again, token, sizeof again);
    data_batch(&data, 7, 4, 0, 1, T, again, again_target);
    ck_assert_mem_ne(again, token, sizeof again);
    ck_assert_mem_ne(token + T, token, sizeof again);
    data_fini(&data);
}
END_TEST

/* Training sees each place of the first 90 %, its ends included, and nothing of the last 10 %. */
START_TEST(batches_reach_all_of_the_training_part_and_no_more)
{
    enum { T = 3 };
    uint8_t bytes[100];
    bool seen[100] = {false};
    struct data data = {.bytes = bytes, .n = 100, .n_train = 90};
    int32_t token[T], target[T];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (uint64_t step = 0; step < 3000; step++) {
        data_batch(&data, 1, step, 0, 1, T, token, target);
        for (size_t t = 0; t < T; t++) {
            ck_assert_int_eq(target[t], token[0] + (int)t + 1);
            seen[token[t]] = seen[target[t]] = true;
        }
    }
    for (size_t i = 0; i < 100; i++)
        ck_assert_msg(seen[i] == (i < 90), "byte %zu", i);
}
END_TEST

/* The drawn order itself is part of what a resumed run relies on. */
START_TEST(the_order_is_held)
{
    struct data data = {.bytes = (uint8_t[256]){0}, .n = 256, .n_train = 230};
    int32_t token[4], target[4];
    static const int32_t first[4] = {208, 180, 147, 31};
    for (size_t i = 0; i < 256; i++)
        data.bytes[i] = (uint8_t)i;
    for (size_t row = 0; row < 4; row++) {
        data_batch(&data, 42, 1000000007, row, 1, 4, token, target);
        ck_assert_int_eq(token[0], first[row]);
    }
}
END_TEST

START_TEST(windows_count_each_byte_once)
{
    static const size_t sizes[] = {10, 19, 20, 21, 99, 100, 101, 200, 1237};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t T = 1; T <= 17; T++) {
            struct data data = made(10 * sizes[s] > 10 * (T + 1) ? 10 * sizes[s] : 10 * (T + 1));
            size_t m = data.n - data.n_train, n_windows = data_n_windows(&data, T), next = 1;
            const uint8_t *from = data.bytes + data.n_train;
            int32_t token[17], target[17];
            for (size_t w = 0; w < n_windows; w++) {
                size_t first, n;
                data_window(&data, T, w, token, target, &first, &n);
                ck_assert_uint_ge(n, 1);
                ck_assert_uint_le(first + n, T);
                ck_assert(w == 0 || 2 * (first + 1) >= T); /* bytes of context */
                for (size_t i = first; i < first + n; i++) {
                    ck_assert_int_eq(target[i], from[next]);
                    ck_assert_int_eq(token[i], from[next - 1]);
                    next++;
                }
                for (size_t i = 1; i < T && next > T; i++)
                    ck_assert(token[i] == target[i - 1] || first + n < T);
                for (size_t i = first + n; i < T; i++)
                    ck_assert_int_eq(target[i], 0);
            }
            ck_assert_uint_eq(next, m);
            data_fini(&data);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model/data");
    TCase *tcase = tcase_create("data");
    tcase_add_test(tcase, a_file_is_read_and_split);
    tcase_add_test(tcase, a_batch_is_a_function_of_seed_step_and_row);
    tcase_add_test(tcase, batches_reach_all_of_the_training_part_and_no_more);
    tcase_add_test(tcase, the_order_is_held);
    tcase_add_test(tcase, windows_count_each_byte_once);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
