/**
 * cmd/profile_report.h - what --profile says: base/profile.h's times as a table over all steps, and a line of JSON a step.
 */
#ifndef CMD_PROFILE_REPORT_H
#define CMD_PROFILE_REPORT_H

#include <stdio.h>

#include "base/profile.h"

/** Times of all threads when the first step began, when the last but one ended, and when the last ended. */
struct profile_report {
    struct profile_time first[PROFILE_THREADS_MAX], before[PROFILE_THREADS_MAX], last[PROFILE_THREADS_MAX];
    size_t n_steps;
};

/** Call on the loop thread: before the first step, and after each. */
void profile_report_begin(struct profile_report *report);
void profile_report_step(struct profile_report *report);

/** Milliseconds of each span in the last step, summed over the threads that compute: {"attention":1.25,...} */
void profile_report_json(const struct profile_report *report, FILE *out);

/** The table; nothing before the first step. */
void profile_report_print(const struct profile_report *report, FILE *out);

#endif
