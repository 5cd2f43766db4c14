#include "node/host_batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/profile.h"
#include "experts/log.h"

/* With this forward version a backward is too stale for any expert to count (expert.h), and still gives gx. */
#define VERSION_OF_NO_EFFECT UINT64_MAX

struct batch {
    struct expert *x;
    struct batch_scratch *scratch;
    struct batch_counts *counts;
};

/* A stretch of the list: from `first` up to, not including, `end`; of one kind: the others between are skipped. */
struct stretch {
    struct batch_item *first, *end;
    bool is_backward;
    size_t n_slots, n_items;
};

/* Where `n` slots compute: rows in, gradients in and their weights, answers out, and what the expert needs. */
struct room {
    struct rows rows, gy;
    float *weight, *out;
    void *work;
};

static bool make_room(struct batch *b, struct room *room, size_t n)
{
    enum numerics form = b->x->config.numerics;
    size_t D = b->x->config.D, rows = arena_padded(rows_bytes(form, n, D)), out = arena_padded(n * D * sizeof(float)),
           weight = arena_padded(n * sizeof(float)), n_bytes = 2 * rows + out + weight + expert_work_bytes(b->x, n);
    struct batch_scratch *s = b->scratch;
    if (s->n_bytes < n_bytes) {
        free(s->at);
        s->at = arena_aligned(n_bytes, 1);
        s->n_bytes = s->at ? n_bytes : 0;
    }
    if (!s->at)
        return false;
    uint8_t *at = s->at;
    *room = (struct room){.rows = rows_at(form, at, n, D),
                          .gy = rows_at(form, at + rows, n, D),
                          .out = (float *)(void *)(at + 2 * rows),
                          .weight = (float *)(void *)(at + 2 * rows + out),
                          .work = at + 2 * rows + out + weight};
    return true;
}

/* -- Rows in, answers out -------------------------------------------------------------------------- */

/* Rows that lie one after the other already need no copy. */
static bool is_contiguous(const uint32_t *row, size_t n)
{
    for (size_t s = 1; s < n; s++)
        if (row[s] != row[0] + s)
            return false;
    return true;
}

/* n of an item's slots from `first` on, where they lie or gathered in `room`. */
static struct rows slots_of(const struct batch_item *item, const struct rows *from, const struct rows *room, size_t first,
                            size_t n, size_t D)
{
    const uint32_t *row = item->group->row + first;
    if (is_contiguous(row, n))
        return rows_from(from, row[0], D);
    rows_gather(room, from, row, n, D);
    return *room;
}

/* All slots of an item behind the `at` slots of others; whether the expert would take them. */
static bool join(const struct batch *b, const struct batch_item *item, const struct rows *from, const struct rows *room,
                 size_t at)
{
    size_t D = b->x->config.D, n = item->group->n_slots;
    struct rows to = rows_from(room, at, D);
    rows_gather(&to, from, item->group->row, n, D);
    return expert_rows_ok(b->x->config.numerics, &to, n, D);
}

/* Where the answers of slots from `first` on are computed: in their own place when that holds floats. */
static float *place_of(const struct batch_item *item, const struct room *room, size_t first, size_t D)
{
    const float *values = item->group->values.f32;
    return values ? (float *)values + first * D : room->out;
}

/* Puts what was computed into its place, in the form in which it leaves. */
static int put(const struct batch *b, const struct batch_item *item, const float *out, size_t first, size_t n)
{
    struct rows to = rows_from(&item->group->values, first, b->x->config.D);
    if (!to.f32)
        return rows_round(b->x->kernels, &to, out, n, b->x->config.D);
    if (to.f32 != out)
        memcpy((float *)to.f32, out, sizeof(float) * n * b->x->config.D);
    return 0;
}

static void answer(struct batch *b, struct batch_item *item, int err)
{
    item->group->status = err ? STATUS_REJECT : STATUS_OK;
    item->group->version = b->x->version;
    b->counts->n_reject += err != 0;
}

/* -- Forward --------------------------------------------------------------------------------------- */

/* One item alone, in as many products as its size asks for: rows do not depend on their batch. */
static int forward_alone(struct batch *b, const struct room *room, struct batch_item *item)
{
    size_t D = b->x->config.D, n = item->group->n_slots;
    for (size_t first = 0; first < n; first += BATCH_PRODUCT_MAX) {
        size_t n_now = n - first < BATCH_PRODUCT_MAX ? n - first : BATCH_PRODUCT_MAX;
        struct rows rows = slots_of(item, &item->x, &room->rows, first, n_now, D);
        float *out = place_of(item, room, first, D);
        b->counts->n_products++;
        int err = expert_forward(b->x, out, &rows, room->work, n_now);
        if (!err)
            err = put(b, item, out, first, n_now);
        if (err)
            return err;
    }
    return 0;
}

/* Hands the joint answers out.  One that is too large to travel is refused, as it would be alone. */
static void scatter(const struct batch *b, const struct stretch *s, const float *out)
{
    for (struct batch_item *item = s->first; item != s->end; item = item->next)
        if (item->is_backward == s->is_backward && !item->is_bad) {
            item->is_bad = put(b, item, out, 0, item->group->n_slots) != 0;
            out += b->x->config.D * item->group->n_slots;
        }
}

/* A request with a row that is not finite stays out, so that its neighbours need not be computed again without it. */
static int forward_joined(struct batch *b, const struct room *room, const struct stretch *s)
{
    size_t at = 0;
    for (struct batch_item *item = s->first; item != s->end; item = item->next) {
        if (item->is_backward)
            continue;
        item->is_bad = !join(b, item, &item->x, &room->rows, at);
        at += item->is_bad ? 0 : item->group->n_slots;
    }
    if (at == 0)
        return 0;
    b->counts->n_products++;
    int err = expert_forward(b->x, room->out, &room->rows, room->work, at);
    if (!err)
        scatter(b, s, room->out);
    return err;
}

static int err_of(const struct batch_item *item)
{
    return item->is_bad ? HANSE_EREJECT : 0;
}

static void forward_stretch(struct batch *b, const struct stretch *s)
{
    struct room room;
    bool has_room = make_room(b, &room, s->n_slots < BATCH_PRODUCT_MAX ? s->n_slots : BATCH_PRODUCT_MAX);
    bool is_joined = has_room && s->n_items > 1 && forward_joined(b, &room, s) == 0;
    for (struct batch_item *item = s->first; item != s->end; item = item->next) {
        if (item->is_backward)
            continue;
        if (!has_room)
            item->group->status = STATUS_BUSY;
        else /* after a joint refusal, each alone */
            answer(b, item, is_joined ? err_of(item) : forward_alone(b, &room, item));
    }
    b->counts->n_forward_slots += has_room ? s->n_slots : 0;
}

/* -- Backward -------------------------------------------------------------------------------------- */

/* That gx is too large to travel shows before it counts: the expert refuses such numbers itself (expert.h). */
static int backward_product(struct batch *b, const struct room *room, struct batch_item *item, size_t first, size_t n,
                            uint64_t version)
{
    size_t D = b->x->config.D;
    uint64_t staleness;
    struct rows rows = slots_of(item, &item->x, &room->rows, first, n, D), gy = slots_of(item, &item->gy, &room->gy, first, n, D);
    float *out = place_of(item, room, first, D);
    b->counts->n_products++;
    int err = expert_backward(b->x, out, &rows, &gy, item->group->weight + first, room->work, n, version, item->lr_scale,
                              &staleness);
    return err ? err : put(b, item, out, first, n);
}

/* In pieces of BATCH_PRODUCT_MAX. */
static int backward_pieces(struct batch *b, const struct room *room, struct batch_item *item, uint64_t version)
{
    size_t n = item->group->n_slots;
    for (size_t first = 0; first < n; first += BATCH_PRODUCT_MAX) {
        size_t n_now = n - first < BATCH_PRODUCT_MAX ? n - first : BATCH_PRODUCT_MAX;
        int err = backward_product(b, room, item, first, n_now, version);
        if (err)
            return err;
    }
    return 0;
}

/* A request counts wholly or not at all.  One that needs several products is tried first without effect: whether rows
 * are refused does not depend on the gradient that they add to. */
static int backward_alone(struct batch *b, const struct room *room, struct batch_item *item)
{
    if (item->is_done_before)
        return backward_pieces(b, room, item, VERSION_OF_NO_EFFECT);
    int err = 0;
    if (item->group->n_slots > BATCH_PRODUCT_MAX)
        err = backward_pieces(b, room, item, VERSION_OF_NO_EFFECT);
    return err ? err : backward_pieces(b, room, item, item->version);
}

static int backward_joined(struct batch *b, const struct room *room, const struct stretch *s)
{
    size_t at = 0;
    uint64_t staleness;
    for (struct batch_item *item = s->first; item != s->end; item = item->next) {
        if (!item->is_backward)
            continue;
        bool is_ok = join(b, item, &item->x, &room->rows, at) && join(b, item, &item->gy, &room->gy, at);
        memcpy(room->weight + at, item->group->weight, item->group->n_slots * sizeof(float));
        item->is_bad = !is_ok;
        at += is_ok ? item->group->n_slots : 0;
    }
    if (at == 0)
        return 0;
    b->counts->n_products++;
    int err = expert_backward(b->x, room->out, &room->rows, &room->gy, room->weight, room->work, at, s->first->version,
                              s->first->lr_scale, &staleness);
    if (!err)
        scatter(b, s, room->out);
    return err;
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
    struct room room;
    uint64_t load = b->x->n_slots;
    bool has_room = make_room(b, &room, s->n_slots < BATCH_PRODUCT_MAX ? s->n_slots : BATCH_PRODUCT_MAX);
    bool is_joined = has_room && s->n_items > 1 && backward_joined(b, &room, s) == 0;
    for (struct batch_item *item = s->first; item != s->end; item = item->next) {
        if (!item->is_backward)
            continue;
        if (!has_room)
            item->group->status = STATUS_BUSY;
        else
            answer_backward(b, item, is_joined ? err_of(item) : backward_alone(b, &room, item), &load);
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
        if (s.n_items > 0 && (n_slots > BATCH_PRODUCT_MAX || (s.is_backward && !may_join(s.first, item))))
            break;
        s.n_slots = n_slots;
        s.n_items++;
    }
    return s;
}

static void compute_kind(struct batch *b, struct batch_item *first, const struct batch_item *end, bool backward)
{
    struct batch_item *item = first;
    while (item != end) {
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

void batch_compute(struct expert *x, struct batch_item *first, struct batch_scratch *scratch, struct batch_counts *counts)
{
    struct batch b = {x, scratch, counts};
    while (first) {
        struct batch_item *end = quiet_end(x, first);
        uint64_t load = x->n_slots;
        compute_kind(&b, first, end, true);
        compute_kind(&b, first, end, false);
        set_forward_loads(first, end, load);
        if (expert_update_due(x)) {
            profile_enter(PROFILE_EXPERT_UPDATE);
            expert_update(x);
            expert_log_update(x);
            counts->n_updates++;
        }
        first = end;
    }
    profile_enter(PROFILE_MESSAGE);
}
