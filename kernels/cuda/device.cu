/* kernels/cuda/device.cu - which GPUs there are, and opening one. */
#include "kernels/cuda/device_state.h"
#include "kernels/cuda/prove.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include "base/log.h"
#include "kernels/device.h"
}

#define CAPABILITY_MIN 75 /* Turing: the first with matrix instructions for int8 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_open;
static struct cuda_chip chip;
static bool has_pools;
static cudaMemPool_t pool;
static char gpu_name[160] = "GPU";

const struct cuda_chip *cuda_chip(void)
{
    return &chip;
}

bool cuda_has_pools(void)
{
    return has_pools;
}

const char *cuda_gpu(void)
{
    return gpu_name;
}

/* ---- which there are */

#define CUDA_MAJOR(version) ((version) / 1000)
#define CUDA_MINOR(version) ((version) % 1000 / 10)

static void say_driver(char *text, size_t n_bytes)
{
    int driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        snprintf(text, n_bytes,
                 "no NVIDIA driver is here (libcuda.so.1); install it (on Debian: nvidia-driver), or give a container "
                 "the GPU (docker run --gpus all)");
    else
        snprintf(text, n_bytes,
                 "the NVIDIA driver knows CUDA up to %d.%d and this hanse needs %d.%d; update the driver, or build "
                 "hanse with an older CUDA toolkit",
                 CUDA_MAJOR(driver), CUDA_MINOR(driver), CUDA_MAJOR(runtime), CUDA_MINOR(runtime));
}

static const char *why_none_of(cudaError_t err)
{
    static __thread char text[320];
    if (err == cudaErrorInsufficientDriver)
        say_driver(text, sizeof text);
    else if (err == cudaErrorNoDevice || err == cudaSuccess)
        snprintf(text, sizeof text,
                 "the NVIDIA driver sees no GPU; look what nvidia-smi lists and whether CUDA_VISIBLE_DEVICES hides it");
    else
        snprintf(text, sizeof text,
                 "CUDA does not start: %s (%s); a restart of the machine mends most of these, as after an update of "
                 "the driver",
                 cudaGetErrorString(err), cudaGetErrorName(err));
    return text;
}

int device_count(const char **why_none)
{
    int n = 0;
    cudaError_t err = cudaGetDeviceCount(&n);
    if (err != cudaSuccess) {
        (void)cudaGetLastError();
        n = 0;
    }
    if (n == 0 && why_none)
        *why_none = why_none_of(err);
    return n;
}

/* Is there a GPU `index`?  HANSE_ENOENT, logged. */
static int look_for(int index)
{
    const char *why = "";
    int n = device_count(&why);
    if (index >= 0 && index < n)
        return 0;
    if (n == 0)
        log_error("GPU %d: %s", index, why);
    else if (n == 1)
        log_error("GPU %d: there is only one here, 0", index);
    else
        log_error("GPU %d: those here are 0 to %d", index, n - 1);
    return HANSE_ENOENT;
}

static int refused(int index, const char *what, cudaError_t err)
{
    log_error("GPU %d: %s failed: %s (%s); see whether nvidia-smi works, and which programs hold the GPU", index, what,
              cudaGetErrorString(err), cudaGetErrorName(err));
    (void)cudaGetLastError();
    return HANSE_EDEVICE;
}

static int attribute(cudaDeviceAttr what, int index)
{
    int value = 0;
    if (cudaDeviceGetAttribute(&value, what, index) != cudaSuccess)
        (void)cudaGetLastError();
    return value;
}

static void write_uuid(char *text, size_t n_bytes, const unsigned char *u)
{
    snprintf(text, n_bytes, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3],
             u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

static void describe(int index, const cudaDeviceProp *prop, struct device_info *out)
{
    int driver = 0, runtime = 0;
    memset(out, 0, sizeof *out);
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    out->index = index;
    snprintf(out->name, sizeof out->name, "%.127s", prop->name);
    out->major = prop->major;
    out->minor = prop->minor;
    out->n_units = prop->multiProcessorCount;
    out->memory_bytes = prop->totalGlobalMem;
    out->driver_version = (uint32_t)driver;
    out->runtime_version = (uint32_t)runtime;
    out->clock_mhz = (uint32_t)attribute(cudaDevAttrClockRate, index) / 1000;
    if (cudaDeviceGetPCIBusId(out->bus_id, sizeof out->bus_id, index) != cudaSuccess)
        (void)cudaGetLastError();
    write_uuid(out->uuid, sizeof out->uuid, (const unsigned char *)prop->uuid.bytes);
}

/* How much is free is asked on the GPU, which takes some of its memory: the one that is open, or else for a moment. */
static cudaError_t ask_free(int index, uint64_t *free_bytes)
{
    size_t n_free = 0, n_total = 0;
    int before = 0;
    cudaError_t err = cudaGetDevice(&before);
    if (err == cudaSuccess)
        err = cudaSetDevice(index);
    if (err == cudaSuccess)
        err = is_open && index == chip.index ? cuda_memory(&n_free, &n_total) : cudaMemGetInfo(&n_free, &n_total);
    if (before != index && cudaSetDevice(before) != cudaSuccess)
        (void)cudaGetLastError();
    *free_bytes = n_free;
    return err;
}

int device_describe(int index, struct device_info *out)
{
    cudaDeviceProp prop;
    int err = look_for(index);
    if (err)
        return err;
    cudaError_t failure = cudaGetDeviceProperties(&prop, index);
    if (failure != cudaSuccess)
        return refused(index, "asking for its properties", failure);
    describe(index, &prop, out);
    failure = ask_free(index, &out->free_bytes);
    return failure == cudaSuccess ? 0 : refused(index, "asking for its free memory", failure);
}

/* ---- opening one */

static void read_chip(int index)
{
    memset(&chip, 0, sizeof chip);
    chip.index = index;
    chip.major = attribute(cudaDevAttrComputeCapabilityMajor, index);
    chip.minor = attribute(cudaDevAttrComputeCapabilityMinor, index);
    chip.n_units = attribute(cudaDevAttrMultiProcessorCount, index);
    chip.shared_bytes = (size_t)attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
    chip.l2_bytes = (size_t)attribute(cudaDevAttrL2CacheSize, index);
    has_pools = attribute(cudaDevAttrMemoryPoolsSupported, index) != 0;
}

/* What is released stays in the pool for the next that asks. */
static cudaError_t keep_memory(int index)
{
    uint64_t all = UINT64_MAX;
    if (!has_pools)
        return cudaSuccess;
    cudaError_t err = cudaDeviceGetDefaultMemPool(&pool, index);
    return err == cudaSuccess ? cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all) : err;
}

static __global__ void nothing(void)
{
}

/* Did nvcc make code for this GPU? */
static int look_for_code(void)
{
    cudaFuncAttributes code;
    cudaError_t err = cudaFuncGetAttributes(&code, reinterpret_cast<const void *>(nothing));
    if (err == cudaSuccess)
        return 0;
    (void)cudaGetLastError();
    log_error("%s: this hanse has no code for compute capability %d.%d (%s); build it with CUDA_ARCHS=%d%d", cuda_gpu(),
              chip.major, chip.minor, cudaGetErrorName(err), chip.major, chip.minor);
    return HANSE_EUNSUPPORTED;
}

static int start(int index)
{
    cudaDeviceProp prop;
    cudaError_t failure = cudaGetDeviceProperties(&prop, index);
    if (failure != cudaSuccess)
        return refused(index, "asking for its properties", failure);
    read_chip(index);
    snprintf(gpu_name, sizeof gpu_name, "GPU %d (%.120s)", index, prop.name);
    if (10 * chip.major + chip.minor < CAPABILITY_MIN) {
        log_error("%s: has compute capability %d.%d, and hanse needs 7.5 (Turing) or later; use --device cpu", gpu_name,
                  chip.major, chip.minor);
        return HANSE_EUNSUPPORTED;
    }
    failure = cudaSetDevice(index);
    if (failure == cudaSuccess)
        failure = cudaSetDeviceFlags(cudaDeviceScheduleBlockingSync); /* more threads wait than there may be cores */
    if (failure == cudaSuccess)
        failure = cudaFree(NULL); /* the first call that needs the GPU itself */
    if (failure == cudaSuccess)
        failure = keep_memory(index);
    if (failure != cudaSuccess)
        return refused(index, "opening it", failure);
    return look_for_code();
}

static void close_locked(void)
{
    if (!cuda_has_failed() && cudaSetDevice(chip.index) != cudaSuccess)
        (void)cudaGetLastError();
    product_close();
    cuda_queues_end();
    (void)cudaDeviceReset(); /* also what ends the memory of a failure */
    (void)cudaGetLastError();
    is_open = false;
}

/* A GPU that is refused keeps nothing of it: the process may go on for days on the CPU. */
static int open_locked(int index)
{
    if (is_open && index != chip.index) {
        log_error("GPU %d: this process has opened %s; start one process for each GPU", index, gpu_name);
        return HANSE_EBUSY;
    }
    if (is_open && cuda_has_failed()) {
        log_error("%s: has failed, and is not asked any more; start hanse again", gpu_name);
        return HANSE_EDEVICE;
    }
    if (is_open)
        return 0;
    int err = look_for(index);
    if (!err)
        err = start(index);
    if (err)
        return err;
    cuda_queues_begin();
    is_open = true;
    err = product_prove();
    if (!err)
        err = cuda_wait();
    if (err)
        close_locked();
    return err;
}

int device_open(int index, const struct kernels **out)
{
    pthread_mutex_lock(&lock);
    int err = open_locked(index);
    if (!err)
        *out = &cuda_kernels;
    pthread_mutex_unlock(&lock);
    return err;
}

void device_close(void)
{
    pthread_mutex_lock(&lock);
    if (is_open)
        close_locked();
    pthread_mutex_unlock(&lock);
}

/* ---- what the open one says */

cudaError_t cuda_memory(size_t *n_free, size_t *n_total)
{
    uint64_t reserved = 0, used = 0;
    cudaError_t err = cudaMemGetInfo(n_free, n_total);
    if (err == cudaSuccess && has_pools)
        err = cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved);
    if (err == cudaSuccess && has_pools)
        err = cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used);
    *n_free += (size_t)(reserved - used);
    return err;
}

int device_memory(uint64_t *free_bytes, uint64_t *total_bytes)
{
    size_t n_free = 0, n_total = 0;
    *free_bytes = *total_bytes = 0;
    if (!is_open || cuda_has_failed()) {
        log_error("%s: %s", gpu_name, is_open ? "failed, and is not asked any more" : "none is open");
        return HANSE_EDEVICE;
    }
    cudaError_t err = cudaSetDevice(chip.index);
    if (err == cudaSuccess)
        err = cuda_memory(&n_free, &n_total);
    if (err != cudaSuccess)
        return refused(chip.index, "asking for its free memory", err);
    *free_bytes = n_free;
    *total_bytes = n_total;
    return 0;
}

void device_scratch(size_t n_rows, size_t width, size_t part, uint64_t *each_bytes, uint64_t *taken_bytes)
{
    *each_bytes = is_open ? product_scratch_bytes(n_rows, width, part) : 0;
    *taken_bytes = is_open ? cuda_scratch_taken(*each_bytes) : 0;
}

const char *device_products(void)
{
    return is_open ? product_text() : "";
}
