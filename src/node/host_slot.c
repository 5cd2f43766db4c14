#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kernels/device.h"
#include "node/host_state.h"

#define WORK_US 200    /* what the simulator reckons for a batch... */
#define WORK_SLOT_US 2 /* ...and for each of its slots */
#define BIRTH_US 2000  /* and for making an expert */

void host_slot_name(char out[32], const struct host_slot *slot)
{
    run_expert_name(out, slot->layer, slot->index);
}

struct host_slot *host_slot(struct host *host, uint32_t layer, uint32_t index)
{
    const struct run *run = host->config.run;
    return layer < run->n_moe && index < run->experts ? &host->slot[(size_t)layer * run->experts + index] : NULL;
}

int host_slots_new(struct host *host)
{
    const struct run *run = host->config.run;
    host->n_slots = (size_t)run->n_moe * run->experts;
    host->slot = calloc(host->n_slots, sizeof *host->slot);
    if (!host->slot)
        return HANSE_ENOMEM;
    for (size_t i = 0; i < host->n_slots; i++) {
        host->slot[i].layer = (uint16_t)(i / run->experts);
        host->slot[i].index = (uint16_t)(i % run->experts);
    }
    return 0;
}

void host_slots_free(struct host *host)
{
    for (size_t i = 0; i < host->n_slots && host->slot; i++)
        expert_free(host->slot[i].x);
    free(host->slot);
    while (host->all_work) { /* after a crash some may never have come back */
        struct host_work *w = host->all_work;
        host->all_work = w->next_all;
        expert_free(w->copy);
        room_fini(&w->room);
        free(w);
    }
}

static void look(struct host_slot *slot)
{
    const struct expert *x = slot->x;
    slot->seen = (struct host_seen){x->version, x->n_slots, x->epoch, x->log_head};
}

bool host_slot_is_changed(const struct host_slot *slot)
{
    return slot->state == SLOT_HOSTED && !hash_equal(&slot->seen.log_head, &slot->saved_head);
}

/* -- Making experts -------------------------------------------------------------------------------- */

/* Bytes of the rooms, as they were when each last rested. */
static uint64_t rooms_bytes(const struct host *host)
{
    uint64_t n_bytes = 0;
    for (const struct host_work *w = host->all_work; w; w = w->next_all)
        n_bytes += w->room_bytes;
    return n_bytes;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What computing yet needs of a device's memory besides the experts: for as many pieces of work as there may be at once a room, and the
 * scratch of the products of the thread that computes it (with cuBLASLt 64 MiB and more), and the budget of rows.  What there is of
 * all that is no longer free. */
static uint64_t reserve_bytes(struct host *host, const struct expert *x, uint64_t rooms_now)
{
    uint64_t n = host->config.works_max, room = room_bytes(x, ROOM_SLOTS_MAX), scratch = 0, scratch_now = 0;
    uint64_t kept = host->config.device_bytes_max, kept_now = kept_device_bytes(&host->kept);
    if (x->config.numerics != NUMERICS_F32) /* whose products need none */
        device_scratch(ROOM_SLOTS_MAX, x->config.D > x->config.H ? x->config.D : x->config.H, EXPERT_BLOCK, &scratch,
                       &scratch_now);
    return n * room - least(rooms_now, n * room) + n * scratch - least(scratch_now, n * scratch) + kept - least(kept_now, kept);
}

static int check_memory(struct host *host, const struct expert *x, uint64_t rooms_now)
{
    uint64_t n_free, n_total;
    if (!x->kernels->is_device || device_memory(&n_free, &n_total) != 0)
        return 0;
    return n_free < reserve_bytes(host, x, rooms_now) ? HANSE_ENOMEM : 0;
}

void host_slot_full(struct host *host, const struct host_slot *slot)
{
    char name[32];
    uint64_t n_free = 0, n_total;
    struct expert_config config = host_expert_config(host->config.run);
    bool was_full = host->is_full;
    host->is_full = true;
    if (was_full)
        return;
    bool is_known = device_memory(&n_free, &n_total) == 0;
    host_slot_name(name, slot);
    log_error("expert %s: the GPU has no memory for it: an expert takes %.1f MB, and %.1f MB are %s, some of which computing "
              "needs; %zu experts are hosted "
              "without it: name fewer in --experts, or use another --device",
              name, (double)expert_bytes(&config, host->config.kernels) / 1e6, (double)n_free / 1e6,
              is_known ? "free" : "known to be free", host->stats.n_experts);
}

/* A checkpoint that cannot be used is never silently replaced by a newborn. */
static int make(struct host *host, const struct host_slot *slot, uint64_t rooms_now, struct expert **out)
{
    char name[32];
    struct checkpoint_info info;
    struct expert *x = NULL;
    struct expert_config config = host_expert_config(host->config.run);
    config.has_layer = true;
    config.layer = run_moe_layer(host->config.run, slot->layer);
    host_slot_name(name, slot);
    int err = expert_new(&config, host->config.kernels, &host->config.run->birth, name, &x);
    if (err)
        goto fail;
    expert_share(x, host->config.team);
    err = host->disk ? expert_load(x, host->disk, &host->config.run->id, &info) : HANSE_ENOENT;
    if (!err || err == HANSE_ENOENT)
        err = check_memory(host, x, rooms_now);
    if (err)
        goto fail;
    *out = x;
    return 0;
fail:
    expert_free(x);
    return err;
}

/* Of a device another program may take the rest: no reason to end what there is. */
static bool is_full(const struct host *host, int err)
{
    return err == HANSE_ENOMEM && host->config.kernels->is_device;
}

static void made(struct host *host, struct host_slot *slot)
{
    slot->state = SLOT_HOSTED;
    look(slot);
    slot->saved_head = slot->seen.log_head;
    host->stats.n_experts++;
    host->has_news = true;
}

int host_slot_make(struct host *host, struct host_slot *slot)
{
    assert(slot->state == SLOT_EMPTY);
    int err = make(host, slot, rooms_bytes(host), &slot->x);
    if (!err)
        made(host, slot);
    else if (is_full(host, err))
        host_slot_full(host, slot);
    return err;
}

static struct host_work *take_work(struct host *host)
{
    struct host_work *w = host->idle_work;
    if (w) {
        host->idle_work = w->next;
        return w;
    }
    w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    *w = (struct host_work){.host = host, .work.owner = w, .next_all = host->all_work};
    host->all_work = w;
    return w;
}

static void give_work(struct host *host, struct host_work *w)
{
    w->next = host->idle_work;
    host->idle_work = w;
}

static void run_birth(struct io_work *work)
{
    struct host_work *w = work->owner;
    w->err = make(w->host, w->slot, w->rooms_now, &w->slot->x);
}

void host_slot_bear(struct host *host, struct host_slot *slot)
{
    assert(slot->state == SLOT_EMPTY);
    struct host_work *w = take_work(host);
    if (!w)
        return; /* the next look at the directory tries again */
    slot->state = SLOT_BORN;
    w->slot = slot;
    w->rooms_now = rooms_bytes(host);
    w->work.run = run_birth;
    w->work.cost_us = BIRTH_US;
    host->n_births++;
    host->io->ops->work(host->io->ctx, &w->work);
}

static void birth_done(struct host *host, struct host_work *w)
{
    struct host_slot *slot = w->slot;
    host->n_births--;
    slot->state = SLOT_EMPTY;
    slot->is_broken = w->err != 0 && !is_full(host, w->err);
    if (!w->err)
        made(host, slot);
    give_work(host, w);
    if (is_full(host, w->err))
        host_slot_full(host, slot);
    if (w->err == HANSE_EDEVICE)
        host_lose(host);
    if (slot->is_leaving) /* lost while it was being made */
        host_slot_leave(host, slot);
}

/* -- Leaving --------------------------------------------------------------------------------------- */

static void answer_all(struct host *host, struct host_slot *slot, enum message_status status)
{
    while (slot->first) {
        struct host_item *item = host_item_of(slot->first);
        host_slot_unqueue(slot, item);
        item->batch.group->status = status;
        host_item_done(host, item);
    }
}

void host_slots_refuse(struct host *host)
{
    for (size_t i = 0; i < host->n_slots; i++)
        answer_all(host, &host->slot[i], STATUS_BUSY);
}

void host_slot_leave(struct host *host, struct host_slot *slot)
{
    answer_all(host, slot, STATUS_NOT_HERE);
    slot->is_leaving = slot->is_computing || slot->state == SLOT_BORN;
    if (slot->is_leaving || slot->state == SLOT_EMPTY)
        return;
    if (host->save.slot == slot && !host->save.copy)
        host_save_copy(host, slot, NULL);
    slot->wants_copy = false;
    slot->state = SLOT_EMPTY;
    slot->is_said = false;
    slot->used_us = 0;
    expert_free(slot->x);
    slot->x = NULL;
    host->is_full = false;
    host->stats.n_experts--;
}

/* -- The queue of an expert ------------------------------------------------------------------------ */

static void make_ready(struct host *host, struct host_slot *slot)
{
    if (slot->is_ready || slot->is_computing)
        return;
    slot->is_ready = true;
    slot->next_ready = NULL;
    *(host->last_ready ? &host->last_ready->next_ready : &host->first_ready) = slot;
    host->last_ready = slot;
}

void host_slot_push(struct host *host, struct host_slot *slot, struct host_item *item)
{
    item->batch.next = NULL;
    item->is_queued = true;
    *(slot->last ? &slot->last->next : &slot->first) = &item->batch;
    slot->last = &item->batch;
    slot->n_slots += item->batch.group->n_slots;
    make_ready(host, slot);
}

void host_slot_unqueue(struct host_slot *slot, struct host_item *item)
{
    struct batch_item *before = NULL, *this = &item->batch;
    for (struct batch_item *i = slot->first; i != this; i = i->next)
        before = i;
    *(before ? &before->next : &slot->first) = this->next;
    if (slot->last == this)
        slot->last = before;
    this->next = NULL;
    item->is_queued = false;
    slot->n_slots -= this->group->n_slots;
}

void host_slot_copy_wanted(struct host *host, struct host_slot *slot)
{
    slot->wants_copy = true;
    make_ready(host, slot);
}

/* -- Work ------------------------------------------------------------------------------------------ */

/* Moves items from the queue to the work, up to its ceiling.  Those whose callers have stopped waiting are answered here. */
static void fill_work(struct host *host, struct host_work *w, struct host_slot *slot)
{
    struct batch_item *last = NULL;
    while (slot->first) {
        struct host_item *item = host_item_of(slot->first);
        size_t n = item->batch.group->n_slots;
        if (w->first && w->n_slots + n > BATCH_SLOTS_MAX)
            break;
        host_slot_unqueue(slot, item);
        if (item->request->deadline_us < host->now_us) {
            item->batch.group->status = STATUS_LATE;
            host_item_done(host, item);
            continue;
        }
        *(last ? &last->next : &w->first) = &item->batch;
        last = &item->batch;
        w->n_slots += n;
    }
}

static void run_batch(struct io_work *work)
{
    struct host_work *w = work->owner;
    w->err = batch_compute(w->slot->x, w->first, &w->room, &w->counts);
    if (!w->err && w->wants_copy && expert_copy(w->slot->x, &w->copy) == HANSE_EDEVICE)
        w->err = HANSE_EDEVICE;
}

/* Takes the first expert that has something to do; NULL when there is none, or nothing was left to do for it. */
static struct host_work *next_work(struct host *host, struct host_work *w)
{
    struct host_slot *slot = host->first_ready;
    host->first_ready = slot->next_ready;
    if (!host->first_ready)
        host->last_ready = NULL;
    slot->is_ready = false;
    if (slot->state != SLOT_HOSTED)
        return NULL;
    w->slot = slot;
    w->first = NULL;
    w->n_slots = 0;
    w->counts = (struct batch_counts){0};
    w->copy = NULL;
    w->err = 0;
    w->wants_copy = slot->wants_copy;
    fill_work(host, w, slot);
    if (!w->first && !w->wants_copy)
        return NULL;
    slot->wants_copy = false;
    slot->is_computing = true;
    w->work.run = run_batch;
    w->work.cost_us = WORK_US + WORK_SLOT_US * w->n_slots;
    return w;
}

static void add_counts(struct host *host, const struct batch_counts *counts)
{
    host->stats.n_forward_slots += counts->n_forward_slots;
    host->stats.n_backward_slots += counts->n_backward_slots;
    host->stats.n_updates += counts->n_updates;
    host->stats.n_reject += counts->n_reject;
    host->stats.n_stale += counts->n_stale;
}

/* What it was like before is all that is known of a lost expert. */
static void batch_done(struct host *host, struct host_work *w)
{
    struct host_slot *slot = w->slot;
    slot->is_computing = false;
    w->room_bytes = w->room.n_bytes;
    if (w->err == HANSE_EDEVICE)
        host_lose(host);
    if (!w->err)
        look(slot);
    if (w->counts.n_backward_slots > 0)
        slot->used_us = host->now_us;
    add_counts(host, &w->counts);
    for (struct batch_item *item = w->first, *next; item; item = next) {
        next = item->next;
        host_item_done(host, host_item_of(item));
    }
    if (w->wants_copy)
        host_save_copy(host, slot, w->copy);
    w->copy = NULL;
    give_work(host, w);
    if (slot->is_leaving || w->err) {
        slot->is_leaving = false;
        host_slot_leave(host, slot);
    } else if (slot->first || slot->wants_copy) {
        make_ready(host, slot);
    }
}

/* A device's memory was too short in the middle of a gradient: what there is of it is no state that the log tells of. */
static bool wants_again(struct host *host, const struct host_work *w)
{
    char name[32];
    if (w->err != HANSE_ENOMEM || w->slot->state != SLOT_EMPTY || host->phase >= HOST_STOPPING)
        return false;
    host_slot_name(name, w->slot);
    log_error("expert %s: the GPU ran out of memory while a gradient was summed; the expert goes on from its last checkpoint: "
              "host fewer experts, or stop what else uses the GPU",
              name);
    return true;
}

void host_slots_start(struct host *host)
{
    while (host->first_ready && host->n_works < host->config.works_max) {
        struct host_work *w = take_work(host);
        if (!w)
            return;
        if (!next_work(host, w)) {
            give_work(host, w);
            continue;
        }
        host->n_works++;
        host->io->ops->work(host->io->ctx, &w->work);
    }
}

void host_slots_run(struct host *host)
{
    while (host->first_ready) {
        struct host_work *w = take_work(host);
        if (!w)
            return;
        if (!next_work(host, w)) {
            give_work(host, w);
            continue;
        }
        run_batch(&w->work);
        batch_done(host, w);
        if (wants_again(host, w) && host_slot_make(host, w->slot) == HANSE_EDEVICE)
            host_lose(host);
    }
}

bool host_slots_done(struct host *host, struct io_work *work)
{
    if (work->run != run_batch && work->run != run_birth)
        return false;
    struct host_work *w = work->owner;
    if (work->run == run_birth) {
        birth_done(host, w);
    } else {
        host->n_works--;
        batch_done(host, w);
        if (wants_again(host, w))
            host_slot_bear(host, w->slot);
    }
    return true;
}
