/* kernels/choose.c - which set of kernels this machine gets. */
#include <string.h>

#include "base/log.h"
#include "kernels/ref/ref.h"

int kernels_choose(const char *isa, const struct kernels **out)
{
    if (isa && strcmp(isa, "ref") != 0) {
        log_error("isa %s: no such kernels; ref, avx2 and avx512 exist", isa);
        return HANSE_EINVAL;
    }
    *out = &ref_kernels;
    return 0;
}
