/* kernels/numerics.c - the names by which run.yaml and people call numbers and products. */
#include "kernels/numerics.h"

const char *const numerics_name[N_NUMERICS] = {[NUMERICS_F32] = "f32", [NUMERICS_I8X2] = "i8x2", [NUMERICS_I8X1] = "i8x1"};

const char *const product_name[N_PRODUCTS] = {[PRODUCT_IN] = "in",
                                              [PRODUCT_OUT] = "out",
                                              [PRODUCT_GRAD_HIDDEN] = "grad_hidden",
                                              [PRODUCT_GRAD_IN] = "grad_in",
                                              [PRODUCT_GRAD_WEIGHTS_IN] = "grad_weights_in",
                                              [PRODUCT_GRAD_WEIGHTS_OUT] = "grad_weights_out"};
