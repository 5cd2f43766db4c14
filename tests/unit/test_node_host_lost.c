/* A host whose experts live on a device that is played: the answers of one on the CPU, and what it does when memory or the device fails. */
#include "device_play.h"
#include "host_ask.h"
#include "host_reader.h"
#include "node/host_room.h"

static const struct kernels *device;

static void setup_device(void)
{
    setup();
    device = device_play();
}

static void teardown_device(void)
{
    teardown();
    device_play_end();
}

static struct host_config device_config(const char *experts)
{
    struct host_config config = stage_config(node, &run, experts);
    config.kernels = device;
    config.device_bytes_max = 1 << 16;
    return config;
}

static void start_there(const char *experts)
{
    struct host_config config = device_config(experts);
    stage_start_with(node, &config);
    stage_trainer(node, 1, 9, &run);
}

static size_t n_lines(const char *what)
{
    size_t n = 0;
    for (const char *at = log_text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

/* -- The same as on the CPU ------------------------------------------------------------------------ */

START_TEST(test_a_run_has_the_bits_of_a_cpu)
{
    set_form(_i);
    struct buf here, there;
    buf_init(&here, 1 << 16);
    buf_init(&there, 1 << 16);
    start();
    train(1, 9, &here);
    stage_kill(node);
    stage_disk_fini(node->disk);
    start_there("L0.0-7");
    train(1, 5, &there);
    stop(); /* and once from a checkpoint */
    start_there("L0.0-7");
    train(6, 9, &there);
    ck_assert_uint_eq(here.n, there.n);
    ck_assert_mem_eq(here.bytes, there.bytes, here.n);
    stop();
    buf_fini(&here);
    buf_fini(&there);
}
END_TEST

/* One message there for the two experts of a forward; the backward brings its own and finds the rows. */
START_TEST(test_kept_rows_stay_on_the_device)
{
    set_form(_i);
    start_there("L0.0-7");
    uint64_t n_puts = played.n_puts;
    forward(1, 1, 0, 2, 3);
    settle();
    expect_statuses(STATUS_OK);
    ck_assert_uint_eq(played.n_puts, n_puts + 1);
    ck_assert_uint_eq(host_stats(node->host).device_bytes, host_stats(node->host).kept_bytes);
    ck_assert_uint_gt(host_stats(node->host).device_bytes, 0);
    backward(1, 1, 0, 2, 3);
    settle();
    expect_statuses(STATUS_OK);
    ck_assert_uint_eq(played.n_puts, n_puts + 2);
    ck_assert_uint_eq(host_stats(node->host).device_bytes, 0); /* nobody needs them any more */
    stop();
}
END_TEST

/* Beyond the budget the oldest rows go, and come again. */
START_TEST(test_rows_that_left_the_device_come_again)
{
    struct host_config config = device_config("L0.0-7");
    config.device_bytes_max = 1000; /* three calls */
    stage_start_with(node, &config);
    stage_trainer(node, 1, 9, &run);
    for (uint64_t call = 1; call <= 8; call++) {
        forward(1, call, 0, 1, 3);
        settle();
        expect_statuses(STATUS_OK);
        ck_assert_uint_le(host_stats(node->host).device_bytes, 750);
    }
    ck_assert_uint_gt(host_stats(node->host).device_bytes, 0);
    for (uint64_t call = 1; call <= 8; call++) {
        backward(1, call, 0, 1, 3);
        settle();
        expect_statuses(STATUS_OK);
    }
    stop();
}
END_TEST

/* -- Memory ---------------------------------------------------------------------------------------- */

START_TEST(test_experts_that_find_no_memory_are_left_out)
{
    struct expert_config config = host_expert_config(&run);
    played.max_bytes = 3 * expert_bytes(&config, device) + 100;
    start_there("L0.0-7");
    ck_assert_uint_eq(host_stats(node->host).n_experts, 3);
    ck_assert_uint_eq(n_lines("the GPU has no memory for it: an expert takes"), 1);
    ck_assert_uint_eq(n_lines("name fewer in --experts"), 1);
    played.max_bytes = 0;
    forward(1, 1, 2, 1, 3);
    settle();
    expect_statuses(STATUS_OK);
    forward(1, 2, 3, 1, 3);
    expect_statuses(STATUS_NOT_HERE);
    stop();
}
END_TEST

START_TEST(test_a_host_without_any_expert_does_not_start)
{
    struct host_config config = device_config("L0.0-7");
    struct host *host;
    played.max_bytes = 100;
    ck_assert_int_eq(host_new(&config, &node->io, &node->disk->disk, &host), HANSE_ENOMEM);
    ck_assert_uint_eq(n_lines("the GPU has no memory for it"), 1);
}
END_TEST

START_TEST(test_adoption_stops_where_memory_ends)
{
    struct expert_config config = host_expert_config(&run);
    played.max_bytes = 5 * expert_bytes(&config, device) + 100;
    start_there("auto");
    stage_run(&stage, 30000000);
    ck_assert(node->is_ready);
    ck_assert_uint_eq(host_stats(node->host).n_experts, 5);
    ck_assert_uint_eq(n_lines("the GPU has no memory for it"), 1);
    stop();
}
END_TEST

/* Scratch that is short in the middle of a gradient: the callers are told to come again, and the expert is that of its checkpoint. */
START_TEST(test_a_torn_expert_begins_again_from_its_checkpoint)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    set_form(_i % N_NUMERICS);
    bool was_torn = false;
    start_there("L0.0-7");
    train(1, 4, &out);
    stage_run(&stage, 11000000); /* saved */
    uint64_t version = 0, lost = 0;
    for (uint64_t call = 5; !was_torn && call < 60; call++) {
        forward(1, call, 0, 1, 3);
        settle();
        version = only_reply()->group[0].version;
        lost = reply(0)->group[0].load;
        expect_statuses(STATUS_OK);
        device_play_scratchless(call, 1);
        backward(1, call, 0, 1, 3);
        settle();
        was_torn = n_lines("goes on from its last checkpoint") == 1;
        ck_assert(!was_torn || only_reply()->group[0].status == STATUS_BUSY);
        stage_forget_sent(node);
    }
    ck_assert(was_torn);
    ck_assert_uint_eq(host_stats(node->host).n_experts, 8);
    forward(1, 100, 0, 1, 3);
    settle();
    ck_assert_uint_le(only_reply()->group[0].version, version);
    ck_assert_uint_le(reply(0)->group[0].load, lost);
    ck_assert_uint_eq(reply(0)->group[0].load, 12); /* of the four calls */
    expect_statuses(STATUS_OK);
    stop();
    buf_fini(&out);
}
END_TEST

/* -- Loss ------------------------------------------------------------------------------------------ */

/* What was under way is not answered as good, nothing is written any more, and the host ends by itself. */
START_TEST(test_a_lost_device_ends_the_host)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    start_there("L0.0-7");
    train(1, 4, &out);
    stage_run(&stage, 11000000);
    train(5, 6, &out); /* not saved */
    size_t n_writes = node->disk->n_writes;
    forward(1, 7, 0, 2, 3);
    settle();
    expect_statuses(STATUS_OK);
    device_play_lose(6 * (uint64_t)_i + 1);
    backward(1, 7, 0, 2, 3);
    settle();
    for (size_t g = 0; g < 2; g++)
        ck_assert_int_ne(only_reply()->group[g].status, STATUS_OK);
    stage_run(&stage, 2000000);
    ck_assert(node->is_stopped);
    ck_assert_int_eq(node->stopped_err, HANSE_EDEVICE);
    ck_assert_uint_eq(node->disk->n_writes, n_writes);
    ck_assert_uint_eq(n_lines("the GPU failed: what it was computing"), 1);
    ck_assert_uint_eq(n_lines("with --device cpu"), 1);
    stage_kill(node);
    played.is_lost = false, played.lost_after = 0;
    start(); /* on the CPU */
    forward(1, 8, 0, 1, 3);
    settle();
    ck_assert_uint_eq(only_reply()->group[0].load, 12); /* as of the checkpoint */
    stop();
    buf_fini(&out);
}
END_TEST

START_TEST(test_a_device_lost_while_saving)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    start_there("L0.0-7");
    train(1, 4, &out);
    size_t n_writes = node->disk->n_writes;
    device_play_lose(1);
    if (_i)
        stage_give(node, &(struct io_event){.kind = IO_STOP});
    stage_run(&stage, 12000000);
    ck_assert(node->is_stopped);
    ck_assert_int_eq(node->stopped_err, HANSE_EDEVICE);
    ck_assert_uint_eq(node->disk->n_writes, n_writes);
    stage_kill(node);
    buf_fini(&out);
}
END_TEST

START_TEST(test_the_directory_hears_of_a_lost_device)
{
    struct stage_node *first = node;
    start_there("L0.0-3");
    stage_run(&stage, 2000000);
    node = stage_add(&stage);
    struct stage_node *other = node;
    stage_start(other, &run, "L1.0");
    struct stage_node *reader = stage_add(&stage);
    stage_run(&stage, 3000000);
    node = first;
    ck_assert_uint_eq(read_layer_0(&stage, &run, reader).n_experts, 4);
    device_play_lose(1);
    forward(1, 1, 0, 1, 3);
    stage_run(&stage, 2000000);
    ck_assert(first->is_stopped);
    ck_assert_int_eq(first->stopped_err, HANSE_EDEVICE);
    ck_assert(!other->is_stopped);
    stage_kill(first);
    reader->addr.port = 4110; /* a fresh node, which asks whoever is left */
    stage.node[0].addr = other->addr;
    ck_assert_uint_eq(read_layer_0(&stage, &run, reader).n_experts, 0);
}
END_TEST

/* Without a network the caller is told. */
START_TEST(test_a_local_host_says_that_the_device_is_lost)
{
    struct host_config config = device_config("L0.0-7");
    struct peer_id caller = {{1}};
    struct buf message, answer;
    struct ask *ask = make_ask(MESSAGE_FORWARD, 1, 0, 1, 3);
    buf_init(&message, IO_MESSAGE_MAX);
    buf_init(&answer, IO_MESSAGE_MAX);
    ck_assert_int_eq(host_new(&config, &node->io, &node->disk->disk, &node->host), 0);
    fill_ask(ask);
    message_request_encode(&ask->m, &message);
    ck_assert_int_eq(host_request(node->host, stage.now_us, &caller, message.bytes, message.n, &answer), 0);
    device_play_lose(0);
    ck_assert_int_eq(host_request(node->host, stage.now_us, &caller, message.bytes, message.n, &answer), HANSE_EDEVICE);
    ck_assert_int_eq(host_save(node->host, stage.now_us), HANSE_EDEVICE);
    buf_fini(&message);
    buf_fini(&answer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node/host on a device");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup_device, teardown_device);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_a_run_has_the_bits_of_a_cpu, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_kept_rows_stay_on_the_device, 0, N_NUMERICS);
    tcase_add_test(tc, test_rows_that_left_the_device_come_again);
    tcase_add_test(tc, test_experts_that_find_no_memory_are_left_out);
    tcase_add_test(tc, test_a_host_without_any_expert_does_not_start);
    tcase_add_test(tc, test_adoption_stops_where_memory_ends);
    tcase_add_loop_test(tc, test_a_torn_expert_begins_again_from_its_checkpoint, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_a_lost_device_ends_the_host, 0, 4);
    tcase_add_loop_test(tc, test_a_device_lost_while_saving, 0, 2);
    tcase_add_test(tc, test_the_directory_hears_of_a_lost_device);
    tcase_add_test(tc, test_a_local_host_says_that_the_device_is_lost);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
