/**
 * cmd/bench_dht.h - what the files of hanse bench dht share: what was asked for, and the protocols.
 *
 * 'published' is what hivemind (Ryabinin and Gusev, "Towards crowdsourced training of large neural networks using decentralized
 * mixture-of-experts", 2020) published figures of, 'rounds' its present benchmark; both are described where they are run.
 */
#ifndef CMD_BENCH_DHT_H
#define CMD_BENCH_DHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hanse/err.h"

#define BENCH_DHT_RATES_MAX 8
#define BENCH_DHT_RUNS_MAX 16
#define BENCH_DHT_HOSTS_MAX 64

struct bench_dht {
    uint64_t n_nodes, n_experts, n_hosts, n_runs, n_threads, n_at_once, seed;
    double failure_rate[BENCH_DHT_RATES_MAX];
    size_t n_failure_rates;
    bool is_json;
};

HANSE_MUST_USE int bench_dht_published(const struct bench_dht *bench);
HANSE_MUST_USE int bench_dht_rounds(const struct bench_dht *bench);
HANSE_MUST_USE int bench_dht_cold_start(const struct bench_dht *bench);

/** The median; sorts `x`. */
double bench_median(double *x, size_t n);

#endif
