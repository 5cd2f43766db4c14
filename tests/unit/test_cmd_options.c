/* tests/unit/test_cmd_options.c - one table reads, explains and refuses a command line. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/options.h"
#include "unit.h"

#define ARGS_MAX 80

static struct {
    bool flag;
    const char *text, *maybe;
    struct options_texts texts;
    uint64_t number;
    double real, rate;
    struct addr addr;
    struct options_addrs addrs;
    uint64_t duration_us;
} got;

static const struct options_row rows[] = {
    {"flag", NULL, OPTIONS_FLAG, &got.flag, "a flag", 0, 0, false},
    {"text", "TEXT", OPTIONS_TEXT, &got.text, "some text", 0, 0, true},
    {"maybe", "[=TEXT]", OPTIONS_MAYBE, &got.maybe, "some text, or none", 0, 0, false},
    {"also", "TEXT", OPTIONS_TEXTS, &got.texts, "more text", 0, 0, false},
    {"number", "N", OPTIONS_U64, &got.number, "a number", 5, 10, false},
    {"real", "X", OPTIONS_DOUBLE, &got.real, "a fraction", 0, 0, false},
    {"listen", "ADDR:PORT", OPTIONS_ADDR, &got.addr, "an address", 0, 0, false},
    {"join", "ADDR:PORT", OPTIONS_ADDRS, &got.addrs, "addresses", 0, 0, false},
    {"up", "RATE", OPTIONS_BIT_RATE, &got.rate, "a rate", 0, 0, false},
    {"rtt", "TIME", OPTIONS_DURATION, &got.duration_us, "a time", 0, 0, false},
};

static const struct options_usage usage = {.command = "hanse test",
                                           .operands = "[FILE]",
                                           .about = "A command that is not there, with a sentence long enough that it has to be "
                                                    "continued on a second line of the help.",
                                           .example = "hanse test --text a\nhanse test --text b",
                                           .row = rows,
                                           .n_rows = sizeof rows / sizeof rows[0],
                                           .n_operands_max = 1};

static char said[8192]; /* on stdout and stderr */

/* Reads a line of words with stdout and stderr caught; returns what options_read() did. */
static bool read_line(const char *line, int *status, char ***operand, size_t *n)
{
    static char words[4096], *argv[ARGS_MAX];
    int argc = 0;
    snprintf(words, sizeof words, "test %s", line);
    for (char *rest = words, *word; (word = strsep(&rest, " ")) && argc < ARGS_MAX - 1;)
        argv[argc++] = word;
    argv[argc] = NULL;
    memset(&got, 0, sizeof got);
    FILE *caught = tmpfile();
    ck_assert_ptr_nonnull(caught);
    fflush(NULL);
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    dup2(fileno(caught), STDOUT_FILENO);
    dup2(fileno(caught), STDERR_FILENO);
    bool is_to_run = options_read(&usage, argc, argv, operand, n, status);
    fflush(NULL);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    rewind(caught);
    said[fread(said, 1, sizeof said - 1, caught)] = 0;
    fclose(caught);
    return is_to_run;
}

START_TEST(every_kind_is_read)
{
    int status;
    char **operand;
    size_t n;
    ck_assert(read_line("file --flag --text=hello --also x --number 7 --real -0.5 --listen [::1]:9 --join 1.2.3.4:5 --also y "
                        "--join 1.2.3.4:6 --up 20Mbit --rtt 80ms",
                        &status, &operand, &n));
    ck_assert_str_eq(said, "");
    ck_assert(got.flag);
    ck_assert_str_eq(got.text, "hello");
    ck_assert_uint_eq(got.texts.n, 2);
    ck_assert_str_eq(got.texts.text[1], "y");
    ck_assert_uint_eq(got.number, 7);
    ck_assert_double_eq(got.real, -0.5);
    ck_assert_uint_eq(got.addr.port, 9);
    ck_assert_uint_eq(got.addrs.n, 2);
    ck_assert_uint_eq(got.addrs.addr[1].port, 6);
    ck_assert_double_eq(got.rate, 20e6);
    ck_assert_uint_eq(got.duration_us, 80000);
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(operand[0], "file");
}
END_TEST

START_TEST(a_text_may_be_left_out)
{
    int status;
    ck_assert(read_line("--text a", &status, NULL, NULL));
    ck_assert_ptr_null(got.maybe);
    ck_assert(read_line("--maybe --text a", &status, NULL, NULL));
    ck_assert_str_eq(got.maybe, "");
    ck_assert(read_line("--text a --maybe=b,c", &status, NULL, NULL));
    ck_assert_str_eq(got.maybe, "b,c");
}
END_TEST

static const struct {
    const char *line, *says;
} refused[] = {
    {"--txt a", "there is no option --txt; did you mean --text?"},
    {"--text a --lisen 1.2.3.4:5", "did you mean --listen?"},
    {"--text a --numbers=6", "there is no option --numbers=6; did you mean --number?"},
    {"--text a --zebra", "there is no option --zebra\n"},
    {"--text a -q", "there is no option -q"},
    {"--text", "--text needs a value"},
    {"--text a --maybe one two", "'two' is not understood"}, /* its text stands behind '=' or nowhere */
    {"--text a --flag=1", "--flag=1 takes no value"},
    {"--flag", "--text TEXT is needed: some text"},
    {"--text a --number 4", "--number 4: must be a whole number from 5 to 10"},
    {"--text a --number 11", "--number 11: must be a whole number from 5 to 10"},
    {"--text a --number 7x", "--number 7x: must be"},
    {"--text a --real one", "--real one: must be a number such as"},
    {"--text a --listen localhost:5", "--listen localhost:5: must be an address and port such as"},
    {"--text a --join 1.2.3.4", "--join 1.2.3.4: must be an address and port"},
    {"--text a --up fast", "--up fast: must be bits per second such as 20Mbit"},
    {"--text a --up 0", "--up 0: must be bits per second"},
    {"--text a --rtt 80", "--rtt 80: must be a time such as 80ms"},
    {"--text a one two", "'two' is not understood; after the options comes [FILE]"},
};

START_TEST(what_is_wrong_is_said_and_what_would_be_right)
{
    int status = -1;
    ck_assert_msg(!read_line(refused[_i].line, &status, NULL, NULL), "%s", refused[_i].line);
    ck_assert_int_eq(status, OPTIONS_STATUS_USAGE);
    ck_assert_msg(strstr(said, refused[_i].says), "%s\n%s", refused[_i].line, said);
    ck_assert_ptr_nonnull(strstr(said, "hanse test --help"));
    ck_assert_int_eq(strncmp(said, "hanse test: ", 12), 0);
}
END_TEST

START_TEST(a_list_has_an_end)
{
    char line[4096] = "--text a";
    int status;
    for (int i = 0; i < OPTIONS_LIST_MAX / 2; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), " --also=%d", i);
    ck_assert(read_line(line, &status, NULL, NULL));
    ck_assert_uint_eq(got.texts.n, OPTIONS_LIST_MAX / 2);
    for (int i = 0; i < OPTIONS_LIST_MAX / 2 + 1; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), " --also=%d", i);
    ck_assert(!read_line(line, &status, NULL, NULL));
    ck_assert_ptr_nonnull(strstr(said, "--also: may be given 64 times at most"));
}
END_TEST

START_TEST(help_shows_every_option_within_the_width)
{
    int status = -1;
    ck_assert(!read_line("--help", &status, NULL, NULL));
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(strncmp(said, "usage: hanse test --text TEXT [options] [FILE]\n", 47), 0);
    for (size_t i = 0; i < usage.n_rows; i++) {
        char option[64];
        snprintf(option, sizeof option, "  --%s", rows[i].name);
        ck_assert_ptr_nonnull(strstr(said, option));
        ck_assert_ptr_nonnull(strstr(said, rows[i].help));
    }
    ck_assert_ptr_nonnull(strstr(said, "\nexample:\n  hanse test --text a\n  hanse test --text b\n"));
    for (char *rest = said, *line; (line = strsep(&rest, "\n"));)
        ck_assert_uint_le(strlen(line), 100);
}
END_TEST

static const char *word_at(const void *arg, size_t i)
{
    return ((const char *const *)arg)[i];
}

START_TEST(the_nearest_word_is_near)
{
    static const char *const words[] = {"list", "show", "verify", "export"};
    ck_assert_str_eq(options_nearest("exprt", word_at, words, 4), "export");
    ck_assert_str_eq(options_nearest("verfiy", word_at, words, 4), "verify");
    ck_assert_str_eq(options_nearest("lst", word_at, words, 4), "list");
    ck_assert_ptr_null(options_nearest("frobnicate", word_at, words, 4));
    ck_assert_ptr_null(options_nearest("xy", word_at, words, 4));
}
END_TEST

/* What would be ignored is refused, under whatever name it was given; what was not given is nobody's affair. */
START_TEST(an_option_of_another_mode_is_refused)
{
    static bool given[OPTIONS_ROWS_MAX];
    static char *lines[][5] = {{"test", "--text", "a"},
                               {"test", "--text", "a", "--number", "7"},
                               {"test", "--text", "a", "--num=7"},
                               {"test", "--text", "a", "--flag"},
                               {"test", "--text", "a", "--also", "b"}};
    const struct options_only only[] = {{"up number", "a mode that is not on", false},
                                        {"flag", "the mode that is on", true},
                                        {"al also-not lso", "words that are no option", false}};
    struct options_usage with = usage;
    int status, argc = 0;
    while (argc < 5 && lines[_i][argc])
        argc++;
    memset(given, 0, sizeof given);
    with.given = given;
    ck_assert(options_read(&with, argc, lines[_i], NULL, NULL, &status));
    ck_assert(given[1]);
    ck_assert_int_eq(options_check(&with, only, 3), _i == 1 || _i == 2 ? OPTIONS_STATUS_USAGE : 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmd/options");
    TCase *tc = tcase_create("options");
    tcase_add_test(tc, every_kind_is_read);
    tcase_add_loop_test(tc, what_is_wrong_is_said_and_what_would_be_right, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(tc, a_text_may_be_left_out);
    tcase_add_test(tc, a_list_has_an_end);
    tcase_add_test(tc, help_shows_every_option_within_the_width);
    tcase_add_test(tc, the_nearest_word_is_near);
    tcase_add_loop_test(tc, an_option_of_another_mode_is_refused, 0, 5);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
