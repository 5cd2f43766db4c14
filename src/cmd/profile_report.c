#include "cmd/profile_report.h"

#include <stdbool.h>
#include <string.h>

#include "base/text.h"

static void take(struct profile_time *time)
{
    for (size_t t = 0; t < profile_n_threads(); t++)
        time[t] = profile_thread_time(t);
}

void profile_report_begin(struct profile_report *report)
{
    take(report->first);
    memcpy(report->last, report->first, sizeof report->last);
    report->n_steps = 0;
}

void profile_report_step(struct profile_report *report)
{
    memcpy(report->before, report->last, sizeof report->before);
    take(report->last);
    report->n_steps++;
}

/* The loop waits most of the time and computes nothing: it is told apart from those that do. */
static bool is_loop(size_t thread)
{
    return strcmp(profile_thread_name(thread), "loop") == 0;
}

/* A time may have been read one switch late, so it may seem to have run backwards by a hair. */
static double ms_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

/* What a span took of the loop, or of all others. */
static double sum_ms(const struct profile_time *from, const struct profile_time *to, enum profile_span span, bool of_loop)
{
    double ms = 0;
    for (size_t t = 0; t < profile_n_threads(); t++)
        if (is_loop(t) == of_loop)
            ms += ms_between(from[t].ns[span], to[t].ns[span]);
    return ms;
}

void profile_report_json(const struct profile_report *report, FILE *out)
{
    for (int i = 0; i < PROFILE_N_SPANS; i++)
        fprintf(out, "%s\"%s\":%.3f", i ? "," : "{", profile_key((enum profile_span)i),
                sum_ms(report->before, report->last, (enum profile_span)i, false));
    fputc('}', out);
}

static void print_row(FILE *out, const char *title, double ms, double share, double loop_ms)
{
    fprintf(out, "  %-36s %9.3f %6.1f %%", title, ms, 100 * share);
    if (loop_ms > 0)
        fprintf(out, " %9.3f", loop_ms);
    fputc('\n', out);
}

static double all_ms(const struct profile_report *report, bool of_loop)
{
    double ms = 0;
    for (int i = 0; i < PROFILE_N_SPANS; i++)
        ms += sum_ms(report->first, report->last, (enum profile_span)i, of_loop);
    return ms;
}

/* One row for each thread that computes: a worker that starves shows. */
static void print_idle(const struct profile_report *report, FILE *out, double n_steps, double whole_ms)
{
    for (size_t t = 0; t < profile_n_threads(); t++) {
        double ms = ms_between(report->first[t].ns[PROFILE_IDLE], report->last[t].ns[PROFILE_IDLE]) / n_steps;
        char title[PROFILE_THREAD_NAME_MAX + 8];
        snprintf(title, sizeof title, "idle: %s", profile_thread_name(t));
        if (!is_loop(t))
            print_row(out, title, ms, ms / whole_ms, 0);
    }
    print_row(out, "idle: loop", 0, 0, sum_ms(report->first, report->last, PROFILE_IDLE, true) / n_steps);
}

void profile_report_print(const struct profile_report *report, FILE *out)
{
    double n_steps = (double)report->n_steps, whole_ms = all_ms(report, false) / n_steps;
    if (report->n_steps == 0 || whole_ms <= 0)
        return;
    fprintf(out, "where a step of %.2f ms went, a mean over %zu step%s\n  %-36s %9s %8s %9s\n", all_ms(report, true) / n_steps,
            report->n_steps, text_plural(report->n_steps), "milliseconds", "workers", "share", "loop");
    for (int i = 0; i < PROFILE_IDLE; i++) {
        enum profile_span span = (enum profile_span)i;
        double ms = sum_ms(report->first, report->last, span, false) / n_steps;
        print_row(out, profile_title(span), ms, ms / whole_ms, sum_ms(report->first, report->last, span, true) / n_steps);
    }
    print_idle(report, out, n_steps, whole_ms);
}
