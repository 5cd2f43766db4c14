#include "model/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/text.h"
#include "model/run_yaml.h"

/* A description is a page of text; more than this is some other file. */
#define RUN_FILE_MAX (1u << 20)

#define VOCABULARY 256

static uint32_t round_up(uint32_t n, uint32_t step)
{
    return (n + step - 1) / step * step;
}

static size_t line_of_key(const struct run_lines *lines, const char *section, const char *name)
{
    return lines->key[run_key_find(section, name) - run_key_table];
}

/* Values that follow from others where the file does not say.  A SwiGLU block of 8/3 width has as many parameters as the usual
 * block of 4 width without a gate. */
static void derive(struct run *run, const struct run_lines *lines)
{
    if (run->hidden == 0)
        run->hidden = round_up(8 * run->width / 3, 32);
    if (run->latent == 0)
        run->latent = run->width;
    if (line_of_key(lines, "model", "moe_layers") == 0)
        for (uint32_t layer = 1; layer < run->layers; layer += 2) {
            run->is_moe[layer] = true;
            run->n_moe++;
        }
}

/* Names the line of the first key, or of the second where the first was left out. */
static size_t either_line(const struct run_lines *lines, const char *section, const char *a, const char *b)
{
    size_t line = line_of_key(lines, section, a);
    if (line == 0)
        line = line_of_key(lines, section, b);
    return line ? line : 1;
}

static int check_heads(const struct run *run, const struct run_lines *lines)
{
    size_t line = either_line(lines, "model", "heads", "width");
    if (run->width % run->heads != 0)
        return run_yaml_refuse(lines->file, line,
                               "model.heads: %u heads cannot share a width of %u evenly; choose a divisor of the width",
                               run->heads, run->width);
    if (run->width / run->heads % 2 != 0)
        return run_yaml_refuse(lines->file, line,
                               "model.heads: a head would be %u wide, which rotary pairs cannot fill; "
                               "choose heads so that width / heads is even",
                               run->width / run->heads);
    return 0;
}

static int check_experts(const struct run *run, const struct run_lines *lines)
{
    if (run->chosen > run->experts)
        return run_yaml_refuse(lines->file, either_line(lines, "model", "chosen", "experts"),
                               "model.chosen: a token cannot go to %u of %u experts; choose at most %u", run->chosen,
                               run->experts, run->experts);
    if (run->latent > run->width)
        return run_yaml_refuse(lines->file, either_line(lines, "model", "latent", "width"),
                               "model.latent: %u is more than the width of %u; choose at most the width", run->latent,
                               run->width);
    for (uint32_t layer = run->layers; layer < RUN_LAYERS_MAX; layer++)
        if (run->is_moe[layer])
            return run_yaml_refuse(lines->file, either_line(lines, "model", "moe_layers", "layers"),
                                   "model.moe_layers: there is no layer %u; choose from 0 to %u", layer, run->layers - 1);
    return 0;
}

static int check_coarse(const struct run *run, const struct run_lines *lines)
{
    if (run->expert_coarse && run->expert_numerics != NUMERICS_I8X2)
        return run_yaml_refuse(
            lines->file, either_line(lines, "experts", "coarse", "numerics"),
            "experts.coarse: with numerics %s there is no lower slice to leave out; write i8x2 there, or none here",
            numerics_name[run->expert_numerics]);
    return 0;
}

static int check_batch(const struct run *run, const struct run_lines *lines)
{
    if (run->batch % run->microbatches != 0)
        return run_yaml_refuse(lines->file, either_line(lines, "trainer", "microbatches", "batch"),
                               "trainer.microbatches: %u do not divide a batch of %u evenly; choose a divisor of the batch",
                               run->microbatches, run->batch);
    return 0;
}

/* Which numbers products are computed in has no part in what the first parameters are. */
static bool is_of_numerics(const struct run_key *key)
{
    static const char *const name[] = {"trainer.trunk", "experts.numerics", "experts.coarse"};
    char full[64];
    snprintf(full, sizeof full, "%s.%s", key->section, key->name);
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (strcmp(full, name[i]) == 0)
            return true;
    return false;
}

static void describe(const struct run *run, bool with_numerics, struct buf *out)
{
    for (size_t i = 0; i < RUN_N_KEYS; i++) {
        const struct run_key *key = &run_key_table[i];
        if (!key->is_in_id || (!with_numerics && is_of_numerics(key)))
            continue;
        buf_printf(out, "%s%s%s=", key->section, *key->section ? "." : "", key->name);
        run_key_print(key, run, out);
        buf_printf(out, "\n");
    }
}

static int hash_description(const struct run *run, bool with_numerics, struct hash *out)
{
    struct buf text;
    buf_init(&text, RUN_FILE_MAX);
    describe(run, with_numerics, &text);
    int err = text.err;
    if (!err)
        *out = hash_bytes(text.bytes, text.n);
    buf_fini(&text);
    return err;
}

static int set_id(struct run *run)
{
    int err = hash_description(run, true, &run->id);
    return err ? err : hash_description(run, false, &run->birth);
}

int run_parse(const char *file, const char *yaml, size_t n, struct run *out)
{
    struct run run;
    struct run_lines lines = {.file = file};
    if (n > RUN_FILE_MAX)
        return run_yaml_refuse(file, 0, "the file has %zu bytes; a run description has at most %u", n, RUN_FILE_MAX);
    run_key_preset(&run);
    int err = run_yaml(&run, &lines, yaml, n);
    if (err)
        return err;
    derive(&run, &lines);
    err = check_heads(&run, &lines);
    if (!err)
        err = check_experts(&run, &lines);
    if (!err)
        err = check_batch(&run, &lines);
    if (!err)
        err = check_coarse(&run, &lines);
    if (!err)
        err = set_id(&run);
    if (!err)
        *out = run;
    return err;
}

/* O_NONBLOCK: opening a pipe must not wait for its other end. */
static int open_file(const char *file, int *fd, size_t *n)
{
    struct stat status;
    *fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0 || fstat(*fd, &status) != 0) {
        int err = errno == ENOENT ? HANSE_ENOENT : errno == EACCES ? HANSE_EACCESS : HANSE_EIO;
        run_yaml_refuse(file, 0, "%s; name a run description, such as one of those in examples", strerror(errno));
        return err;
    }
    if (!S_ISREG(status.st_mode))
        return run_yaml_refuse(file, 0, "this is not a file; name a run description, such as one of those in examples");
    if (status.st_size > (off_t)RUN_FILE_MAX)
        return run_yaml_refuse(file, 0, "the file has more than %u bytes; name a run description, not data", RUN_FILE_MAX);
    *n = (size_t)status.st_size;
    return 0;
}

static int read_all(const char *file, int fd, char *text, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = read(fd, text + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            run_yaml_refuse(file, 0, "reading failed: %s; try again", got < 0 ? strerror(errno) : "the file became shorter");
            return HANSE_EIO;
        }
        done += (size_t)got;
    }
    return 0;
}

int run_read(const char *file, struct run *out)
{
    int fd = -1;
    size_t n = 0;
    char *text = NULL;
    int err = open_file(file, &fd, &n);
    if (err)
        goto fail;
    err = HANSE_ENOMEM;
    text = malloc(n + 1);
    if (!text)
        goto fail;
    err = read_all(file, fd, text, n);
    if (!err)
        err = run_parse(file, text, n, out);
fail:
    free(text);
    if (fd >= 0)
        close(fd);
    return err;
}

void run_canonical(const struct run *run, struct buf *out)
{
    describe(run, true, out);
}

void run_short_id(const struct run *run, char out[17])
{
    text_hex(out, run->id.byte, 8);
}

/* Embedding, final norm, head; each layer's two norms, four attention matrices and two QK-norms; then its mlp. */
size_t run_trunk_params(const struct run *run)
{
    size_t D = run->width, n = 2 * VOCABULARY * D + D;
    for (uint32_t layer = 0; layer < run->layers; layer++) {
        n += 2 * D + 4 * D * D + 2 * (D / run->heads);
        if (!run->is_moe[layer]) {
            n += 3 * D * run->hidden;
            continue;
        }
        n += D * run->experts + 3 * D * run->shared_hidden;
        if (run->latent < run->width)
            n += 2 * D * run->latent;
    }
    return n;
}

size_t run_expert_params(const struct run *run)
{
    return (size_t)3 * run->latent * run->expert_hidden;
}

size_t run_active_params(const struct run *run)
{
    return run_trunk_params(run) + (size_t)run->n_moe * run->chosen * run_expert_params(run);
}

uint32_t run_moe_layer(const struct run *run, uint32_t moe)
{
    uint32_t n_before = 0;
    for (uint32_t layer = 0; layer < run->layers && layer < RUN_LAYERS_MAX; layer++)
        if (run->is_moe[layer] && n_before++ == moe)
            return layer;
    return moe;
}

void run_expert_name(char out[32], uint32_t moe, uint32_t expert)
{
    snprintf(out, 32, "L%u.%u", moe, expert);
}

/* Only the one spelling that run_expert_name() writes: "L01.3" is not a second name of "L1.3". */
bool run_parse_expert_name(const struct run *run, const char *name, uint32_t *moe, uint32_t *expert)
{
    unsigned layer, index;
    char again[32];
    if (strnlen(name, sizeof again) == sizeof again || sscanf(name, "L%9u.%9u", &layer, &index) != 2)
        return false;
    run_expert_name(again, layer, index);
    if (strcmp(again, name) != 0 || layer >= run->n_moe || index >= run->experts)
        return false;
    *moe = layer;
    *expert = index;
    return true;
}
