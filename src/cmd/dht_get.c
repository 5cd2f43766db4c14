/* cmd/dht_get.c - hanse dht get: an item (BEP 44) by its target or its key; rows of the directory are in dht_entries.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cmd/dht_entries.h"
#include "cmd/dht_text.h"
#include "cmd/dht_tools.h"
#include "cmd/dht_walk.h"
#include "dht/id.h"
#include "dht/item.h"

struct get {
    struct dht_tool tool;
    struct dht_walk walk;
    const char *salt, *output;
    struct dht_item item; /* the best so far */
    bool has_item;
    size_t n_holders, n_older, n_false; /* nodes that gave it; an older one; something that is not true */
};

/* -- The walk ------------------------------------------------------------------------------------------ */

static bool is_same(const struct dht_item *a, const struct dht_item *b)
{
    return a->seq == b->seq && a->n_v == b->n_v && memcmp(a->v, b->v, a->n_v) == 0;
}

static void count_item(struct get *get, const struct dht_item *item)
{
    if (get->has_item && is_same(item, &get->item)) {
        get->n_holders++;
    } else if (get->has_item && item->seq <= get->item.seq) {
        get->n_older++;
    } else {
        get->n_older += get->n_holders;
        get->n_holders = 1;
        get->item = *item;
        get->has_item = true;
    }
}

static void on_item(void *arg, struct dht_walk_node *node, const struct dht_message *m)
{
    struct get *get = arg;
    struct dht_item item;
    int err = node->n_found == 0 ? dht_walk_item(&get->walk, m, get->salt, &item) : HANSE_ENOENT;
    if (err != HANSE_ENOENT)
        node->n_found = 1;
    if (err == HANSE_EREJECT)
        get->n_false++;
    else if (err == 0)
        count_item(get, &item);
}

/* -- Showing ------------------------------------------------------------------------------------------- */

/* False when the value is no string. */
static bool string_of(const struct dht_item *item, struct dht_span *out)
{
    struct dht_bencode doc;
    if (dht_bencode_read(&doc, item->v, item->n_v) != 0 || doc.token[0].type != DHT_BENCODE_STRING)
        return false;
    *out = doc.token[0].string;
    return true;
}

static void print_item(const struct get *get)
{
    char key[2 * sizeof get->item.key + 1], signature[2 * sizeof get->item.signature + 1];
    struct dht_span string;
    struct buf text;
    buf_init(&text, 1 << 20);
    dht_text_value(&text, get->item.v, get->item.n_v);
    printf("%.*s\n\n", (int)text.n, text.n ? (const char *)text.bytes : "");
    buf_fini(&text);
    text_hex(key, get->item.key, sizeof get->item.key);
    text_hex(signature, get->item.signature, sizeof get->item.signature);
    if (get->item.is_mutable)
        printf("mutable, seq %" PRIu64 "\nkey       %s\nsignature %s (good)\n", get->item.seq, key, signature);
    else
        printf("immutable\n");
    if (string_of(&get->item, &string) && !dht_text_is_readable(string.bytes, string.n))
        printf("%zu byte%s no text, shown in hex; --output FILE writes the value as it is\n", string.n,
               string.n == 1 ? " that is" : "s that are");
    printf("held by %zu node%s", get->n_holders, text_plural(get->n_holders));
    if (get->n_older > 0)
        printf(", an older one by %zu", get->n_older);
    printf("\n");
}

/* A string of UTF-8 is "text", any other one "hex"; what is no string is "shown" as people see it. */
static void value_json(json_t *item, const struct dht_item *from)
{
    char hex[2 * DHT_VALUE_MAX + 1];
    struct dht_span string;
    if (string_of(from, &string)) {
        json_t *text = json_stringn((const char *)string.bytes, string.n); /* NULL for what is no UTF-8 */
        text_hex(hex, string.bytes, string.n);
        json_object_set_new(item, text ? "text" : "hex", text ? text : json_string(hex));
        return;
    }
    struct buf shown;
    buf_init(&shown, 1 << 20);
    dht_text_value(&shown, from->v, from->n_v);
    json_object_set_new(item, "shown", json_stringn(shown.n ? (const char *)shown.bytes : "", shown.n));
    buf_fini(&shown);
}

static json_t *item_json(const struct get *get)
{
    char key[2 * sizeof get->item.key + 1], signature[2 * sizeof get->item.signature + 1], raw[2 * DHT_VALUE_MAX + 1];
    if (!get->has_item)
        return json_null();
    json_t *item = json_object();
    value_json(item, &get->item);
    text_hex(raw, get->item.v, get->item.n_v);
    json_object_set_new(item, "bencoded_hex", json_string(raw));
    json_object_set_new(item, "mutable", json_boolean(get->item.is_mutable));
    if (!get->item.is_mutable)
        return item;
    text_hex(key, get->item.key, sizeof get->item.key);
    text_hex(signature, get->item.signature, sizeof get->item.signature);
    json_object_set_new(item, "seq", json_integer((json_int_t)get->item.seq));
    dht_tool_json_text(item, "key", "%s", key);
    dht_tool_json_text(item, "signature", "%s", signature);
    return item;
}

/* The bytes of a string, or the bencoded form of anything else. */
static int write_output(const struct get *get)
{
    struct dht_span bytes;
    if (!string_of(&get->item, &bytes))
        bytes = (struct dht_span){get->item.v, get->item.n_v};
    errno = 0;
    FILE *file = fopen(get->output, "wb");
    bool is_written = file && fwrite(bytes.bytes, 1, bytes.n, file) == bytes.n;
    if (file && fclose(file) != 0)
        is_written = false;
    if (is_written)
        return 0;
    log_error("%s: cannot be written: %s; check its directory, or name another file", get->output, strerror(errno));
    return HANSE_EIO;
}

static int report(struct get *get)
{
    int err = get->has_item && get->output ? write_output(get) : 0;
    if (err)
        return hanse_exit_status(err);
    if (get->has_item && !get->item.is_mutable && get->salt)
        log_warn("--salt was left out: the item is immutable, and such a one has none");
    if (get->tool.options.is_json) {
        char target[DHT_TEXT_HEX_BYTES];
        err = dht_tool_print_json(json_pack("{s:s, s:o, s:I, s:I, s:I, s:o}", "target", dht_text_id(target, &get->walk.target),
                                            "item", item_json(get), "holders", (json_int_t)get->n_holders, "older_at",
                                            (json_int_t)get->n_older, "false_at", (json_int_t)get->n_false, "walk",
                                            dht_walk_cost_json(&get->walk)));
        return dht_walk_status(&get->walk, err, get->has_item);
    }
    if (get->has_item)
        print_item(get);
    else
        printf("nobody who answered has it\n");
    if (get->n_false > 0)
        printf("%zu node%s gave something that does not fit the key or its signature\n", get->n_false, text_plural(get->n_false));
    dht_walk_print_cost(&get->walk);
    return dht_walk_status(&get->walk, 0, get->has_item);
}

/* -- The command --------------------------------------------------------------------------------------- */

static int run(struct get *get, const struct dht_tool_options *o, const struct dht_id *target)
{
    struct dht_tool_wish wish = {.needs_join = true};
    int err = dht_tool_open(&get->tool, o, &wish), status = dht_tool_status(err, true);
    if (!err) {
        dht_walk_init(&get->walk, &get->tool, DHT_GET, target);
        get->walk.question.n_pad = DHT_WALK_PAD_ITEM;
        get->walk.heard = on_item;
        get->walk.arg = get;
        status = dht_walk_run(&get->walk);
    }
    if (status == 0)
        status = report(get);
    dht_tool_close(&get->tool);
    return status;
}

/* 40 digits name an item, 64 the key of a mutable one. */
static bool read_target(const char *text, const char *salt, struct dht_id *target)
{
    struct dht_item item = {.is_mutable = true, .n_salt = salt ? strlen(salt) : 0};
    if (text_unhex(target->byte, sizeof target->byte, text))
        return true;
    if (!text_unhex(item.key, sizeof item.key, text))
        return false;
    memcpy(item.salt, salt ? salt : "", item.n_salt);
    *target = dht_item_target(&item);
    return true;
}

int dht_tool_get(int argc, char **argv)
{
    struct dht_tool_options o = dht_tool_defaults(15);
    struct get get = {.salt = NULL};
    bool wants_directory = false, given[OPTIONS_ROWS_MAX] = {false};
    const struct options_row row[] = {
        DHT_TOOL_ROW_JOIN(o),
        {"salt", "TEXT", OPTIONS_TEXT, &get.salt, "the salt of a mutable item; an immutable one has none", 0, 0, false},
        {"output", "FILE", OPTIONS_TEXT, &get.output, "write the value's bytes to this file, too", 0, 0, false},
        {"directory", NULL, OPTIONS_FLAG, &wants_directory, "show a row of the directory of experts instead", 0, 0, false},
        DHT_TOOL_ROW_TIMEOUT(o, "seconds for all of it (default 15)"),
        DHT_TOOL_ROW_JSON(o),
    };
    const struct options_usage usage = {
        .command = "hanse dht get",
        .operands = "KEY | --directory RUN LAYER ROW | --directory KEY",
        .about = "Reads an item (BEP 44) by its target of 40 hex digits, or a mutable one by its public key of 64, and says who "
                 "holds it; or the entries of hosts under a row of 64 experts, named by run (its file or its id of 64 digits), "
                 "layer and row. LAYER counts those with experts (MoE) from 0, as L0.17 does, and ROW its experts by 64. Ends "
                 "with 1 when there is nothing.",
        .example = "hanse dht get --join 192.0.2.7:6881 e5f96f6f38320f0f33959cb4d3d656452117aadb\n"
                   "hanse dht get --directory run.yaml 0 0",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = 3,
        .given = given,
    };
    char **operand;
    size_t n_operands;
    struct dht_id target;
    int status;
    if (!options_read(&usage, argc, argv, &operand, &n_operands, &status))
        return status;
    if (!dht_tool_check(&usage, &o))
        return OPTIONS_STATUS_USAGE;
    const struct options_only only = {"salt output", "items, not to --directory", !wants_directory};
    status = options_check(&usage, &only, 1);
    if (status)
        return status;
    if (wants_directory)
        return dht_entries_show(&usage, &o, operand, n_operands);
    if (n_operands != 1)
        return options_refuse(&usage, "'%s' is not understood; run, layer and row come with --directory", operand[1]);
    if (get.salt && strlen(get.salt) > sizeof get.item.salt)
        return options_refuse(&usage, "--salt: has %zu bytes, and %zu is the most (BEP 44)", strlen(get.salt),
                              sizeof get.item.salt);
    if (!read_target(operand[0], get.salt, &target))
        return options_refuse(&usage, "'%s': a target has 40 hex digits, the key of a mutable item 64", operand[0]);
    return run(&get, &o, &target);
}
