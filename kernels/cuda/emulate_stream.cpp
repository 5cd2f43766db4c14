/* kernels/cuda/emulate_stream.cpp - streams and events: what is asked for is done when somebody waits for it.
 *
 * A device may be as late as that.  So a thread that reads what it has not waited for, or a copy whose source was changed too
 * early, shows.  What is asked of one stream is done in order; another's work only where an event or a wait demands it. */
#include "kernels/cuda/emulate_state.h"

#include <stdio.h>

#define N_BLOCKS_MAX 0x7fffffffu /* of a grid's x; y and z have 65535 */
#define N_ASKED_MAX 4096         /* what a stream keeps before the oldest is done */

struct job {
    struct job *next;
    cudaError_t (*run)(struct job *job);
    /* a launch */
    const char *name;
    dim3 grid, block;
    size_t shared_bytes;
    void (*call)(const void *arguments);
    /* a copy of rows, a fill, memory to give back; waiting for another stream */
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, width, height;
    int value;
    cudaStream_t stream;
    uint64_t until;
    /* a launch's arguments, or what the CPU's memory held */
    alignas(16) unsigned char bytes[];
};

struct emulate_stream {
    struct emulate_stream *next;
    struct job *first, **last;
    uint64_t n_asked, n_done;
};

struct emulate_event {
    struct emulate_event *next;
    cudaStream_t stream;
    uint64_t at; /* n_done of the stream when it happens */
    double ms;
};

static struct emulate_stream *streams;
static struct emulate_event *events;
static struct emulate_stream of_nobody = {NULL, NULL, &of_nobody.first, 0, 0};

static cudaStream_t or_default(cudaStream_t stream)
{
    return stream ? stream : &of_nobody;
}

static bool exists(const struct emulate_stream *wanted)
{
    const struct emulate_stream *s = streams;
    while (s && s != wanted)
        s = s->next;
    return s || wanted == &of_nobody;
}

/* ---- doing */

/* Does what the stream was asked for, up to the nth; a device that failed does nothing. */
static cudaError_t run_until(cudaStream_t stream, uint64_t until)
{
    cudaError_t err = cudaSuccess;
    emulate_uncover();
    while (stream->n_done < until && stream->first) {
        struct job *job = stream->first;
        stream->first = job->next;
        if (!stream->first)
            stream->last = &stream->first;
        stream->n_done++;
        cudaError_t one = emulate_health();
        if (one == cudaSuccess)
            one = job->run(job);
        if (err == cudaSuccess)
            err = one;
        free(job);
    }
    emulate_cover();
    return err;
}

static cudaError_t run_all(cudaStream_t stream)
{
    cudaError_t err = run_until(stream, stream->n_asked), health = emulate_health();
    return err != cudaSuccess ? err : health;
}

void emulate_drain(void)
{
    (void)run_all(&of_nobody);
    for (struct emulate_stream *s = streams; s; s = s->next)
        (void)run_all(s);
}

static struct job *new_job(cudaError_t (*run)(struct job *job), size_t n_bytes)
{
    struct job *job = static_cast<struct job *>(calloc(1, sizeof *job + n_bytes));
    if (!job)
        abort();
    job->run = run;
    return job;
}

static cudaError_t ask(cudaStream_t stream, struct job *job)
{
    stream = or_default(stream);
    if (!exists(stream)) {
        free(job);
        return cudaErrorInvalidResourceHandle;
    }
    *stream->last = job;
    stream->last = &job->next;
    stream->n_asked++;
    if (emulate_state.is_eager || stream == &of_nobody)
        return run_all(stream);
    return stream->n_asked - stream->n_done > N_ASKED_MAX ? run_until(stream, stream->n_done + 1) : cudaSuccess;
}

/* ---- streams and events */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    if (err == cudaSuccess) {
        struct emulate_stream *s = static_cast<struct emulate_stream *>(calloc(1, sizeof *s));
        s->last = &s->first;
        s->next = streams;
        streams = *out = s;
        emulate_state.used_handles++;
    }
    emulate_unlock();
    return emulate_failed(err);
}

template <class T> static bool take_out(T **list, T *wanted)
{
    while (*list && *list != wanted)
        list = &(*list)->next;
    if (!*list)
        return false;
    *list = wanted->next;
    emulate_state.used_handles--;
    return true;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    emulate_lock();
    cudaError_t err = exists(stream) ? run_all(stream) : cudaErrorInvalidResourceHandle;
    if (take_out(&streams, stream))
        free(stream);
    emulate_unlock();
    return emulate_failed(err);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    emulate_lock();
    stream = or_default(stream);
    cudaError_t err = exists(stream) ? run_all(stream) : cudaErrorInvalidResourceHandle;
    emulate_unlock();
    return emulate_failed(err);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    emulate_lock();
    stream = or_default(stream);
    cudaError_t err = emulate_health();
    if (err == cudaSuccess && stream->n_done < stream->n_asked)
        err = cudaErrorNotReady;
    emulate_unlock();
    return err;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    if (err == cudaSuccess) {
        struct emulate_event *e = static_cast<struct emulate_event *>(calloc(1, sizeof *e));
        e->next = events;
        events = *out = e;
        emulate_state.used_handles++;
    }
    emulate_unlock();
    return emulate_failed(err);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    return cudaEventCreate(event);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    if (take_out(&events, event))
        free(event);
    else
        err = cudaErrorInvalidResourceHandle;
    emulate_unlock();
    return emulate_failed(err);
}

/* Its time is made up of how much was asked for: what a kernel costs here has nothing to do with a device. */
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    emulate_lock();
    stream = or_default(stream);
    cudaError_t err = exists(stream) ? emulate_health() : cudaErrorInvalidResourceHandle;
    event->stream = stream;
    event->at = stream->n_asked;
    event->ms = 0.001 * (double)emulate_state.n_calls;
    emulate_unlock();
    return emulate_failed(err);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    if (event->stream && exists(event->stream)) {
        cudaError_t one = run_until(event->stream, event->at);
        err = one != cudaSuccess ? one : emulate_health();
    }
    emulate_unlock();
    return emulate_failed(err);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    if (err == cudaSuccess && event->stream && exists(event->stream) && event->stream->n_done < event->at)
        err = cudaErrorNotReady;
    emulate_unlock();
    return err;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    *ms = (float)(to->ms - from->ms);
    return cudaEventQuery(to);
}

static cudaError_t run_wait(struct job *job)
{
    return exists(job->stream) ? run_until(job->stream, job->until) : cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    if (err == cudaSuccess && event->stream) {
        struct job *job = new_job(run_wait, 0);
        job->stream = event->stream;
        job->until = event->at;
        err = ask(stream, job);
    }
    emulate_unlock();
    return emulate_failed(err);
}

void emulate_drop_handles(void)
{
    while (streams) {
        struct emulate_stream *s = streams;
        for (struct job *job = s->first, *next; job; job = next) {
            next = job->next;
            free(job);
        }
        take_out(&streams, s);
        free(s);
    }
    while (events) {
        struct emulate_event *e = events;
        take_out(&events, e);
        free(e);
    }
}

/* ---- copies and fills */

static cudaError_t run_copy(struct job *job)
{
    for (size_t i = 0; i < job->height; i++)
        memmove(job->to + i * job->to_pitch, job->from + i * job->from_pitch, job->width);
    return cudaSuccess;
}

/* Both ends must lie where the kind of copy says, each in one piece. */
static bool is_sound(const struct job *job, cudaMemcpyKind kind)
{
    size_t to_bytes = (job->height - 1) * job->to_pitch + job->width,
           from_bytes = (job->height - 1) * job->from_pitch + job->width;
    bool is_to = emulate_is_in(EMULATE_DEVICE, job->to, to_bytes), is_from = emulate_is_in(EMULATE_DEVICE, job->from, from_bytes);
    return kind == cudaMemcpyDefault || (is_to == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
                                         is_from == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
}

/* Of memory that is not pinned the driver makes a copy at once, and to such memory it waits. */
static cudaError_t ask_copy(const struct job *wanted, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (wanted->width == 0 || wanted->height == 0)
        return cudaSuccess;
    if (!is_sound(wanted, kind)) {
        fprintf(stderr, "emulation: a copy of %zu bytes from %p to %p, of which one is not where it is said to be\n",
                wanted->width * wanted->height, (const void *)wanted->from, (void *)wanted->to);
        return cudaErrorInvalidValue;
    }
    bool is_kept = kind == cudaMemcpyHostToDevice && !emulate_is_in(EMULATE_PINNED, wanted->from, wanted->width);
    size_t from_bytes = is_kept ? (wanted->height - 1) * wanted->from_pitch + wanted->width : 0;
    struct job *job = new_job(run_copy, from_bytes);
    memcpy(job, wanted, sizeof *job);
    job->run = run_copy;
    if (is_kept) {
        memcpy(job->bytes, wanted->from, from_bytes);
        job->from = reinterpret_cast<const char *>(job->bytes);
    }
    cudaError_t err = ask(stream, job);
    if (err == cudaSuccess && kind == cudaMemcpyDeviceToHost && !emulate_is_in(EMULATE_PINNED, wanted->to, wanted->width))
        err = run_all(or_default(stream));
    return err;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream)
{
    struct job job;
    memset(static_cast<void *>(&job), 0, sizeof job);
    job.to = static_cast<char *>(to);
    job.from = static_cast<const char *>(from);
    job.to_pitch = to_pitch;
    job.from_pitch = from_pitch;
    job.width = width;
    job.height = height;
    emulate_lock();
    cudaError_t err = emulate_health();
    if (err == cudaSuccess)
        err = ask_copy(&job, kind, stream);
    emulate_unlock();
    return emulate_failed(err);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n_bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    return cudaMemcpy2DAsync(to, n_bytes, from, n_bytes, n_bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t n_bytes, cudaMemcpyKind kind)
{
    return cudaMemcpyAsync(to, from, n_bytes, kind, NULL);
}

static cudaError_t run_fill(struct job *job)
{
    memset(job->to, job->value, job->width);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t n_bytes, cudaStream_t stream)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    if (err == cudaSuccess && !emulate_is_in(EMULATE_DEVICE, at, n_bytes))
        err = cudaErrorInvalidValue;
    if (err == cudaSuccess && n_bytes > 0) {
        struct job *job = new_job(run_fill, 0);
        job->to = static_cast<char *>(at);
        job->value = value;
        job->width = n_bytes;
        err = ask(stream, job);
    }
    emulate_unlock();
    return emulate_failed(err);
}

cudaError_t cudaMemset(void *at, int value, size_t n_bytes)
{
    return cudaMemsetAsync(at, value, n_bytes, NULL);
}

static cudaError_t run_free(struct job *job)
{
    emulate_state.used_bytes -= emulate_give(EMULATE_DEVICE, job->to);
    emulate_state.used_pieces--;
    return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *at, cudaStream_t stream)
{
    emulate_lock();
    cudaError_t err = at && emulate_state.has_pools ? emulate_health() : cudaErrorInvalidValue;
    if (err == cudaSuccess) {
        struct job *job = new_job(run_free, 0);
        job->to = static_cast<char *>(at);
        err = ask(stream, job);
    }
    emulate_unlock();
    return emulate_failed(err);
}

/* ---- launches */

static bool is_possible(dim3 grid, dim3 block)
{
    uint64_t n_threads = (uint64_t)block.x * block.y * block.z;
    return n_threads > 0 && n_threads <= 1024 && block.z <= 64 && grid.x > 0 && grid.y > 0 && grid.z > 0 &&
           grid.x <= N_BLOCKS_MAX && grid.y <= 65535 && grid.z <= 65535;
}

static cudaError_t run_launch(struct job *job)
{
    emulate_state.n_launches++;
    if (emulate_state.failure == EMULATE_LOST || emulate_state.failure == EMULATE_FAULT)
        emulate_count_down();
    emulate_run(job->name, job->grid, job->block, job->shared_bytes, job->call, job->bytes);
    return cudaSuccess;
}

cudaError_t emulate_launch(const char *name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                           void (*call)(const void *arguments), const void *arguments, size_t n_bytes)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    if (err == cudaSuccess && !is_possible(grid, block))
        err = cudaErrorInvalidConfiguration;
    if (err == cudaSuccess && shared_bytes > emulate_state.shared_bytes)
        err = cudaErrorInvalidValue;
    if (err == cudaSuccess) {
        struct job *job = new_job(run_launch, n_bytes);
        job->name = name;
        job->grid = grid;
        job->block = block;
        job->shared_bytes = shared_bytes;
        job->call = call;
        memcpy(job->bytes, arguments, n_bytes);
        err = ask(stream, job);
    }
    emulate_unlock();
    return emulate_failed(err);
}
