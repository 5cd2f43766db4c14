/*
 * The main of a fuzz target where there is no libFuzzer.  It hands the target each file of its corpus, then
 * inputs made from them by a fixed seed; the i-th depends on seed, i and the corpus alone, so a failure is
 * repeated by its number.
 *
 *     fuzz_NAME [-seed=S] [-first=I] [-runs=N] [FILE or DIRECTORY...]
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"

#define N_FILES_MAX 256
#define FILE_BYTES_MAX ((size_t)1 << 16)
#define RANDOM_BYTES_MAX 600
#define N_RUNS 4000
#define INPUT_SECONDS 20 /* an input that takes longer hangs */

struct input {
    uint8_t *bytes;
    size_t n;
};

static struct input corpus[N_FILES_MAX];
static size_t n_corpus;
static unsigned long seed = 1, first, n_runs = N_RUNS;
static char repeat[512]; /* what to say when the target dies */

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void say_how_to_repeat(void)
{
    ssize_t n_written = write(STDERR_FILENO, repeat, strlen(repeat));
    (void)n_written;
}

static void on_signal(int number)
{
    say_how_to_repeat();
    signal(number, SIG_DFL);
    raise(number);
}

/* Where the sources are; `make check` tells. */
static const char *srcdir(void)
{
    const char *directory = getenv("srcdir");
    return directory ? directory : ".";
}

static void fail(const char *path)
{
    perror(path);
    exit(EXIT_FAILURE);
}

static void read_file(const char *path)
{
    struct input input = {.bytes = malloc(FILE_BYTES_MAX)};
    FILE *file = fopen(path, "rb");
    if (!input.bytes || !file || n_corpus == N_FILES_MAX)
        fail(path);
    input.n = fread(input.bytes, 1, FILE_BYTES_MAX, file);
    fclose(file);
    corpus[n_corpus++] = input;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* A file, or every file of a directory in the order of their names. */
static void read_path(const char *path)
{
    struct dirent **entry;
    int n = scandir(path, &entry, is_visible, alphasort);
    if (n < 0) {
        read_file(path);
        return;
    }
    for (int i = 0; i < n; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entry[i]->d_name);
        read_file(name);
        free(entry[i]);
    }
    free(entry);
}

static void mutate_once(struct rng *rng, uint8_t *bytes, size_t *n, size_t capacity)
{
    static const uint8_t edge[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '0', ':', '-'};
    size_t at = rng_below(rng, *n + 1), length;
    switch (rng_below(rng, 6)) {
    case 0: /* flip a bit */
        if (at < *n)
            bytes[at] ^= (uint8_t)(1 << rng_below(rng, 8));
        break;
    case 1: /* an edge value, eight bytes of it at times: lengths */
        length = rng_below(rng, 2) ? 1 : 1 + rng_below(rng, 8);
        for (size_t i = at; i < *n && i < at + length; i++)
            bytes[i] = edge[rng_below(rng, sizeof edge)];
        break;
    case 2: /* any value */
        if (at < *n)
            bytes[at] = (uint8_t)rng_u32(rng);
        break;
    case 3: /* cut off */
        *n = at;
        break;
    case 4: /* remove a piece */
        length = rng_below(rng, *n - at + 1);
        memmove(bytes + at, bytes + at + length, *n - at - length);
        *n -= length;
        break;
    default: /* repeat a piece */
        length = rng_below(rng, *n - at + 1);
        length = length < capacity - *n ? length : capacity - *n;
        memmove(bytes + at + length, bytes + at, *n - at);
        *n += length;
    }
}

/* Random bytes, or a corpus file with a few mutations. */
static size_t make_input(unsigned long i, uint8_t *bytes, size_t capacity)
{
    struct rng rng;
    size_t n = 0;
    rng_init(&rng, (uint64_t)seed << 32 | i, "fuzz");
    if (n_corpus == 0 || rng_below(&rng, 8) == 0) {
        n = rng_below(&rng, RANDOM_BYTES_MAX);
        rng_bytes(&rng, bytes, n);
        return n;
    }
    const struct input *from = &corpus[rng_below(&rng, n_corpus)];
    n = from->n;
    memcpy(bytes, from->bytes, n);
    for (uint64_t left = 1 + rng_below(&rng, 6); left > 0; left--)
        mutate_once(&rng, bytes, &n, capacity);
    return n;
}

/* The target gets a block of exactly n bytes, so that a sanitizer sees the first byte read past it. */
static void run(const uint8_t *bytes, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact)
        fail("malloc");
    memcpy(exact, bytes, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static void read_options(int argc, char **argv)
{
    bool has_path = false;
    for (int i = 1; i < argc; i++) {
        if (sscanf(argv[i], "-seed=%lu", &seed) == 1 || sscanf(argv[i], "-first=%lu", &first) == 1 ||
            sscanf(argv[i], "-runs=%lu", &n_runs) == 1)
            continue;
        read_path(argv[i]);
        has_path = true;
    }
    const char *name = strrchr(argv[0], '/');
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", srcdir(), name ? name + 1 : argv[0]);
    if (!has_path && access(path, R_OK) == 0)
        read_path(path);
}

static void watch(void)
{
    static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    if (__sanitizer_set_death_callback) { /* which has its own handlers */
        __sanitizer_set_death_callback(say_how_to_repeat);
        signal(SIGALRM, on_signal);
        signal(SIGABRT, on_signal);
        return;
    }
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        signal(deadly[i], on_signal);
}

int main(int argc, char **argv)
{
    const size_t capacity = 2 * FILE_BYTES_MAX;
    uint8_t *bytes = malloc(capacity);
    if (!bytes)
        fail("malloc");
    read_options(argc, argv);
    watch();
    for (size_t i = 0; i < n_corpus; i++) {
        snprintf(repeat, sizeof repeat, "failed on file %zu of the corpus; repeat: srcdir=%s %s -runs=0\n", i + 1, srcdir(),
                 argv[0]);
        alarm(INPUT_SECONDS);
        run(corpus[i].bytes, corpus[i].n);
    }
    for (unsigned long i = first; i < first + n_runs; i++) {
        snprintf(repeat, sizeof repeat, "repeat: srcdir=%s %s -seed=%lu -first=%lu -runs=1\n", srcdir(), argv[0], seed, i);
        alarm(INPUT_SECONDS);
        run(bytes, make_input(i, bytes, capacity));
    }
    printf("%zu files and %lu inputs made from them with seed %lu\n", n_corpus, n_runs, seed);
    for (size_t i = 0; i < n_corpus; i++)
        free(corpus[i].bytes);
    free(bytes);
    return EXIT_SUCCESS;
}
