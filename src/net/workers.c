/* net/workers.c - a small thread pool with one queue, in which idle threads help busy ones. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/profile.h"
#include "net/workers.h"

struct work_queue {
    struct io_work *first, *last;
};

struct worker {
    struct workers *all;
    unsigned index;
    pthread_t thread;
};

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t has_work, is_quiet;
    struct work_queue waiting, done;
    struct team *team; /* NULL for one thread */
    const struct cores *cores;
    bool is_alone;
    unsigned n_threads, n_running, n_idle;
    bool is_ending;
    void (*wake)(void *arg);
    void *arg;
    struct worker worker[];
};

static void push(struct work_queue *queue, struct io_work *work)
{
    work->next = NULL;
    if (queue->last)
        queue->last->next = work;
    else
        queue->first = work;
    queue->last = work;
}

static struct io_work *pop(struct work_queue *queue)
{
    struct io_work *work = queue->first;
    queue->first = work->next;
    if (!queue->first)
        queue->last = NULL;
    work->next = NULL;
    return work;
}

/* The next three are called, and return, with the lock held. */
static void wait(struct workers *w)
{
    w->n_idle++;
    pthread_cond_wait(&w->has_work, &w->lock);
    w->n_idle--;
}

static void run_first(struct workers *w)
{
    struct io_work *work = pop(&w->waiting);
    w->n_running++;
    pthread_mutex_unlock(&w->lock);
    profile_enter(PROFILE_OTHER);
    work->run(work);
    profile_enter(PROFILE_IDLE);
    pthread_mutex_lock(&w->lock);
    push(&w->done, work);
    if (--w->n_running == 0)
        pthread_cond_signal(&w->is_quiet);
    w->wake(w->arg);
}

static void help(struct workers *w)
{
    pthread_mutex_unlock(&w->lock);
    profile_enter(PROFILE_OTHER);
    team_help(w->team);
    profile_enter(PROFILE_IDLE);
    pthread_mutex_lock(&w->lock);
}

/* Own work goes first: one part of another's job at a time, and then another look at the queue. */
static void *serve(void *arg)
{
    const struct worker *worker = arg;
    struct workers *w = worker->all;
    char name[PROFILE_THREAD_NAME_MAX];
    snprintf(name, sizeof name, "worker %u", worker->index + 1);
    profile_thread(name);
    if (w->cores)
        cores_bind(w->cores, worker->index, w->is_alone);
    pthread_mutex_lock(&w->lock);
    while (!w->is_ending) {
        if (w->waiting.first)
            run_first(w);
        else if (w->team && team_is_open(w->team))
            help(w);
        else
            wait(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* A thread that saw no open job either sleeps by now or has not let go of the lock, so none misses the signal. */
static void call_help(void *arg, size_t n)
{
    struct workers *w = arg;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < n && i < w->n_idle; i++)
        pthread_cond_signal(&w->has_work);
    pthread_mutex_unlock(&w->lock);
}

/* Signals are for the loop thread; a worker that caught one would only delay it. */
static int start_thread(struct workers *w, unsigned index)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct worker *worker = &w->worker[index];
    *worker = (struct worker){.all = w, .index = index};
    int failed = pthread_create(&worker->thread, NULL, serve, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

int workers_new(unsigned n, const struct cores *cores, bool is_alone, void (*wake)(void *arg), void *arg, struct workers **out)
{
    int err = HANSE_ENOMEM;
    struct workers *w = calloc(1, sizeof *w + n * sizeof w->worker[0]);
    if (!w)
        return err;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->has_work, NULL);
    pthread_cond_init(&w->is_quiet, NULL);
    w->cores = cores;
    w->is_alone = is_alone;
    w->wake = wake;
    w->arg = arg;
    if (n > 1) {
        err = team_new(n, call_help, w, &w->team);
        if (err)
            goto fail;
    }
    for (; w->n_threads < n; w->n_threads++) {
        if (start_thread(w, w->n_threads)) {
            log_error("threads: could not start %u of them; raise the limit on processes (ulimit -u)", n);
            err = HANSE_EFULL;
            goto fail;
        }
    }
    *out = w;
    return 0;
fail:
    workers_free(w);
    return err;
}

void workers_free(struct workers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->is_ending = true;
    pthread_cond_broadcast(&w->has_work);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->n_threads; i++)
        pthread_join(w->worker[i].thread, NULL);
    team_free(w->team);
    pthread_cond_destroy(&w->is_quiet);
    pthread_cond_destroy(&w->has_work);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void workers_push(struct workers *w, struct io_work *work)
{
    pthread_mutex_lock(&w->lock);
    push(&w->waiting, work);
    pthread_cond_signal(&w->has_work);
    pthread_mutex_unlock(&w->lock);
}

struct team *workers_team(struct workers *w)
{
    return w->team;
}

struct io_work *workers_take_done(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    struct io_work *first = w->done.first;
    w->done = (struct work_queue){0};
    pthread_mutex_unlock(&w->lock);
    return first;
}

void workers_drain(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    w->waiting = (struct work_queue){0};
    while (w->n_running > 0)
        pthread_cond_wait(&w->is_quiet, &w->lock);
    w->done = (struct work_queue){0};
    pthread_mutex_unlock(&w->lock);
}
