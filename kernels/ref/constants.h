/**
 * kernels/ref/constants.h - the numbers in our exp, log, sine and cosine; doc/numerics.md has the formulas.
 *
 * Polynomials are near-minimax fits (Chebyshev, 40 digits, then rounded to f32) of what remains after the leading
 * terms, so that those stay exact.  Multiples of ln 2 and pi/2 are taken away in parts.
 */
#ifndef KERNELS_REF_CONSTANTS_H
#define KERNELS_REF_CONSTANTS_H

/* Adding and taking away 1.5 * 2^23 rounds |x| < 2^22 to an integer, which stands in the low bits meanwhile. */
#define ROUNDER 0x1.8p+23f

#define EXP_LEAST -87.33f   /* below this e^x counts as 0; it is still normal here */
#define EXP_GREATEST 88.72f /* above this it is infinite */
#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e43p-1f /* ln 2 to 24 bits */
#define LN2_LOW -0x1.05c61p-29f
#define LN2_SHORT 0x1.62e4p-1f /* ln 2 to 15 bits: its product with an exponent is exact */
#define LN2_REST 0x1.7f7d1cp-20f

/* e^r = 1 + r + r^2 q(r), |r| <= ln 2 / 2 */
#define EXP_Q0 0x1p-1f
#define EXP_Q1 0x1.5554d8p-3f
#define EXP_Q2 0x1.555516p-5f
#define EXP_Q3 0x1.12106cp-7f
#define EXP_Q4 0x1.6d15acp-10f

/* log(1 + f) = f - f^2 / 2 + f^3 q(f), sqrt(1/2) <= 1 + f < sqrt(2) */
#define SQRT_HALF_BITS 0x3f3504f3u
#define LOG_Q0 0x1.555554p-2f
#define LOG_Q1 -0x1.fffffcp-3f
#define LOG_Q2 0x1.999d5ap-3f
#define LOG_Q3 -0x1.555b4ap-3f
#define LOG_Q4 0x1.23d21ap-3f
#define LOG_Q5 -0x1.fcf4c6p-4f
#define LOG_Q6 0x1.dea282p-4f
#define LOG_Q7 -0x1.d635bcp-4f
#define LOG_Q8 0x1.1d8ea6p-4f

#define TWO_OVER_PI 0x1.45f306p-1f
#define TWO_PI 0x1.921fb6p+2f
#define HALF_PI_HIGH 0x1.921fb6p+0f
#define HALF_PI_MIDDLE -0x1.777a5cp-25f
#define HALF_PI_LOW -0x1.ee59dap-50f

/* sin r = r + r z s(z), cos r = 1 - z / 2 + z^2 c(z), z = r^2, |r| <= pi / 4 */
#define SIN_S0 -0x1.555556p-3f
#define SIN_S1 0x1.11110ep-7f
#define SIN_S2 -0x1.a01366p-13f
#define SIN_S3 0x1.6da8ecp-19f
#define COS_C0 0x1.555554p-5f
#define COS_C1 -0x1.6c12aap-10f
#define COS_C2 0x1.9bc2d4p-16f

#endif
