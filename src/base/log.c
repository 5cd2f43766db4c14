#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 1024 /* a sentence; what is longer ends in "..." */

static _Atomic int threshold = LOG_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*sink_fn)(void *arg, enum log_level level, const char *line);
static void *sink_arg;
static uint64_t (*clock_us)(void);
static pthread_mutex_t seldom_lock = PTHREAD_MUTEX_INITIALIZER;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

void log_set_sink(void (*sink)(void *arg, enum log_level level, const char *line), void *arg)
{
    pthread_mutex_lock(&lock);
    sink_fn = sink;
    sink_arg = arg;
    pthread_mutex_unlock(&lock);
}

/* One write, so that lines of several processes on one terminal do not mix. */
void log_write(enum log_level level, const char *text)
{
    static const char *const prefix[] = {"debug: ", "", "warning: ", "error: "};
    char line[LINE_BYTES + 16];
    int n = snprintf(line, sizeof line, "hanse: %s%s\n", prefix[level], text);
    ssize_t n_written = write(STDERR_FILENO, line, (size_t)n);
    (void)n_written; /* there is nowhere left to complain */
}

/* A peer's words may stand in a line; they must not steer a terminal or forge a second line. */
static void tame(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

static void emit(enum log_level level, const char *format, va_list args)
{
    if ((int)level < atomic_load(&threshold))
        return;
    int saved_errno = errno;
    char text[LINE_BYTES - 16];
    if (vsnprintf(text, sizeof text, format, args) >= (int)sizeof text)
        memcpy(text + sizeof text - 4, "...", 4);
    tame(text);
    pthread_mutex_lock(&lock);
    if (sink_fn)
        sink_fn(sink_arg, level, text);
    else
        log_write(level, text);
    pthread_mutex_unlock(&lock);
    errno = saved_errno;
}

/* A bucket that leaks with time: each line adds a pause to the debt. */
static bool is_allowed(struct log_limit *limit, uint64_t now_us)
{
    uint64_t passed_us = now_us > limit->last_us ? now_us - limit->last_us : 0;
    limit->debt_us -= passed_us < limit->debt_us ? passed_us : limit->debt_us;
    limit->last_us = now_us > limit->last_us ? now_us : limit->last_us;
    if (limit->debt_us + LOG_LIMIT_PAUSE_US > (uint64_t)LOG_LIMIT_BURST * LOG_LIMIT_PAUSE_US)
        return false;
    limit->debt_us += LOG_LIMIT_PAUSE_US;
    return true;
}

static void emit_words(enum log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(level, format, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, uint64_t now_us, enum log_level level, const char *format, ...)
{
    if ((int)level < atomic_load(&threshold))
        return;
    if (!is_allowed(limit, now_us)) {
        limit->n_left_out++;
        return;
    }
    char text[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (limit->n_left_out > 0)
        emit_words(level, "%lu lines such as the next were left out", limit->n_left_out);
    limit->n_left_out = 0;
    emit_words(level, "%s", text);
}

void log_set_clock(uint64_t (*now_us)(void))
{
    clock_us = now_us;
}

/* Whether a line is due, and how many there were since the last. */
static bool is_due(struct log_seldom *seldom, unsigned long *n_left_out)
{
    uint64_t now_us = clock_us ? clock_us() : 0;
    pthread_mutex_lock(&seldom_lock);
    bool is_due = now_us >= seldom->next_us;
    *n_left_out = seldom->n_left_out;
    seldom->n_left_out = is_due ? 0 : seldom->n_left_out + 1;
    seldom->next_us = is_due ? now_us + LOG_SELDOM_PAUSE_US : seldom->next_us;
    pthread_mutex_unlock(&seldom_lock);
    return is_due;
}

void log_seldom(struct log_seldom *seldom, enum log_level level, const char *format, ...)
{
    unsigned long n_left_out;
    if ((int)level < atomic_load(&threshold) || !is_due(seldom, &n_left_out))
        return;
    if (n_left_out > 0)
        emit_words(level, "%lu lines such as the next were left out", n_left_out);
    va_list args;
    va_start(args, format);
    emit(level, format, args);
    va_end(args);
}

void log_debug(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(LOG_DEBUG, format, args);
    va_end(args);
}

void log_info(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(LOG_INFO, format, args);
    va_end(args);
}

void log_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(LOG_WARN, format, args);
    va_end(args);
}

void log_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(LOG_ERROR, format, args);
    va_end(args);
}
