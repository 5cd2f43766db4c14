/**
 * tests/kernels/second_print.h - how a case for second.py is written down: see second_vectors.c.
 */
#ifndef TESTS_KERNELS_SECOND_PRINT_H
#define TESTS_KERNELS_SECOND_PRINT_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline void begin(const char *name)
{
    printf("case %s\n", name);
}

static inline void end(void)
{
    printf("end\n");
}

static inline void floats(const char *key, const float *x, size_t n)
{
    printf("f %s", key);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        printf(" %x", bits);
    }
    printf("\n");
}

static inline void begin_numbers(const char *key)
{
    printf("i %s", key);
}

static inline void bytes(const char *key, const int8_t *x, size_t n)
{
    begin_numbers(key);
    for (size_t i = 0; i < n; i++)
        printf(" %d", x[i]);
    printf("\n");
}

static inline void number(const char *key, long x)
{
    printf("i %s %ld\n", key, x);
}

/** Cases of whole experts. */
void second_experts(void);

#endif
