/* net/cores.c - hwloc says what there is and what we may use, the control group how much of it. */
#include "net/cores.h"

#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define PATH_BYTES 4096

struct cores {
    hwloc_topology_t topology;
    bool has_topology;
    hwloc_obj_type_t unit; /* cores, or where a virtual machine hides them its processors */
    unsigned n_cores, n_nodes;
    double quota; /* processors' worth of time; 0 for all */
    unsigned first_node;
};

/* ---- the quota of a control group ---- */

/* Version 2 has one file, "max 100000" or "150000 100000"; version 1 two, and -1 for no limit. */
static double quota_of(const char *dir)
{
    static const char *const name[3] = {"cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"};
    char path[3][PATH_BYTES + 32];
    double quota = 0, period = 0;
    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof path[i], "%s/%s", dir, name[i]);
    FILE *file = fopen(path[0], "r");
    if (file) {
        int n = fscanf(file, "%lf %lf", &quota, &period);
        fclose(file);
        return n == 2 && quota > 0 && period > 0 ? quota / period : 0;
    }
    for (int i = 1; i < 3; i++) {
        file = fopen(path[i], "r");
        if (!file)
            return 0;
        if (fscanf(file, "%lf", i == 1 ? &quota : &period) != 1)
            quota = 0;
        fclose(file);
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The tightest quota of a group and those it is in.  Where a container shows only its own, the path may name nothing, which
 * costs a few failed opens. */
static double tightest(const char *root, const char *group)
{
    char dir[PATH_BYTES];
    double least = 0;
    snprintf(dir, sizeof dir, "%s%s", root, strcmp(group, "/") == 0 ? "" : group);
    for (;;) {
        double quota = quota_of(dir);
        if (quota > 0 && (least == 0 || quota < least))
            least = quota;
        char *slash = strrchr(dir, '/');
        if (strlen(dir) <= strlen(root) || !slash)
            return least;
        *slash = '\0';
    }
}

/* Lines of /proc/self/cgroup: "0::/path" of version 2, "3:cpu,cpuacct:/path" of version 1. */
static double read_quota(void)
{
    char line[PATH_BYTES];
    double quota = 0;
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file && quota == 0 && fgets(line, sizeof line, file)) {
        char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        list++;
        if (*list == '\0')
            quota = tightest("/sys/fs/cgroup", group);
        else if (strcmp(list, "cpu") == 0 || strncmp(list, "cpu,", 4) == 0)
            quota = tightest("/sys/fs/cgroup/cpu", group);
    }
    if (file)
        fclose(file);
    return quota;
}

/* ---- the topology ---- */

static unsigned count(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    int n = hwloc_get_nbobjs_by_type(topology, type);
    return n > 0 ? (unsigned)n : 1;
}

/* Leaves what this thread, which others will inherit from, is bound to; the cpuset hwloc has taken off itself. */
static void restrict_to_us(hwloc_topology_t topology)
{
    hwloc_bitmap_t ours = hwloc_bitmap_alloc();
    if (ours && hwloc_get_cpubind(topology, ours, HWLOC_CPUBIND_THREAD) == 0)
        hwloc_topology_restrict(topology, ours, 0); /* refused when nothing were left */
    hwloc_bitmap_free(ours);
}

int cores_new(struct cores **out)
{
    int err = HANSE_ENOMEM;
    struct cores *cores = calloc(1, sizeof *cores);
    if (!cores)
        goto fail;
    err = HANSE_EUNSUPPORTED;
    cores->has_topology = hwloc_topology_init(&cores->topology) == 0;
    if (!cores->has_topology || hwloc_topology_load(cores->topology) != 0) {
        log_error("cores: hwloc cannot read the topology; is /sys mounted?");
        goto fail;
    }
    restrict_to_us(cores->topology);
    cores->unit = hwloc_get_nbobjs_by_type(cores->topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    cores->n_cores = count(cores->topology, cores->unit);
    cores->n_nodes = count(cores->topology, HWLOC_OBJ_NUMANODE);
    cores->quota = read_quota();
    cores->first_node = (unsigned)getpid() % cores->n_nodes;
    *out = cores;
    return 0;
fail:
    cores_free(cores);
    return err;
}

void cores_free(struct cores *cores)
{
    if (!cores)
        return;
    if (cores->has_topology)
        hwloc_topology_destroy(cores->topology);
    free(cores);
}

/* A quota of one and a half is worth two workers: one would leave a third of it. */
unsigned cores_n_workers(const struct cores *cores)
{
    if (cores->quota > 0 && cores->quota < cores->n_cores) {
        unsigned whole = (unsigned)cores->quota;
        return whole < cores->quota ? whole + 1 : whole;
    }
    return cores->n_cores;
}

unsigned cores_n_here(void)
{
    struct cores *cores;
    if (cores_new(&cores))
        return 1;
    unsigned n = cores_n_workers(cores);
    cores_free(cores);
    return n;
}

/* More workers than cores: they go round again. */
static hwloc_obj_t place_of(const struct cores *cores, unsigned worker, bool is_alone)
{
    if (is_alone)
        return hwloc_get_obj_by_type(cores->topology, cores->unit, worker % cores->n_cores);
    if (cores->n_nodes == 1)
        return NULL;
    return hwloc_get_obj_by_type(cores->topology, HWLOC_OBJ_NUMANODE, (cores->first_node + worker) % cores->n_nodes);
}

void cores_bind(const struct cores *cores, unsigned worker, bool is_alone)
{
    hwloc_obj_t place = place_of(cores, worker, is_alone);
    if (place && hwloc_set_cpubind(cores->topology, place->cpuset, HWLOC_CPUBIND_THREAD) != 0)
        log_debug("cores: worker %u could not be bound", worker);
}

void cores_describe(const struct cores *cores, char *out, size_t n_bytes)
{
    unsigned n = cores_n_workers(cores);
    int used = snprintf(out, n_bytes, "%u %s by default, ", n, n == 1 ? "worker" : "workers");
    if (used < 0 || (size_t)used >= n_bytes)
        return;
    out += used;
    n_bytes -= (size_t)used;
    if (cores->n_nodes > 1)
        snprintf(out, n_bytes, "each kept on one of %u memory nodes", cores->n_nodes);
    else
        snprintf(out, n_bytes, "not bound: one memory node");
    if (n < cores->n_cores)
        snprintf(out + strlen(out), n_bytes - strlen(out), "; the control group allows %.1f of %u cores", cores->quota,
                 cores->n_cores);
}
