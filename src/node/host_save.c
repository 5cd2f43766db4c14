/*
 * One expert at a time: its own work copies it between two requests, so the copy is never torn; another piece of work
 * writes the copy while the expert goes on.  So saving needs the memory of one expert more, however many there are.
 */
#include <assert.h>

#include "base/log.h"
#include "node/host_state.h"

#define PAUSE_US 60000000u /* how long a disk that failed is left alone */
#define WRITE_US 20000u    /* what the simulator reckons for writing one expert */

/* -- One round ------------------------------------------------------------------------------------- */

static void next_slot(struct host *host)
{
    while (!host->lost && host->save.next_i < host->n_slots) {
        struct host_slot *slot = &host->slot[host->save.next_i++];
        bool may_change = slot->state == SLOT_HOSTED && slot->is_computing;
        if (!may_change && !host_slot_is_changed(slot))
            continue;
        host->save.slot = slot;
        host_slot_copy_wanted(host, slot);
        return;
    }
    host->save.is_round = false;
}

void host_save_all(struct host *host)
{
    if (host->save.is_round || !host->disk || host->lost)
        return;
    host->save.is_round = true;
    host->save.next_i = 0;
    next_slot(host);
}

bool host_save_is_busy(const struct host *host)
{
    return host->save.is_round;
}

void host_save_tick(struct host *host)
{
    if (host->save.next_us > host->now_us || host->save.is_round)
        return;
    host->save.next_us = host->now_us + (uint64_t)host->config.run->checkpoint_s * 1000000;
    host_save_all(host);
}

uint64_t host_save_deadline(const struct host *host)
{
    return host->save.is_round ? IO_NEVER : host->save.next_us;
}

int host_save_verdict(const struct host *host)
{
    int err = host->lost;
    for (size_t i = 0; host->disk && !err && i < host->n_slots; i++)
        if (host_slot_is_changed(&host->slot[i]))
            err = host->save.err ? host->save.err : HANSE_ENOMEM;
    return err;
}

/* -- Writing one ----------------------------------------------------------------------------------- */

static int write_expert(const struct host *host, const struct expert *x, uint64_t now_us)
{
    struct checkpoint_info info = {.run = host->config.run->id, .time_us = now_us};
    int err = expert_save(x, host->disk, host->config.key, &info);
    if (!err && checkpoint_prune(host->disk, x->name) != 0)
        log_debug("checkpoint %s: saved, but older ones stay on the disk", x->name);
    return err;
}

static void run_write(struct io_work *work)
{
    struct host *host = work->owner;
    host->save.err = write_expert(host, host->save.copy, host->save.time_us);
}

void host_save_copy(struct host *host, struct host_slot *slot, struct expert *copy)
{
    assert(host->save.slot == slot && !host->save.copy);
    if (!copy || hash_equal(&copy->log_head, &slot->saved_head)) { /* no memory: the next round tries again */
        expert_free(copy);
        host->save.slot = NULL;
        next_slot(host);
        return;
    }
    host->save.copy = copy;
    host->save.time_us = host->now_us;
    host->save.work = (struct io_work){.run = run_write, .owner = host, .cost_us = WRITE_US};
    host->io->ops->work(host->io->ctx, &host->save.work);
}

/* Training goes on without the disk.  Its owner hears of it once a pause, not at every expert. */
static void note_failed(struct host *host, const char *name, int err)
{
    bool is_last = host->phase >= HOST_STOPPING;
    log_error("checkpoint %s: not saved (%s); %s: look at the disk", name, hanse_strerror(err),
              is_last ? "what came since the one before is lost" : "training goes on, but a crash would lose what came since");
    host->save.next_us = host->now_us + PAUSE_US;
    if (host->phase < HOST_STOPPING)
        host->save.next_i = host->n_slots;
}

static void note_saved(struct host *host, struct host_slot *slot, const struct expert *x)
{
    slot->saved_head = x->log_head;
    host->stats.n_checkpoints++;
}

bool host_save_done(struct host *host, struct io_work *work)
{
    if (work != &host->save.work)
        return false;
    if (host->save.err)
        note_failed(host, host->save.copy->name, host->save.err);
    else
        note_saved(host, host->save.slot, host->save.copy);
    expert_free(host->save.copy);
    host->save.copy = NULL;
    host->save.slot = NULL;
    next_slot(host);
    return true;
}

int host_save(struct host *host, uint64_t now_us)
{
    host->now_us = now_us;
    int err = host->lost;
    for (size_t i = 0; !host->lost && host->disk && i < host->n_slots; i++) {
        struct host_slot *slot = &host->slot[i];
        if (!host_slot_is_changed(slot))
            continue;
        int slot_err = write_expert(host, slot->x, now_us);
        if (!slot_err)
            note_saved(host, slot, slot->x);
        err = err ? err : slot_err;
        if (slot_err == HANSE_EDEVICE)
            host_lose(host);
    }
    return err;
}
