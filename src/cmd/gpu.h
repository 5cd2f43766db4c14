/**
 * cmd/gpu.h - opening a GPU as a user asked for it.
 */
#ifndef CMD_GPU_H
#define CMD_GPU_H

#include "kernels/device.h"

/** device_open() and device_describe(), with integers multiplied as $HANSE_PRODUCTS says, if it does.  Errors are logged, and then none is
 * open. */
HANSE_MUST_USE int gpu_open(int index, const struct kernels **kernels, struct device_info *info);

#endif
