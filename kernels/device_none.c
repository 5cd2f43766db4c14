/* kernels/device_none.c - a build without CUDA has no GPUs. */
#include "kernels/device.h"

#include "base/log.h"

static const char why[] =
    "this hanse was built without CUDA; configure and make it anew where nvcc of the CUDA toolkit is on PATH";

int device_count(const char **why_none)
{
    if (why_none)
        *why_none = why;
    return 0;
}

int device_describe(int index, struct device_info *out)
{
    (void)out;
    log_error("GPU %d: %s", index, why);
    return HANSE_ENOENT;
}

int device_open(int index, const struct kernels **out)
{
    (void)out;
    log_error("GPU %d: %s", index, why);
    return HANSE_ENOENT;
}

void device_close(void)
{
}

int device_memory(uint64_t *free_bytes, uint64_t *total_bytes)
{
    *free_bytes = *total_bytes = 0;
    log_error("GPU: %s", why);
    return HANSE_ENOENT;
}

void device_scratch(size_t n_rows, size_t width, size_t part, uint64_t *each_bytes, uint64_t *taken_bytes)
{
    (void)n_rows, (void)width, (void)part;
    *each_bytes = *taken_bytes = 0;
}

const char *device_products(void)
{
    return "";
}

int device_products_by(const char *name)
{
    if (name)
        log_error("products by %s: %s", name, why);
    return name ? HANSE_EUNSUPPORTED : 0;
}

static int refuse_products(const char *name)
{
    log_error("%s: %s", name, why);
    return HANSE_EUNSUPPORTED;
}

int kernels_with_bf16(const struct kernels *base, struct kernels *out)
{
    (void)base;
    (void)out;
    return refuse_products("products of bf16");
}

int kernels_with_sgemm(const struct kernels *base, struct kernels *out)
{
    (void)base;
    (void)out;
    return refuse_products("cuBLAS");
}
