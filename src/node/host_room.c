#include "node/host_room.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "node/host_batch.h"

#define SLOTS_MIN 32 /* with less it is no use to go on */
#define PATIENCE 256 /* times that fewer slots do before more are tried again: others may have left memory meanwhile */

/* -- Memory ---------------------------------------------------------------------------------------- */

/* Rows for products: each part on a boundary, which they read faster than rows as they travel. */
static size_t place_rows(struct rows *rows, enum numerics form, void *memory, size_t n, size_t D)
{
    size_t n_slices = numerics_slices(form), slice = arena_padded(n * D);
    int8_t *at = memory;
    if (form == NUMERICS_F32) {
        *rows = (struct rows){.f32 = memory};
        return arena_padded(n * D * sizeof(float));
    }
    *rows = (struct rows){.high = at, .low = n_slices == 2 ? at + slice : NULL, .exponent = at + n_slices * slice};
    return n_slices * slice + arena_padded(n);
}

/* Answers in one piece, for one copy. */
static size_t place_rounded(struct rows *rows, enum numerics form, void *memory, size_t n, size_t D)
{
    int8_t *at = memory;
    if (form == NUMERICS_F32) {
        *rows = (struct rows){.f32 = memory};
        return n * D * sizeof(float);
    }
    *rows = (struct rows){.high = at, .low = at + n * D, .exponent = at + 2 * n * D};
    return 2 * n * D + n;
}

/* Lays everything out from room->at on; returns the bytes. */
static size_t lay_out(struct room *room, const struct expert *x, size_t n)
{
    enum numerics form = x->config.numerics;
    size_t D = x->config.D, floats = arena_padded(n * D * sizeof(float));
    bool is_rounded = x->kernels->is_device && form != NUMERICS_F32;
    uint8_t *at = room->at;
    at += place_rows(&room->rows, form, at, n, D);
    at += place_rows(&room->gy, form, at, n, D);
    room->out = (float *)(void *)at;
    at += floats;
    room->weight = (float *)(void *)at;
    at += arena_padded(n * sizeof(float));
    if (is_rounded)
        at += arena_padded(place_rounded(&room->rounded, form, at, n, D));
    room->work = at;
    return (size_t)(at - (uint8_t *)room->at) + expert_work_bytes(x, n);
}

size_t room_bytes(const struct expert *x, size_t n)
{
    static uint8_t nowhere[1];
    struct room room = {.at = nowhere};
    return lay_out(&room, x, n);
}

/* What is staged: answers, or the rows of one item. */
static bool make_staging(struct room *room, const struct expert *x, size_t n)
{
    size_t n_bytes = n * (x->config.D * sizeof(float) + 1) + 3 * ARENA_ALIGN;
    if (!x->kernels->is_device || n_bytes <= room->staging_bytes)
        return true;
    free(room->staging);
    room->staging = malloc(n_bytes);
    room->staging_bytes = room->staging ? n_bytes : 0;
    return room->staging != NULL;
}

static bool try(struct room *room, const struct expert *x, size_t n)
{
    size_t n_bytes = room_bytes(x, n);
    if (n_bytes > room->n_bytes) {
        x->kernels->release(room->at);
        room->at = x->kernels->allot(n_bytes);
        room->n_bytes = room->at ? n_bytes : 0;
    }
    if (!room->at || !make_staging(room, x, n))
        return false;
    lay_out(room, x, n);
    room->n_slots = n;
    return true;
}

size_t room_make(struct room *room, const struct expert *x, size_t n)
{
    if (room->max_slots > 0 && ++room->n_since > PATIENCE) {
        room->max_slots = room->max_slots < ROOM_SLOTS_MAX ? 2 * room->max_slots : 0;
        room->n_since = 0;
    }
    size_t max = room->max_slots ? room->max_slots : ROOM_SLOTS_MAX;
    room->kernels = x->kernels;
    room->n_slots = n < max ? n : max;
    while (!try(room, x, room->n_slots))
        if (!room_shrink(room))
            return 0;
    return room->n_slots;
}

bool room_shrink(struct room *room)
{
    room->kernels->release(room->at);
    room->at = NULL;
    room->n_bytes = 0;
    if (room->n_slots <= SLOTS_MIN)
        return false;
    room->n_slots = room->max_slots = room->n_slots / 2;
    room->n_since = 0;
    return true;
}

void room_fini(struct room *room)
{
    if (room->kernels)
        room->kernels->release(room->at);
    free(room->staging);
    *room = (struct room){0};
}

/* -- Rows in: a CPU -------------------------------------------------------------------------------- */

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
static bool join(const struct expert *x, const struct batch_item *item, const struct rows *from, const struct rows *room,
                 size_t at)
{
    size_t D = x->config.D, n = item->group->n_slots;
    struct rows to = rows_from(room, at, D);
    rows_gather(&to, from, item->group->row, n, D);
    return expert_rows_ok(x->config.numerics, &to, n, D);
}

static bool join_here(struct room *room, const struct expert *x, const struct batch_item *item, size_t at)
{
    if (!join(x, item, &item->x, &room->rows, at))
        return false;
    if (!item->is_backward)
        return true;
    memcpy(room->weight + at, item->group->weight, item->group->n_slots * sizeof(float));
    return join(x, item, &item->gy, &room->gy, at);
}

static void alone_here(const struct room *room, const struct expert *x, const struct batch_item *item, size_t first, size_t n,
                       struct room_slots *out)
{
    size_t D = x->config.D;
    const float *values = item->group->values.f32;
    *out = (struct room_slots){.rows = slots_of(item, &item->x, &room->rows, first, n, D),
                               .out = values ? (float *)values + first * D
                                             : room->out}; /* in its own place when that holds floats */
    if (!item->is_backward)
        return;
    out->gy = slots_of(item, &item->gy, &room->gy, first, n, D);
    out->weight = item->group->weight + first;
}

/* -- Rows in: a device ----------------------------------------------------------------------------- */

/* The CPU looks, since the rows lie there anyway: a bad request costs the device nothing. */
static bool slots_ok(const struct expert *x, const struct batch_item *item, const struct rows *from, size_t first, size_t n)
{
    size_t D = x->config.D;
    const uint32_t *row = item->group->row + first;
    if (is_contiguous(row, n)) {
        struct rows rows = rows_from(from, row[0], D);
        return expert_rows_ok(x->config.numerics, &rows, n, D);
    }
    for (size_t i = 0; i < n; i++) {
        struct rows rows = rows_from(from, row[i], D);
        if (!expert_rows_ok(x->config.numerics, &rows, 1, D))
            return false;
    }
    return true;
}

/* Where the device has what lies at `at` in the message; NULL: nowhere. */
static const void *there(struct kept_message *message, const void *at)
{
    const uint8_t *bytes = message ? kept_message_there(message) : NULL;
    return bytes ? bytes + ((const uint8_t *)at - message->byte) : NULL;
}

static struct rows rows_there(struct kept_message *message, const struct rows *rows)
{
    if (rows->f32)
        return (struct rows){.f32 = there(message, rows->f32)};
    return (struct rows){.exponent = there(message, rows->exponent),
                         .high = there(message, rows->high),
                         .low = rows->low ? there(message, rows->low) : NULL};
}

static void gather(const struct kernels *k, const struct rows *to, const struct rows *from, const uint32_t *row, size_t n,
                   size_t D)
{
    if (from->f32) {
        k->gather((float *)to->f32, from->f32, row, n, D * sizeof(float));
        return;
    }
    k->gather((int8_t *)to->exponent, from->exponent, row, n, 1);
    k->gather((int8_t *)to->high, from->high, row, n, D);
    if (from->low)
        k->gather((int8_t *)to->low, from->low, row, n, D);
}

static void put(const struct kernels *k, const struct rows *to, const struct rows *from, size_t n, size_t D)
{
    if (from->f32) {
        k->put((float *)to->f32, from->f32, n * D * sizeof(float));
        return;
    }
    k->put((int8_t *)to->exponent, from->exponent, n);
    k->put((int8_t *)to->high, from->high, n * D);
    if (from->low)
        k->put((int8_t *)to->low, from->low, n * D);
}

/* n slots of an item from `first` on, to slots `at` of the room. */
static void bring(const struct room *room, const struct expert *x, const struct batch_item *item, struct kept_message *holder,
                  const struct rows *from, const struct rows *to, size_t first, size_t n, size_t at)
{
    size_t D = x->config.D;
    const uint32_t *row = item->group->row + first, *row_there = there(item->message, row);
    struct rows rows = row_there ? rows_there(holder, from) : (struct rows){0}, here = rows_from(to, at, D);
    if (rows_are_there(&rows)) {
        gather(x->kernels, &here, &rows, row_there, n, D);
        return;
    }
    place_rows(&rows, x->config.numerics, room->staging, n, D);
    rows_gather(&rows, from, row, n, D);
    put(x->kernels, &here, &rows, n, D);
}

void room_send(const struct expert *x, const struct batch_item *item)
{
    if (!x->kernels->is_device)
        return;
    if (item->x_message)
        kept_message_there(item->x_message);
    if (item->message)
        kept_message_there(item->message);
}

static bool bring_slots(const struct room *room, const struct expert *x, const struct batch_item *item, size_t first, size_t n,
                        size_t at)
{
    if (!slots_ok(x, item, &item->x, first, n) || (item->is_backward && !slots_ok(x, item, &item->gy, first, n)))
        return false;
    bring(room, x, item, item->x_message, &item->x, &room->rows, first, n, at);
    if (!item->is_backward)
        return true;
    bring(room, x, item, item->message, &item->gy, &room->gy, first, n, at);
    const float *weight = item->group->weight + first, *weight_there = there(item->message, weight);
    if (weight_there)
        x->kernels->copy(room->weight + at, weight_there, n * sizeof *weight);
    else
        x->kernels->put(room->weight + at, weight, n * sizeof *weight);
    return true;
}

/* -- Either ---------------------------------------------------------------------------------------- */

bool room_join(struct room *room, const struct expert *x, const struct batch_item *item, size_t at)
{
    return x->kernels->is_device ? bring_slots(room, x, item, 0, item->group->n_slots, at) : join_here(room, x, item, at);
}

int room_alone(struct room *room, const struct expert *x, const struct batch_item *item, size_t first, size_t n,
               struct room_slots *out)
{
    if (!x->kernels->is_device) {
        alone_here(room, x, item, first, n, out);
        return 0;
    }
    room_send(x, item);
    *out = (struct room_slots){room->rows, room->gy, room->weight, room->out};
    return bring_slots(room, x, item, first, n, 0) ? 0 : HANSE_EREJECT;
}

int room_fetch(struct room *room, const struct expert *x, const float *out, size_t n)
{
    const struct kernels *k = x->kernels;
    const struct rows *r = &room->rounded;
    size_t D = x->config.D;
    if (!k->is_device)
        return 0;
    room->n_fetched = n;
    if (x->config.numerics == NUMERICS_F32)
        return k->get(room->staging, out, n * D * sizeof(float));
    place_rounded(&room->rounded, x->config.numerics, (int8_t *)r->high, n, D);
    k->quantize_rows((int8_t *)r->high, (int8_t *)r->low, (int8_t *)r->exponent, out, D, NULL, n, D);
    return k->get(room->staging, r->high, (2 * D + 1) * n);
}

static int answer_staged(const struct room *room, const struct expert *x, const struct rows *to, size_t at, size_t n)
{
    struct rows staged;
    size_t D = x->config.D;
    place_rounded(&staged, x->config.numerics, room->staging, room->n_fetched, D);
    staged = rows_from(&staged, at, D);
    rows_copy(to, &staged, n, D);
    return to->exponent && memchr(to->exponent, QUANTIZE_BAD, n) ? HANSE_EREJECT : 0;
}

int room_answer(const struct room *room, const struct expert *x, const struct batch_item *item, const float *out, size_t at,
                size_t first, size_t n)
{
    size_t D = x->config.D;
    struct rows to = rows_from(&item->group->values, first, D);
    if (x->kernels->is_device)
        return answer_staged(room, x, &to, at, n);
    out += at * D;
    if (!to.f32)
        return rows_round(x->kernels, &to, out, n, D);
    if (to.f32 != out)
        memcpy((float *)to.f32, out, sizeof(float) * n * D);
    return 0;
}
