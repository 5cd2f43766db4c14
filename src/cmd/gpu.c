/* cmd/gpu.c - opening a GPU. */
#include "cmd/gpu.h"

#include <stdlib.h>

int gpu_open(int index, const struct kernels **kernels, struct device_info *info)
{
    const char *products = getenv("HANSE_PRODUCTS");
    int err = products && *products ? device_products_by(products) : 0;
    if (!err)
        err = device_open(index, kernels);
    if (err)
        return err;
    err = device_describe(index, info);
    if (err)
        device_close(); /* who goes on without it may do so for days, and others could use it */
    return err;
}
