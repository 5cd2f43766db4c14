/* net/workers.c - a small thread pool with one queue. */
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

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t has_work, is_quiet;
    struct work_queue waiting, done;
    unsigned n_threads, n_running;
    unsigned n_named; /* threads that have said which one they are */
    bool is_ending;
    void (*wake)(void *arg);
    void *arg;
    pthread_t thread[];
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

static void *serve(void *arg)
{
    struct workers *w = arg;
    char name[PROFILE_THREAD_NAME_MAX];
    pthread_mutex_lock(&w->lock);
    snprintf(name, sizeof name, "worker %u", ++w->n_named);
    profile_thread(name);
    for (;;) {
        while (!w->waiting.first && !w->is_ending)
            pthread_cond_wait(&w->has_work, &w->lock);
        if (w->is_ending)
            break;
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
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Signals are for the loop thread; a worker that caught one would only delay it. */
static int start_thread(struct workers *w, pthread_t *thread)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, NULL, serve, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

int workers_new(unsigned n, void (*wake)(void *arg), void *arg, struct workers **out)
{
    struct workers *w = calloc(1, sizeof *w + n * sizeof w->thread[0]);
    if (!w)
        return HANSE_ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->has_work, NULL);
    pthread_cond_init(&w->is_quiet, NULL);
    w->wake = wake;
    w->arg = arg;
    for (; w->n_threads < n; w->n_threads++) {
        if (start_thread(w, &w->thread[w->n_threads])) {
            log_error("threads: could not start %u of them; raise the limit on processes (ulimit -u)", n);
            workers_free(w);
            return HANSE_EFULL;
        }
    }
    *out = w;
    return 0;
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
        pthread_join(w->thread[i], NULL);
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
