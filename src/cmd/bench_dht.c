/* cmd/bench_dht.c - hanse bench dht: what is asked for, and which protocol runs. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/bench.h"
#include "cmd/bench_dht.h"
#include "cmd/options.h"
#include "net/cores.h"

#define EXPERTS_A_NODE 16 /* then a node is asked to keep some 256 records of the one who declares: a quarter of what it may */

double bench_median(double *x, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && x[j] < x[j - 1]; j--) {
            double larger = x[j - 1];
            x[j - 1] = x[j];
            x[j] = larger;
        }
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* Numbers from 0 to below 1, with commas between; false when there is another. */
static bool take_rates(struct bench_dht *bench, const char *list)
{
    for (const char *at = list; bench->n_failure_rates < BENCH_DHT_RATES_MAX; at++) {
        char *end;
        double rate = strtod(at, &end);
        if (end == at || !(rate >= 0 && rate <= 0.5))
            return false;
        bench->failure_rate[bench->n_failure_rates++] = rate;
        if (!*end)
            return true;
        if (*end != ',')
            return false;
        at = end;
    }
    return false;
}

static const struct protocol {
    const char *name;
    int (*run)(const struct bench_dht *bench);
} protocols[] = {{"published", bench_dht_published}, {"rounds", bench_dht_rounds}};

static const struct protocol *find_protocol(const char *name)
{
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        if (strcmp(protocols[i].name, name) == 0)
            return &protocols[i];
    return NULL;
}

/* What nothing would come of is refused. */
static int check_use(const struct options_usage *usage, bool is_cold, bool is_published)
{
    const struct options_only only[] = {
        {"hosts", "--cold-start", is_cold},
        {"protocol threads", "the protocols, not to --cold-start", !is_cold},
        {"nodes experts at-once", "--protocol published", is_published},
        {"runs", "--protocol published and to --cold-start", is_cold || is_published},
        {"failure-rate", "--protocol rounds", !is_cold && !is_published},
    };
    return options_check(usage, only, sizeof only / sizeof *only);
}

int bench_dht(int argc, char **argv)
{
    static struct bench_dht bench = {.n_nodes = 1024, .n_hosts = 64, .n_runs = 3, .n_at_once = 16, .seed = 30};
    const char *name = "published", *rates = "0,0.1,0.3";
    bool is_cold = false, given[OPTIONS_ROWS_MAX] = {false};
    char **operand;
    int status;
    bench.n_threads = cores_n_here() < 64 ? cores_n_here() : 64;
    const struct options_row row[] = {
        {"protocol", "NAME", OPTIONS_TEXT, &name, "'published' (the default) or 'rounds'", 0, 0, false},
        {"cold-start", NULL, OPTIONS_FLAG, &is_cold, "time a new trainer until it knows the experts of many hosts instead", 0, 0,
         false},
        {"hosts", "N", OPTIONS_U64, &bench.n_hosts, "cold start: hosts with 64 experts each; 4, 8, 16, 32 or 64 (default 64)", 4,
         BENCH_DHT_HOSTS_MAX, false},
        {"nodes", "N", OPTIONS_U64, &bench.n_nodes, "published: nodes in this process, 3 to 60000 (default 1024)", 3, 60000,
         false},
        {"experts", "N", OPTIONS_U64, &bench.n_experts,
         "published: experts to declare and to find (default: 16 a node, which fit)", 1, 1000000, false},
        {"runs", "N", OPTIONS_U64, &bench.n_runs, "how often all of it is done, 1 to 16 (default 3)", 1, BENCH_DHT_RUNS_MAX,
         false},
        {"at-once", "N", OPTIONS_U64, &bench.n_at_once, "published: nodes that join at the same time (default 16)", 1, 60000,
         false},
        {"failure-rate", "LIST", OPTIONS_TEXT, &rates, "rounds: shares of the nodes that stop meanwhile (default: 0,0.1,0.3)", 0,
         0, false},
        {"threads", "N", OPTIONS_U64, &bench.n_threads, "threads for the nodes (default: one a core)", 1, 64, false},
        {"seed", "N", OPTIONS_U64, &bench.seed, "of keys, uids and who joins through whom (default 30)", 0, UINT32_MAX, false},
        {"json", NULL, OPTIONS_FLAG, &bench.is_json, "print one JSON object a line", 0, 0, false},
    };
    const struct options_usage usage = {
        .command = "hanse bench dht",
        .about = "Times the DHT with many real nodes in this process, each with a key and a UDP socket on loopback: how fast "
                 "nodes join, and what "
                 "storing and finding the records of experts takes.",
        .example = "hanse bench dht\nhanse bench dht --nodes 128 --experts 1024 --runs 1 --json",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .given = given,
    };
    if (!options_read(&usage, argc, argv, &operand, NULL, &status))
        return status;
    const struct protocol *protocol = find_protocol(name);
    if (!protocol)
        return options_refuse(&usage, "--protocol: '%s' is neither 'published' nor 'rounds'", name);
    status = check_use(&usage, is_cold, !is_cold && protocol->run == bench_dht_published);
    if (status)
        return status;
    if (bench.n_experts == 0)
        bench.n_experts = EXPERTS_A_NODE * bench.n_nodes;
    if (bench.n_hosts & (bench.n_hosts - 1))
        return options_refuse(&usage, "--hosts must be 4, 8, 16, 32 or 64");
    if (!take_rates(&bench, rates))
        return options_refuse(&usage, "--failure-rate: '%s' is no list of up to %d shares from 0 to 0.5, such as 0,0.1", rates,
                              BENCH_DHT_RATES_MAX);
    return hanse_exit_status(is_cold ? bench_dht_cold_start(&bench) : protocol->run(&bench));
}
