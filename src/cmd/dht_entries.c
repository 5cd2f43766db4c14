#include "cmd/dht_entries.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/dht_text.h"
#include "model/run.h"
#include "router/message.h"

#define SETTLE_US 300000u /* after the first answer, for others to be found */

/* Which row of the directory it is. */
struct row {
    struct dht_id key;
    bool is_runs, is_experts;
    uint64_t layer, row; /* of experts; 0 when the key alone is known */
};

struct entries {
    struct dht_tool tool;
    struct row row;
    uint64_t read_us; /* when to read; 0: nobody answered yet; IO_NEVER: under way */
    struct dht_entry *entry;
    size_t n, n_asked, n_silent; /* entries; nodes that answered, and that did not */
    bool was_read;
};

/* -- Reading ------------------------------------------------------------------------------------------- */

static void on_read(void *arg, uint64_t now_us, const struct dht_entry *entry, size_t n, size_t n_asked)
{
    struct entries *x = arg;
    (void)now_us;
    x->was_read = true;
    x->n_asked = n_asked;
    x->n_silent = dht_read_n_silent(x->tool.dht);
    x->entry = calloc(n + 1, sizeof *x->entry);
    if (x->entry && n > 0)
        memcpy(x->entry, entry, n * sizeof *entry);
    x->n = x->entry ? n : 0;
    dht_tool_end(&x->tool, x->entry ? 0 : HANSE_ENOMEM);
}

static void step(struct dht_tool *tool, uint64_t now_us)
{
    struct entries *x = tool->arg;
    uint64_t end_us = tool->start_us + tool->timeout_us;
    tool->wake_us = end_us;
    if (x->read_us == 0 && dht_n_good(tool->dht) > 0)
        x->read_us = now_us + SETTLE_US;
    if (x->read_us != 0 && x->read_us <= now_us) {
        x->read_us = IO_NEVER;
        dht_read(tool->dht, now_us, &x->row.key, on_read, x);
    } else if (now_us >= end_us) {
        dht_tool_end(tool, 0);
    }
    if (!tool->is_over && x->read_us > now_us && x->read_us < tool->wake_us)
        tool->wake_us = x->read_us;
}

/* -- Showing ------------------------------------------------------------------------------------------- */

/* False for an entry of another kind. */
static bool claims_of(const struct row *row, const struct dht_entry *entry, struct message_claim *claim, size_t *n)
{
    *n = 0;
    return !row->is_runs && message_claims_decode(claim, n, entry->bytes, entry->n_bytes) == 0;
}

static json_t *claims_json(const struct row *row, const struct message_claim *claim, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_pack("{s:I, s:I, s:I, s:I}", "index", (json_int_t)claim[i].index, "version",
                                (json_int_t)claim[i].version, "epoch", (json_int_t)claim[i].epoch, "token_slots",
                                (json_int_t)claim[i].load * 64);
        if (row->is_experts)
            dht_tool_json_text(one, "expert", "L%" PRIu64 ".%" PRIu64, row->layer,
                               row->row * MESSAGE_ROW_EXPERTS + claim[i].index);
        json_array_append_new(list, one);
    }
    return list;
}

static void print_claims(const struct row *row, const struct message_claim *claim, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("    ");
        if (row->is_experts)
            printf("L%" PRIu64 ".%" PRIu64, row->layer, row->row * MESSAGE_ROW_EXPERTS + claim[i].index);
        else
            printf("expert %u of the row", claim[i].index);
        printf("  version %" PRIu32 ", epoch %u, %" PRIu64 " token-slots\n", claim[i].version, claim[i].epoch,
               (uint64_t)claim[i].load * 64);
    }
}

/* Name and id of a run. */
struct run_text {
    char name[MESSAGE_RUN_NAME_MAX + 1], id[2 * sizeof(struct hash) + 1];
};

/* False for an entry of another kind. */
static bool run_of(const struct row *row, const struct dht_entry *entry, struct run_text *out)
{
    struct message_run m;
    if (!row->is_runs || message_run_decode(&m, entry->bytes, entry->n_bytes) != 0)
        return false;
    memcpy(out->name, m.name, sizeof m.name);
    text_hex(out->id, m.run.byte, sizeof m.run.byte);
    return true;
}

static long left_s(const struct dht_entry *entry)
{
    return (long)entry->expiry_s - (long)(net_now_us() / 1000000);
}

static void print_entry(const struct entries *x, const struct dht_entry *entry)
{
    char at[ADDR_TEXT_BYTES], writer[2 * sizeof entry->writer.byte + 1];
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    struct run_text run;
    size_t n;
    char name[4 * sizeof run.name];
    bool has_claims = claims_of(&x->row, entry, claim, &n);
    text_hex(writer, entry->writer.byte, sizeof entry->writer.byte);
    printf("  %s  %-21s  %s%sover in %ld s, seq %" PRIu64 ", %u bytes, signature good\n", writer, addr_text(&entry->addr, at),
           has_claims ? message_hardware_name[message_claims_hardware(entry->bytes)] : "", has_claims ? ", " : "", left_s(entry),
           entry->seq, entry->n_bytes);
    print_claims(&x->row, claim, n);
    if (run_of(&x->row, entry, &run))
        printf("    run %s %s\n", text_plain(name, sizeof name, run.name), run.id);
}

static json_t *entry_json(const struct entries *x, const struct dht_entry *entry)
{
    char at[ADDR_TEXT_BYTES], writer[2 * sizeof entry->writer.byte + 1], bytes[2 * DHT_DIRECTORY_BYTES_MAX + 1];
    text_hex(writer, entry->writer.byte, sizeof entry->writer.byte);
    text_hex(bytes, entry->bytes, entry->n_bytes);
    json_t *one = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s}", "writer", writer, "address", addr_text(&entry->addr, at),
                            "expiry_s", (json_int_t)entry->expiry_s, "left_s", (json_int_t)left_s(entry), "seq",
                            (json_int_t)entry->seq, "bytes", bytes);
    struct message_claim claim[MESSAGE_ROW_EXPERTS];
    struct run_text run;
    size_t n;
    if (claims_of(&x->row, entry, claim, &n))
        json_object_set_new(one, "hardware", json_string(message_hardware_name[message_claims_hardware(entry->bytes)]));
    if (run_of(&x->row, entry, &run)) {
        json_object_set_new(one, "run", json_string(run.name));
        json_object_set_new(one, "run_id", json_string(run.id));
    }
    if (!x->row.is_runs)
        json_object_set_new(one, "claims", claims_json(&x->row, claim, n));
    return one;
}

static int report(const struct entries *x)
{
    char key[DHT_TEXT_HEX_BYTES];
    dht_text_id(key, &x->row.key);
    if (x->tool.options.is_json) {
        json_t *list = json_array();
        for (size_t i = 0; i < x->n; i++)
            json_array_append_new(list, entry_json(x, &x->entry[i]));
        return dht_tool_status(
            dht_tool_print_json(json_pack("{s:s, s:I, s:I, s:o}", "key", key, "answered", (json_int_t)x->n_asked, "silent",
                                          (json_int_t)x->n_silent, "entries", list)),
            x->n > 0);
    }
    printf("key %s: %zu entr%s; %zu node%s answered", key, x->n, x->n == 1 ? "y" : "ies", x->n_asked, text_plural(x->n_asked));
    if (x->n_silent > 0)
        printf(", %zu did not", x->n_silent);
    printf("\n");
    for (size_t i = 0; i < x->n; i++)
        print_entry(x, &x->entry[i]);
    return dht_tool_status(0, x->n > 0);
}

/* Whoever answers the way may be silent to the question itself. */
static int explain_silence(const struct entries *x)
{
    if (x->read_us == 0 || x->tool.is_interrupted)
        return dht_tool_explain_nobody(&x->tool);
    if (!x->was_read) {
        log_error("the time ran out before the key was read; --timeout gives it longer");
        return DHT_TOOL_NOTHING;
    }
    log_error(
        "none of the %zu node%s asked for the key answered, though there are some; try again, or begin elsewhere with --join",
        x->n_silent, text_plural(x->n_silent));
    return DHT_TOOL_NOTHING;
}

/* -- The command --------------------------------------------------------------------------------------- */

/* The head of a run's id, as status and logs show it. */
static bool is_short_id(const char *text)
{
    uint8_t head[8];
    return text_unhex(head, sizeof head, text) && access(text, F_OK) != 0;
}

/* Options_refuse's status, or another one, when the operands name no row; else 0. */
static int read_row(const struct options_usage *usage, char **operand, size_t n, struct row *row)
{
    static const struct hash nobody;
    struct run run = {0};
    *row = (struct row){.is_experts = n == 3, .is_runs = n == 1 && strcmp(operand[0], MESSAGE_RUNS) == 0};
    if (row->is_runs) {
        row->key = dht_directory_key(&nobody, MESSAGE_RUNS, 0, 0);
        return 0;
    }
    if (n == 1 && text_unhex(row->key.byte, sizeof row->key.byte, operand[0]))
        return 0;
    if (n != 3)
        return options_refuse(usage, "--directory needs a run, a layer and a row; or a key of 40 hex digits; or the word runs");
    if (!text_u64(&row->layer, operand[1], 0, UINT32_MAX) || !text_u64(&row->row, operand[2], 0, UINT32_MAX))
        return options_refuse(usage, "'%s %s': layer and row are whole numbers from 0 on", operand[1], operand[2]);
    if (is_short_id(operand[0]))
        return options_refuse(usage,
                              "'%s' is the head of a run's id; its key follows from all 64 digits, which 'hanse dht get "
                              "--directory runs' shows",
                              operand[0]);
    if (!text_unhex(run.id.byte, sizeof run.id.byte, operand[0])) {
        int err = run_read(operand[0], &run);
        if (err)
            return hanse_exit_status(err);
        uint32_t n_rows = (run.experts + MESSAGE_ROW_EXPERTS - 1) / MESSAGE_ROW_EXPERTS;
        if (row->layer >= run.n_moe || row->row >= n_rows)
            return options_refuse(
                usage, "'%s %s': this run has %" PRIu32 " layer%s with experts, of %" PRIu32 " row%s; both count from 0",
                operand[1], operand[2], run.n_moe, text_plural(run.n_moe), n_rows, text_plural(n_rows));
    }
    row->key = dht_directory_key(&run.id, "experts", (uint32_t)row->layer, (uint32_t)row->row);
    return 0;
}

int dht_entries_show(const struct options_usage *usage, const struct dht_tool_options *options, char **operand, size_t n_operands)
{
    struct entries x = {.n = 0};
    struct dht_tool_wish wish = {.needs_join = true};
    int status = read_row(usage, operand, n_operands, &x.row);
    if (status)
        return status;
    int err = dht_tool_open(&x.tool, options, &wish);
    status = dht_tool_status(err, true);
    if (!err) {
        x.tool.step = step;
        x.tool.arg = &x;
        for (size_t i = 0; i < x.tool.n_join; i++)
            dht_join(x.tool.dht, net_now_us(), &x.tool.join[i]);
        err = dht_tool_run(&x.tool);
        status = err ? hanse_exit_status(err) : x.n_asked == 0 ? explain_silence(&x) : report(&x);
    }
    dht_tool_close(&x.tool);
    free(x.entry);
    return status;
}
