/* cmd/bench.c - hanse bench: how fast kernels, experts and links are here, and OpenBLAS beside them. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/bench.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "net/bench.h"
#include "net/cores.h"
#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

#define LIST_BYTES 256
#define N_THREADS_LIMIT 256

/* ---- lists: a,b,c ---- */

/* Calls `take` with each word; false with the first that it refuses. */
static bool each_word(const char *list, const char **refused, bool (*take)(struct bench *bench, const char *word),
                      struct bench *bench)
{
    static char copy[LIST_BYTES];
    char *rest = copy, *word;
    snprintf(copy, sizeof copy, "%s", list);
    while ((word = strsep(&rest, ",")))
        if (!take(bench, word)) {
            *refused = word;
            return false;
        }
    return true;
}

/* kernels_choose() says itself what is wrong. */
static bool take_isa(struct bench *bench, const char *word)
{
    const struct kernels *k;
    bench->err = kernels_choose(word, &k);
    if (bench->err)
        return false;
    for (size_t i = 0; i < bench->n_sets; i++)
        if (bench->set[i] == k)
            return true;
    bench->set[bench->n_sets++] = k;
    return true;
}

static bool take_numerics(struct bench *bench, const char *word)
{
    for (size_t i = 0; i < N_NUMERICS; i++)
        if (strcmp(word, numerics_name[i]) == 0)
            return bench->numerics[i] = true;
    return false;
}

static bool take_threads(struct bench *bench, const char *word)
{
    char *end;
    unsigned long n = strcmp(word, "max") == 0 ? cores_n_here() : strtoul(word, &end, 10);
    if (strcmp(word, "max") != 0 && (*end || n == 0 || *word == '-'))
        return false;
    if (n > N_THREADS_LIMIT || bench->n_threads == BENCH_THREADS_MAX)
        return false;
    for (size_t i = 0; i < bench->n_threads; i++)
        if (bench->threads[i] == n)
            return true;
    bench->threads[bench->n_threads++] = (unsigned)n;
    return true;
}

/* ---- what is there ---- */

static void drop_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

/* Every set that this machine runs but the definition, which is there to be right. */
static void take_all_sets(struct bench *bench)
{
    log_set_sink(drop_line, NULL);
    for (size_t i = 1; i < N_KERNELS; i++)
        take_isa(bench, kernels_name[i]);
    if (bench->n_sets == 0)
        take_isa(bench, kernels_name[0]);
    log_set_sink(NULL, NULL);
}

static void take_blas(struct bench *bench)
{
#ifdef HAVE_OPENBLAS
    const struct kernels *fastest;
    struct bench_yardstick *blas = &bench->yardstick[0];
    *blas = (struct bench_yardstick){.name = "openblas", .has_threads = true};
    bench->n_yardsticks = kernels_choose(NULL, &fastest) == 0 && kernels_with_blas(fastest, &blas->k) == 0;
#else
    (void)bench;
#endif
}

static void print_machine(const struct bench *bench)
{
    char text[160] = "";
    struct cores *cores;
    if (bench->has_gpu)
        bench_print_gpu(bench);
    if (bench->is_json || bench->has_gpu || cores_new(&cores))
        return;
    cores_describe(cores, text, sizeof text);
    cores_free(cores);
    printf("this machine: %s", text);
#ifdef HAVE_OPENBLAS
    const char *config = openblas_get_config();
    const char *end = strchr(config, ' '); /* its name, its version, and then how it was built */
    printf("\nOpenBLAS%.*s with its kernels for %s (OPENBLAS_CORETYPE chooses others)", end ? (int)strcspn(end + 1, " ") + 1 : 0,
           end ? end : "", openblas_get_corename());
#endif
    printf("\neach figure is the shortest of many runs, all of a line by turns; GFLOP/s are 2 M N K a second in every form\n");
}

/* ---- sections ---- */

static int run_threaded(struct bench *bench, int (*section)(struct bench *bench))
{
    int err = 0;
    for (size_t i = 0; i < bench->n_threads && !err; i++) {
        err = bench_with_threads(bench, bench->has_gpu ? 1 : bench->threads[i], section);
        if (!bench->is_json)
            putchar('\n');
    }
    return err;
}

static int run_products(struct bench *bench)
{
    return run_threaded(bench, bench_products);
}

static int run_experts(struct bench *bench)
{
    return run_threaded(bench, bench_experts);
}

static int run_kernels(struct bench *bench)
{
    int err = run_products(bench);
    if (!err)
        err = run_experts(bench);
    return err ? err : bench_operations(bench);
}

/* Messages of three sizes, TLS over loopback, both ends on this machine. */
int bench_links(struct bench *bench)
{
    static const size_t size[] = {(size_t)4 << 10, (size_t)64 << 10, (size_t)1 << 20};
    if (!bench->is_json)
        printf("%12s %10s %14s %10s\n", "message", "MB/s", "round trips/s", "open ms");
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        struct net_bench result;
        int err = net_bench_link(10 * bench->seconds, size[i], &result);
        if (err)
            return err;
        printf(bench->is_json
                   ? "{\"op\":\"link\",\"message\":%zu,\"mb_per_s\":%.9g,\"round_trips_per_s\":%.9g,\"open_ms\":%.9g}\n"
                   : "%12zu %10.0f %14.0f %10.1f\n",
               size[i], result.bytes_per_s * 1e-6, result.round_trips_per_s, result.open_us * 1e-3);
    }
    return 0;
}

static const struct section {
    const char *name;
    int (*run)(struct bench *bench);
    bool is_of_kernels;
} sections[] = {
    {"kernels", run_kernels, true},         {"products", run_products, true}, {"experts", run_experts, true},
    {"operations", bench_operations, true}, {"link", bench_links, false},
};

/* What nothing would come of is refused. */
static int check_use(const struct options_usage *usage, const struct section *section)
{
    bool is_link = section->run == bench_links, is_operations = section->run == bench_operations;
    const struct options_only only[] = {
        {"device isa", "'kernels', 'products', 'experts' and 'operations'", !is_link},
        {"threads numerics", "'kernels', 'products' and 'experts'", !is_link && !is_operations},
        {"shape", "'kernels' and 'products'", section->run == run_kernels || section->run == run_products},
    };
    return options_check(usage, only, sizeof only / sizeof *only);
}

static const struct section *find_section(const char *name)
{
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strcmp(name, sections[i].name) == 0)
            return &sections[i];
    return NULL;
}

int cmd_bench(int argc, char **argv)
{
    static struct bench bench;
    const char *isa = getenv("HANSE_ISA"), *device = getenv("HANSE_DEVICE"), *threads = "1", *numerics = "f32,i8x2,i8x1",
               *refused = "";
    bool given[OPTIONS_ROWS_MAX] = {false};
    char **operand;
    int status;
    setvbuf(stdout, NULL, _IOLBF,
            0); /* figures take minutes: whoever reads them from a file or pipe sees each when it is there */
    if (argc > 1 && strcmp(argv[1], "dht") == 0)
        return bench_dht(argc - 1, argv + 1);
    bench.seconds = 0.2;
    const struct options_row row[] = {
        {"device", "NAME", OPTIONS_TEXT, &device, "what to time: cpu, cuda or cuda:N (default: $HANSE_DEVICE, else cpu)", 0, 0,
         false},
        {"isa", "LIST", OPTIONS_TEXT, &isa,
         "kernels to time, such as avx2,avx512 (default: $HANSE_ISA, else all that run here but ref)", 0, 0, false},
        {"threads", "LIST", OPTIONS_TEXT, &threads,
         "threads for products and experts, OpenBLAS's too, such as 1,max; 'max' is one a core (default: 1)", 0, 0, false},
        {"numerics", "LIST", OPTIONS_TEXT, &numerics, "numbers of products and experts (default: f32,i8x2,i8x1)", 0, 0, false},
        {"seconds", "S", OPTIONS_DOUBLE, &bench.seconds, "time for each figure (default 0.2; for links ten times that)", 0, 0,
         false},
        {"shape", "MxNxK", OPTIONS_TEXT, &bench.shape,
         "this product in place of the usual ones, such as 512x4096x1024; M' and N' for a turned operand", 0, 0, false},
        {"json", NULL, OPTIONS_FLAG, &bench.is_json, "print one JSON object a figure and line", 0, 0, false},
    };
    const struct options_usage usage = {
        .command = "hanse bench",
        .operands = "kernels|products|experts|operations|link",
        .about = "Times matrix products and whole steps of experts, each beside OpenBLAS in the same run (on a GPU beside "
                 "cuBLAS, with the "
                 "share of what the chip was measured to do at most), and the other operations of "
                 "the kernels; 'kernels' is all three. 'link' times messages between two peers on this machine. 'hanse bench "
                 "dht' times the DHT and "
                 "has options of its own.",
        .example = "hanse bench kernels\nhanse bench kernels --device cuda --json\nhanse bench products --threads 1,max "
                   "--numerics f32\nhanse bench experts --isa avx512 --json",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = 1,
        .given = given,
    };
    if (!options_read(&usage, argc, argv, &operand, NULL, &status))
        return status;
    const struct section *section = find_section(operand[0]);
    if (!section)
        return options_refuse(&usage,
                              "'%s' is nothing to time; 'kernels', 'products', 'experts', 'operations' and 'link' are, and 'dht' "
                              "in the first place",
                              operand[0]);
    status = check_use(&usage, section);
    if (status)
        return status;
    if (!(bench.seconds > 0.0 && bench.seconds <= 60.0))
        return options_refuse(&usage, "--seconds must be above 0 and at most 60");
    if (bench.shape && !bench_is_shape(bench.shape))
        return options_refuse(&usage, "--shape: '%s' is none; write M x N x K such as 512x4096x1024, each at most 65536",
                              bench.shape);
    if (!each_word(numerics, &refused, take_numerics, &bench))
        return options_refuse(&usage, "--numerics: '%s' is none of f32, i8x2 and i8x1", refused);
    if (!each_word(threads, &refused, take_threads, &bench))
        return options_refuse(&usage, "--threads: '%s' is neither a number from 1 to %d nor 'max'", refused, N_THREADS_LIMIT);
    int gpu = -1;
    int err = device && *device && section->is_of_kernels ? device_parse(device, &gpu) : 0;
    if (!err && gpu >= 0)
        err = bench_open_gpu(&bench, gpu);
    if (err)
        return hanse_exit_status(err);
    if (!bench.has_gpu && (!isa || !*isa))
        take_all_sets(&bench);
    else if (!bench.has_gpu && !each_word(isa, &refused, take_isa, &bench))
        return hanse_exit_status(bench.err);
    if (!bench.has_gpu) {
        bench.memory = bench.set[0];
        take_blas(&bench);
    }
    if (section->is_of_kernels)
        print_machine(&bench);
    return hanse_exit_status(section->run(&bench));
}
