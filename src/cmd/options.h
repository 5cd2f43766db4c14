/**
 * cmd/options.h - a command line, said once: one table serves to read it, to print --help and to explain what is wrong.
 *
 * Every command also knows --help and --verbose.  Options may be shortened as long as they stay unique, and stand before or
 * after operands.  What is not allowed is refused with the option, the value, and what would be allowed.
 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define OPTIONS_STATUS_USAGE 64 /* EX_USAGE */
#define OPTIONS_LIST_MAX 64
#define OPTIONS_ROWS_MAX 32

/** Several addresses, one per use of the option. */
struct options_addrs {
    struct addr addr[OPTIONS_LIST_MAX];
    size_t n;
};

/** Several texts, one per use of the option; the texts are argv's. */
struct options_texts {
    const char *text[OPTIONS_LIST_MAX];
    size_t n;
};

enum options_kind {
    OPTIONS_FLAG,     /* bool * */
    OPTIONS_TEXT,     /* const char **, argv's own text */
    OPTIONS_MAYBE,    /* const char **: as TEXT after '=', "" without */
    OPTIONS_TEXTS,    /* struct options_texts * */
    OPTIONS_U64,      /* uint64_t *, in [min, max] */
    OPTIONS_DOUBLE,   /* double *, finite */
    OPTIONS_ADDR,     /* struct addr * */
    OPTIONS_ADDRS,    /* struct options_addrs * */
    OPTIONS_BIT_RATE, /* double *, bits per second, > 0 */
    OPTIONS_DURATION  /* uint64_t *, microseconds */
};

/** One option.  The default is whatever `out` held before; `help` says it in words. */
struct options_row {
    const char *name;     /* without the dashes */
    const char *argument; /* "FILE"; NULL for a flag */
    enum options_kind kind;
    void *out;
    const char *help;
    uint64_t min, max; /* OPTIONS_U64 */
    bool is_required;
};

struct options_usage {
    const char *command;  /* "hanse host" */
    const char *operands; /* "EXPERT..." as shown after the options; NULL for none */
    const char *about;    /* a sentence or three */
    const char *example;  /* lines without indentation */
    const struct options_row *row;
    size_t n_rows;
    size_t n_operands_min, n_operands_max;
    bool *given; /* OPTIONS_ROWS_MAX places, set for each row whose option stands on the line; NULL: nobody asks */
};

/** Options that mean nothing but in one way of using a command. */
struct options_only {
    const char *names; /* with blanks between */
    const char *where; /* "--cold-start" */
    bool is_so;        /* that is how it is used now */
};

/**
 * Reads argv[1..].  True when the command is to run; then *operand is the first of the n_operands operands (argv is put in
 * order).  False when the program is to end with *status: 0 after --help, else OPTIONS_STATUS_USAGE with the reason on
 * stderr.  `operand` and `n_operands` may be NULL when there are none.
 */
bool options_read(const struct options_usage *usage, int argc, char **argv, char ***operand, size_t *n_operands, int *status);

/** 0, or options_refuse() of the first option that is given (usage->given) and would be ignored: "--hosts belongs to --cold-start". */
int options_check(const struct options_usage *usage, const struct options_only *only, size_t n);

/** Prints "hanse NAME: reason" and how to get help to stderr; returns OPTIONS_STATUS_USAGE. */
int options_refuse(const struct options_usage *usage, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Of n words the one most like `word`, NULL when none is near; word(arg, i) gives the i-th. */
const char *options_nearest(const char *word, const char *(*word_at)(const void *arg, size_t i), const void *arg, size_t n);

#endif
