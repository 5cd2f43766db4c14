/* cmd/dht_put.c - hanse dht put: stores an item (BEP 44) at the nodes nearest to its target. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cmd/dht_text.h"
#include "cmd/dht_tools.h"
#include "cmd/dht_walk.h"
#include "dht/item.h"

#define UNSET UINT64_MAX

struct put {
    struct dht_tool tool;
    struct dht_walk walk;
    struct dht_item item;
    const char *salt;
    uint64_t seq, cas; /* UNSET: not given */
    uint64_t seen_seq; /* the highest that is stored already */
    bool has_seen, is_mutable, is_bencoded;
};

/* -- The value ----------------------------------------------------------------------------------------- */

static int refuse_size(const char *what, size_t n)
{
    log_error(
        "%s: %zu bytes, bencoded, and %d is the most that an item may have (BEP 44); store its hash, and where the rest can be "
        "fetched",
        what, n, DHT_VALUE_MAX);
    return HANSE_EINVAL;
}

static int take_value(struct put *put, const char *what, const uint8_t *bytes, size_t n)
{
    struct dht_bencode doc;
    struct dht_bencode_writer w;
    char head[32];
    size_t n_all = put->is_bencoded ? n : n + (size_t)snprintf(head, sizeof head, "%zu:", n);
    if (n_all > DHT_VALUE_MAX)
        return refuse_size(what, n_all);
    if (put->is_bencoded && dht_bencode_read(&doc, bytes, n) != 0) {
        log_error("%s: is not bencoded, or not in the one canonical form; without --bencoded it is stored as a string", what);
        return HANSE_EINVAL;
    }
    dht_bencode_writer_init(&w, put->item.v, sizeof put->item.v);
    if (put->is_bencoded)
        dht_bencode_put_raw(&w, bytes, n);
    else
        dht_bencode_put_string(&w, bytes, n);
    put->item.n_v = w.n;
    return 0;
}

/* What follows the @; `name` is how messages call it. */
static int open_value(const char *path, FILE **file, const char **name)
{
    *name = path;
    if (*path == 0) {
        log_error("@: is no file's name; it is @FILE, or @- for standard input, also for a value that begins with @");
        return HANSE_EINVAL;
    }
    if (strcmp(path, "-") == 0) {
        *file = stdin;
        *name = "standard input";
        return 0;
    }
    *file = fopen(path, "rb");
    if (*file)
        return 0;
    int cause = errno;
    log_error("%s: cannot be read: %s; check the name, or give @- and the value on standard input", path, strerror(cause));
    return cause == EACCES ? HANSE_EACCESS : HANSE_ENOENT;
}

static int read_value(struct put *put, const char *text)
{
    uint8_t bytes[2 * DHT_VALUE_MAX];
    if (*text != '@')
        return take_value(put, "the value", (const uint8_t *)text, strlen(text));
    FILE *file = NULL;
    const char *name = NULL;
    int err = open_value(text + 1, &file, &name);
    if (err)
        return err;
    size_t n = fread(bytes, 1, sizeof bytes, file);
    bool is_bad = ferror(file), is_longer = !feof(file) && !is_bad;
    int cause = errno;
    if (file != stdin)
        fclose(file);
    if (is_bad) {
        log_error("%s: cannot be read: %s; name a file, or @- for standard input", name, strerror(cause));
        return HANSE_EIO;
    }
    if (is_longer) {
        log_error(
            "%s: more than %d bytes, bencoded, which is the most that an item may have (BEP 44); store its hash, and where the "
            "rest can be fetched",
            name, DHT_VALUE_MAX);
        return HANSE_EINVAL;
    }
    return take_value(put, name, bytes, n);
}

/* -- The walk ------------------------------------------------------------------------------------------ */

/* A number counts with the signature that it stands under: anybody could name one beyond which there is none. */
static void on_item(void *arg, struct dht_walk_node *node, const struct dht_message *m)
{
    struct put *put = arg;
    struct dht_item item;
    (void)node;
    if (!put->item.is_mutable || dht_walk_item(&put->walk, m, put->salt, &item) != 0)
        return;
    if (!put->has_seen || item.seq > put->seen_seq)
        put->seen_seq = item.seq;
    put->has_seen = true;
}

/* Without --seq the item becomes the successor of whatever is there. */
static bool arrived(void *arg)
{
    struct put *put = arg;
    struct dht_item *item = &put->item;
    struct dht_message *m = &put->walk.write;
    *m = (struct dht_message){.method = DHT_PUT, .v = {item->v, item->n_v}};
    if (!item->is_mutable)
        return true;
    item->seq = put->seq != UNSET ? put->seq : !put->has_seen ? 1 : put->seen_seq < INT64_MAX ? put->seen_seq + 1 : INT64_MAX;
    dht_item_sign(item, put->tool.key);
    m->k = (struct dht_span){item->key, sizeof item->key};
    m->signature = (struct dht_span){item->signature, sizeof item->signature};
    m->has_seq = true;
    m->seq = item->seq;
    m->has_cas = put->cas != UNSET;
    m->cas = m->has_cas ? put->cas : 0;
    if (item->n_salt > 0)
        m->salt = (struct dht_span){item->salt, item->n_salt};
    return true;
}

/* -- The command --------------------------------------------------------------------------------------- */

/* Who was refused for what is stored (301, 302) is told what that is, and how to go on. */
static void explain(const struct put *put)
{
    uint64_t next = put->seen_seq < INT64_MAX ? put->seen_seq + 1 : INT64_MAX;
    if (!put->has_seen)
        return;
    if (dht_walk_n_refused(&put->walk, DHT_ERROR_CAS) > 0)
        printf("what is stored has another sequence number: %" PRIu64 "; read it again, then put with --cas %" PRIu64 "\n",
               put->seen_seq, put->seen_seq);
    else if (dht_walk_n_refused(&put->walk, DHT_ERROR_SEQ) > 0)
        printf("what is stored has sequence number %" PRIu64 "; to replace it put with --seq %" PRIu64 ", or without --seq\n",
               put->seen_seq, next);
}

static int report(struct put *put)
{
    char target[DHT_TEXT_HEX_BYTES], key[2 * sizeof put->item.key + 1];
    bool is_stored = dht_walk_n_stored(&put->walk) > 0;
    dht_text_id(target, &put->walk.target);
    text_hex(key, put->item.key, sizeof put->item.key);
    if (put->tool.options.is_json) {
        json_t *all = json_pack("{s:s, s:b, s:o, s:o, s:o}", "target", target, "mutable", put->item.is_mutable, "write",
                                dht_walk_writes_json(&put->walk), "walk", dht_walk_cost_json(&put->walk), "nodes",
                                dht_walk_nodes_json(&put->walk));
        if (put->item.is_mutable) {
            dht_tool_json_text(all, "key", "%s", key);
            json_object_set_new(all, "seq", json_integer((json_int_t)put->item.seq));
            json_object_set_new(all, "stored_seq", put->has_seen ? json_integer((json_int_t)put->seen_seq) : json_null());
        }
        return dht_walk_status(&put->walk, dht_tool_print_json(all), is_stored);
    }
    printf("target %s\n", target);
    if (put->item.is_mutable)
        printf("key    %s\nseq    %" PRIu64 "\n", key, put->item.seq);
    dht_walk_print_writes(&put->walk);
    explain(put);
    dht_walk_print_cost(&put->walk);
    return dht_walk_status(&put->walk, 0, is_stored);
}

static int run(struct put *put, const struct dht_tool_options *o)
{
    struct dht_tool_wish wish = {.needs_join = true};
    int err = dht_tool_open(&put->tool, o, &wish), status = dht_tool_status(err, true);
    if (!err) {
        if (put->item.is_mutable)
            memcpy(put->item.key, key_peer_id(put->tool.key).byte, sizeof put->item.key);
        struct dht_id target = dht_item_target(&put->item);
        dht_walk_init(&put->walk, &put->tool, DHT_GET, &target);
        put->walk.question.n_pad = put->item.is_mutable ? DHT_WALK_PAD_ITEM : 0;
        put->walk.heard = on_item;
        put->walk.arrived = arrived;
        put->walk.arg = put;
        status = dht_walk_run(&put->walk);
    }
    if (status == 0)
        status = report(put);
    dht_tool_close(&put->tool);
    return status;
}

/* Refuses what cannot be, before anything is sent. */
static int check(const struct options_usage *usage, struct put *put, const struct dht_tool_options *o)
{
    size_t n_salt = put->salt ? strlen(put->salt) : 0;
    if (!put->is_mutable && (put->salt || put->seq != UNSET || put->cas != UNSET || o->key_dir))
        return options_refuse(usage, "--salt, --seq, --cas and --key belong to a mutable item: add --mutable");
    if (put->is_mutable && !o->key_dir)
        return options_refuse(usage, "--mutable needs --key DIR, whose key signs; 'hanse key new --dir DIR' makes one");
    if (n_salt > sizeof put->item.salt)
        return options_refuse(usage, "--salt: has %zu bytes, and %zu is the most (BEP 44)", n_salt, sizeof put->item.salt);
    if (n_salt > 0)
        memcpy(put->item.salt, put->salt, n_salt);
    put->item.n_salt = n_salt;
    put->item.is_mutable = put->is_mutable;
    return dht_tool_check(usage, o) ? 0 : OPTIONS_STATUS_USAGE;
}

int dht_tool_put(int argc, char **argv)
{
    struct dht_tool_options o = dht_tool_defaults(20);
    struct put put = {.seq = UNSET, .cas = UNSET};
    const struct options_row row[] = {
        DHT_TOOL_ROW_JOIN(o),
        {"mutable", NULL, OPTIONS_FLAG, &put.is_mutable, "an item that its key can replace, named by key and salt", 0, 0, false},
        DHT_TOOL_ROW_KEY(o, "directory of the key that signs a mutable item"),
        {"salt", "TEXT", OPTIONS_TEXT, &put.salt, "tells several items of one key apart; up to 64 bytes", 0, 0, false},
        {"seq", "N", OPTIONS_U64, &put.seq, "the item's sequence number (default: one more than is stored)", 0, INT64_MAX, false},
        {"cas", "N", OPTIONS_U64, &put.cas,
         "only where the item that is stored has this number; where nothing is stored, it is stored whatever --cas says", 0,
         INT64_MAX, false},
        {"bencoded", NULL, OPTIONS_FLAG, &put.is_bencoded, "the value is bencoded already (default: it becomes a string)", 0, 0,
         false},
        DHT_TOOL_ROW_TIMEOUT(o, "seconds for all of it (default 20)"),
        DHT_TOOL_ROW_JSON(o),
    };
    const struct options_usage usage = {
        .command = "hanse dht put",
        .operands = "VALUE|@FILE|@-",
        .about =
            "Stores a value of up to 1000 bytes (BEP 44), given as it is, in a file or with @- on standard input, at the nodes "
            "nearest to its target, and says how many took it and why "
            "others did not. They forget it after two hours or so unless it is put again. Ends with 1 when nobody stored it.",
        .example = "hanse dht put --join 192.0.2.7:6881 'Hello World!'\n"
                   "hanse dht put --mutable --key host1 --salt notes --join 192.0.2.7:6881 @notes.txt",
        .row = row,
        .n_rows = sizeof row / sizeof row[0],
        .n_operands_min = 1,
        .n_operands_max = 1,
    };
    char **operand;
    int status;
    if (!options_read(&usage, argc, argv, &operand, NULL, &status))
        return status;
    status = check(&usage, &put, &o);
    if (status != 0)
        return status;
    int err = read_value(&put, operand[0]);
    return err ? hanse_exit_status(err) : run(&put, &o);
}
