/* tests/kernels/test_device_memory.c - memory of a GPU: what is put there comes back, whoever asks, and failures are said. */
#include <pthread.h>

#include "tests/kernels/device_test.h"

#define N_BYTES_MAX (3 << 20)

static unsigned char given[N_BYTES_MAX];

static void setup(void)
{
    struct dice dice = {5};
    for (size_t i = 0; i < N_BYTES_MAX; i++)
        given[i] = (unsigned char)dice_u64(&dice);
}

static void check_round(const struct kernels *k, size_t at, size_t n_bytes)
{
    unsigned char *device = device_copy(k, given, N_BYTES_MAX);
    k->put(device + at, given + 1, n_bytes);
    unsigned char *back = device_back(k, device, N_BYTES_MAX);
    ck_assert(memcmp(back, given, at) == 0);
    ck_assert(n_bytes == 0 || memcmp(back + at, given + 1, n_bytes) == 0);
    ck_assert(memcmp(back + at + n_bytes, given + at + n_bytes, N_BYTES_MAX - at - n_bytes) == 0);
    free(back);
    k->release(device);
}

START_TEST(what_is_put_comes_back)
{
    static const size_t size[] = {0, 1, 3, 255, 4097, (512 << 10) - 1, 512 << 10, (1 << 20) + 17, (2 << 20) + 1};
    const struct kernels *k = device_set();
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        check_round(k, 0, size[i]);
        check_round(k, 7, size[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels/cuda/queue");
    TCase *tests = tcase_create("memory");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, what_is_put_comes_back);
    suite_add_tcase(suite, tests);
    return device_run(suite);
}
