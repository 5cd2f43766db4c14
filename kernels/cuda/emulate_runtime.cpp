/* kernels/cuda/emulate_runtime.cpp - the device, its memory, and the failures that a test asks for. */
#include "kernels/cuda/emulate_state.h"

#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread cudaError_t last_error;

struct emulate_chip emulate_state = {.major = 9,
                                     .minor = 0,
                                     .n_units = 4,
                                     .n_devices = 1,
                                     .driver = 13000,
                                     .runtime = 13000,
                                     .has_pools = true,
                                     .shared_bytes = 227 * 1024,
                                     .memory_bytes = 1u << 30};
#define chip emulate_state

static void make_lock(void)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

void emulate_lock(void)
{
    pthread_once(&once, make_lock);
    pthread_mutex_lock(&lock);
}

void emulate_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

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

void emulate_pools(bool has_pools)
{
    chip.has_pools = has_pools;
}

void emulate_eager(bool is_eager)
{
    chip.is_eager = is_eager;
}

void emulate_memory(size_t n_bytes)
{
    chip.memory_bytes = n_bytes;
}

void emulate_fail(enum emulate_failure failure, uint64_t after_n)
{
    emulate_lock();
    chip.failure = failure;
    chip.after_n = after_n;
    emulate_unlock();
}

static uint64_t look(const uint64_t *counter)
{
    emulate_lock();
    uint64_t n = *counter;
    emulate_unlock();
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

cudaError_t emulate_failed(cudaError_t err)
{
    if (err != cudaSuccess)
        last_error = err;
    return err;
}

cudaError_t emulate_health(void)
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
    emulate_lock();
    cudaError_t err = emulate_health();
    emulate_unlock();
    return emulate_failed(err);
}

void emulate_count_down(void)
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
    return err == cudaSuccess && (index < 0 || index >= chip.n_devices) ? emulate_failed(cudaErrorInvalidDevice) : err;
}

cudaError_t cudaSetDevice(int index)
{
    return asked_of(index);
}

cudaError_t cudaSetDeviceFlags(unsigned)
{
    return asked();
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
             : what == cudaDevAttrMemoryPoolsSupported             ? chip.has_pools
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
    emulate_lock();
    emulate_drain();
    cudaError_t err = emulate_health();
    emulate_unlock();
    return emulate_failed(err);
}

/* Mends what was lost as little as CUDA does, but nothing stays allotted. */
cudaError_t cudaDeviceReset(void)
{
    emulate_lock();
    emulate_drop_handles();
    emulate_give_all();
    chip.used_bytes = chip.used_pieces = chip.pinned_bytes = 0;
    emulate_unlock();
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *code, const void *)
{
    memset(code, 0, sizeof *code);
    return asked();
}

/* ---- memory */

cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_total)
{
    emulate_lock();
    cudaError_t err = emulate_health();
    *n_free = chip.memory_bytes > chip.used_bytes ? chip.memory_bytes - chip.used_bytes : 0;
    *n_total = chip.memory_bytes;
    emulate_unlock();
    return emulate_failed(err);
}

static cudaError_t allot(void **at, size_t n_bytes)
{
    cudaError_t err = emulate_health();
    if (err != cudaSuccess)
        return err;
    if (chip.failure == EMULATE_NO_MEMORY && chip.after_n == 0)
        return cudaErrorMemoryAllocation;
    if (n_bytes > chip.memory_bytes || chip.used_bytes > chip.memory_bytes - n_bytes)
        return cudaErrorMemoryAllocation;
    if (chip.failure == EMULATE_NO_MEMORY)
        emulate_count_down();
    *at = emulate_take(EMULATE_DEVICE, n_bytes);
    if (!*at)
        return cudaErrorMemoryAllocation;
    chip.used_bytes += n_bytes;
    chip.used_pieces++;
    return cudaSuccess;
}

/* None for 0 bytes, as CUDA. */
cudaError_t emulate_malloc(void **at, size_t n_bytes)
{
    *at = NULL;
    emulate_lock();
    cudaError_t err = n_bytes > 0 ? allot(at, n_bytes) : emulate_health();
    emulate_unlock();
    return emulate_failed(err);
}

/* Waits for the whole device, as CUDA. */
cudaError_t cudaFree(void *at)
{
    emulate_lock();
    emulate_drain();
    cudaError_t err = emulate_health();
    if (at) {
        chip.used_bytes -= emulate_give(EMULATE_DEVICE, at);
        chip.used_pieces--;
    }
    emulate_unlock();
    return emulate_failed(err);
}

static cudaError_t pin(void **at, size_t n_bytes)
{
    cudaError_t err = emulate_health();
    if (err != cudaSuccess)
        return err;
    if (chip.failure == EMULATE_NO_PINNED && chip.after_n == 0)
        return cudaErrorMemoryAllocation;
    if (chip.failure == EMULATE_NO_PINNED)
        emulate_count_down();
    *at = emulate_take(EMULATE_PINNED, n_bytes);
    if (!*at)
        return cudaErrorMemoryAllocation;
    chip.pinned_bytes += n_bytes;
    return cudaSuccess;
}

cudaError_t emulate_host_alloc(void **at, size_t n_bytes)
{
    *at = NULL;
    emulate_lock();
    cudaError_t err = pin(at, n_bytes);
    emulate_unlock();
    return emulate_failed(err);
}

cudaError_t cudaFreeHost(void *at)
{
    emulate_lock();
    emulate_drain();
    cudaError_t err = emulate_health();
    if (at)
        chip.pinned_bytes -= emulate_give(EMULATE_PINNED, at);
    emulate_unlock();
    return emulate_failed(err);
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

/* It keeps nothing: reserved is used. */
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
