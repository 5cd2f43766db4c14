/**
 * kernels/cpu/vec_math.h - exp and sigmoid of a vector: step for step ref/math.c, with selections for its branches.
 */
#ifndef KERNELS_CPU_VEC_MATH_H
#define KERNELS_CPU_VEC_MATH_H

#include <math.h>

#include "kernels/cpu/vec.h"
#include "kernels/ref/constants.h"

static inline vec v_exp(vec x)
{
    vec t = v_fma(x, v_all(LOG2_E), v_all(ROUNDER));
    vec n = v_sub(t, v_all(ROUNDER));
    vec r = v_fma(n, v_all(-LN2_HIGH), x);
    r = v_fma(n, v_all(-LN2_LOW), r);
    vec q = v_fma(v_all(EXP_Q4), r, v_all(EXP_Q3));
    q = v_fma(q, r, v_all(EXP_Q2));
    q = v_fma(q, r, v_all(EXP_Q1));
    q = v_fma(q, r, v_all(EXP_Q0));
    vec p = v_add(v_fma(v_mul(r, r), q, r), v_all(1.0f));
    vec y = v_scale(p, t);
    y = v_select(v_less(x, v_all(EXP_LEAST)), v_zero(), y);
    y = v_select(v_less(v_all(EXP_GREATEST), x), v_all(INFINITY), y);
    return v_select(v_is_nan(x), x, y);
}

static inline vec v_sigmoid(vec x)
{
    vec one = v_all(1.0f);
    return v_div(one, v_add(one, v_exp(v_neg(x))));
}

#endif
