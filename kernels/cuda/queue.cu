/* kernels/cuda/queue.cu - each thread's stream and scratch, copies, and the first failure. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/device_state.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/log.h"
}

struct queue {
    cudaStream_t stream;
    void *scratch[CUDA_N_SCRATCH];
    size_t scratch_bytes[CUDA_N_SCRATCH];
    int err;
};

static __thread struct queue mine;
static volatile int lost;

void cuda_note(cudaError_t err, const char *what)
{
    if (err == cudaSuccess)
        return;
    (void)cudaGetLastError();
    log_error("GPU %d: %s: %s", cuda_chip()->index, what, cudaGetErrorString(err));
    if (err == cudaErrorMemoryAllocation)
        mine.err = HANSE_ENOMEM;
    else
        lost = 1;
}

bool cuda_is_lost(void)
{
    return lost || mine.err;
}

cudaStream_t cuda_stream(void)
{
    if (!mine.stream && !lost)
        cuda_note(cudaStreamCreateWithFlags(&mine.stream, cudaStreamNonBlocking), "a stream");
    return mine.stream;
}

int cuda_wait(void)
{
    if (!lost)
        cuda_note(cudaStreamSynchronize(cuda_stream()), "waiting");
    int err = lost ? (int)HANSE_EDEVICE : mine.err;
    mine.err = 0;
    return err;
}

void *cuda_scratch(int which, size_t n_bytes)
{
    if (cuda_is_lost())
        return NULL;
    if (n_bytes <= mine.scratch_bytes[which])
        return mine.scratch[which];
    if (mine.scratch[which])
        cuda_note(cudaFreeAsync(mine.scratch[which], cuda_stream()), "scratch");
    mine.scratch[which] = NULL;
    mine.scratch_bytes[which] = 0;
    cuda_note(cudaMallocAsync(&mine.scratch[which], n_bytes, cuda_stream()), "scratch");
    if (mine.scratch[which])
        mine.scratch_bytes[which] = n_bytes;
    return mine.scratch[which];
}

void *cuda_allot(size_t n_bytes)
{
    void *at = NULL;
    if (!lost && cudaMallocAsync(&at, n_bytes ? n_bytes : 1, cuda_stream()) != cudaSuccess)
        return NULL;
    return at;
}

void cuda_release(void *memory)
{
    if (memory && !lost)
        cuda_note(cudaFreeAsync(memory, cuda_stream()), "giving memory back");
}

void cuda_put(void *to, const void *from, size_t n_bytes)
{
    if (n_bytes == 0 || cuda_is_lost())
        return;
    cuda_note(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyHostToDevice, cuda_stream()), "a copy to the GPU");
    cuda_note(cudaStreamSynchronize(cuda_stream()), "a copy to the GPU");
}

int cuda_get(void *to, const void *from, size_t n_bytes)
{
    if (n_bytes > 0 && !cuda_is_lost())
        cuda_note(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDeviceToHost, cuda_stream()), "a copy from the GPU");
    return cuda_wait();
}

void cuda_copy(void *to, const void *from, size_t n_bytes)
{
    if (n_bytes > 0 && !cuda_is_lost())
        cuda_note(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDeviceToDevice, cuda_stream()), "a copy on the GPU");
}

void cuda_zero(void *at, size_t n_bytes)
{
    if (n_bytes > 0 && !cuda_is_lost())
        cuda_note(cudaMemsetAsync(at, 0, n_bytes, cuda_stream()), "clearing memory");
}

bool cuda_may_launch(const void *kernel, dim3 grid, size_t shared_bytes)
{
    if (cuda_is_lost() || (uint64_t)grid.x * grid.y * grid.z == 0)
        return false;
#ifndef CUDA_EMULATED
    if (shared_bytes > 48 * 1024)
        cuda_note(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes), "shared memory");
#else
    (void)kernel, (void)shared_bytes;
#endif
    return !cuda_is_lost();
}
