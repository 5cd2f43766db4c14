/* What of an emulated GPU's memory a host leaves for computing when it makes experts. */
#include "host_ask.h"
#include "kernels/cuda/emulate_control.h"
#include "kernels/device.h"
#include "node/host_state.h"

#define MEMORY ((size_t)1 << 30)

static const struct kernels *device;

static void setup_device(void)
{
    setup();
    ck_assert_int_eq(device_open(0, &device), 0);
}

static void teardown_device(void)
{
    host_free(node->host);
    node->host = NULL;
    teardown();
    device_close();
}

static void start_host(size_t works_max)
{
    struct host_config config = stage_config(node, &run, "L0.0-1");
    config.kernels = device;
    config.device_bytes_max = 1 << 16;
    config.works_max = works_max;
    ck_assert_int_eq(host_new(&config, &node->io, &node->disk->disk, &node->host), 0);
    ck_assert_uint_eq(host_stats(node->host).n_experts, 2);
}

static void compute(uint64_t call)
{
    struct peer_id caller = {{1}};
    struct buf message, answer;
    struct ask *ask = make_ask(MESSAGE_FORWARD, call, 0, 1, 3);
    buf_init(&message, IO_MESSAGE_MAX);
    buf_init(&answer, IO_MESSAGE_MAX);
    fill_ask(ask);
    message_request_encode(&ask->m, &message);
    ck_assert_int_eq(host_request(node->host, stage.now_us, &caller, message.bytes, message.n, &answer), 0);
    buf_fini(&message);
    buf_fini(&answer);
}

/* The least memory of the GPU with which the host makes its second expert anew. */
static size_t least_memory(void)
{
    struct host_slot *slot = host_slot(node->host, 0, 1);
    size_t too_little = 0, enough = MEMORY;
    while (enough - too_little > 1) {
        size_t n_bytes = too_little + (enough - too_little) / 2;
        if (slot->state == SLOT_HOSTED)
            host_slot_leave(node->host, slot);
        emulate_memory(n_bytes);
        *(host_slot_make(node->host, slot) == 0 ? &enough : &too_little) = n_bytes;
    }
    emulate_memory(MEMORY);
    if (slot->state == SLOT_EMPTY)
        ck_assert_int_eq(host_slot_make(node->host, slot), 0);
    return enough;
}

/* Each piece of work that there may be will have a room and scratch, and all of them rows.  To have computed is to have some of it
 * already, and asks for nothing more. */
START_TEST(test_an_expert_leaves_memory_to_compute)
{
    size_t works_max = 1 + (size_t)_i / N_NUMERICS;
    uint64_t scratch = 0, scratch_now = 0;
    set_form(_i % N_NUMERICS);
    start_host(works_max);
    if (run.expert_numerics != NUMERICS_F32)
        device_scratch(ROOM_SLOTS_MAX, run.expert_hidden, EXPERT_BLOCK, &scratch, &scratch_now);
    ck_assert_int_eq(device->wait(), 0);
    size_t used = emulate_used_bytes() - scratch_now, room = room_bytes(host_slot(node->host, 0, 0)->x, ROOM_SLOTS_MAX);
    size_t needed = used + works_max * (room + scratch) + (1 << 16);
    ck_assert_uint_eq(least_memory(), needed);
    for (uint64_t call = 1; call < 4; call++) {
        compute(call);
        ck_assert_uint_gt(emulate_used_bytes(), used + scratch_now);
        ck_assert_uint_eq(least_memory(), needed);
    }
    ck_assert_uint_gt(host_stats(node->host).device_bytes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node/host_slot");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup_device, teardown_device);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_an_expert_leaves_memory_to_compute, 0, 2 * N_NUMERICS);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
