/**
 * tests/fuzz/fuzz.h - the one function of a fuzz target; libFuzzer or standalone.c calls it.
 * It returns 0, and aborts when what it read breaks a promise.  tests/fuzz/module.am says how to add one.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
