/* cmd/doctor.c - hanse doctor: looks at everything that training leans on and says what to do about what is missing. */
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <ifaddrs.h>
#include <jansson.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#include <zlib.h>

#include "base/addr.h"
#include "base/log.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/gpu.h"
#include "cmd/options.h"
#include "cmd/reach.h"
#include "config.h"
#include "kernels/device.h"
#include "net/cores.h"
#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

#define N_PORTS 32                    /* as many as hanse host tries */
#define MEMORY_NEEDED ((uint64_t)1e9) /* a small trunk with its activations, and a few experts */
#define DISK_NEEDED ((uint64_t)1e9)   /* a few checkpoints of a small model */
#define FSYNC_SLOW_US 50000           /* slower than this, checkpoints of many chunks take minutes */
#define OPEN_FILES_NEEDED 256         /* a link is one file */

/* How a finding bears on training here. */
enum grade { GRADE_OK, GRADE_NOTE, GRADE_BAD };

static void report(enum grade grade, const char *what, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void report(enum grade grade, const char *what, const char *format, ...)
{
    static const char *const mark[] = {"ok", "note", "BAD"};
    va_list args;
    va_start(args, format);
    printf("  %-5s %-10s ", mark[grade], what);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

static uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static bool check_libraries(void)
{
    unsigned hwloc = hwloc_get_api_version();
    report(GRADE_OK, "libraries", "libuv %s, OpenSSL %s, zlib %s, hwloc %u.%u, jansson %s", uv_version_string(),
           OpenSSL_version(OPENSSL_VERSION_STRING), zlibVersion(), hwloc >> 16, hwloc >> 8 & 0xff, JANSSON_VERSION);
#ifdef HAVE_OPENBLAS
    report(GRADE_OK, "OpenBLAS", "%s; 'trunk: blas' in run.yaml uses it", openblas_get_config());
#else
    report(GRADE_NOTE, "OpenBLAS", "not in this build; only 'trunk: blas' needs it (Debian: libopenblas-dev)");
#endif
    return true;
}

static void drop_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

static bool check_kernels(void)
{
    const char *wanted = getenv("HANSE_ISA");
    const struct kernels *chosen, *other;
    char here[64] = "";
    int err = kernels_choose(wanted && *wanted ? wanted : NULL, &chosen); /* says itself what is wrong with HANSE_ISA */
    log_set_sink(drop_line, NULL);
    for (size_t i = 0; i < N_KERNELS; i++)
        if (kernels_choose(kernels_name[i], &other) == 0)
            snprintf(here + strlen(here), sizeof here - strlen(here), " %s", kernels_name[i]);
    log_set_sink(NULL, NULL);
    if (err)
        report(GRADE_BAD, "kernels", "HANSE_ISA is %s, which cannot be used; here run:%s", wanted, here);
    else
        report(GRADE_OK, "kernels", "%s%s; here run:%s", chosen->name, wanted && *wanted ? " by HANSE_ISA" : " as the fastest",
               here);
    return err == 0;
}

/* What of those this process gets: an affinity mask, a cpuset or a quota may leave it less. */
static bool check_workers(void)
{
    char text[160];
    struct cores *cores;
    if (cores_new(&cores))
        return false;
    cores_describe(cores, text, sizeof text);
    report(GRADE_OK, "workers", "%s", text);
    cores_free(cores);
    return true;
}

static bool check_cores(void)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0 || hwloc_topology_load(topology) != 0) {
        report(GRADE_BAD, "cores", "hwloc cannot read the topology; is /sys mounted?");
        return false;
    }
    int n_packages = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PACKAGE);
    int n_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    int n_threads = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    int n_nodes = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    report(GRADE_OK, "cores", "%d cores, %d threads; packages: %d, memory nodes: %d (%s)", n_cores, n_threads, n_packages,
           n_nodes, model ? model : "model unknown");
    hwloc_topology_destroy(topology);
    return check_workers();
}

/* MemAvailable counts what the page cache would give back, which sysinfo() does not. */
static uint64_t memory_available(void)
{
    unsigned long long kb = 0;
    char line[256];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
            break;
    if (file)
        fclose(file);
    return kb * 1024u;
}

static bool check_memory(void)
{
    char all[32], free_now[32];
    struct sysinfo info;
    if (sysinfo(&info) != 0)
        return true;
    uint64_t available = memory_available();
    text_size(all, sizeof all, (double)info.totalram * info.mem_unit);
    text_size(free_now, sizeof free_now, (double)available);
    if (available < MEMORY_NEEDED) {
        report(GRADE_BAD, "memory", "%s, of which %s free; 1 GB is needed: end other programs or choose a smaller model", all,
               free_now);
        return false;
    }
    report(GRADE_OK, "memory", "%s, of which %s free ('hanse plan' says what a run needs)", all, free_now);
    return true;
}

/* 0, or errno of the bind of both UDP and TCP. */
static int try_port(uint32_t ip, uint16_t port)
{
    static const int type[] = {SOCK_DGRAM, SOCK_STREAM};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
    int fault = 0;
    for (int i = 0; i < 2 && fault == 0; i++) {
        int on = 1, fd = socket(AF_INET, type[i] | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return errno;
        if (type[i] == SOCK_STREAM)
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&to, sizeof to) != 0 || (type[i] == SOCK_STREAM && listen(fd, 1) != 0))
            fault = errno;
        close(fd);
    }
    return fault;
}

static bool check_ports(uint16_t port)
{
    int loopback = try_port(INADDR_LOOPBACK, port), any = try_port(INADDR_ANY, port);
    if (loopback == 0 && any == 0) {
        report(GRADE_OK, "ports", "%u is free, UDP and TCP, on 127.0.0.1 and on all interfaces", port);
        return true;
    }
    for (unsigned i = 1; i < N_PORTS && port + i <= 65535; i++)
        if (try_port(INADDR_LOOPBACK, (uint16_t)(port + i)) == 0) {
            report(GRADE_NOTE, "ports", "%u: %s (a host that runs already?); %u is free: --listen 127.0.0.1:%u", port,
                   strerror(loopback ? loopback : any), port + i, port + i);
            return true;
        }
    report(GRADE_BAD, "ports", "%u to %u: %s; choose another with --listen", port, port + N_PORTS - 1,
           strerror(loopback ? loopback : any));
    return false;
}

static bool addr_of_sockaddr(const struct sockaddr *from, struct addr *out)
{
    *out = (struct addr){0};
    if (from && from->sa_family == AF_INET) {
        out->family = 4;
        memcpy(out->ip, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    } else if (from && from->sa_family == AF_INET6) {
        out->family = 6;
        memcpy(out->ip, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
    }
    return out->family != 0;
}

/* Whether strangers can reach us is theirs to say; but what our own address is says the most.  False without one. */
static bool find_farthest(struct addr *farthest, struct reach *reach)
{
    struct ifaddrs *list = NULL;
    struct addr own;
    *farthest = (struct addr){0};
    if (getifaddrs(&list) != 0)
        return false;
    for (struct ifaddrs *i = list; i; i = i->ifa_next) {
        if (!addr_of_sockaddr(i->ifa_addr, &own) || addr_is_loopback(&own))
            continue;
        struct reach here = reach_of(&own);
        if (farthest->family == 0 || here.from > reach->from) {
            *farthest = own;
            *reach = here;
        }
    }
    freeifaddrs(list);
    return farthest->family != 0;
}

static bool check_reach(uint16_t port)
{
    static const char *const sense[] = {
        [REACH_NOBODY] = "nobody reaches it but machines of the same test network",
        [REACH_LINK] = "only neighbours on the same link reach it",
        [REACH_SITE] = "reached within its network; from outside only when the router forwards the port (then --announce)",
        [REACH_PROVIDER] = ("nobody outside the provider's network reaches it, and no router of yours can forward to it: train "
                            "from here, and host where there is a public address, or IPv6"),
        [REACH_PUBLIC] = "others reach you with --listen on it, unless a firewall is between",
    };
    char text[ADDR_TEXT_BYTES];
    struct addr own;
    struct reach reach = {REACH_NOBODY, ""};
    if (!find_farthest(&own, &reach)) {
        report(GRADE_NOTE, "reach", "only the loopback interface is up: hosts and trainers on this machine alone");
        return true;
    }
    own.port = port;
    report(reach.from == REACH_PUBLIC ? GRADE_OK : GRADE_NOTE, "reach", "%s is %s: %s", addr_text(&own, text), reach.what,
           sense[reach.from]);
    return true;
}

/* Microseconds to make a small file durable, or 0 with errno set. */
static uint64_t time_fsync(const char *dir)
{
    char path[4096], bytes[4096] = {0};
    snprintf(path, sizeof path, "%s/.hanse-doctor-XXXXXX", dir);
    int fd = mkstemp(path);
    if (fd < 0)
        return 0;
    uint64_t start = clock_us();
    bool is_good = write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes && fsync(fd) == 0;
    uint64_t took = clock_us() - start;
    close(fd);
    unlink(path);
    return is_good ? (took ? took : 1) : 0;
}

static bool check_disk(const char *dir)
{
    char size[32];
    struct statvfs fs;
    uint64_t took = time_fsync(dir);
    if (took == 0 || statvfs(dir, &fs) != 0) {
        report(GRADE_BAD, "disk", "%s: %s; checkpoints need a directory that can be written (--dir)", dir, strerror(errno));
        return false;
    }
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    text_size(size, sizeof size, (double)available);
    if (available < DISK_NEEDED) {
        report(GRADE_BAD, "disk", "%s: only %s free; make room or choose another with --dir", dir, size);
        return false;
    }
    report(took > FSYNC_SLOW_US ? GRADE_NOTE : GRADE_OK, "disk", "%s: %s free, fsync in %.1f ms%s", dir, size,
           (double)took / 1000.0, took > FSYNC_SLOW_US ? " (slow: checkpoints will be)" : "");
    return true;
}

static bool check_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < OPEN_FILES_NEEDED)
        report(GRADE_NOTE, "limits", "%llu open files: few peers at once; raise with 'ulimit -n 4096'",
               (unsigned long long)files.rlim_cur);
    else
        report(GRADE_OK, "limits", "%llu open files", (unsigned long long)files.rlim_cur);
    return true;
}

/* Directory records expire by the clock, so one that is minutes off is invisible to the others. */
static bool check_clock(void)
{
    struct timex timex = {.modes = 0};
    int state = adjtimex(&timex);
    if (state == TIME_ERROR || timex.status & STA_UNSYNC)
        report(GRADE_NOTE, "clock", "not known to be synchronized; more than a minute off and others do not see your experts");
    else
        report(GRADE_OK, "clock", "synchronized");
    return true;
}

static bool check_mpi(void)
{
#ifdef HAVE_MPI
    report(GRADE_OK, "MPI", "mpicc was found when this was built");
#else
    report(GRADE_NOTE, "MPI", "no mpicc when this was built; only clusters need it (Debian: libmpich-dev, then configure again)");
#endif
    return true;
}

/* Each line of what device_products() says, under what the GPU's line began. */
static void report_products(const char *text)
{
    while (*text) {
        int n = (int)strcspn(text, "\n");
        if (n > 0)
            printf("        %-10s %.*s\n", "", n, text);
        text += n + (text[n] == '\n');
    }
}

static void report_gpu(const struct device_info *gpu)
{
    char all[32], free_now[32];
    text_size(all, sizeof all, (double)gpu->memory_bytes);
    text_size(free_now, sizeof free_now, (double)gpu->free_bytes);
    report(GRADE_OK, "GPU", "cuda:%d is %s, compute capability %d.%d, %d multiprocessors, %s, of which %s free", gpu->index,
           gpu->name, gpu->major, gpu->minor, gpu->n_units, all, free_now);
    printf("        %-10s %s at %s; driver for CUDA %u.%u, this build has %u.%u\n", "", gpu->uuid, gpu->bus_id,
           gpu->driver_version / 1000, gpu->driver_version % 1000 / 10, gpu->runtime_version / 1000,
           gpu->runtime_version % 1000 / 10);
}

/* The compiler of the CUDA toolkit where configure looks for it, too. */
static bool find_nvcc(char *out, size_t n)
{
    const char *path = getenv("PATH");
    char places[4096];
    snprintf(places, sizeof places, "%s:/usr/local/cuda/bin", path ? path : "");
    for (char *rest = places, *place; (place = strsep(&rest, ":"));) {
        snprintf(out, n, "%s/nvcc", place);
        if (*place && access(out, X_OK) == 0)
            return true;
    }
    return false;
}

static void report_no_gpu(const char *why)
{
    char nvcc[4096 + 8] = "";
#ifdef HAVE_CUDA
    const bool has_cuda = true;
#else
    const bool has_cuda = false;
#endif
    if (!has_cuda && find_nvcc(nvcc, sizeof nvcc))
        report(GRADE_NOTE, "GPU",
               "this hanse was built without CUDA, but %s is here: where it was built, 'configure --with-cuda' and 'make' make "
               "one with CUDA; this one works on the CPU",
               nvcc);
    else
        report(GRADE_NOTE, "GPU", "%s; hosts and trainers work on the CPU", why);
}

/* The first one is opened too, as hanse host would: its products are proven, and all that can fail has been tried. */
static bool check_gpu(void)
{
    const char *why;
    const struct kernels *k;
    struct device_info gpu;
    int n = device_count(&why);
    if (n == 0)
        report_no_gpu(why);
    for (int i = 0; i < n; i++)
        if (device_describe(i, &gpu) == 0)
            report_gpu(&gpu);
        else
            report(GRADE_NOTE, "GPU", "cuda:%d does not answer; see above", i);
    if (n == 0)
        return true;
    if (gpu_open(0, &k, &gpu) == 0)
        report_products(device_products());
    else
        report(GRADE_NOTE, "GPU", "cuda:0 cannot be used; hosts work on the CPU, or on another with --device cuda:N");
    return true;
}

static int examine(const char *dir, uint16_t port)
{
    struct utsname name = {0};
    uname(&name);
    printf("hanse %s on %s %s %s\n", PACKAGE_VERSION, name.sysname, name.release, name.machine);
    bool can_train = check_libraries();
    can_train &= check_kernels();
    can_train &= check_cores();
    can_train &= check_memory();
    can_train &= check_ports(port);
    can_train &= check_reach(port);
    can_train &= check_disk(dir);
    can_train &= check_limits();
    can_train &= check_clock();
    can_train &= check_mpi();
    can_train &= check_gpu();
    printf("%s\n", can_train ? "This machine can train." : "This machine cannot train yet: see BAD above.");
    return can_train ? 0 : hanse_exit_status(HANSE_EUNSUPPORTED);
}

int cmd_doctor(int argc, char **argv)
{
    const char *dir = ".";
    uint64_t port = 4100;
    const struct options_row row[] = {
        {"dir", "DIR", OPTIONS_TEXT, &dir, "where checkpoints would go (default: the present directory)", 0, 0, false},
        {"port", "PORT", OPTIONS_U64, &port, "the port to try, UDP and TCP (default: 4100)", 1, 65535, false},
    };
    const struct options_usage usage = {
        .command = "hanse doctor",
        .about = "Looks at libraries, kernels, cores, memory, ports, disk, clock, MPI and GPU, says what is there, what is not "
                 "and what to do "
                 "about it. Ends with 0 when one can train here.",
        .example = "hanse doctor --dir /data/hanse",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
    };
    int status;
    if (!options_read(&usage, argc, argv, NULL, NULL, &status))
        return status;
    return examine(dir, (uint16_t)port);
}
