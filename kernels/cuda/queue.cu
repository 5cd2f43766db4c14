/* kernels/cuda/queue.cu - each thread's stream and scratch, its memory operations, and the first failure.
 *
 * Memory is given and taken back in the order of the stream of whoever asks (cudaMallocAsync, cudaFreeAsync), so a thread
 * may release what its own queued work still reads, and nothing waits.  Between threads two rules meet:
 *   - memory that changes hands has been waited for by the thread that had it (kernels/kernels.h), so whoever releases it,
 *     only the releaser's own stream can still have work on it
 *   - the pool gives released memory to another stream only after the work before its release is done: it puts the
 *     dependency between the streams itself
 * The pool keeps what is released for the next allotment instead of returning it to the system (release threshold), for
 * that costs milliseconds.  Where there are no pools, allotting and releasing wait for the device. */
#include "kernels/cuda/device_state.h"
#include "kernels/cuda/ops.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/log.h"
}

#define SCRATCH_STEP ((size_t)1 << 20) /* so that shapes that vary a little do not allot each time */
#define SHARED_BYTES_FREE (48 * 1024)  /* of dynamic shared memory that a kernel has without asking */
#define MIB ((double)(1 << 20))

struct queue {
    cudaStream_t stream;
    void *scratch[CUDA_N_SCRATCH];
    size_t scratch_bytes[CUDA_N_SCRATCH];
    size_t taken; /* of scratch; other threads read it */
    struct staging staging;
    struct queue *next, **link; /* of all threads' */
};

/* What a thread has: its queue, of the time in which the GPU was opened for the nth time. */
static __thread struct {
    struct queue *queue;
    unsigned nth;
    int err; /* HANSE_ENOMEM: something was left out since the last get() or wait() */
} mine;

/* What fails in between cuda_try_begin() and cuda_try_end(). */
static __thread struct {
    bool is_on;
    cudaError_t err;
} trial;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_exit;
static struct queue *queues;
static unsigned nth_opening;
static int is_failed;
static struct log_seldom no_memory; /* while it lasts each request may fail anew */

#define N_WIDE 64 /* kernels that use much shared memory; two in one place ask each time */

static struct {
    const void *kernel;
    size_t shared_bytes;
} wide[N_WIDE];

/* ---- failures */

bool cuda_has_failed(void)
{
    return __atomic_load_n(&is_failed, __ATOMIC_ACQUIRE);
}

bool cuda_is_lost(void)
{
    return mine.err || trial.err != cudaSuccess || cuda_has_failed();
}

void cuda_try_begin(void)
{
    trial = {true, cudaSuccess};
}

cudaError_t cuda_try_end(void)
{
    cudaError_t err = trial.err;
    trial = {false, cudaSuccess};
    return err;
}

void cuda_note_no_memory(const char *what, size_t n_bytes)
{
    size_t n_free = 0, n_total = 0;
    if (cuda_memory(&n_free, &n_total) != cudaSuccess)
        (void)cudaGetLastError();
    log_seldom(
        &no_memory, LOG_ERROR,
        "%s: no memory for %s of %.1f MiB, %.1f of %.1f MiB are free; host fewer experts on it, or free what other programs hold "
        "(nvidia-smi lists them)",
        cuda_gpu(), what, (double)n_bytes / MIB, (double)n_free / MIB, (double)n_total / MIB);
}

void cuda_note(cudaError_t err, const char *what)
{
    if (err == cudaSuccess)
        return;
    (void)cudaGetLastError(); /* else the next launch would be blamed for it */
    if (trial.is_on) {
        trial.err = trial.err == cudaSuccess ? err : trial.err;
        return;
    }
    if (err == cudaErrorMemoryAllocation) {
        if (!mine.err)
            log_seldom(&no_memory, LOG_ERROR,
                       "%s: no memory for %s; host fewer experts on it, or free what other programs hold (nvidia-smi lists them)",
                       cuda_gpu(), what);
        mine.err = HANSE_ENOMEM;
        return;
    }
    if (__atomic_exchange_n(&is_failed, 1, __ATOMIC_ACQ_REL) == 0)
        log_error(
            "%s: %s failed: %s (%s); nothing more is asked of it. Start hanse again; if it fails again, see the driver's own "
            "messages with dmesg | grep NVRM, or use --device cpu",
            cuda_gpu(), what, cudaGetErrorString(err), cudaGetErrorName(err));
}

void cuda_keep_no_memory(void)
{
    mine.err = HANSE_ENOMEM;
}

/* ---- each thread's queue */

static void give_back(void *memory, cudaStream_t stream)
{
    if (cuda_has_pools()) {
        cuda_note(cudaFreeAsync(memory, stream), "giving back memory");
        return;
    }
    cuda_note(cudaStreamSynchronize(stream), "waiting");
    if (!cuda_has_failed())
        cuda_note(cudaFree(memory), "giving back memory");
}

/* A device that failed is asked for nothing, here neither: the driver cleans up at the end of the process. */
static void queue_free(struct queue *q)
{
    *q->link = q->next;
    if (q->next)
        q->next->link = q->link;
    for (int i = 0; i < CUDA_N_SCRATCH && !cuda_has_failed(); i++)
        if (q->scratch[i])
            give_back(q->scratch[i], q->stream);
    if (!cuda_has_failed())
        cuda_note(cudaStreamSynchronize(q->stream), "waiting");
    staging_fini(&q->staging);
    if (!cuda_has_failed())
        cuda_note(cudaStreamDestroy(q->stream), "a stream");
    free(q);
}

/* What CUDA knew of this thread may have ended before: then it would choose, and open, the first GPU. */
static void end_thread(void *)
{
    pthread_mutex_lock(&lock);
    if (mine.queue && mine.nth == nth_opening) {
        if (!cuda_has_failed())
            cuda_note(cudaSetDevice(cuda_chip()->index), "choosing it");
        queue_free(mine.queue);
    }
    mine.queue = NULL;
    pthread_mutex_unlock(&lock);
}

static void make_key(void)
{
    pthread_key_create(&at_exit, end_thread);
}

static struct queue *queue_new(void)
{
    struct queue *q = (struct queue *)calloc(1, sizeof *q);
    if (!q) {
        mine.err = HANSE_ENOMEM;
        return NULL;
    }
    cuda_note(cudaSetDevice(cuda_chip()->index), "choosing it");
    if (!cuda_has_failed())
        cuda_note(cudaStreamCreateWithFlags(&q->stream, cudaStreamNonBlocking), "a stream");
    if (!q->stream) {
        free(q);
        return NULL;
    }
    pthread_once(&once, make_key);
    pthread_setspecific(at_exit, q); /* any value but NULL has end_thread() called */
    pthread_mutex_lock(&lock);
    q->next = queues;
    q->link = &queues;
    if (queues)
        queues->link = &q->next;
    queues = q;
    mine.nth = nth_opening;
    pthread_mutex_unlock(&lock);
    return q;
}

/* NULL when the device failed, or would not make one, which is noted. */
static struct queue *my_queue(void)
{
    if (cuda_has_failed())
        return NULL;
    if (!mine.queue || mine.nth != __atomic_load_n(&nth_opening, __ATOMIC_ACQUIRE))
        mine.queue = queue_new();
    return mine.queue;
}

void cuda_queues_begin(void)
{
    __atomic_store_n(&is_failed, 0, __ATOMIC_RELEASE);
    mine.err = 0;
}

void cuda_queues_end(void)
{
    pthread_mutex_lock(&lock);
    while (queues)
        queue_free(queues);
    memset(wide, 0, sizeof wide);
    __atomic_store_n(&nth_opening, nth_opening + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    cuda_queues_begin();
}

cudaStream_t cuda_stream(void)
{
    struct queue *q = my_queue();
    return q ? q->stream : NULL;
}

/* ---- memory */

static void *try_allot(size_t n_bytes, cudaStream_t stream)
{
    void *at = NULL;
    cudaError_t err = cuda_has_pools() ? cudaMallocAsync(&at, n_bytes, stream) : cudaMalloc(&at, n_bytes);
    if (err == cudaSuccess)
        return at;
    if (err == cudaErrorMemoryAllocation)
        (void)cudaGetLastError();
    else
        cuda_note(err, "allotting memory");
    return NULL;
}

/* What this thread released may still be under way; then there is more. */
static void *allot(size_t n_bytes, cudaStream_t stream)
{
    void *at = try_allot(n_bytes, stream);
    if (at || cuda_has_failed())
        return at;
    cuda_note(cudaStreamSynchronize(stream), "waiting");
    return cuda_has_failed() ? NULL : try_allot(n_bytes, stream);
}

void *cuda_allot(size_t n_bytes)
{
    struct queue *q = my_queue();
    if (!q)
        return NULL;
    void *at = allot(n_bytes ? n_bytes : 1, q->stream);
    if (!at && !cuda_has_failed())
        cuda_note_no_memory("a tensor", n_bytes);
    return at;
}

void cuda_release(void *memory)
{
    struct queue *q = memory ? my_queue() : NULL;
    if (q)
        give_back(memory, q->stream);
}

size_t cuda_scratch_bytes(size_t n_bytes)
{
    return (n_bytes / SCRATCH_STEP + 1) * SCRATCH_STEP;
}

static void drop_scratch(struct queue *q, int which)
{
    if (!q->scratch[which])
        return;
    give_back(q->scratch[which], q->stream);
    q->scratch[which] = NULL;
    __atomic_store_n(&q->taken, q->taken - q->scratch_bytes[which], __ATOMIC_RELAXED);
}

static void take_scratch(struct queue *q, int which, size_t n_bytes)
{
    q->scratch_bytes[which] = cuda_scratch_bytes(n_bytes);
    q->scratch[which] = cuda_has_failed() ? NULL : allot(q->scratch_bytes[which], q->stream);
    if (q->scratch[which])
        __atomic_store_n(&q->taken, q->taken + q->scratch_bytes[which], __ATOMIC_RELAXED);
}

void *cuda_scratch(int which, size_t n_bytes)
{
    struct queue *q = cuda_is_lost() ? NULL : my_queue();
    if (!q)
        return NULL;
    if (q->scratch[which] && n_bytes <= q->scratch_bytes[which])
        return q->scratch[which];
    drop_scratch(q, which);
    take_scratch(q, which, n_bytes);
    if (!q->scratch[which] && !cuda_has_failed()) {
        mine.err = HANSE_ENOMEM;
        cuda_note_no_memory("scratch", n_bytes);
    }
    return q->scratch[which];
}

void cuda_scratch_give_back(void)
{
    struct queue *q = my_queue();
    for (int i = 0; q && i < CUDA_N_SCRATCH && !cuda_has_failed(); i++)
        drop_scratch(q, i);
}

size_t cuda_scratch_taken(size_t most)
{
    size_t n_bytes = 0;
    pthread_mutex_lock(&lock);
    for (const struct queue *q = queues; q; q = q->next) {
        size_t taken = __atomic_load_n(&q->taken, __ATOMIC_RELAXED);
        n_bytes += taken < most ? taken : most;
    }
    pthread_mutex_unlock(&lock);
    return n_bytes;
}

int cuda_wait(void)
{
    struct queue *q = my_queue();
    if (q) {
        cuda_note(cudaStreamSynchronize(q->stream), "what was queued");
        staging_rest(&q->staging);
    }
    int err = cuda_has_failed() ? (int)HANSE_EDEVICE : mine.err;
    mine.err = 0;
    return err;
}

void cuda_put(void *to, const void *from, size_t n_bytes)
{
    struct queue *q = n_bytes == 0 || cuda_is_lost() ? NULL : my_queue();
    if (q)
        staging_put(&q->staging, q->stream, to, from, n_bytes);
}

int cuda_get(void *to, const void *from, size_t n_bytes)
{
    struct queue *q = n_bytes == 0 || cuda_is_lost() ? NULL : my_queue();
    if (!q)
        return cuda_wait();
    staging_get(&q->staging, q->stream, to, from, n_bytes);
    int err = cuda_has_failed() ? (int)HANSE_EDEVICE : mine.err;
    mine.err = 0;
    return err;
}

void cuda_copy(void *to, const void *from, size_t n_bytes)
{
    struct queue *q = n_bytes == 0 || cuda_is_lost() ? NULL : my_queue();
    if (q)
        cuda_note(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDeviceToDevice, q->stream), "a copy on the GPU");
}

void cuda_zero(void *at, size_t n_bytes)
{
    struct queue *q = n_bytes == 0 || cuda_is_lost() ? NULL : my_queue();
    if (q)
        cuda_note(cudaMemsetAsync(at, 0, n_bytes, q->stream), "clearing memory");
}

/* ---- launches */

/* Allows the kernel that much, once. */
static void allow_shared(const void *kernel, size_t shared_bytes)
{
    size_t i = ((uintptr_t)kernel >> 4) % N_WIDE;
    pthread_mutex_lock(&lock);
    if (wide[i].kernel != kernel || wide[i].shared_bytes < shared_bytes) {
        cuda_note(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes), "shared memory");
        wide[i].kernel = kernel;
        wide[i].shared_bytes = shared_bytes;
    }
    pthread_mutex_unlock(&lock);
}

bool cuda_may_launch(const void *kernel, dim3 grid, size_t shared_bytes)
{
    if (cuda_is_lost() || (uint64_t)grid.x * grid.y * grid.z == 0 || !my_queue())
        return false;
    if (shared_bytes > SHARED_BYTES_FREE)
        allow_shared(kernel, shared_bytes);
    return !cuda_is_lost();
}
