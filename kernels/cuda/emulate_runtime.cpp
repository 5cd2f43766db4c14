/* kernels/cuda/emulate_runtime.cpp - memory, streams, and the failures that a test asks for. */
#include "kernels/cuda/emulate.h"

#include <pthread.h>
#include <stdio.h>

#define ALLOT_ALIGN 256
#define N_BLOCKS_MAX 0x7fffffffu /* of a grid's x; y and z have 65535 */

struct emulate_stream {
    int nothing;
};
struct emulate_event {
    uint64_t n_calls;
};

/* Before what is allotted. */
struct piece {
    size_t n_bytes;
    uint64_t mark;
};
#define MARK_DEVICE 0x6563697665640000u
#define MARK_PINNED 0x64656e6e69700000u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int major, minor, n_units, n_devices, driver, runtime;
    size_t shared_bytes, memory_bytes, used_bytes, used_pieces, pinned_bytes, used_handles;
    enum emulate_failure failure;
    uint64_t after_n, n_calls, n_launches;
} chip = {.major = 9,
          .minor = 0,
          .n_units = 4,
          .n_devices = 1,
          .driver = 13000,
          .runtime = 13000,
          .shared_bytes = 227 * 1024,
          .memory_bytes = 1u << 30};
static __thread cudaError_t last_error;

/* ---- what tests set */

void emulate_chip(int major, int minor, int n_units, size_t shared_bytes)
{
    chip.major = major;
    chip.minor = minor;
    chip.n_units = n_units;
    chip.shared_bytes = shared_bytes;
}

void emulate_devices(int n_devices, int driver_version, int runtime_version)
{
    chip.n_devices = n_devices;
    chip.driver = driver_version;
    chip.runtime = runtime_version;
}

void emulate_memory(size_t n_bytes)
{
    chip.memory_bytes = n_bytes;
}

void emulate_fail(enum emulate_failure failure, uint64_t after_n)
{
    pthread_mutex_lock(&lock);
    chip.failure = failure;
    chip.after_n = after_n;
    pthread_mutex_unlock(&lock);
}

static uint64_t look(const uint64_t *counter)
{
    pthread_mutex_lock(&lock);
    uint64_t n = *counter;
    pthread_mutex_unlock(&lock);
    return n;
}

size_t emulate_used_bytes(void)
{
    return look(&chip.used_bytes);
}
size_t emulate_used_pieces(void)
{
    return look(&chip.used_pieces);
}
size_t emulate_pinned_bytes(void)
{
    return look(&chip.pinned_bytes);
}
size_t emulate_used_handles(void)
{
    return look(&chip.used_handles);
}
uint64_t emulate_calls(void)
{
    return look(&chip.n_calls);
}
uint64_t emulate_launches(void)
{
    return look(&chip.n_launches);
}

/* ---- errors */

static cudaError_t fails(cudaError_t err)
{
    if (err != cudaSuccess)
        last_error = err;
    return err;
}

/* What every call meets first: is there still a device?  Holds the lock. */
static cudaError_t health(void)
{
    chip.n_calls++;
    if (chip.driver == 0 || chip.driver < chip.runtime)
        return cudaErrorInsufficientDriver;
    if (chip.n_devices == 0)
        return cudaErrorNoDevice;
    if (chip.after_n == 0 && chip.failure == EMULATE_LOST)
        return cudaErrorUnknown;
    if (chip.after_n == 0 && chip.failure == EMULATE_FAULT)
        return cudaErrorIllegalAddress;
    return cudaSuccess;
}

static cudaError_t asked(void)
{
    pthread_mutex_lock(&lock);
    cudaError_t err = health();
    pthread_mutex_unlock(&lock);
    return fails(err);
}

static void count_down(void)
{
    if (chip.after_n > 0)
        chip.after_n--;
}

static const struct {
    cudaError_t err;
    const char *name, *sentence;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const char *cudaGetErrorName(cudaError_t err)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].err == err)
            return errors[i].name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t err)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].err == err)
            return errors[i].sentence;
    return "unrecognized error code";
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t err = last_error;
    last_error = cudaSuccess;
    return err;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

/* ---- the device */

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 0;
    cudaError_t err = asked();
    if (err == cudaSuccess)
        *n = chip.n_devices;
    return err;
}

static cudaError_t asked_of(int index)
{
    cudaError_t err = asked();
    return err == cudaSuccess && (index < 0 || index >= chip.n_devices) ? fails(cudaErrorInvalidDevice) : err;
}

cudaError_t cudaSetDevice(int index)
{
    return asked_of(index);
}

cudaError_t cudaGetDevice(int *index)
{
    *index = 0;
    return asked();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int index)
{
    cudaError_t err = asked_of(index);
    if (err != cudaSuccess)
        return err;
    memset(prop, 0, sizeof *prop);
    snprintf(prop->name, sizeof prop->name, "emulated GPU %d", index);
    for (int i = 0; i < 16; i++)
        prop->uuid.bytes[i] = (char)(16 * i + index);
    prop->totalGlobalMem = chip.memory_bytes;
    prop->major = chip.major;
    prop->minor = chip.minor;
    prop->multiProcessorCount = chip.n_units;
    prop->sharedMemPerBlockOptin = chip.shared_bytes;
    prop->pciBusID = index + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int index)
{
    cudaError_t err = asked_of(index);
    if (err != cudaSuccess)
        return err;
    *value = what == cudaDevAttrComputeCapabilityMajor             ? chip.major
             : what == cudaDevAttrComputeCapabilityMinor           ? chip.minor
             : what == cudaDevAttrMultiProcessorCount              ? chip.n_units
             : what == cudaDevAttrMaxSharedMemoryPerBlock          ? 48 * 1024
             : what == cudaDevAttrMaxSharedMemoryPerBlockOptin     ? (int)chip.shared_bytes
             : what == cudaDevAttrMaxSharedMemoryPerMultiprocessor ? (int)chip.shared_bytes + 1024
             : what == cudaDevAttrMemoryPoolsSupported             ? 1
             : what == cudaDevAttrClockRate                        ? 1000000
                                                                   : 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int n_bytes, int index)
{
    cudaError_t err = asked_of(index);
    if (err == cudaSuccess)
        snprintf(text, (size_t)n_bytes, "0000:%02X:00.0", (unsigned)index + 1);
    return err;
}

/* These two can be asked of a machine without a driver. */
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = chip.driver;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = chip.runtime;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    return asked();
}

cudaError_t cudaDeviceReset(void)
{
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_total)
{
    cudaError_t err = asked();
    *n_free = chip.memory_bytes > chip.used_bytes ? chip.memory_bytes - chip.used_bytes : 0;
    *n_total = chip.memory_bytes;
    return err;
}

/* ---- streams and events */

template <class T> static cudaError_t make_handle(T **out)
{
    cudaError_t err = asked();
    if (err != cudaSuccess)
        return err;
    *out = static_cast<T *>(calloc(1, sizeof **out));
    pthread_mutex_lock(&lock);
    chip.used_handles++;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

template <class T> static cudaError_t drop_handle(T *handle)
{
    pthread_mutex_lock(&lock);
    cudaError_t err = health();
    chip.used_handles--;
    pthread_mutex_unlock(&lock);
    free(handle);
    return fails(err);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    return make_handle(stream);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    return drop_handle(stream);
}
cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return asked();
}
cudaError_t cudaStreamQuery(cudaStream_t)
{
    return asked();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return asked();
}
cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return make_handle(event);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    return make_handle(event);
}
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return drop_handle(event);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    cudaError_t err = asked();
    event->n_calls = emulate_calls();
    return err;
}
cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return asked();
}
cudaError_t cudaEventQuery(cudaEvent_t)
{
    return asked();
}

/* A made-up clock: what a kernel costs has nothing to do with a device. */
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    *ms = (float)(to->n_calls - from->n_calls) * 0.001f;
    return asked();
}

/* ---- memory */

static struct piece *piece_of(void *at)
{
    return reinterpret_cast<struct piece *>(static_cast<char *>(at) - ALLOT_ALIGN);
}

/* Exactly as much behind a head of its own, so that AddressSanitizer sees a step too far. */
static void *take(size_t n_bytes, uint64_t mark)
{
    void *all = NULL;
    if (posix_memalign(&all, ALLOT_ALIGN, ALLOT_ALIGN + n_bytes) != 0)
        return NULL;
    struct piece *piece = static_cast<struct piece *>(all);
    piece->n_bytes = n_bytes;
    piece->mark = mark;
    void *at = static_cast<char *>(all) + ALLOT_ALIGN;
    memset(at, EMULATE_POISON, n_bytes);
    return at;
}

static size_t give_back(void *at, uint64_t mark)
{
    struct piece *piece = piece_of(at);
    if (piece->mark != mark) {
        fprintf(stderr, "emulation: %p is freed, which was not allotted in this way\n", at);
        abort();
    }
    size_t n_bytes = piece->n_bytes;
    memset(at, EMULATE_POISON, n_bytes);
    piece->mark = 0;
    free(piece);
    return n_bytes;
}

static cudaError_t allot(void **at, size_t n_bytes)
{
    cudaError_t err = health();
    if (err != cudaSuccess)
        return err;
    if (chip.failure == EMULATE_NO_MEMORY && chip.after_n == 0)
        return cudaErrorMemoryAllocation;
    if (n_bytes > chip.memory_bytes || chip.used_bytes > chip.memory_bytes - n_bytes)
        return cudaErrorMemoryAllocation;
    if (chip.failure == EMULATE_NO_MEMORY)
        count_down();
    *at = take(n_bytes, MARK_DEVICE);
    if (!*at)
        return cudaErrorMemoryAllocation;
    chip.used_bytes += n_bytes;
    chip.used_pieces++;
    return cudaSuccess;
}

cudaError_t emulate_malloc(void **at, size_t n_bytes)
{
    *at = NULL;
    if (n_bytes == 0)
        return cudaSuccess; /* as CUDA: NULL */
    pthread_mutex_lock(&lock);
    cudaError_t err = allot(at, n_bytes);
    pthread_mutex_unlock(&lock);
    return fails(err);
}

cudaError_t cudaFree(void *at)
{
    pthread_mutex_lock(&lock);
    cudaError_t err = health();
    if (at) {
        chip.used_bytes -= give_back(at, MARK_DEVICE);
        chip.used_pieces--;
    }
    pthread_mutex_unlock(&lock);
    return fails(err);
}

cudaError_t cudaFreeAsync(void *at, cudaStream_t)
{
    return at ? cudaFree(at) : fails(cudaErrorInvalidValue);
}

cudaError_t emulate_host_alloc(void **at, size_t n_bytes)
{
    *at = NULL;
    pthread_mutex_lock(&lock);
    cudaError_t err = health();
    if (err == cudaSuccess && chip.failure == EMULATE_NO_PINNED && chip.after_n == 0)
        err = cudaErrorMemoryAllocation;
    else if (err == cudaSuccess) {
        if (chip.failure == EMULATE_NO_PINNED)
            count_down();
        *at = take(n_bytes, MARK_PINNED);
        chip.pinned_bytes += *at ? n_bytes : 0;
        err = *at ? cudaSuccess : cudaErrorMemoryAllocation;
    }
    pthread_mutex_unlock(&lock);
    return fails(err);
}

cudaError_t cudaFreeHost(void *at)
{
    pthread_mutex_lock(&lock);
    cudaError_t err = health();
    if (at)
        chip.pinned_bytes -= give_back(at, MARK_PINNED);
    pthread_mutex_unlock(&lock);
    return fails(err);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int index)
{
    *pool = NULL;
    return asked_of(index);
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *)
{
    return asked();
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *value)
{
    uint64_t used = emulate_used_bytes();
    memcpy(value, &used, sizeof used);
    return asked();
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t)
{
    return asked();
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t n_bytes, cudaMemcpyKind)
{
    cudaError_t err = asked();
    if (err == cudaSuccess && n_bytes > 0)
        memmove(to, from, n_bytes);
    return err;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n_bytes, cudaMemcpyKind kind, cudaStream_t)
{
    return cudaMemcpy(to, from, n_bytes, kind);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              cudaMemcpyKind, cudaStream_t)
{
    cudaError_t err = asked();
    for (size_t i = 0; i < height && err == cudaSuccess; i++)
        memmove(static_cast<char *>(to) + i * to_pitch, static_cast<const char *>(from) + i * from_pitch, width);
    return err;
}

cudaError_t cudaMemset(void *at, int value, size_t n_bytes)
{
    cudaError_t err = asked();
    if (err == cudaSuccess && n_bytes > 0)
        memset(at, value, n_bytes);
    return err;
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t n_bytes, cudaStream_t)
{
    return cudaMemset(at, value, n_bytes);
}

/* ---- launches */

static cudaError_t may_launch(dim3 grid, dim3 block, size_t shared_bytes)
{
    cudaError_t err = health();
    if (err != cudaSuccess)
        return err;
    uint64_t n_threads = (uint64_t)block.x * block.y * block.z;
    if (n_threads == 0 || n_threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
        grid.x > N_BLOCKS_MAX || grid.y > 65535 || grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    if (shared_bytes > chip.shared_bytes)
        return cudaErrorInvalidValue;
    chip.n_launches++;
    if (chip.failure == EMULATE_LOST || chip.failure == EMULATE_FAULT)
        count_down();
    return cudaSuccess;
}

cudaError_t emulate_launch(const char *name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
                           void (*run)(const void *call), const void *call, size_t)
{
    pthread_mutex_lock(&lock);
    cudaError_t err = may_launch(grid, block, shared_bytes);
    pthread_mutex_unlock(&lock);
    if (err == cudaSuccess)
        emulate_run(name, grid, block, shared_bytes, run, call);
    return fails(err);
}
