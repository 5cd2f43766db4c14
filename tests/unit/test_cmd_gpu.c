/* tests/unit/test_cmd_gpu.c - what is open, and what was asked of it, when a GPU is opened well and badly. */
#include <stdlib.h>
#include <string.h>

#include "cmd/gpu.h"
#include "unit.h"

static const struct kernels the_set;
static struct {
    int products_err, open_err, describe_err; /* what the calls give */
    const char *products;                     /* what they were given */
    bool is_open;
    int index;
} device;

int device_products_by(const char *name)
{
    device.products = name;
    return device.products_err;
}

int device_open(int index, const struct kernels **out)
{
    if (device.open_err)
        return device.open_err;
    device.is_open = true;
    device.index = index;
    *out = &the_set;
    return 0;
}

int device_describe(int index, struct device_info *out)
{
    ck_assert(device.is_open);
    *out = (struct device_info){.index = index};
    return device.describe_err;
}

void device_close(void)
{
    device.is_open = false;
}

START_TEST(a_gpu_is_opened_as_asked)
{
    const struct kernels *kernels = NULL;
    struct device_info info;
    unsetenv("HANSE_PRODUCTS");
    ck_assert_int_eq(gpu_open(2, &kernels, &info), 0);
    ck_assert(device.is_open && device.index == 2 && info.index == 2);
    ck_assert_ptr_eq(kernels, &the_set);
    ck_assert_ptr_null(device.products);
    setenv("HANSE_PRODUCTS", "", 1);
    ck_assert_int_eq(gpu_open(2, &kernels, &info), 0);
    ck_assert_ptr_null(device.products);
    setenv("HANSE_PRODUCTS", "dp4a", 1);
    ck_assert_int_eq(gpu_open(2, &kernels, &info), 0);
    ck_assert_str_eq(device.products, "dp4a");
}
END_TEST

START_TEST(one_that_cannot_be_used_is_not_left_open)
{
    const struct kernels *kernels = NULL;
    struct device_info info;
    setenv("HANSE_PRODUCTS", "abacus", 1);
    device.products_err = HANSE_EINVAL;
    ck_assert_int_eq(gpu_open(0, &kernels, &info), HANSE_EINVAL);
    ck_assert(!device.is_open);
    device.products_err = 0;
    device.open_err = HANSE_ENOENT;
    ck_assert_int_eq(gpu_open(0, &kernels, &info), HANSE_ENOENT);
    ck_assert(!device.is_open);
    device.open_err = 0;
    device.describe_err = HANSE_EDEVICE;
    ck_assert_int_eq(gpu_open(0, &kernels, &info), HANSE_EDEVICE);
    ck_assert(!device.is_open);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmd/gpu");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, a_gpu_is_opened_as_asked);
    tcase_add_test(tc, one_that_cannot_be_used_is_not_left_open);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
