/**
 * tests/unit/team_helpers.h - threads that help a team by themselves, as workers do, until they are told to go.
 */
#ifndef TEAM_HELPERS_H
#define TEAM_HELPERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/team.h"
#include "tests/unit/unit.h"

#define HELPERS_MAX 4

struct helpers {
    struct team *team;
    pthread_t thread[HELPERS_MAX];
    size_t n;
    atomic_bool is_ending;
    atomic_size_t n_called; /* as the team asked for them */
};

static inline void helpers_called(void *arg, size_t n)
{
    struct helpers *helpers = arg;
    atomic_fetch_add(&helpers->n_called, n);
}

static inline void *helpers_help(void *arg)
{
    struct helpers *helpers = arg;
    while (!atomic_load(&helpers->is_ending))
        if (!team_help(helpers->team))
            usleep(20);
    return NULL;
}

/** A team of up to `n_team` at work, and `n` who help. */
static inline void helpers_start(struct helpers *helpers, unsigned n_team, size_t n)
{
    ck_assert_uint_le(n, HELPERS_MAX);
    *helpers = (struct helpers){.n = n};
    ck_assert_int_eq(team_new(n_team, helpers_called, helpers, &helpers->team), 0);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(pthread_create(&helpers->thread[i], NULL, helpers_help, helpers), 0);
}

static inline void helpers_end(struct helpers *helpers)
{
    atomic_store(&helpers->is_ending, true);
    for (size_t i = 0; i < helpers->n; i++)
        pthread_join(helpers->thread[i], NULL);
    team_free(helpers->team);
}

#endif
