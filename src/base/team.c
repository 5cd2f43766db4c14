/* base/team.c - jobs live on the stacks of their callers, so nobody but the caller may outlast them. */
#include "base/team.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/profile.h"

struct job {
    team_part *run;
    void *arg;
    size_t n_parts, n_taken, n_done; /* of a team's, under its lock */
    pthread_cond_t is_done;
    enum profile_span span; /* the caller's, which is that of its helpers, too */
    struct job *next;
};

struct team {
    pthread_mutex_t lock;
    struct job *first, *last; /* jobs with parts to take, oldest first */
    atomic_size_t n_open;     /* how many those are, for a look without the lock */
    unsigned width;
    void (*call_help)(void *arg, size_t n);
    void *arg;
};

int team_new(unsigned width, void (*call_help)(void *arg, size_t n), void *arg, struct team **out)
{
    assert(width > 0);
    struct team *team = calloc(1, sizeof *team);
    if (!team)
        return HANSE_ENOMEM;
    pthread_mutex_init(&team->lock, NULL);
    team->width = width;
    team->call_help = call_help;
    team->arg = arg;
    *out = team;
    return 0;
}

void team_free(struct team *team)
{
    if (!team)
        return;
    assert(!team->first);
    pthread_mutex_destroy(&team->lock);
    free(team);
}

unsigned team_width(const struct team *team)
{
    return team ? team->width : 1;
}

bool team_is_open(const struct team *team)
{
    return atomic_load(&team->n_open) > 0;
}

/* The next three hold the lock. */
static void link_job(struct team *team, struct job *job)
{
    *(team->last ? &team->last->next : &team->first) = job;
    team->last = job;
    atomic_fetch_add(&team->n_open, 1);
}

static void unlink_job(struct team *team, struct job *job)
{
    struct job **at = &team->first, *before = NULL;
    while (*at != job) {
        before = *at;
        at = &before->next;
    }
    *at = job->next;
    if (team->last == job)
        team->last = before;
    atomic_fetch_sub(&team->n_open, 1);
}

/* Runs a part that nobody took yet, with the lock let go meanwhile.  A job of which all is taken is off the list: no helper
 * finds it any more, and those that are in a part of it are the ones its caller waits for. */
static void run_part(struct team *team, struct job *job)
{
    size_t i = job->n_taken++;
    if (job->n_taken == job->n_parts)
        unlink_job(team, job);
    pthread_mutex_unlock(&team->lock);
    profile_enter(job->span);
    job->run(job->arg, i);
    pthread_mutex_lock(&team->lock);
    if (++job->n_done == job->n_parts)
        pthread_cond_signal(&job->is_done); /* under the lock: the job is gone soon after it */
}

static void run_alone(team_part *run, void *arg, size_t n_parts)
{
    for (size_t i = 0; i < n_parts; i++)
        run(arg, i);
}

void team_run(struct team *team, team_part *run, void *arg, size_t n_parts)
{
    if (team_width(team) == 1 || n_parts < 2) {
        run_alone(run, arg, n_parts);
        return;
    }
    struct job job = {.run = run, .arg = arg, .n_parts = n_parts, .is_done = PTHREAD_COND_INITIALIZER, .span = profile_now()};
    pthread_mutex_lock(&team->lock);
    link_job(team, &job);
    pthread_mutex_unlock(&team->lock);
    team->call_help(team->arg, n_parts < team->width ? n_parts - 1 : team->width - 1);
    pthread_mutex_lock(&team->lock);
    while (job.n_taken < n_parts)
        run_part(team, &job);
    while (job.n_done < n_parts)
        pthread_cond_wait(&job.is_done, &team->lock);
    pthread_mutex_unlock(&team->lock);
    pthread_cond_destroy(&job.is_done);
}

bool team_help(struct team *team)
{
    pthread_mutex_lock(&team->lock);
    struct job *job = team->first;
    if (job)
        run_part(team, job);
    pthread_mutex_unlock(&team->lock);
    return job != NULL;
}
