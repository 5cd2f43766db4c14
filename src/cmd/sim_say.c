/* cmd/sim_say.c - what scenarios say, and how their worlds end. */
#include <stdarg.h>
#include <stdio.h>

#include "cmd/sim.h"

static double virtual_s(const struct world *world)
{
    return (double)(world_now(world) - SIM_EPOCH_US) / 1e6;
}

void sim_say(const struct sim_run *run, const struct world *world, const char *format, ...)
{
    va_list args;
    if (run->is_quiet)
        return;
    va_start(args, format);
    printf("%9.3f s  ", virtual_s(world));
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

int sim_refute(const struct world *world, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%9.3f s  REFUTED: ", virtual_s(world));
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    return SIM_REFUTED;
}

void sim_end(struct sim_run *run, struct world *world)
{
    if (!world)
        return;
    run->trace = world_trace(world);
    run->n_events = world_n_events(world);
    run->n_us = world_now(world) - SIM_EPOCH_US;
    world_free(world);
}
