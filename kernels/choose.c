/* kernels/choose.c - which set of kernels this machine gets. */
#include <string.h>
#ifdef __aarch64__
#include <sys/auxv.h>
#endif

#include "base/log.h"
#include "kernels/ref/ref.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const struct kernels avx2_kernels, avx512_kernels, avxvnni_kernels, vnni_kernels, amx_kernels;

/* These ask the operating system too: its kernel must keep the wide registers. */
static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool runs_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && runs_avx2();
}

/* Asked of the processor, since not every compiler knows the name: leaf 7.1, eax. */
static bool runs_avxvnni(void)
{
    unsigned eax, ebx, ecx, edx;
    return runs_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1u << 4);
}

static bool runs_vnni(void)
{
    return __builtin_cpu_supports("avx512vnni") && runs_avx512();
}

#ifdef __linux__
#define CPUID_AMX (3u << 24)      /* leaf 7, edx: AMX-TILE and AMX-INT8 */
#define REQUEST_PERMISSION 0x1023 /* ARCH_REQ_XCOMP_PERM of asm/prctl.h, which older systems lack */
#define TILE_DATA 18              /* XFEATURE_XTILEDATA */

/* Linux gives a process the tiles when it asks, for all of its threads; asking again does nothing. */
static bool runs_amx(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & CPUID_AMX) == CPUID_AMX && runs_vnni() &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
static bool runs_amx(void)
{
    return false;
}
#endif
#elif defined __aarch64__
extern const struct kernels neon_kernels, dotprod_kernels;

static bool runs_dotprod(void)
{
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}

/* Every 64-bit Arm that runs Linux has it. */
static bool runs_neon(void)
{
    return true;
}
#endif

static bool runs_ref(void)
{
    return true;
}

const char *const kernels_name[N_KERNELS] = {"ref", "avx2", "avxvnni", "avx512", "vnni", "amx", "neon", "dotprod"};

/* Fastest first. */
static const struct choice {
    const struct kernels *kernels;
    bool (*runs)(void);
} choices[] = {
#ifdef __x86_64__
    {&amx_kernels, runs_amx},         {&vnni_kernels, runs_vnni}, {&avx512_kernels, runs_avx512},
    {&avxvnni_kernels, runs_avxvnni}, {&avx2_kernels, runs_avx2},
#elif defined __aarch64__
    {&dotprod_kernels, runs_dotprod},
    {&neon_kernels, runs_neon},
#endif
    {&ref_kernels, runs_ref},
};

#define N_CHOICES (sizeof choices / sizeof *choices)

static int choose_fastest(const struct kernels **out)
{
    size_t i = 0;
    while (!choices[i].runs())
        i++;
    *out = choices[i].kernels;
    return 0;
}

/* Another machine's kernels are a known name that this build lacks. */
static bool is_known(const char *isa)
{
    for (size_t i = 0; i < N_KERNELS; i++)
        if (strcmp(isa, kernels_name[i]) == 0)
            return true;
    return false;
}

int kernels_choose(const char *isa, const struct kernels **out)
{
    if (!isa)
        return choose_fastest(out);
    for (size_t i = 0; i < N_CHOICES; i++) {
        if (strcmp(isa, choices[i].kernels->name) != 0)
            continue;
        if (!choices[i].runs())
            break;
        *out = choices[i].kernels;
        return 0;
    }
    if (is_known(isa)) {
        log_error("isa %s: this machine cannot run it; leave --isa and HANSE_ISA out for the fastest that it can", isa);
        return HANSE_EUNSUPPORTED;
    }
    log_error("isa %s: no such kernels; must be " KERNELS_NAMES, isa);
    return HANSE_EINVAL;
}
