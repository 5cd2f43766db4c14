/* kernels/cuda/device.cu - which GPUs there are, and opening one. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device_state.h"

#include <stdio.h>
#include <string.h>

extern "C" {
#include "base/log.h"
#include "kernels/device.h"
}

static struct cuda_chip chip;

const struct cuda_chip *cuda_chip(void)
{
    return &chip;
}

int device_count(const char **why_none)
{
    int n = 0;
    if (why_none)
        *why_none = "no GPU";
    if (cudaGetDeviceCount(&n) != cudaSuccess)
        return 0;
    return n;
}

static int attribute(enum cudaDeviceAttr what, int index)
{
    int value = 0;
    (void)cudaDeviceGetAttribute(&value, what, index);
    return value;
}

int device_open(int index, const struct kernels **out)
{
    if (index >= device_count(NULL) || cudaSetDevice(index) != cudaSuccess)
        return HANSE_ENOENT;
    chip.index = index;
    chip.major = attribute(cudaDevAttrComputeCapabilityMajor, index);
    chip.minor = attribute(cudaDevAttrComputeCapabilityMinor, index);
    chip.n_units = attribute(cudaDevAttrMultiProcessorCount, index);
    chip.shared_bytes = (size_t)attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
    chip.l2_bytes = (size_t)attribute(cudaDevAttrL2CacheSize, index);
    *out = &cuda_kernels;
    return 0;
}

void device_close(void)
{
}

int device_describe(int index, struct device_info *out)
{
    cudaDeviceProp prop;
    memset(out, 0, sizeof *out);
    if (index < 0 || index >= device_count(NULL))
        return HANSE_ENOENT;
    if (cudaGetDeviceProperties(&prop, index) != cudaSuccess)
        return HANSE_EDEVICE;
    out->index = index;
    snprintf(out->name, sizeof out->name, "%.127s", prop.name);
    out->major = prop.major;
    out->minor = prop.minor;
    out->n_units = prop.multiProcessorCount;
    out->memory_bytes = prop.totalGlobalMem;
    return 0;
}

int device_memory(uint64_t *free_bytes, uint64_t *total_bytes)
{
    size_t n_free = 0, n_total = 0;
    if (cudaMemGetInfo(&n_free, &n_total) != cudaSuccess)
        return HANSE_EDEVICE;
    *free_bytes = n_free;
    *total_bytes = n_total;
    return 0;
}

const char *device_products(void)
{
    return "";
}
