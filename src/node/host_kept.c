#include "node/host_kept.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 64

/* -- Messages -------------------------------------------------------------------------------------- */

struct kept_message *kept_message_new(const void *bytes, size_t n)
{
    struct kept_message *message = malloc(sizeof *message + n);
    if (!message)
        return NULL;
    message->n_refs = 1;
    message->n_bytes = n;
    message->device = NULL;
    message->place = KEPT_HERE;
    message->there = NULL;
    memcpy(message->byte, bytes, n);
    return message;
}

void kept_message_ref(struct kept_message *message)
{
    message->n_refs++;
}

/* Nobody asks for a message to come when only one has a reference, and that is the loop thread; and the work of those who had one was
 * waited for before they gave it up. */
static void leave_device(struct kept_message *message)
{
    struct kept_device *d = message->device;
    if (!message->there)
        return;
    d->kernels->release(message->there);
    message->there = NULL;
    message->place = KEPT_HERE;
    pthread_mutex_lock(&d->lock);
    d->n_bytes -= message->n_bytes;
    pthread_mutex_unlock(&d->lock);
}

void kept_message_free(struct kept_message *message)
{
    if (!message || --message->n_refs > 0)
        return;
    leave_device(message);
    free(message);
}

/* NULL when it cannot be brought.  Its own thread waits for it: what others ask the device for does not wait for this thread's copy. */
static uint8_t *bring(const struct kernels *k, const struct kept_message *message)
{
    uint8_t *at = k->allot(message->n_bytes);
    if (!at)
        return NULL;
    k->put(at, message->byte, message->n_bytes);
    if (k->wait() == 0)
        return at;
    k->release(at);
    return NULL;
}

/* The lock is not held while it comes, so that other messages can come at the same time. */
const uint8_t *kept_message_there(struct kept_message *message)
{
    struct kept_device *d = message->device;
    if (!d)
        return NULL;
    pthread_mutex_lock(&d->lock);
    while (message->place == KEPT_COMING)
        pthread_cond_wait(&d->has_come, &d->lock);
    if (message->place == KEPT_HERE && message->n_bytes <= d->max_bytes && d->n_bytes <= d->max_bytes - message->n_bytes) {
        message->place = KEPT_COMING;
        d->n_bytes += message->n_bytes;
        pthread_mutex_unlock(&d->lock);
        uint8_t *there = bring(d->kernels, message);
        pthread_mutex_lock(&d->lock);
        message->there = there;
        message->place = there ? KEPT_THERE : KEPT_HERE;
        d->n_bytes -= there ? 0 : message->n_bytes;
        d->max_bytes = there ? d->max_bytes : d->n_bytes; /* there is no memory for more: not asked for again and again */
        d->was_short |= !there;
        pthread_cond_broadcast(&d->has_come);
    }
    const uint8_t *there = message->there;
    pthread_mutex_unlock(&d->lock);
    return there;
}

/* -- The table of calls ---------------------------------------------------------------------------- */

int kept_init(struct kept *kept, size_t max_bytes)
{
    *kept = (struct kept){.n_buckets = BUCKETS_FIRST, .max_bytes = max_bytes};
    pthread_mutex_init(&kept->device.lock, NULL);
    pthread_cond_init(&kept->device.has_come, NULL);
    kept->bucket = calloc(kept->n_buckets, sizeof(struct kept_call *));
    return kept->bucket ? 0 : HANSE_ENOMEM;
}

void kept_use_device(struct kept *kept, const struct kernels *kernels, size_t max_bytes)
{
    kept->device.kernels = kernels;
    kept->device.max_bytes = kept->device.whole_bytes = max_bytes;
}

size_t kept_device_bytes(struct kept *kept)
{
    pthread_mutex_lock(&kept->device.lock);
    size_t n_bytes = kept->device.n_bytes;
    pthread_mutex_unlock(&kept->device.lock);
    return n_bytes;
}

/* A stranger chooses the call number and, with patience, his key: but he fills only chains of his own calls, and the table
 * holds KEPT_CALLS_MAX at most. */
static struct kept_call **bucket_of(const struct kept *kept, const struct peer_id *peer, uint64_t call)
{
    uint64_t word;
    memcpy(&word, peer->byte, sizeof word);
    uint64_t mixed = (word ^ call) * 0x9e3779b97f4a7c15u;
    return &kept->bucket[(mixed >> 32) & (kept->n_buckets - 1)];
}

struct kept_call *kept_find(const struct kept *kept, const struct peer_id *peer, uint64_t call)
{
    for (struct kept_call *c = *bucket_of(kept, peer, call); c; c = c->same_bucket)
        if (c->call == call && peer_id_equal(&c->peer, peer))
            return c;
    return NULL;
}

/* Twice the buckets, when memory allows; else the chains just grow longer. */
static void grow(struct kept *kept)
{
    struct kept_call **bucket = calloc(2 * kept->n_buckets, sizeof(struct kept_call *));
    if (!bucket)
        return;
    free(kept->bucket);
    kept->bucket = bucket;
    kept->n_buckets *= 2;
    for (struct kept_call *c = kept->oldest; c; c = c->newer) {
        struct kept_call **at = bucket_of(kept, &c->peer, c->call);
        c->same_bucket = *at;
        *at = c;
    }
}

struct kept_call *kept_add(struct kept *kept, const struct peer_id *peer, const struct message_request *m)
{
    struct kept_call *c = kept_find(kept, peer, m->call);
    if (c)
        return c;
    c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    if (kept->n_calls >= kept->n_buckets)
        grow(kept);
    c->number = ++kept->n_ever;
    c->peer = *peer;
    c->call = m->call;
    c->layer = m->layer;
    c->n_rows = m->n_rows;
    c->D = m->D;
    c->form = m->form;
    struct kept_call **at = bucket_of(kept, peer, m->call);
    c->same_bucket = *at;
    *at = c;
    c->older = kept->newest;
    *(kept->newest ? &kept->newest->newer : &kept->oldest) = c;
    kept->newest = c;
    kept->n_calls++;
    return c;
}

static void drop_rows(struct kept *kept, struct kept_call *c)
{
    if (!c->message)
        return;
    kept->n_bytes -= c->message->n_bytes;
    kept_message_free(c->message);
    c->message = NULL;
    c->x = (struct rows){0};
}

static void drop_values(struct kept *kept, struct kept_part *part)
{
    kept->n_bytes -= part->n_bytes;
    part->n_bytes = 0;
    free(part->bytes);
    part->bytes = NULL;
}

static void drop_parts(struct kept *kept, struct kept_call *c)
{
    for (size_t i = 0; i < c->n_parts; i++)
        drop_values(kept, &c->part[i]);
    c->n_parts = c->n_pending = c->n_done = c->hint = 0;
}

static void drop_call(struct kept *kept, struct kept_call *c)
{
    drop_rows(kept, c);
    drop_parts(kept, c);
    free(c->part);
    struct kept_call **at = bucket_of(kept, &c->peer, c->call);
    while (*at != c)
        at = &(*at)->same_bucket;
    *at = c->same_bucket;
    *(c->older ? &c->older->newer : &kept->oldest) = c->newer;
    *(c->newer ? &c->newer->older : &kept->newest) = c->older;
    if (kept->first_full == c)
        kept->first_full = c->newer;
    if (kept->first_there == c)
        kept->first_there = c->newer;
    kept->n_calls--;
    free(c);
}

void kept_fini(struct kept *kept)
{
    while (kept->oldest)
        drop_call(kept, kept->oldest);
    if (kept->bucket) {
        pthread_mutex_destroy(&kept->device.lock);
        pthread_cond_destroy(&kept->device.has_come);
    }
    free(kept->bucket);
    *kept = (struct kept){0};
}

/* -- Rows and answers ------------------------------------------------------------------------------ */

static bool same_rows(const struct kept_call *c, const struct message_request *m)
{
    return c->message && c->layer == m->layer && c->n_rows == m->n_rows && c->D == m->D && c->form == m->form &&
           rows_equal(&c->x, &m->rows, m->n_rows, m->D);
}

/* Trimming begins at the oldest call that has something to give. */
static void note_full(struct kept *kept, struct kept_call *c)
{
    if (!kept->first_full || c->number < kept->first_full->number)
        kept->first_full = c;
}

/* The same for what may be in the memory of the device. */
static void note_there(struct kept *kept, struct kept_call *c)
{
    if (!kept->first_there || c->number < kept->first_there->number)
        kept->first_there = c;
}

void kept_put_rows(struct kept *kept, struct kept_call *call, struct kept_message *message, const struct message_request *m)
{
    if (same_rows(call, m)) /* a retry of the forward: what its backward did still counts */
        return;
    if (call->n_pending == 0)
        drop_parts(kept, call);
    drop_rows(kept, call);
    kept_message_ref(message);
    call->message = message;
    call->x = m->rows;
    call->layer = m->layer;
    call->n_rows = m->n_rows;
    call->D = m->D;
    call->form = m->form;
    kept->n_bytes += message->n_bytes;
    note_full(kept, call);
    note_there(kept, call);
}

struct kept_message *kept_pin_rows(struct kept *kept, struct kept_call *call)
{
    if (call->message) {
        kept_message_ref(call->message);
        note_there(kept, call); /* where it soon will be */
    }
    return call->message;
}

static struct kept_part *find_part(struct kept_call *call, uint16_t expert)
{
    for (size_t k = 0; k < call->n_parts; k++) {
        size_t i = call->hint + k < call->n_parts ? call->hint + k : call->hint + k - call->n_parts;
        if (call->part[i].expert == expert) {
            call->hint = i + 1 < call->n_parts ? i + 1 : 0;
            return &call->part[i];
        }
    }
    return NULL;
}

struct kept_part *kept_part(struct kept_call *call, uint16_t expert)
{
    struct kept_part *part = find_part(call, expert);
    if (part)
        return part;
    if (call->n_parts == call->max_parts) {
        size_t max_parts = call->max_parts ? 2 * call->max_parts : 4;
        part = realloc(call->part, max_parts * sizeof *part);
        if (!part)
            return NULL;
        call->part = part;
        call->max_parts = max_parts;
    }
    part = &call->part[call->n_parts++];
    *part = (struct kept_part){.expert = expert};
    return part;
}

void kept_begin(struct kept_call *call, struct kept_part *part, void *pending)
{
    assert(part->state == KEPT_OWED);
    part->state = KEPT_PENDING;
    part->pending = pending;
    call->n_pending++;
}

void kept_done(struct kept *kept, struct kept_call *call, struct kept_part *part, const struct message_group *group)
{
    assert(part->state == KEPT_PENDING);
    enum numerics form = rows_answer_form(call->form);
    size_t n_bytes = rows_bytes(form, group->n_slots, call->D);
    part->state = KEPT_DONE;
    part->pending = NULL;
    part->n_slots = group->n_slots;
    part->staleness = group->staleness;
    part->version = group->version;
    part->load = group->load;
    part->bytes = malloc(n_bytes);
    if (part->bytes) { /* without memory it counts as forgotten */
        part->values = rows_at(form, part->bytes, group->n_slots, call->D);
        rows_copy(&part->values, &group->values, group->n_slots, call->D);
        part->n_bytes = n_bytes;
        kept->n_bytes += n_bytes;
        note_full(kept, call);
    }
    call->n_pending--;
    if (++call->n_done == call->n_parts)
        drop_rows(kept, call);
}

void kept_undo(struct kept_call *call, struct kept_part *part)
{
    assert(part->state == KEPT_PENDING);
    part->state = KEPT_OWED;
    part->pending = NULL;
    call->n_pending--;
}

/* -- The budget ------------------------------------------------------------------------------------ */

static bool is_device_full(struct kept_device *d)
{
    pthread_mutex_lock(&d->lock);
    bool is_full = d->n_bytes > d->max_bytes - d->max_bytes / 4;
    pthread_mutex_unlock(&d->lock);
    return is_full;
}

/* Those who bring messages have no clock: the time of a shortage is that of the first look after it. */
static void look_for_more(struct kept_device *d, uint64_t now_us)
{
    pthread_mutex_lock(&d->lock);
    if (d->was_short)
        d->short_until_us = now_us + KEPT_SHORT_US;
    else if (now_us >= d->short_until_us)
        d->max_bytes = d->whole_bytes;
    d->was_short = false;
    pthread_mutex_unlock(&d->lock);
}

/* Copies in use stay, and are looked at again. */
static void trim_device(struct kept *kept)
{
    struct kept_call *c = kept->first_there, *first_used = NULL;
    for (; c && is_device_full(&kept->device); c = c->newer) {
        if (c->message && c->message->n_refs == 1)
            leave_device(c->message);
        else if (c->message && !first_used)
            first_used = c;
    }
    kept->first_there = first_used ? first_used : c;
}

void kept_trim(struct kept *kept, uint64_t now_us)
{
    if (kept->device.kernels) {
        look_for_more(&kept->device, now_us);
        trim_device(kept);
    }
    while (kept->n_bytes > kept->max_bytes && kept->first_full) {
        struct kept_call *c = kept->first_full;
        kept->first_full = c->newer;
        drop_rows(kept, c);
        for (size_t i = 0; i < c->n_parts; i++)
            drop_values(kept, &c->part[i]);
        if (c->n_pending == 0 && c->n_done == 0)
            drop_call(kept, c);
    }
    struct kept_call *c = kept->oldest;
    while (kept->n_calls > KEPT_CALLS_MAX && c) {
        struct kept_call *newer = c->newer;
        if (c->n_pending == 0)
            drop_call(kept, c);
        c = newer;
    }
}
