/* bench_net_link.c - prints how fast links are here:  bench_net_link [SECONDS [MESSAGE_BYTES]] */
#include <stdio.h>
#include <stdlib.h>

#include "net/bench.h"

int main(int argc, char **argv)
{
    struct net_bench result;
    double seconds = argc > 1 ? atof(argv[1]) : 4;
    size_t message_bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : (size_t)1 << 20;
    int err = net_bench_link(seconds, message_bytes, &result);
    if (err) {
        fprintf(stderr, "bench_net_link: %s\n", hanse_strerror(err));
        return hanse_exit_status(err);
    }
    printf("open %.1f ms, %.0f MB/s in messages of %zu bytes, %.0f round trips/s\n", result.open_us * 1e-3,
           result.bytes_per_s * 1e-6, message_bytes, result.round_trips_per_s);
    return 0;
}
