#include "model/run_yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/log.h"
#include "base/text.h"

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; valid while has_event */
    bool has_event;
    struct run *run;
    struct run_lines *lines;
    const char *yaml;
    size_t section_line[RUN_N_SECTIONS];
};

int run_yaml_refuse(const char *file, size_t line, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (line > 0)
        log_error("%s:%zu: %s", file, line, text);
    else
        log_error("%s: %s", file, text);
    return HANSE_EINVAL;
}

#define RUN_WORD_MAX 48 /* bytes of a word that messages show */
#define REFUSE(reader, ...) run_yaml_refuse((reader)->lines->file, line_of(reader), __VA_ARGS__)

static size_t line_of(const struct reader *r)
{
    return r->event.start_mark.line + 1;
}

/* A word of the file as it may appear on a terminal. */
static const char *shown(char out[RUN_WORD_MAX], const char *word)
{
    size_t n = 0;
    for (; word[n] && n < RUN_WORD_MAX - 1; n++)
        out[n] = word[n] >= ' ' && word[n] <= '~' ? word[n] : '?';
    out[n] = 0;
    return out;
}

/* libyaml gives a line for its scanner and parser, and only an offset for bytes that are no text at all. */
static size_t fault_line(const struct reader *r)
{
    if (r->parser.error != YAML_READER_ERROR)
        return r->parser.problem_mark.line + 1;
    size_t line = 1;
    for (size_t i = 0; i < r->parser.problem_offset; i++)
        line += r->yaml[i] == '\n';
    return line;
}

static int refuse_syntax(const struct reader *r)
{
    if (r->parser.error == YAML_MEMORY_ERROR)
        return HANSE_ENOMEM;
    const char *problem = r->parser.problem ? r->parser.problem : "this is not YAML";
    return run_yaml_refuse(r->lines->file, fault_line(r), "%s; check indentation (spaces, no tabs), colons, quotes and brackets",
                           problem);
}

static int next(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event);
    return r->has_event ? 0 : refuse_syntax(r);
}

static bool is_null(const yaml_event_t *event)
{
    if (event->type != YAML_SCALAR_EVENT || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    const char *text = (const char *)event->data.scalar.value;
    return strcmp(text, "") == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

/* Goes to the next event and refuses what run.yaml never has. */
static int next_node(struct reader *r)
{
    int err = next(r);
    if (err)
        return err;
    const yaml_event_t *event = &r->event;
    if (event->type == YAML_ALIAS_EVENT)
        return REFUSE(r, "an alias (*name) is not allowed; write the value itself");
    bool has_anchor = (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor) ||
                      (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.anchor) ||
                      (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor);
    if (has_anchor)
        return REFUSE(r, "an anchor (&name) is not allowed; remove it");
    bool has_tag = (event->type == YAML_SCALAR_EVENT && event->data.scalar.tag) ||
                   (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.tag) ||
                   (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.tag);
    if (has_tag)
        return REFUSE(r, "a tag (!name) is not allowed; remove it");
    return 0;
}

static const char *dot(const char *section)
{
    return *section ? "." : "";
}

static int refuse_value(struct reader *r, const struct run_key *key, const char *reason)
{
    struct buf range;
    buf_init(&range, 256);
    run_key_print_range(key, &range);
    int err = REFUSE(r, "%s%s%s: %s; write %.*s", key->section, dot(key->section), key->name, reason, (int)range.n,
                     range.bytes ? (const char *)range.bytes : "");
    buf_fini(&range);
    return err;
}

static int read_scalar(struct reader *r, const struct run_key *key)
{
    char word[RUN_WORD_MAX], reason[RUN_WORD_MAX + 64];
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse_value(r, key, "a list or a mapping stands where one value belongs");
    if (is_null(&r->event))
        return refuse_value(r, key, "there is no value");
    const char *text = (const char *)r->event.data.scalar.value;
    shown(word, text);
    bool is_plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!is_plain && key->kind != RUN_KIND_NAME) {
        snprintf(reason, sizeof reason, "\"%s\" is text because of its quotes", word);
        return refuse_value(r, key, reason);
    }
    /* An escaped NUL would hide the rest of the text. */
    bool is_whole_text = strlen(text) == r->event.data.scalar.length;
    enum run_key_fault fault = is_whole_text ? run_key_set(key, r->run, text) : RUN_KEY_KIND;
    if (fault == RUN_KEY_OK)
        return 0;
    snprintf(reason, sizeof reason, fault == RUN_KEY_RANGE ? "'%s' is out of range" : "'%s' is not such a value", word);
    return refuse_value(r, key, reason);
}

static int read_layer(struct reader *r)
{
    char word[RUN_WORD_MAX];
    uint64_t layer;
    if (r->event.type != YAML_SCALAR_EVENT)
        return REFUSE(r, "model.moe_layers: a list or a mapping stands where a layer belongs; write a list such as [1, 3]");
    const char *text = (const char *)r->event.data.scalar.value;
    bool is_plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!is_plain || !text_u64(&layer, text, 0, RUN_LAYERS_MAX - 1))
        return REFUSE(r, "model.moe_layers: '%s' is no layer; write whole numbers from 0 to layers - 1", shown(word, text));
    if (r->run->is_moe[layer])
        return REFUSE(r, "model.moe_layers: layer %u stands there twice; remove one", (unsigned)layer);
    r->run->is_moe[layer] = true;
    r->run->n_moe++;
    return 0;
}

static int read_layers(struct reader *r, const struct run_key *key)
{
    if (r->event.type != YAML_SEQUENCE_START_EVENT)
        return refuse_value(r, key, "this is not a list");
    int err = next_node(r);
    for (; !err && r->event.type != YAML_SEQUENCE_END_EVENT; err = next_node(r)) {
        err = read_layer(r);
        if (err)
            return err;
    }
    return err;
}

static const char *section_of(const char *name)
{
    for (size_t i = 0; i < RUN_N_KEYS; i++)
        if (strcmp(run_key_table[i].name, name) == 0)
            return run_key_table[i].section;
    return NULL;
}

static int refuse_key(struct reader *r, const char *section, const char *name)
{
    char word[RUN_WORD_MAX];
    shown(word, name);
    const struct run_key *near = run_key_nearest(section, name);
    if (near)
        return REFUSE(r, "%s%s%s: there is no such key; did you mean '%s'?", section, dot(section), word, near->name);
    const char *other = section_of(name);
    if (other)
        return REFUSE(r, "%s%s%s: there is no such key; move it to %s%s", section, dot(section), word,
                      *other ? "the section " : "the top, outside of all sections", other);
    return REFUSE(r, "%s%s%s: there is no such key; remove it (`hanse plan` lists the keys there are)", section, dot(section),
                  word);
}

/* The current event is the key. */
static int read_key(struct reader *r, const char *section)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return REFUSE(r, "a list or a mapping stands where a key belongs; write 'key: value'");
    const char *name = (const char *)r->event.data.scalar.value;
    const struct run_key *key = run_key_find(section, name);
    if (!key)
        return refuse_key(r, section, name);
    size_t *line = &r->lines->key[key - run_key_table];
    if (*line)
        return REFUSE(r, "%s%s%s: the key stands there twice, first on line %zu; remove one", section, dot(section), name, *line);
    *line = line_of(r);
    int err = next_node(r);
    if (err)
        return err;
    return key->kind == RUN_KIND_LAYERS ? read_layers(r, key) : read_scalar(r, key);
}

/* The current event is the value of a section. */
static int read_section(struct reader *r, const char *section)
{
    if (is_null(&r->event))
        return 0;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return REFUSE(r, "%s: this is a section; write its keys below it, each on a line of its own and indented", section);
    int err = next_node(r);
    for (; !err && r->event.type != YAML_MAPPING_END_EVENT; err = next_node(r)) {
        err = read_key(r, section);
        if (err)
            return err;
    }
    return err;
}

static size_t section_index(const char *name)
{
    size_t i = 1;
    while (i < RUN_N_SECTIONS && strcmp(run_key_section[i], name) != 0)
        i++;
    return i;
}

/* A misspelt section: as for keys. */
static const char *section_near(const char *name)
{
    for (size_t i = 1; i < RUN_N_SECTIONS; i++)
        if (2 * text_distance(run_key_section[i], name) < strlen(run_key_section[i]))
            return run_key_section[i];
    return NULL;
}

/* The current event is a key at the top: a section, or one of the few keys that stand outside. */
static int read_top(struct reader *r)
{
    char word[RUN_WORD_MAX];
    if (r->event.type != YAML_SCALAR_EVENT)
        return REFUSE(r, "a list or a mapping stands where a key belongs; write 'key: value'");
    const char *name = (const char *)r->event.data.scalar.value;
    size_t i = section_index(name);
    if (i == RUN_N_SECTIONS) {
        const char *near = section_near(name);
        if (near && !run_key_find("", name))
            return REFUSE(r, "%s: there is no such section; did you mean '%s'?", shown(word, name), near);
        return read_key(r, "");
    }
    if (r->section_line[i])
        return REFUSE(r, "%s: the section stands there twice, first on line %zu; join the two", name, r->section_line[i]);
    r->section_line[i] = line_of(r);
    int err = next_node(r);
    return err ? err : read_section(r, run_key_section[i]);
}

static int read_document(struct reader *r)
{
    int err = next_node(r);
    if (err || is_null(&r->event))
        return err;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return REFUSE(r, "this is not a run description; write sections such as 'model:' with keys below them");
    err = next_node(r);
    for (; !err && r->event.type != YAML_MAPPING_END_EVENT; err = next_node(r)) {
        err = read_top(r);
        if (err)
            return err;
    }
    return err;
}

static int read_stream(struct reader *r)
{
    int err = next(r); /* the start of the stream */
    if (!err)
        err = next(r);
    if (err || r->event.type == YAML_STREAM_END_EVENT)
        return err;
    err = read_document(r);
    if (!err)
        err = next(r); /* the end of the document */
    if (!err)
        err = next(r);
    if (!err && r->event.type != YAML_STREAM_END_EVENT)
        err = REFUSE(r, "a second document starts here; keep one run in a file");
    return err;
}

int run_yaml(struct run *run, struct run_lines *lines, const char *yaml, size_t n)
{
    struct reader r = {.run = run, .lines = lines, .yaml = yaml};
    if (!yaml_parser_initialize(&r.parser))
        return HANSE_ENOMEM;
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)yaml, n);
    int err = read_stream(&r);
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return err;
}
