/**
 * base/log.h - one line at a time to one sink.  Any thread.
 *
 * Whoever first knows a cause logs it, with the remedy, in one sentence that starts with a lower-case
 * noun: "port 4100: in use; choose another with --listen".
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/** Lines below `level` are dropped.  Starts as LOG_INFO. */
void log_set_level(enum log_level level);

/**
 * Sends every line (without newline) to `sink` instead of stderr; NULL restores stderr.  The sink is
 * called by one thread at a time and must not log.
 */
void log_set_sink(void (*sink)(void *arg, enum log_level level, const char *line), void *arg);

/** Writes a line to stderr as it is written without a sink, for sinks that make room for it first. */
void log_write(enum log_level level, const char *line);

void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Keeps what strangers can make us say to a trickle that fills no disk; all zeros at the start.  One thread at a time. */
struct log_limit {
    uint64_t debt_us, last_us;
    unsigned long n_left_out;
};

/** A line that strangers cause: LOG_LIMIT_BURST of them at once, then one in LOG_LIMIT_PAUSE_US, which says how many were left out. */
#define LOG_LIMIT_BURST 20
#define LOG_LIMIT_PAUSE_US 10000000u
void log_limited(struct log_limit *limit, uint64_t now_us, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** The clock of those who are given no time, such as kernels; it never goes back.  Whoever owns one hands it in (src/cmd does), before
 * other threads start; without it they have no time that passes. */
void log_set_clock(uint64_t (*now_us)(void));

/** Keeps what a lasting shortage makes us say to a line now and then; all zeros at the start.  Any thread. */
struct log_seldom {
    uint64_t next_us; /* 0: nothing was said yet */
    unsigned long n_left_out;
};

/** A line that a shortage causes: the first, then one in LOG_SELDOM_PAUSE_US of the clock above, which says how many were left out. */
#define LOG_SELDOM_PAUSE_US 60000000u
void log_seldom(struct log_seldom *seldom, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
