/* node/evaluation.c - windows out, losses in. */
#include "node/evaluation.h"

#include <stdlib.h>
#include <string.h>

#define BITS_PER_NAT 1.4426950408889634

int evaluation_init(struct evaluation *evaluation, const struct data *data, size_t T, size_t n_lanes)
{
    memset(evaluation, 0, sizeof *evaluation);
    evaluation->data = data;
    evaluation->T = T;
    evaluation->n_windows = evaluation->n_max = data_n_windows(data, T);
    evaluation->loss = calloc(evaluation->n_windows, sizeof *evaluation->loss);
    evaluation->n_counted = calloc(evaluation->n_windows, sizeof *evaluation->n_counted);
    evaluation->lane_first = calloc(n_lanes, sizeof *evaluation->lane_first);
    evaluation->lane_n = calloc(n_lanes, sizeof *evaluation->lane_n);
    if (evaluation->loss && evaluation->n_counted && evaluation->lane_first && evaluation->lane_n)
        return 0;
    evaluation_fini(evaluation);
    return HANSE_ENOMEM;
}

void evaluation_fini(struct evaluation *evaluation)
{
    free(evaluation->loss);
    free(evaluation->n_counted);
    free(evaluation->lane_first);
    free(evaluation->lane_n);
    memset(evaluation, 0, sizeof *evaluation);
}

bool evaluation_fill(void *arg, size_t lane, struct trunk_tape *tape)
{
    struct evaluation *evaluation = arg;
    size_t T = evaluation->T, n = 0, first_counted, n_counted;
    if (evaluation->next >= evaluation->n_max)
        return false;
    memset(tape->token, 0, tape->N * sizeof *tape->token);
    memset(tape->target, 0, tape->N * sizeof *tape->target);
    evaluation->lane_first[lane] = evaluation->next;
    for (; n < tape->B && evaluation->next < evaluation->n_max; n++, evaluation->next++)
        data_window(evaluation->data, T, evaluation->next, tape->token + n * T, tape->target + n * T, &first_counted, &n_counted);
    evaluation->lane_n[lane] = n;
    return true;
}

void evaluation_done(void *arg, size_t lane, const struct trunk_tape *tape)
{
    struct evaluation *evaluation = arg;
    size_t T = evaluation->T, first_counted, n_counted;
    for (size_t b = 0; b < evaluation->lane_n[lane]; b++) {
        size_t window = evaluation->lane_first[lane] + b;
        data_window(evaluation->data, T, window, tape->token + b * T, tape->target + b * T, &first_counted, &n_counted);
        double sum = 0;
        for (size_t t = first_counted; t < first_counted + n_counted; t++)
            sum += (double)tape->loss[b * T + t];
        evaluation->loss[window] = sum;
        evaluation->n_counted[window] = n_counted;
        evaluation->n_done++;
    }
}

double evaluation_bpb(const struct evaluation *evaluation)
{
    double sum = 0;
    size_t n = 0;
    for (size_t w = 0; w < evaluation->n_windows; w++) {
        sum += evaluation->loss[w];
        n += evaluation->n_counted[w];
    }
    return n ? sum / (double)n * BITS_PER_NAT : 0;
}
