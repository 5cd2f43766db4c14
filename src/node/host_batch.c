#include "node/host_batch.h"

#include <string.h>

#include "base/profile.h"
#include "experts/log.h"

/* With this forward version a backward is too stale for any expert to count (expert.h), and still gives gx. */
#define VERSION_OF_NO_EFFECT UINT64_MAX

struct batch {
    struct expert *x;
    struct room *room;
    struct batch_counts *counts;
    int err; /* x is lost */
};

/* A stretch of the list: from `first` up to, not including, `end`; of one kind: the others between are skipped. */
struct stretch {
    struct batch_item *first, *end;
    bool is_backward;
    size_t n_slots, n_items;
};

/* Nothing more can be made of x. */
static int lose(struct batch *b, int err)
{
    b->err = err;
    return err;
}

/* HANSE_ENOMEM: of no effect yet. */
static void answer(struct batch *b, struct batch_item *item, int err)
{
    item->group->status = !err ? STATUS_OK : err == HANSE_ENOMEM ? STATUS_BUSY : STATUS_REJECT;
    item->group->version = b->x->version;
    b->counts->n_reject += item->group->status == STATUS_REJECT;
    if (err == HANSE_EDEVICE)
        lose(b, err);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Hands the joint answers out.  One that is too large to travel is refused, as it would be alone. */
static void scatter(const struct batch *b, const struct stretch *s)
{
    size_t at = 0;
    for (struct batch_item *item = s->first; item != s->end; item = item->next)
        if (item->is_backward == s->is_backward && !item->is_bad) {
            size_t n = item->group->n_slots;
            item->is_bad = room_answer(b->room, b->x, item, b->room->out, at, 0, n) != 0;
            at += n;
        }
}

/* A request with a row that is not finite stays out, so that its neighbours need not be computed again without it.  Returns how many
 * slots are in. */
static size_t join(const struct batch *b, const struct stretch *s)
{
    size_t at = 0;
    for (struct batch_item *item = s->first; item != s->end; item = item->next)
        if (item->is_backward == s->is_backward)
            room_send(b->x, item);
    for (struct batch_item *item = s->first; item != s->end; item = item->next) {
        if (item->is_backward != s->is_backward)
            continue;
        item->is_bad = !room_join(b->room, b->x, item, at);
        at += item->is_bad ? 0 : item->group->n_slots;
    }
    return at;
}

static int err_of(const struct batch_item *item)
{
    return item->is_bad ? HANSE_EREJECT : 0;
}

/* Whether the joint product was it; else each is computed alone. */
static bool is_joined(struct batch *b, int err)
{
    if (err == HANSE_EDEVICE)
        lose(b, err);
    if (err == HANSE_ENOMEM && !b->err)
        room_shrink(b->room);
    return !err;
}

/* -- Forward --------------------------------------------------------------------------------------- */

/* One item alone, in products of `piece` slots: rows do not depend on their batch. */
static int forward_pieces(struct batch *b, struct batch_item *item, size_t piece)
{
    size_t n = item->group->n_slots;
    for (size_t first = 0; first < n; first += piece) {
        size_t n_now = least(n - first, piece);
        struct room_slots slots;
        int err = room_alone(b->room, b->x, item, first, n_now, &slots);
        b->counts->n_products++;
        if (!err)
            err = expert_forward(b->x, slots.out, &slots.rows, b->room->work, n_now);
        if (!err)
            err = room_fetch(b->room, b->x, slots.out, n_now);
        if (!err)
            err = room_answer(b->room, b->x, item, slots.out, 0, first, n_now);
        if (err)
            return err;
    }
    return 0;
}

static int forward_alone(struct batch *b, struct batch_item *item)
{
    for (;;) {
        size_t piece = room_make(b->room, b->x, item->group->n_slots);
        int err = piece > 0 ? forward_pieces(b, item, piece) : HANSE_ENOMEM;
        if (err != HANSE_ENOMEM || !room_shrink(b->room))
            return err;
    }
}

static int forward_joined(struct batch *b, const struct stretch *s)
{
    if (room_make(b->room, b->x, s->n_slots) < s->n_slots)
        return HANSE_ENOMEM;
    size_t n = join(b, s);
    if (n == 0)
        return 0;
    b->counts->n_products++;
    int err = expert_forward(b->x, b->room->out, &b->room->rows, b->room->work, n);
    if (!err)
        err = room_fetch(b->room, b->x, b->room->out, n);
    if (!err)
        scatter(b, s);
    return err;
}

static void forward_stretch(struct batch *b, const struct stretch *s)
{
    bool is_done = s->n_items > 1 && is_joined(b, forward_joined(b, s));
    for (struct batch_item *item = s->first; item != s->end && !b->err; item = item->next) {
        if (item->is_backward)
            continue;
        answer(b, item, is_done ? err_of(item) : forward_alone(b, item)); /* after a joint refusal, each alone */
        b->counts->n_forward_slots += item->group->status == STATUS_BUSY ? 0 : item->group->n_slots;
    }
}

/* -- Backward -------------------------------------------------------------------------------------- */

/* That gx is too large to travel shows before it counts: the expert refuses such numbers itself (expert.h).  What a device reports of
 * the sums that it was left with comes with the answers, and then they cannot be taken back. */
static int backward_product(struct batch *b, struct batch_item *item, size_t first, size_t n, uint64_t version)
{
    uint64_t staleness;
    struct room_slots slots;
    int err = room_alone(b->room, b->x, item, first, n, &slots);
    b->counts->n_products++;
    if (!err)
        err = expert_backward(b->x, slots.out, &slots.rows, &slots.gy, slots.weight, b->room->work, n, version, item->lr_scale,
                              &staleness);
    if (err)
        return err;
    err = room_fetch(b->room, b->x, slots.out, n);
    if (err && version != VERSION_OF_NO_EFFECT)
        return lose(b, err);
    return err ? err : room_answer(b->room, b->x, item, slots.out, 0, first, n);
}

static int backward_pieces(struct batch *b, struct batch_item *item, size_t piece, uint64_t version)
{
    size_t n = item->group->n_slots;
    for (size_t first = 0; first < n; first += piece) {
        int err = backward_product(b, item, first, least(n - first, piece), version);
        if (err && first > 0 && version != VERSION_OF_NO_EFFECT)
            return lose(b, err);
        if (err)
            return err;
    }
    return 0;
}

/* A request counts wholly or not at all.  One that needs several products is tried first without effect: whether rows
 * are refused does not depend on the gradient that they add to. */
static int backward_tried(struct batch *b, struct batch_item *item, size_t piece)
{
    if (item->is_done_before)
        return backward_pieces(b, item, piece, VERSION_OF_NO_EFFECT);
    int err = 0;
    if (item->group->n_slots > piece)
        err = backward_pieces(b, item, piece, VERSION_OF_NO_EFFECT);
    return err ? err : backward_pieces(b, item, piece, item->version);
}

static int backward_alone(struct batch *b, struct batch_item *item)
{
    for (;;) {
        size_t piece = room_make(b->room, b->x, item->group->n_slots);
        int err = piece > 0 ? backward_tried(b, item, piece) : HANSE_ENOMEM;
        if (err != HANSE_ENOMEM || b->err || !room_shrink(b->room))
            return err;
    }
}

static int backward_joined(struct batch *b, const struct stretch *s)
{
    uint64_t staleness;
    struct room *room = b->room;
    if (room_make(room, b->x, s->n_slots) < s->n_slots)
        return HANSE_ENOMEM;
    size_t n = join(b, s);
    if (n == 0)
        return 0;
    b->counts->n_products++;
    int err = expert_backward(b->x, room->out, &room->rows, &room->gy, room->weight, room->work, n, s->first->version,
                              s->first->lr_scale, &staleness);
    if (err)
        return err;
    err = room_fetch(room, b->x, room->out, n);
    if (err)
        return lose(b, err);
    scatter(b, s);
    return 0;
}

static uint64_t staleness_of(const struct expert *x, const struct batch_item *item)
{
    return x->version > item->version ? x->version - item->version : item->version - x->version;
}

static bool is_too_stale(const struct expert *x, const struct batch_item *item)
{
    return staleness_of(x, item) > x->config.max_staleness;
}

/* `load` is what the expert's would be had it computed this item alone and just now. */
static void answer_backward(struct batch *b, struct batch_item *item, int err, uint64_t *load)
{
    answer(b, item, err);
    uint64_t staleness = staleness_of(b->x, item);
    item->group->staleness = staleness < UINT32_MAX ? (uint32_t)staleness : UINT32_MAX;
    if (!err && !item->is_done_before) {
        bool is_stale = is_too_stale(b->x, item);
        expert_log_backward(b->x, item->caller, item->call, item->version, item->group->n_slots);
        *load += is_stale ? 0 : item->group->n_slots;
        b->counts->n_stale += is_stale ? item->group->n_slots : 0;
        b->counts->n_backward_slots += item->group->n_slots;
    }
    item->group->load = *load;
}

static void backward_stretch(struct batch *b, const struct stretch *s)
{
    uint64_t load = b->x->n_slots;
    bool is_done = s->n_items > 1 && is_joined(b, backward_joined(b, s));
    for (struct batch_item *item = s->first; item != s->end && !b->err; item = item->next) {
        if (!item->is_backward)
            continue;
        int err = is_done ? err_of(item) : backward_alone(b, item);
        if (!b->err)
            answer_backward(b, item, err, &load);
    }
}

/* -- The order ------------------------------------------------------------------------------------- */

static bool may_join(const struct batch_item *a, const struct batch_item *b)
{
    return !a->is_done_before && !b->is_done_before && a->version == b->version &&
           memcmp(&a->lr_scale, &b->lr_scale, sizeof a->lr_scale) == 0;
}

/* The longest stretch of one kind from `first` (which is of that kind) on, not past `end`, that fits in one product. */
static struct stretch next_stretch(struct batch_item *first, const struct batch_item *end)
{
    struct stretch s = {.first = first, .end = first, .is_backward = first->is_backward};
    for (struct batch_item *item = first; item != end; item = item->next, s.end = item) {
        if (item->is_backward != s.is_backward)
            continue;
        size_t n_slots = s.n_slots + item->group->n_slots;
        if (s.n_items > 0 && (n_slots > ROOM_SLOTS_MAX || (s.is_backward && !may_join(s.first, item))))
            break;
        s.n_slots = n_slots;
        s.n_items++;
    }
    return s;
}

static void compute_kind(struct batch *b, struct batch_item *first, const struct batch_item *end, bool backward)
{
    struct batch_item *item = first;
    while (item != end && !b->err) {
        if (item->is_backward != backward) {
            item = item->next;
            continue;
        }
        struct stretch s = next_stretch(item, end);
        profile_enter(backward ? PROFILE_EXPERT_BACKWARD : PROFILE_EXPERT_FORWARD);
        if (backward)
            backward_stretch(b, &s);
        else
            forward_stretch(b, &s);
        item = s.end;
    }
}

/* Up to where no update can fall: behind the backward that may make one due. */
static struct batch_item *quiet_end(const struct expert *x, struct batch_item *item)
{
    uint64_t n_slots = x->grad_slots;
    for (; item; item = item->next)
        if (item->is_backward && !item->is_done_before && !is_too_stale(x, item)) {
            n_slots += item->group->n_slots;
            if (n_slots >= x->config.slots_per_update)
                return item->next;
        }
    return NULL;
}

/* A forward's load is that of its place in the queue. */
static void set_forward_loads(struct batch_item *first, const struct batch_item *end, uint64_t load)
{
    for (struct batch_item *item = first; item != end; item = item->next) {
        if (item->is_backward)
            load = item->group->status == STATUS_BUSY ? load : item->group->load;
        else
            item->group->load = load;
    }
}

/* Of an update, too, a device reports later. */
static void update(struct batch *b)
{
    profile_enter(PROFILE_EXPERT_UPDATE);
    int err = expert_update(b->x);
    if (!err)
        err = b->x->kernels->wait();
    if (err) {
        lose(b, err);
        return;
    }
    expert_log_update(b->x);
    b->counts->n_updates++;
}

/* Up to where an update may be due, and it. */
static void compute_quiet(struct batch *b, struct batch_item *first, const struct batch_item *end)
{
    uint64_t load = b->x->n_slots;
    compute_kind(b, first, end, true);
    compute_kind(b, first, end, false);
    set_forward_loads(first, end, load);
    if (!b->err && expert_update_due(b->x))
        update(b);
}

/* Nothing of it was. */
static void take_back(struct batch_item *first, int err)
{
    for (struct batch_item *item = first; item; item = item->next)
        item->group->status = err == HANSE_EDEVICE ? STATUS_NOT_HERE : STATUS_BUSY;
}

int batch_compute(struct expert *x, struct batch_item *first, struct room *room, struct batch_counts *counts)
{
    struct batch b = {.x = x, .room = room, .counts = counts};
    struct batch_counts counts_before = *counts;
    struct hash log_before = x->log_head;
    for (struct batch_item *item = first, *end; item && !b.err; item = end) {
        end = quiet_end(x, item);
        compute_quiet(&b, item, end);
    }
    /* A device's work is queued by thread: the next batch of this expert may be another's, which would overtake ours, as would the loop
     * when it gives back the memory of the messages.  On a CPU there is nothing to wait for. */
    int err = x->kernels->wait();
    b.err = b.err ? b.err : err;
    if (b.err) {
        take_back(first, b.err);
        *counts = counts_before;
        x->log_head = log_before;
    }
    profile_enter(PROFILE_MESSAGE);
    return b.err;
}
