/* A host and its links, its disk and its life.  test_node_host_request.c has the requests. */
#include "dht/bulk.h"
#include "host_ask.h"

/* -- Greeting -------------------------------------------------------------------------------------- */

static void expect_refusal(int err, const char *says)
{
    struct message_refuse m;
    ck_assert_uint_ge(node->n_sent, 1);
    const struct buf *last = &node->sent[node->n_sent - 1].message;
    ck_assert_int_eq(message_refuse_decode(&m, last->bytes, last->n), 0);
    ck_assert_int_eq(m.err, err);
    ck_assert_msg(strstr(m.text, says) != NULL, "%s", m.text);
    ck_assert_uint_eq(node->closed, 1);
}

START_TEST(test_hello_comes_first)
{
    struct message_hello hello;
    stage_start(node, &run, "L0.0-7");
    stage_link_up(node, 1, 9);
    ck_assert_uint_eq(node->n_sent, 1);
    ck_assert_int_eq(message_hello_decode(&hello, node->sent[0].message.bytes, node->sent[0].message.n), 0);
    ck_assert_int_eq(hello.role, ROLE_HOST);
    ck_assert(hash_equal(&hello.run, &run.id));
    ck_assert_uint_eq(host_stats(node->host).n_links, 1);
    stage_link_down(node, 1);
    ck_assert_uint_eq(host_stats(node->host).n_links, 0);
}
END_TEST

START_TEST(test_another_run_is_refused)
{
    struct run other = run;
    other.id = hash_bytes("other", 5);
    stage_start(node, &run, "L0.0-7");
    stage_link_up(node, 1, 9);
    stage_hello(node, 1, &other);
    expect_refusal(HANSE_ERUN, "start with the same run.yaml");
    stage_forget_sent(node);
    forward(1, 1, 0, 1, 2); /* nothing it says counts any more */
    settle();
    ck_assert_uint_eq(node->n_sent, 0);
}
END_TEST

START_TEST(test_another_version_is_refused)
{
    struct message_hello hello = {.role = ROLE_TRAINER, .version = MESSAGE_VERSION - 1, .run = run.id};
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_hello_encode(&hello, &message);
    stage_start(node, &run, "L0.0-7");
    stage_link_up(node, 1, 9);
    stage_tell(node, 1, message.bytes, message.n);
    buf_fini(&message);
    expect_refusal(HANSE_EVERSION, "this host speaks protocol version 3, you speak 2");
}
END_TEST

START_TEST(test_requests_before_hello_are_refused)
{
    stage_start(node, &run, "L0.0-7");
    stage_link_up(node, 1, 9);
    forward(1, 1, 0, 1, 2);
    expect_refusal(HANSE_EPROTO, "HELLO");
}
END_TEST

START_TEST(test_the_directory_is_read_before_any_greeting)
{
    struct dht_bulk_read m = {.call = 5, .key = dht_directory_key(&run.id, "experts", 0, 0)};
    struct dht_bulk_entries answer;
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    dht_bulk_read_encode(&m, &message);
    stage_start(node, &run, "L0.0-7");
    stage_run(&stage, 2000000);
    stage_link_up(node, 1, 9);
    stage_link_up(node, 2, 10); /* says nothing at all */
    stage_forget_sent(node);
    for (int i = 0; i < 3; i++) {
        stage_run(&stage, 8000000);
        stage_tell(node, 1, message.bytes, message.n);
        ck_assert_uint_eq(node->n_sent, 1);
        ck_assert_int_eq(dht_bulk_entries_decode(&answer, node->sent[0].message.bytes, node->sent[0].message.n), 0);
        ck_assert(answer.call == 5 && answer.entries.n > 100 && !answer.is_refused);
        stage_forget_sent(node);
        ck_assert_int_eq(node->closed, i == 0 ? 0 : 2); /* not the one that is in use */
    }
    buf_fini(&message);
    stage_run(&stage, 13000000);
    ck_assert_int_eq(node->closed, 1);
}
END_TEST

/* Reads that get nothing are no reason to keep a link: the malformed ones, and those that are refused. */
START_TEST(test_reads_in_vain_keep_no_link)
{
    static const uint8_t malformed[] = {DHT_BULK_READ, 1};
    struct dht_bulk_read m = {.call = 5, .key = dht_directory_key(&run.id, "experts", 0, 0)};
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    dht_bulk_read_encode(&m, &message);
    stage_start(node, &run, "L0.0-7");
    stage_link_up(node, 1, 9);
    node->queued_bytes = DHT_BULK_BYTES_MAX + 1;
    for (int i = 0; i < 2; i++) {
        stage_run(&stage, 5000000);
        node->closed = 0;
        if (_i == 0)
            stage_tell(node, 1, malformed, sizeof malformed);
        else
            stage_tell(node, 1, message.bytes, message.n);
        ck_assert_int_eq(node->closed, _i); /* refused with so much in it */
    }
    node->closed = 0;
    buf_fini(&message);
    stage_run(&stage, 4000000);
    ck_assert_int_eq(node->closed, 1);
}
END_TEST

START_TEST(test_nonsense_is_refused)
{
    static const uint8_t junk[][20] = {
        {0}, {99}, {MESSAGE_FORWARD, 7}, {MESSAGE_CANCEL, 1}, {MESSAGE_FORWARD_REPLY}, {MESSAGE_HELLO}};
    start();
    stage_tell(node, 1, junk[_i], _i == 0 ? 0 : sizeof junk[_i]);
    expect_refusal(HANSE_EPROTO, "");
}
END_TEST

/* Who comes again and again with something that we tell of must not fill the disk with it. */
START_TEST(test_a_thousand_refusals_are_a_few_lines)
{
    static const uint8_t refuse[] = {MESSAGE_REFUSE, 0, 3, 0, 'n', 'o'};
    stage_start(node, &run, "L0.0-7");
    log_text[0] = 0;
    for (io_link link = 100; link < 1100; link++) {
        stage_link_up(node, link, 9);
        stage_tell(node, link, refuse, sizeof refuse);
        stage_link_down(node, link);
        stage_forget_sent(node);
    }
    size_t n = 0;
    for (const char *at = log_text; (at = strstr(at, "refuses us: no")); at++)
        n++;
    ck_assert_uint_ge(n, 1);
    ck_assert_uint_le(n, LOG_LIMIT_BURST);
    ck_assert_uint_eq(host_stats(node->host).n_links, 0);
}
END_TEST

START_TEST(test_another_width_is_refused)
{
    start();
    struct ask *ask = make_ask(MESSAGE_FORWARD, 1, 0, 1, 2);
    ask->m.D = WIDTH / 2;
    send_ask(1, ask);
    expect_refusal(HANSE_EPROTO, "not 8 wide");
}
END_TEST

/* Rows of every form but the run's. */
START_TEST(test_another_form_is_refused)
{
    int ours = _i / N_NUMERICS, theirs = _i % N_NUMERICS;
    set_form(ours);
    start();
    set_form(theirs);
    struct ask *ask = make_ask(MESSAGE_FORWARD, 1, 0, 1, 2);
    fill_ask(ask);
    set_form(ours);
    stage_ask(node, 1, &ask->m);
    settle();
    if (ours == theirs)
        expect_statuses(STATUS_OK);
    else
        expect_refusal(HANSE_EPROTO, numerics_name[ours]);
}
END_TEST

START_TEST(test_observers_ask_forward_and_leave_no_trace)
{
    struct message_hello hello = {.role = ROLE_OBSERVER, .version = MESSAGE_VERSION, .run = run.id};
    struct buf message;
    buf_init(&message, IO_MESSAGE_MAX);
    message_hello_encode(&hello, &message);
    stage_start(node, &run, "L0.0-7");
    stage_link_up(node, 1, 9);
    stage_tell(node, 1, message.bytes, message.n);
    buf_fini(&message);
    stage_forget_sent(node);
    struct ask *ask = make_ask(MESSAGE_FORWARD, 1, 0, 1, 2);
    ask->m.keep = false;
    send_ask(1, ask);
    settle();
    expect_statuses(STATUS_OK);
    ck_assert_uint_eq(host_stats(node->host).kept_bytes, 0);
    forward(1, 2, 0, 1, 2); /* would keep its rows */
    expect_refusal(HANSE_EPROTO, "only trainers");
}
END_TEST

/* -- Checkpoints ----------------------------------------------------------------------------------- */

START_TEST(test_a_restart_goes_on_bit_for_bit)
{
    struct buf straight, restarted;
    buf_init(&straight, 1 << 16);
    buf_init(&restarted, 1 << 16);
    start();
    train(1, 9, &straight);
    stage_kill(node);
    stage_disk_fini(node->disk);
    start();
    train(1, 5, &restarted); /* between two updates: a chain is open */
    stop();
    start();
    train(6, 9, &restarted);
    ck_assert_uint_eq(straight.n, restarted.n);
    ck_assert_mem_eq(straight.bytes, restarted.bytes, straight.n);
    buf_fini(&straight);
    buf_fini(&restarted);
}
END_TEST

START_TEST(test_checkpoints_come_by_themselves)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    start();
    train(1, 4, &out);
    stage_run(&stage, 11000000);
    ck_assert_uint_eq(host_stats(node->host).n_checkpoints, 2); /* of two experts, the others did not change */
    stage_run(&stage, 20000000);
    ck_assert_uint_eq(host_stats(node->host).n_checkpoints, 2);
    train(5, 5, &out);
    stage_kill(node); /* without a word */
    start();
    forward(1, 6, 0, 1, 3);
    settle();
    ck_assert_uint_eq(only_reply()->group[0].version, 2); /* of four calls: the fifth is lost with the host */
    ck_assert_uint_eq(reply(0)->group[0].load, 12);
    buf_fini(&out);
}
END_TEST

START_TEST(test_a_failing_disk_does_not_stop_training)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    start();
    train(1, 3, &out);
    node->disk->is_broken = true;
    stage_run(&stage, 45000000);
    ck_assert_uint_eq(host_stats(node->host).n_checkpoints, 0);
    const char *first = strstr(log_text, "training goes on");
    ck_assert_msg(first && !strstr(first + 1, "training goes on"), "%s", log_text); /* said once, not every 10 s */
    train(4, 6, &out);
    node->disk->is_broken = false;
    stage_run(&stage, 60000000);
    ck_assert_uint_eq(host_stats(node->host).n_checkpoints, 2);
    node->disk->is_broken = true;
    train(7, 7, &out);
    stop_with(HANSE_EIO); /* ends all the same, and says what it could not do */
    ck_assert_ptr_nonnull(strstr(log_text, "what came since the one before is lost"));
    buf_fini(&out);
}
END_TEST

static int try_start(const struct run *with, const char *experts)
{
    struct host_config config = stage_config(node, with, experts);
    return host_new(&config, &node->io, &node->disk->disk, &node->host);
}

START_TEST(test_another_runs_disk_is_refused)
{
    struct buf out;
    struct run other = run;
    buf_init(&out, 1 << 16);
    start();
    train(1, 2, &out);
    stop();
    other.id = hash_bytes("other", 5);
    ck_assert_int_eq(try_start(&other, _i ? "auto" : "L1.7"), HANSE_ERUN);
    ck_assert_msg(strstr(log_text, "use another --dir"), "%s", log_text);
    buf_fini(&out);
}
END_TEST

static void damage_manifests(size_t n_left)
{
    for (size_t i = 0, n = 0; i < node->disk->n_files; i++) {
        struct stage_file *file = &node->disk->file[i];
        if (strstr(file->name, "manifests/L0.0/") && n++ >= n_left)
            file->bytes[file->n / 2] ^= 1;
    }
}

START_TEST(test_damage_is_not_replaced_by_a_newborn)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    start();
    train(1, 2, &out);
    stop();
    damage_manifests(0);
    int err = try_start(&run, _i ? "auto" : "L0.0-7");
    ck_assert_int_eq(err, HANSE_ECORRUPT);
    ck_assert_msg(strstr(log_text, "manifests/L0.0/"), "%s", log_text);
    buf_fini(&out);
}
END_TEST

START_TEST(test_an_older_checkpoint_takes_the_place_of_a_damaged_one)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    start();
    train(1, 2, &out);
    stop();
    start();
    train(3, 6, &out);
    stop();
    damage_manifests(1);
    start();
    ck_assert_msg(strstr(log_text, "newest that verifies"), "%s", log_text);
    buf_fini(&out);
}
END_TEST

/* -- Without a network ----------------------------------------------------------------------------- */

START_TEST(test_local_answers_are_the_same)
{
    struct buf out, message, local;
    buf_init(&out, 1 << 16);
    buf_init(&message, 1 << 16);
    buf_init(&local, 1 << 16);
    start();
    train(1, 5, &out);
    stage_kill(node);
    stage_disk_fini(node->disk);

    struct peer_id caller = {{9}};
    ck_assert_int_eq(try_start(&run, "L0.0-7"), 0);
    for (uint64_t call = 1; call <= 5; call++)
        for (int kind = MESSAGE_FORWARD; kind <= MESSAGE_BACKWARD; kind += 2) {
            buf_clear(&message);
            buf_clear(&local);
            struct ask *ask = make_ask((enum message_kind)kind, call, 0, 2, 3);
            fill_ask(ask);
            message_request_encode(&ask->m, &message);
            ck_assert_int_eq(host_request(node->host, stage.now_us, &caller, message.bytes, message.n, &local), 0);
        }
    ck_assert_uint_eq(out.n, local.n);
    ck_assert_mem_eq(out.bytes, local.bytes, out.n);
    ck_assert_int_eq(host_save(node->host, stage.now_us), 0);
    ck_assert_uint_eq(host_stats(node->host).n_checkpoints, 2);
    ck_assert_int_eq(host_save(node->host, stage.now_us), 0);
    ck_assert_uint_eq(host_stats(node->host).n_checkpoints, 2);
    ck_assert_int_eq(host_request(node->host, stage.now_us, &caller, "junk", 4, &local), HANSE_EPROTO);
    buf_fini(&out);
    buf_fini(&message);
    buf_fini(&local);
}
END_TEST

START_TEST(test_bad_lists)
{
    ck_assert_int_eq(try_start(&run, "L0.0-8"), HANSE_EINVAL);
    run.n_moe = 0;
    ck_assert_int_eq(try_start(&run, "auto"), HANSE_EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node/host");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_hello_comes_first);
    tcase_add_test(tc, test_another_run_is_refused);
    tcase_add_test(tc, test_another_version_is_refused);
    tcase_add_test(tc, test_requests_before_hello_are_refused);
    tcase_add_test(tc, test_the_directory_is_read_before_any_greeting);
    tcase_add_loop_test(tc, test_reads_in_vain_keep_no_link, 0, 2);
    tcase_add_loop_test(tc, test_nonsense_is_refused, 0, 6);
    tcase_add_test(tc, test_a_thousand_refusals_are_a_few_lines);
    tcase_add_test(tc, test_another_width_is_refused);
    tcase_add_loop_test(tc, test_another_form_is_refused, 0, N_NUMERICS * N_NUMERICS);
    tcase_add_test(tc, test_observers_ask_forward_and_leave_no_trace);
    tcase_add_test(tc, test_a_restart_goes_on_bit_for_bit);
    tcase_add_test(tc, test_checkpoints_come_by_themselves);
    tcase_add_test(tc, test_a_failing_disk_does_not_stop_training);
    tcase_add_loop_test(tc, test_another_runs_disk_is_refused, 0, 2);
    tcase_add_loop_test(tc, test_damage_is_not_replaced_by_a_newborn, 0, 2);
    tcase_add_test(tc, test_an_older_checkpoint_takes_the_place_of_a_damaged_one);
    tcase_add_test(tc, test_local_answers_are_the_same);
    tcase_add_test(tc, test_bad_lists);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
