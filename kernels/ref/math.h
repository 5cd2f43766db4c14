/**
 * kernels/ref/math.h - our own exp, log, rsqrt, sigmoid, silu, sin, cos: only IEEE add, multiply, fmaf, divide, sqrt
 * and integer operations on the bits, so the result is the same on every conforming machine and in every lane.
 * Accuracy, ranges and the polynomials are in doc/numerics.md and the .c files; tests hold them to a float64 libm.
 */
#ifndef KERNELS_REF_MATH_H
#define KERNELS_REF_MATH_H

/** e^x; below -87.33 it is +0, above 88.72 it is +inf, NaN stays NaN. */
float ref_exp(float x);

/** Natural logarithm of a positive normal x; 0 and subnormals give -inf, negatives NaN. */
float ref_log(float x);

/** 1 / sqrt(x), as one correctly rounded sqrt and one division. */
float ref_rsqrt(float x);

/** 1 / (1 + e^-x) and x times that. */
float ref_sigmoid(float x);
float ref_silu(float x);

/** For |x| <= 1e5. */
void ref_sincos(float *sine, float *cosine, float x);

#endif
