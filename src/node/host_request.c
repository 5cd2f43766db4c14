#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/host_state.h"

#define LINK_BYTES_MAX (2 * IO_MESSAGE_MAX) /* of one peer's requests and answers in our memory: beyond it, BUSY */

/* How long a link whose peer was given an expert's answer has its place for that: longer than a trainer takes to come back with the
 * gradient, or for more. */
#define KEEP_US 60000000u

/* -- Life ------------------------------------------------------------------------------------------ */

static struct host_request *new_request(const struct message_request *m)
{
    size_t groups_bytes = m->n_groups * sizeof(struct message_group);
    struct host_request *r = calloc(1, sizeof *r + groups_bytes + m->n_groups * sizeof(struct host_item));
    if (!r)
        return NULL;
    r->m = *m;
    memcpy(r->group, m->group, groups_bytes);
    r->m.group = r->group;
    r->item = (struct host_item *)(void *)((char *)r->group + groups_bytes);
    r->reply = (struct message_reply){.kind = m->kind == MESSAGE_FORWARD ? MESSAGE_FORWARD_REPLY : MESSAGE_BACKWARD_REPLY,
                                      .form = rows_answer_form(m->form),
                                      .call = m->call,
                                      .D = m->D,
                                      .n_groups = m->n_groups,
                                      .group = r->group};
    buf_init(&r->answer, IO_MESSAGE_MAX);
    return r;
}

static void hang_on_link(struct host_request *r, struct host_link *link)
{
    r->link = link;
    link->n_bytes += r->n_bytes;
    r->next = link->request;
    if (r->next)
        r->next->prev = r;
    link->request = r;
}

static void take_off_link(struct host_request *r)
{
    if (!r->link)
        return;
    r->link->n_bytes -= r->n_bytes;
    *(r->prev ? &r->prev->next : &r->link->request) = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->next = r->prev = NULL;
    r->link = NULL;
}

static void free_request(struct host_request *r)
{
    take_off_link(r);
    for (size_t g = 0; g < r->m.n_groups; g++)
        kept_message_free(r->item[g].pin);
    kept_message_free(r->message);
    buf_fini(&r->answer);
    free(r);
}

/* -- Places ---------------------------------------------------------------------------------------- */

static void keep_link(struct host *host, const struct host_link *link, uint64_t until_us)
{
    host->io->ops->link_keep(host->io->ctx, link->id, until_us);
}

static bool is_of_use(const struct host_request *r)
{
    for (size_t g = 0; g < r->m.n_groups; g++)
        if (r->group[g].status == STATUS_OK && !r->is_cancelled)
            return true;
    return false;
}

/* Requests that come to nothing, or are taken back, keep no place. */
static void rest(struct host *host, struct host_link *link, bool was_of_use)
{
    if (was_of_use)
        link->keep_us = host->now_us + KEEP_US;
    if (!link->request)
        keep_link(host, link, link->keep_us);
}

/* -- The end of a request -------------------------------------------------------------------------- */

static void keep_rows(struct host *host, struct host_request *r)
{
    struct kept_call *call = NULL;
    for (size_t g = 0; g < r->m.n_groups; g++) {
        if (r->group[g].status != STATUS_OK)
            continue;
        if (!call) {
            call = kept_add(&host->kept, &r->peer, &r->m);
            if (!call)
                return;
            kept_put_rows(&host->kept, call, r->message, &r->m);
        }
        if (!kept_part(call, r->group[g].expert))
            return;
    }
}

static void count_statuses(struct host *host, const struct host_request *r)
{
    for (size_t g = 0; g < r->m.n_groups; g++) {
        host->stats.n_busy += r->group[g].status == STATUS_BUSY;
        host->stats.n_late += r->group[g].status == STATUS_LATE;
        host->stats.n_gone += r->group[g].status == STATUS_GONE;
    }
}

static void finish(struct host *host, struct host_request *r)
{
    struct host_link *link = r->link;
    bool was_of_use = is_of_use(r);
    if (!r->is_cancelled)
        count_statuses(host, r);
    if (r->m.kind == MESSAGE_FORWARD && r->m.keep && !r->is_cancelled)
        keep_rows(host, r);
    if (!r->is_cancelled && (r->link || r->reply_to)) {
        message_reply_end(&r->reply, &r->answer);
        if (r->reply_to)
            buf_append(r->reply_to, r->answer.bytes, r->answer.n);
        else
            host->io->ops->link_send(host->io->ctx, r->link->id, &r->answer, false);
    }
    free_request(r);
    if (link)
        rest(host, link, was_of_use);
    kept_trim(&host->kept, host->now_us);
    host->stats.kept_bytes = host->kept.n_bytes;
    host->stats.device_bytes = kept_device_bytes(&host->kept);
}

static void one_less(struct host *host, struct host_request *r)
{
    assert(r->n_waiting > 0);
    if (--r->n_waiting == 0)
        finish(host, r);
}

/* -- The end of an item ---------------------------------------------------------------------------- */

/* Gives a retry the answer of the backward it waited for. */
static void answer_twin(const struct message_group *from, struct host_item *twin, uint32_t D)
{
    struct message_group *to = twin->batch.group;
    bool is_same = from->n_slots == to->n_slots;
    if (from->status == STATUS_OK && is_same)
        rows_copy(&to->values, &from->values, to->n_slots, D);
    to->status = from->status == STATUS_OK && !is_same ? STATUS_REJECT : from->status;
    to->version = from->version;
    to->staleness = from->staleness;
    to->load = from->load;
}

static void end_kept(struct host *host, struct host_item *item)
{
    struct message_group *group = item->batch.group;
    struct kept_part *part = kept_part(item->kept, group->expert);
    assert(part && part->state == KEPT_PENDING && part->pending == item);
    if (group->status == STATUS_OK)
        kept_done(&host->kept, item->kept, part, group);
    else
        kept_undo(item->kept, part);
}

void host_item_done(struct host *host, struct host_item *item)
{
    if (item->kept)
        end_kept(host, item);
    kept_message_free(item->pin);
    item->pin = NULL;
    while (item->twin) {
        struct host_item *twin = item->twin;
        item->twin = twin->twin;
        answer_twin(item->batch.group, twin, item->request->m.D);
        one_less(host, twin->request);
    }
    one_less(host, item->request);
}

/* -- The beginning --------------------------------------------------------------------------------- */

/* A backward that was done is answered from memory; false when its answer is no longer there. */
static bool answer_again(const struct kept_part *part, struct message_group *group, uint32_t D)
{
    if (part->n_slots != group->n_slots) {
        group->status = STATUS_REJECT;
        return true;
    }
    if (!part->bytes)
        return false;
    rows_copy(&group->values, &part->values, group->n_slots, D);
    group->status = STATUS_OK;
    group->version = part->version;
    group->staleness = part->staleness;
    group->load = part->load;
    return true;
}

/* Finds the rows of the forward: in the request, or kept. */
static bool find_rows(struct host *host, struct host_item *item, struct kept_call *call)
{
    const struct message_request *m = &item->request->m;
    item->batch.x = m->x;
    if (rows_are_there(&m->x))
        return true;
    if (!call->message || call->n_rows != m->n_rows)
        return false;
    item->batch.x = call->x;
    item->batch.x_message = item->pin = kept_pin_rows(&host->kept, call);
    return true;
}

/* Decides about a backward: returns true when it is to be queued; else its status is set, or it waits as a twin. */
static bool prepare_backward(struct host *host, struct host_item *item, bool *is_twin)
{
    struct host_request *r = item->request;
    struct message_group *group = item->batch.group;
    group->status = STATUS_GONE;
    if (!rows_are_there(&r->m.x) && !kept_find(&host->kept, &r->peer, r->m.call))
        return false;
    group->status = STATUS_BUSY;
    struct kept_call *call = kept_add(&host->kept, &r->peer, &r->m);
    struct kept_part *part = call ? kept_part(call, group->expert) : NULL;
    if (!part)
        return false;
    if (call->layer != r->m.layer) {
        group->status = STATUS_REJECT;
        return false;
    }
    if (part->state == KEPT_PENDING) {
        struct host_item *first = part->pending;
        item->twin = first->twin;
        first->twin = item;
        *is_twin = true;
        return false;
    }
    if (part->state == KEPT_DONE && answer_again(part, group, r->m.D))
        return false;
    group->status = STATUS_GONE;
    if (!find_rows(host, item, call))
        return false;
    item->batch.is_done_before = part->state == KEPT_DONE;
    if (item->batch.is_done_before)
        return true;
    item->kept = call;
    kept_begin(call, part, item);
    return true;
}

/* Each group waits in its expert's queue, or is answered at once. */
static bool prepare(struct host *host, struct host_item *item, struct host_slot *slot, bool *is_twin)
{
    struct message_group *group = item->batch.group;
    bool is_hosted = slot && slot->state != SLOT_EMPTY && !slot->is_leaving;
    group->status = STATUS_NOT_HERE;
    if (!is_hosted)
        return false;
    bool is_full = slot->n_slots > 0 && slot->n_slots + group->n_slots > host->config.queue_slots_max;
    group->status = STATUS_BUSY;
    if (is_full || slot->state != SLOT_HOSTED || host->phase >= HOST_STOPPING)
        return false;
    if (item->request->m.kind == MESSAGE_FORWARD)
        return true;
    return prepare_backward(host, item, is_twin);
}

static void begin_item(struct host *host, struct host_request *r, size_t g)
{
    struct host_item *item = &r->item[g];
    struct message_group *group = &r->group[g];
    bool is_twin = false;
    bool is_backward = r->m.kind == MESSAGE_BACKWARD;
    item->request = r;
    item->batch = (struct batch_item){.group = group,
                                      .x = r->m.rows,
                                      .gy = r->m.rows,
                                      .is_backward = is_backward,
                                      .version = group->version,
                                      .lr_scale = r->m.lr_scale,
                                      .message = r->message,
                                      .x_message = r->message,
                                      .caller = &r->peer,
                                      .call = r->m.call};
    group->version = 0;
    struct host_slot *slot = host_slot(host, r->m.layer, group->expert);
    if (prepare(host, item, slot, &is_twin))
        host_slot_push(host, slot, item);
    else if (!is_twin)
        r->n_waiting--;
}

static bool is_link_full(const struct host *host, const struct host_link *link, size_t n_more)
{
    if (!link)
        return false;
    size_t n = link->n_bytes + host->io->ops->link_queued(host->io->ctx, link->id);
    return n > 0 && n + n_more > LINK_BYTES_MAX;
}

/* Without memory, or for a peer that has too much of ours already: every part is refused. */
static void refuse_all(struct host *host, struct host_link *link, struct message_request *m, struct buf *reply_to)
{
    struct message_reply reply = {.kind = m->kind == MESSAGE_FORWARD ? MESSAGE_FORWARD_REPLY : MESSAGE_BACKWARD_REPLY,
                                  .form = rows_answer_form(m->form),
                                  .call = m->call,
                                  .D = m->D,
                                  .n_groups = m->n_groups,
                                  .group = m->group};
    for (size_t g = 0; g < m->n_groups; g++) {
        m->group[g].status = STATUS_BUSY;
        m->group[g].version = 0;
    }
    host->stats.n_busy += m->n_groups;
    struct buf answer;
    buf_init(&answer, IO_MESSAGE_MAX);
    message_reply_encode(&reply, reply_to ? reply_to : &answer);
    if (!reply_to && !answer.err)
        host->io->ops->link_send(host->io->ctx, link->id, &answer, false);
    buf_fini(&answer);
}

/* NULL when there is no memory. */
static struct host_request *take_in(struct host_link *link, const struct peer_id *peer, struct kept_message *message,
                                    const struct message_request *m)
{
    struct host_request *r = new_request(m);
    if (!r)
        return NULL;
    r->message = message;
    kept_message_ref(message);
    if (message_reply_begin(&r->reply, &r->answer) != 0) {
        free_request(r);
        return NULL;
    }
    r->peer = *peer;
    r->n_bytes = message->n_bytes + r->answer.n;
    if (link)
        hang_on_link(r, link);
    return r;
}

int host_request_begin(struct host *host, struct host_link *link, const struct peer_id *peer, const void *bytes, size_t n,
                       struct buf *reply_to)
{
    struct message_request m = {.group = host->group};
    struct kept_message *message = kept_message_new(bytes, n);
    if (!message)
        return HANSE_ENOMEM;
    if (host->config.kernels->is_device)
        message->device = &host->kept.device;
    int err = message_request_decode(&m, message->byte, n);
    if (!err && (m.D != host->config.run->latent || m.form != host->config.run->expert_numerics))
        err = HANSE_EPROTO;
    struct host_request *r = NULL;
    if (!err && !is_link_full(host, link, n))
        r = take_in(link, peer, message, &m);
    if (!err && !r)
        refuse_all(host, link, &m, reply_to);
    if (r) {
        r->reply_to = reply_to;
        r->deadline_us = host->now_us + (uint64_t)m.wait_ms * 1000;
        r->n_waiting = m.n_groups + 1; /* one for ourselves, so that it does not end while it begins */
        for (size_t g = 0; g < m.n_groups; g++)
            begin_item(host, r, g);
        if (link && r->n_waiting > 1)
            keep_link(host, link, IO_NEVER);
        one_less(host, r);
    }
    kept_message_free(message);
    return err;
}

/* -- Nobody waits any more ------------------------------------------------------------------------- */

static void drop(struct host *host, struct host_request *r, bool even_backwards)
{
    r->is_cancelled = true;
    if (r->m.kind == MESSAGE_BACKWARD && !even_backwards)
        return;
    r->n_waiting++; /* it is still ours until the loop is through */
    for (size_t g = 0; g < r->m.n_groups; g++) {
        struct host_item *item = &r->item[g];
        if (!item->is_queued)
            continue;
        host_slot_unqueue(host_slot(host, r->m.layer, item->batch.group->expert), item);
        item->batch.group->status = STATUS_LATE;
        host_item_done(host, item);
    }
    one_less(host, r);
}

static struct host_request *find_queued(struct host_link *link, uint64_t call)
{
    for (struct host_request *r = link->request; r; r = r->next)
        for (size_t g = 0; r->m.call == call && g < r->m.n_groups; g++)
            if (r->item[g].is_queued)
                return r;
    return NULL;
}

/* First nobody waits any more, then what is queued goes; one that goes may end others that waited for it, hence the search. */
void host_request_cancel(struct host *host, struct host_link *link, uint64_t call)
{
    for (struct host_request *r = link->request; r; r = r->next)
        r->is_cancelled |= r->m.call == call;
    for (struct host_request *r = find_queued(link, call); r; r = find_queued(link, call))
        drop(host, r, true);
}

void host_request_orphan(struct host *host, struct host_link *link)
{
    while (link->request) {
        struct host_request *r = link->request;
        take_off_link(r);
        hang_on_link(r, &host->nowhere);
        drop(host, r, false);
    }
}

void host_requests_free(struct host_link *link)
{
    while (link->request)
        free_request(link->request);
}
