/**
 * sim/draw.h - random quantities of simulations, by IEEE additions, products and quotients only: no mathematical library decides
 * what happens, so a seed gives the same on every machine.
 */
#ifndef SIM_DRAW_H
#define SIM_DRAW_H

#include "base/random.h"

/** Exponential with mean 1, at most 23. */
double draw_exponential(struct rng *rng);

#endif
