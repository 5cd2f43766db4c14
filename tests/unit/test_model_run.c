#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/text.h"
#include "model/run.h"
#include "model/run_key.h"
#include "tests/unit/unit.h"

static char last_line[1024];

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static int parse(const char *yaml, struct run *run)
{
    last_line[0] = 0;
    log_set_sink(keep_line, NULL);
    int err = run_parse("r.yaml", yaml, strlen(yaml), run);
    log_set_sink(NULL, NULL);
    return err;
}

static struct run parsed(const char *yaml)
{
    struct run run;
    int err = parse(yaml, &run);
    ck_assert_msg(err == 0, "%s\nwas refused: %s", yaml, last_line);
    return run;
}

static void assert_same_id(const char *a, const char *b)
{
    struct run x = parsed(a), y = parsed(b);
    ck_assert_msg(hash_equal(&x.id, &y.id), "%s\nand\n%s\ndiffer", a, b);
}

static void assert_other_id(const char *a, const char *b)
{
    struct run x = parsed(a), y = parsed(b);
    ck_assert_msg(!hash_equal(&x.id, &y.id), "%s\nand\n%s\nare the same run", a, b);
}

START_TEST(an_empty_file_is_all_defaults)
{
    struct run run = parsed("");
    ck_assert_str_eq(run.name, "run");
    ck_assert_uint_eq(run.width, 128);
    ck_assert_uint_eq(run.hidden, 352); /* 8/3 of 128, up to 32 */
    ck_assert_uint_eq(run.latent, 128);
    ck_assert_uint_eq(run.n_moe, 2);
    ck_assert(!run.is_moe[0] && run.is_moe[1] && !run.is_moe[2] && run.is_moe[3] && !run.is_moe[5]);
    assert_same_id("", "{}");
    assert_same_id("", "---\n");
    assert_same_id("", "model:\ntrainer: ~\n");
}
END_TEST

static const char every_key[] =
    "name: two.2\n"
    "model: {width: 64, layers: 6, heads: 2, hidden: 96, context: 32, rope_theta: 500, moe_layers: [5, 0],\n"
    "        experts: 16, chosen: 3, expert_hidden: 48, latent: 24, shared_hidden: 0}\n"
    "router: {bias_rate: 0.5, z_loss: 1e-4, expert_dropout: .25}\n"
    "trainer: {trunk: blas, batch: 12, microbatches: 3, lr_muon: 0.5, lr_adam: 0.25, weight_decay: 0.125,\n"
    "          momentum: 0.75, beta1: 0.5, beta2: 0.625, clip: 2, warmup_steps: 7, final_lr: 0.5,\n"
    "          steps: 9, deadline_ms: 11}\n"
    "experts: {lr: 0.5, beta1: 0.25, beta2: 0.125, weight_decay: 0.75, clip: 3, warmup_updates: 4,\n"
    "          slots_per_update: 5, max_staleness: 6, numerics: i8x2, coarse: out+in}\n"
    "hosts: {count: 13, checkpoint_s: 14}\n";

START_TEST(every_key_reaches_its_field)
{
    struct run run = parsed(every_key);
    ck_assert_str_eq(run.name, "two.2");
    ck_assert(run.width == 64 && run.layers == 6 && run.heads == 2 && run.hidden == 96 && run.context == 32);
    ck_assert(run.rope_theta == 500 && run.n_moe == 2 && run.is_moe[0] && run.is_moe[5] && !run.is_moe[1]);
    ck_assert(run.experts == 16 && run.chosen == 3 && run.expert_hidden == 48 && run.latent == 24 && run.shared_hidden == 0);
    ck_assert(run.bias_rate == 0.5f && run.z_loss == 1e-4f && run.expert_dropout == 0.25f);
    ck_assert(run.trunk == RUN_TRUNK_BLAS && run.batch == 12 && run.microbatches == 3);
    ck_assert(run.lr_muon == 0.5f && run.lr_adam == 0.25f && run.weight_decay == 0.125f && run.momentum == 0.75f);
    ck_assert(run.beta1 == 0.5f && run.beta2 == 0.625f && run.clip == 2 && run.warmup_steps == 7 && run.final_lr == 0.5f);
    ck_assert(run.steps == 9 && run.deadline_ms == 11);
    ck_assert(run.expert_lr == 0.5f && run.expert_beta1 == 0.25f && run.expert_beta2 == 0.125f);
    ck_assert(run.expert_weight_decay == 0.75f && run.expert_clip == 3 && run.expert_warmup == 4);
    ck_assert(run.slots_per_update == 5 && run.max_staleness == 6 && run.hosts == 13 && run.checkpoint_s == 14);
    ck_assert(run.expert_numerics == NUMERICS_I8X2 && run.expert_coarse == (1 << PRODUCT_IN | 1 << PRODUCT_OUT));
}
END_TEST

START_TEST(the_id_does_not_see_spelling)
{
    assert_same_id("model: {width: 64, heads: 2}\n", "# a comment\nmodel:\n    heads: 2   # and another\n\n    width: 64\n");
    assert_same_id("model: {width: 64}\n", "model: {width: 64, layers: 4, hidden: 192, latent: 64, moe_layers: [1, 3]}\n");
    assert_same_id("model: {moe_layers: [2, 0]}\n", "model: {moe_layers: [0, 2]}\n");
    assert_same_id("router: {z_loss: 0.001}\n", "router: {z_loss: 1e-3}\n");
    assert_same_id("router: {z_loss: 0}\n", "router: {z_loss: -0.0}\n");
    assert_same_id("name: a\n", "name: \"a\"\n");
    assert_same_id("model: {width: 64}\n", "\xef\xbb\xbfmodel:\r\n  width: 64\r\n"); /* as an editor on Windows saves it */
    assert_same_id("", "trainer: {steps: 5, deadline_ms: 77, microbatches: 2}\nhosts: {checkpoint_s: 5}\n");
}
END_TEST

START_TEST(the_id_sees_every_key_but_the_local_four)
{
    static const char *const local[] = {"steps", "deadline_ms", "microbatches", "checkpoint_s"};
    const struct run_key *key = &run_key_table[_i];
    char yaml[256];
    bool is_local = false;
    for (size_t i = 0; i < 4; i++)
        is_local |= strcmp(key->name, local[i]) == 0;
    ck_assert(is_local != key->is_in_id);
    if (key->kind == RUN_KIND_NAME)
        snprintf(yaml, sizeof yaml, "name: other\n");
    else if (key->kind == RUN_KIND_LAYERS)
        snprintf(yaml, sizeof yaml, "model: {moe_layers: [1]}\n");
    else if (key->kind == RUN_KIND_TRUNK)
        snprintf(yaml, sizeof yaml, "trainer: {trunk: blas}\n");
    else if (key->kind == RUN_KIND_NUMERICS)
        snprintf(yaml, sizeof yaml, "experts: {numerics: i8x1}\n");
    else if (key->kind == RUN_KIND_COARSE)
        snprintf(yaml, sizeof yaml, "experts: {numerics: i8x2, coarse: grad_in}\n");
    else if (key->kind == RUN_KIND_NUMBER)
        snprintf(yaml, sizeof yaml, "%s: {%s: 0.84375}\n", key->section, key->name);
    else
        snprintf(yaml, sizeof yaml, "%s: {%s: %d}\n", key->section, key->name, strcmp(key->name, "chosen") ? 8 : 3);
    if (strcmp(key->name, "rope_theta") == 0)
        snprintf(yaml, sizeof yaml, "model: {rope_theta: 7}\n");
    if (strcmp(key->name, "experts") == 0)
        snprintf(yaml, sizeof yaml, "model: {experts: 9}\n");
    if (strcmp(key->name, "max_staleness") == 0)
        snprintf(yaml, sizeof yaml, "experts: {max_staleness: 9}\n");
    if (key->is_in_id)
        assert_other_id(key->kind == RUN_KIND_COARSE ? "experts: {numerics: i8x2}\n" : "", yaml);
    else
        assert_same_id("", yaml);
}
END_TEST

START_TEST(the_canonical_form_reads_back)
{
    struct run run = parsed("model: {moe_layers: [3, 1], rope_theta: 123456.789}\nrouter: {bias_rate: 0.1}\n");
    struct buf text;
    buf_init(&text, 1 << 16);
    run_canonical(&run, &text);
    buf_append(&text, "", 1);
    ck_assert_int_eq(text.err, 0);
    const char *form = (const char *)text.bytes;
    ck_assert_int_eq(strncmp(form, "name=run\nmodel.width=128\nmodel.layers=4\n", 39), 0);
    ck_assert_ptr_nonnull(strstr(form, "\nmodel.rope_theta=123456.79\n"));
    ck_assert_ptr_nonnull(strstr(form, "\nmodel.moe_layers=1,3\n"));
    ck_assert_ptr_nonnull(strstr(form, "\nrouter.bias_rate=0.1\n"));
    ck_assert_ptr_null(strstr(form, "checkpoint_s"));
    struct hash id = hash_bytes(form, text.n - 1);
    ck_assert(hash_equal(&id, &run.id));
    buf_fini(&text);
}
END_TEST

START_TEST(runs_that_differ_in_numerics_alone_are_born_alike)
{
    struct run a = parsed("trainer: {trunk: f32}\n"),
               b = parsed("trainer: {trunk: blas}\nexperts: {numerics: i8x2, coarse: in}\n"), c = parsed("trainer: {batch: 8}\n");
    ck_assert(!hash_equal(&a.id, &b.id));
    ck_assert(hash_equal(&a.birth, &b.birth));
    ck_assert(!hash_equal(&a.birth, &c.birth));
    struct run d = parsed("trainer: {trunk: bf16}\n");
    ck_assert(d.trunk == RUN_TRUNK_BF16 && hash_equal(&a.birth, &d.birth) && !hash_equal(&a.id, &d.id));
}
END_TEST

/* An id that ever changes orphans the checkpoints of every run: this one is held. */
START_TEST(the_id_of_a_description_is_held)
{
    struct run run = parsed(every_key);
    char hex[2 * HASH_BYTES + 1], brief[17];
    text_hex(hex, run.id.byte, HASH_BYTES);
    ck_assert_str_eq(hex, "950f33e5aa11331b50f7b03a2c74e73bfa940dc6c9e7d4d0b073e7bd0eef38e6");
    run_short_id(&run, brief);
    ck_assert_int_eq(strncmp(hex, brief, 16), 0);
    ck_assert_uint_eq(strlen(brief), 16);
}
END_TEST

static const struct refusal {
    const char *yaml, *message;
} refusals[] = {
    {"model:\n  widht: 3\n", "r.yaml:2: model.widht: there is no such key; did you mean 'width'?"},
    {"model:\n  lr_muon: 3\n", "r.yaml:2: model.lr_muon: there is no such key; move it to the section trainer"},
    {"model:\n  name: x\n", "r.yaml:2: model.name: there is no such key; move it to the top, outside of all sections"},
    {"\n\nmodle: {}\n", "r.yaml:3: modle: there is no such section; did you mean 'model'?"},
    {"width: 8\n", "r.yaml:1: width: there is no such key; move it to the section model"},
    {"zebra: 8\n", "r.yaml:1: zebra: there is no such key; remove it (`hanse plan` lists the keys there are)"},
    {"\"\\e[2J\": 8\n", "r.yaml:1: ?[2J: there is no such key; remove it (`hanse plan` lists the keys there are)"},
    {"model:\n  experts: 1025\n", "r.yaml:2: model.experts: '1025' is out of range; write a whole number from 1 to 1024"},
    {"model:\n  width: wide\n", "r.yaml:2: model.width: 'wide' is not such a value; write a whole number from 8 to 16384"},
    {"model:\n  width: 12.5\n", "r.yaml:2: model.width: '12.5' is not such a value; write a whole number from 8 to 16384"},
    {"model:\n  width: -\n", "r.yaml:2: block sequence entries are not allowed in this context; check indentation (spaces, no "
                             "tabs), colons, quotes and brackets"},
    {"model:\n  width: \"64\"\n",
     "r.yaml:2: model.width: \"64\" is text because of its quotes; write a whole number from 8 to 16384"},
    {"model:\n  width:\n", "r.yaml:2: model.width: there is no value; write a whole number from 8 to 16384"},
    {"model:\n  width: [1]\n",
     "r.yaml:2: model.width: a list or a mapping stands where one value belongs; write a whole number from 8 to 16384"},
    {"model:\n  width: 7\n", "r.yaml:2: model.width: '7' is out of range; write a whole number from 8 to 16384"},
    {"model:\n  width: -64\n", "r.yaml:2: model.width: '-64' is out of range; write a whole number from 8 to 16384"},
    {"model:\n  width: 99999999999999999999\n",
     "r.yaml:2: model.width: '99999999999999999999' is out of range; write a whole number from 8 to 16384"},
    {"router:\n  z_loss: -1\n", "r.yaml:2: router.z_loss: '-1' is out of range; write a number from 0 to 1"},
    {"router:\n  z_loss: .nan\n", "r.yaml:2: router.z_loss: '.nan' is not such a value; write a number from 0 to 1"},
    {"router:\n  z_loss: 0x1\n", "r.yaml:2: router.z_loss: '0x1' is not such a value; write a number from 0 to 1"},
    {"name: a b\n", "r.yaml:1: name: 'a b' is not such a value; write 1 to 63 letters, digits, '.', '_' or '-'"},
    {"name: \"a\\0b\"\n", "r.yaml:1: name: 'a' is not such a value; write 1 to 63 letters, digits, '.', '_' or '-'"},
    {"trainer:\n  trunk: f64\n", "r.yaml:2: trainer.trunk: 'f64' is not such a value; write f32, i8x2, blas or bf16"},
    {"experts:\n  numerics: i8\n", "r.yaml:2: experts.numerics: 'i8' is not such a value; write f32, i8x2 or i8x1"},
    {"experts: {numerics: i8x2,\n  coarse: in+in}\n",
     "r.yaml:2: experts.coarse: 'in+in' is not such a value; write none, or some of in, out, grad_hidden, grad_in, "
     "grad_weights_in, grad_weights_out joined by '+'"},
    {"experts: {numerics: i8x2,\n  coarse: in+}\n",
     "r.yaml:2: experts.coarse: 'in+' is not such a value; write none, or some of in, out, grad_hidden, grad_in, "
     "grad_weights_in, grad_weights_out joined by '+'"},
    {"experts:\n  numerics: i8x1\n  coarse: in\n",
     "r.yaml:3: experts.coarse: with numerics i8x1 there is no lower slice to leave out; write i8x2 there, or none here"},
    {"model:\n  moe_layers: 1\n", "r.yaml:2: model.moe_layers: this is not a list; write a list of layers such as [1, 3]"},
    {"model:\n  moe_layers: [1,\n    x]\n",
     "r.yaml:3: model.moe_layers: 'x' is no layer; write whole numbers from 0 to layers - 1"},
    {"model:\n  moe_layers: [[1]]\n",
     "r.yaml:2: model.moe_layers: a list or a mapping stands where a layer belongs; write a list "
     "such as [1, 3]"},
    {"model:\n  moe_layers: [1, 1]\n", "r.yaml:2: model.moe_layers: layer 1 stands there twice; remove one"},
    {"model:\n  moe_layers: [4]\n", "r.yaml:2: model.moe_layers: there is no layer 4; choose from 0 to 3"},
    {"model:\n  width: 64\n  width: 64\n", "r.yaml:3: model.width: the key stands there twice, first on line 2; remove one"},
    {"model: {}\nmodel: {}\n", "r.yaml:2: model: the section stands there twice, first on line 1; join the two"},
    {"model: 3\n", "r.yaml:1: model: this is a section; write its keys below it, each on a line of its own and indented"},
    {"- model\n", "r.yaml:1: this is not a run description; write sections such as 'model:' with keys below them"},
    {"? [a]\n: 3\n", "r.yaml:1: a list or a mapping stands where a key belongs; write 'key: value'"},
    {"model:\n  ? {a: b}\n  : 3\n", "r.yaml:2: a list or a mapping stands where a key belongs; write 'key: value'"},
    {"model: &m\n  width: 64\n", "r.yaml:1: an anchor (&name) is not allowed; remove it"},
    {"model: *m\n", "r.yaml:1: an alias (*name) is not allowed; write the value itself"},
    {"model:\n  width: !!int 64\n", "r.yaml:2: a tag (!name) is not allowed; remove it"},
    {"model: {}\n---\nmodel: {}\n", "r.yaml:2: a second document starts here; keep one run in a file"},
    {"model:\n\twidth: 64\n", "r.yaml:2: found character that cannot start any token; check indentation (spaces, no tabs), "
                              "colons, quotes and brackets"},
    {"model: {width: 64\n", "r.yaml:2: did not find expected ',' or '}'; check indentation (spaces, no tabs), colons, quotes and "
                            "brackets"},
    {"model:\n  width: \xff\n", "r.yaml:2: invalid leading UTF-8 octet; check indentation (spaces, no tabs), colons, quotes and "
                                "brackets"},
    {"model:\n  heads: 3\n", "r.yaml:2: model.heads: 3 heads cannot share a width of 128 evenly; choose a divisor of the width"},
    {"model:\n  width: 100\n  layers: 2\n  heads: 20\n",
     "r.yaml:4: model.heads: a head would be 5 wide, which rotary pairs cannot fill; choose heads so that width / heads is even"},
    {"model:\n  width: 130\n",
     "r.yaml:2: model.heads: 4 heads cannot share a width of 130 evenly; choose a divisor of the width"},
    {"model:\n  chosen: 9\n", "r.yaml:2: model.chosen: a token cannot go to 9 of 8 experts; choose at most 8"},
    {"\nmodel:\n  experts: 1\n", "r.yaml:3: model.chosen: a token cannot go to 2 of 1 experts; choose at most 1"},
    {"model:\n  latent: 129\n", "r.yaml:2: model.latent: 129 is more than the width of 128; choose at most the width"},
    {"trainer:\n  microbatches: 5\n",
     "r.yaml:2: trainer.microbatches: 5 do not divide a batch of 16 evenly; choose a divisor of the batch"},
};

START_TEST(a_refusal_names_file_line_reason_and_remedy)
{
    struct run run;
    memset(&run, 0x5a, sizeof run);
    struct run before = run;
    ck_assert_int_eq(parse(refusals[_i].yaml, &run), HANSE_EINVAL);
    ck_assert_str_eq(last_line, refusals[_i].message);
    ck_assert_mem_eq(&run, &before, sizeof run);
}
END_TEST

static const char *const examples[] = {"tiny", "quickstart", "kjv"};

START_TEST(the_examples_are_runs)
{
    char file[512];
    struct run run;
    snprintf(file, sizeof file, "%s/examples/%s.yaml", getenv("srcdir") ? getenv("srcdir") : ".", examples[_i]);
    ck_assert_int_eq(run_read(file, &run), 0);
    ck_assert_str_eq(run.name, examples[_i]);
}
END_TEST

START_TEST(a_megabyte_is_the_limit)
{
    size_t n = (1u << 20) + 1;
    char *text = malloc(n);
    struct run run;
    memset(text, ' ', n);
    memset(text, '\n', n / 2);
    log_set_sink(keep_line, NULL);
    ck_assert_int_eq(run_parse("r.yaml", text, n - 1, &run), 0);
    ck_assert_int_eq(run_parse("r.yaml", text, n, &run), HANSE_EINVAL);
    log_set_sink(NULL, NULL);
    ck_assert_str_eq(last_line, "r.yaml: the file has 1048577 bytes; a run description has at most 1048576");
    free(text);
}
END_TEST

START_TEST(files_are_read_and_other_things_refused)
{
    char directory[] = "/tmp/hanse-run-XXXXXX", file[64], line[512];
    struct run run;
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(file, sizeof file, "%s/run.yaml", directory);
    log_set_sink(keep_line, NULL);
    ck_assert_int_eq(run_read(file, &run), HANSE_ENOENT);
    snprintf(line, sizeof line, "%s: No such file or directory; name a run description, such as one of those in examples", file);
    ck_assert_str_eq(last_line, line);
    ck_assert_int_eq(run_read(directory, &run), HANSE_EINVAL);
    ck_assert_int_eq(mkfifo(file, 0600), 0);
    ck_assert_int_eq(run_read(file, &run), HANSE_EINVAL);
    snprintf(line, sizeof line, "%s: this is not a file; name a run description, such as one of those in examples", file);
    ck_assert_str_eq(last_line, line);
    ck_assert_int_eq(unlink(file), 0);
    FILE *f = fopen(file, "w");
    fputs("model: {width: 64}\n", f);
    fclose(f);
    ck_assert_int_eq(run_read(file, &run), 0);
    ck_assert_uint_eq(run.width, 64);
    ck_assert_int_eq(truncate(file, (1 << 20) + 1), 0);
    ck_assert_int_eq(run_read(file, &run), HANSE_EINVAL);
    log_set_sink(NULL, NULL);
    unlink(file);
    rmdir(directory);
}
END_TEST

START_TEST(expert_names_have_one_spelling)
{
    static const char *const wrong[] = {"",
                                        "L",
                                        "L1",
                                        "L1.",
                                        "L2.0",
                                        "L1.8",
                                        "L01.3",
                                        "L1.03",
                                        "L1.3 ",
                                        " L1.3",
                                        "l1.3",
                                        "L-1.3",
                                        "L1.+3",
                                        "T.2",
                                        "L1.3.4",
                                        "L4294967297.3",
                                        "L0.99999999999999999999999999999999"};
    struct run run = parsed("");
    uint32_t moe, expert;
    char name[32];
    for (uint32_t i = 0; i < run.n_moe; i++)
        for (uint32_t e = 0; e < run.experts; e++) {
            run_expert_name(name, i, e);
            ck_assert(run_parse_expert_name(&run, name, &moe, &expert));
            ck_assert(moe == i && expert == e);
        }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_msg(!run_parse_expert_name(&run, wrong[i], &moe, &expert), "'%s' was taken", wrong[i]);
}
END_TEST

START_TEST(parameters_are_counted)
{
    struct run run = parsed("model: {width: 8, layers: 2, heads: 2, hidden: 16, experts: 4, expert_hidden: 6, latent: 4, "
                            "shared_hidden: 3}\n");
    size_t attention = 2 * 8 + 4 * 64 + 2 * 4;
    size_t trunk = 2 * 256 * 8 + 8 + 2 * attention + 3 * 8 * 16 + (8 * 4 + 3 * 8 * 3 + 2 * 8 * 4);
    ck_assert_uint_eq(run_trunk_params(&run), trunk);
    ck_assert_uint_eq(run_expert_params(&run), 3 * 4 * 6);
    ck_assert_uint_eq(run_active_params(&run), trunk + 2 * 3 * 4 * 6);
}
END_TEST

START_TEST(the_table_is_sound)
{
    const struct run_key *key = &run_key_table[_i];
    struct run run;
    struct buf text;
    ck_assert_ptr_eq(run_key_find(key->section, key->name), key);
    ck_assert_ptr_eq(run_key_nearest(key->section, key->name), key);
    ck_assert_uint_gt(strlen(key->help), 0);
    ck_assert(key->min <= key->max && key->preset <= key->max);
    run_key_preset(&run);
    buf_init(&text, 1 << 10);
    run_key_print(key, &run, &text);
    buf_append(&text, "", 1);
    if (key->kind != RUN_KIND_LAYERS && (key->kind == RUN_KIND_NAME || key->preset >= key->min))
        ck_assert_int_eq(run_key_set(key, &run, (const char *)text.bytes), RUN_KEY_OK);
    buf_fini(&text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model/run");
    TCase *tcase = tcase_create("run");
    tcase_add_test(tcase, an_empty_file_is_all_defaults);
    tcase_add_test(tcase, every_key_reaches_its_field);
    tcase_add_test(tcase, the_id_does_not_see_spelling);
    tcase_add_loop_test(tcase, the_id_sees_every_key_but_the_local_four, 0, RUN_N_KEYS);
    tcase_add_test(tcase, the_canonical_form_reads_back);
    tcase_add_test(tcase, the_id_of_a_description_is_held);
    tcase_add_loop_test(tcase, a_refusal_names_file_line_reason_and_remedy, 0, sizeof refusals / sizeof *refusals);
    tcase_add_loop_test(tcase, the_examples_are_runs, 0, sizeof examples / sizeof *examples);
    tcase_add_test(tcase, a_megabyte_is_the_limit);
    tcase_add_test(tcase, files_are_read_and_other_things_refused);
    tcase_add_test(tcase, expert_names_have_one_spelling);
    tcase_add_test(tcase, runs_that_differ_in_numerics_alone_are_born_alike);
    tcase_add_test(tcase, parameters_are_counted);
    tcase_add_loop_test(tcase, the_table_is_sound, 0, RUN_N_KEYS);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
