/*
 * sim/network.c - datagrams that get lost, and links that do not lose but wait.
 *
 * A link is a pair of ends.  Each direction is a line that carries one frame at a time at the link's rate; between frames
 * an urgent message goes first, as in src/net.  What has left arrives in the order it left, a lost frame holding up those
 * behind it for a retransmission.  Across a cut nothing arrives: it is held, and follows when the cut heals, unless that takes
 * longer than the timeout.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/inside.h"

#define FRAME_BYTES ((size_t)64 << 10)
#define DATAGRAM_HEADER_BYTES 28
#define RETRANSMIT_MIN_US 200000u /* the usual floor of TCP's timer */
#define RETRANSMITS_MAX 6
#define EPHEMERAL_PORT_FIRST 32768u
#define EPHEMERAL_PORTS 28232u

enum end_state { END_CONNECTING, END_UP, END_CLOSING, END_DOWN };

struct message {
    struct buf bytes;
    size_t n_sent;
    struct message *next;
};

struct lane {
    struct message *first, *last;
};

struct sim_end {
    io_link id;              /* 0 while nobody accepted */
    struct world_node *node; /* NULL likewise */
    uint64_t life;           /* of the node */
    struct sim_end *other;
    enum end_state state;
    bool is_incoming;
    bool is_first_half; /* of the memory of the pair */
    /* of the side that dialed */
    struct addr dialed;
    struct peer_id expect;
    bool has_expect;
    uint64_t opened_us;
    /* the line away from here */
    struct lane urgent, normal;
    size_t n_queued;
    bool is_line_busy;
    size_t frame_bytes;    /* on the line now */
    struct message *frame; /* whose bytes these are */
    uint64_t arrives_us;   /* when the latest thing sent arrives */
    /* what arrived here across a cut */
    struct sim_event *held_first, *held_last;
    uint64_t number_cut;  /* how often the path was cut or healed */
    struct sim_end *next; /* of the node */
};

/* -- Delays ----------------------------------------------------------------------------------------- */

static bool chance(struct rng *rng, double p)
{
    return p > 0 && (double)rng_u32(rng) < p * 4294967296.0;
}

/* The delay of a frame, with the retransmissions that the datagram loss of this world would cause. */
static uint64_t frame_delay(const struct world_node *from, const struct world_node *to)
{
    struct world *world = from->world;
    uint64_t delay = sim_path_delay(world, from, to), pause = 2 * world->config.delay_mean_us;
    if (pause < RETRANSMIT_MIN_US)
        pause = RETRANSMIT_MIN_US;
    for (int i = 0; i < RETRANSMITS_MAX && chance(&world->network, world->config.datagram_loss); i++, pause *= 2)
        delay += pause;
    return delay;
}

/* -- Datagrams -------------------------------------------------------------------------------------- */

static void carry_datagram(struct world_node *from, struct world_node *to, const void *bytes, size_t n)
{
    struct world *world = from->world;
    struct sim_event *event = sim_schedule_datagram(world, world->now_us + sim_path_delay(world, from, to), bytes, n);
    event->node = to;
    event->from = from->addr;
    to->n_pending++;
}

void sim_datagram(void *ctx, const struct addr *addr, const void *bytes, size_t n)
{
    struct world_node *from = ctx, *to = sim_node_at(from->world, addr);
    struct world *world = from->world;
    if (!to || n > IO_DATAGRAM_MAX || addr->port != to->addr.port || sim_is_cut(from, to))
        return;
    if (chance(&world->network, world->config.datagram_loss))
        return;
    carry_datagram(from, to, bytes, n);
    if (chance(&world->network, world->config.datagram_duplicate))
        carry_datagram(from, to, bytes, n);
}

/* -- Ends ------------------------------------------------------------------------------------------- */

static struct sim_end *find_end(const struct world *world, io_link id)
{
    return id > 0 && id <= world->n_ends ? world->end[id - 1] : NULL;
}

static struct sim_end *find_own_end(const struct world_node *node, io_link id)
{
    struct sim_end *end = find_end(node->world, id);
    return end && end->node == node && end->life == node->life && end->state != END_DOWN ? end : NULL;
}

static void register_end(struct world *world, struct sim_end *end, struct world_node *node)
{
    if (world->n_ends == world->end_capacity) {
        world->end_capacity = world->end_capacity ? 2 * world->end_capacity : 64;
        world->end = sim_grow(world->end, world->end_capacity, sizeof(struct sim_end *));
    }
    world->end[world->n_ends++] = end;
    end->id = world->n_ends;
    end->node = node;
    end->life = node->life;
    end->next = node->end;
    node->end = end;
}

static void free_messages(struct lane *lane)
{
    while (lane->first) {
        struct message *message = lane->first;
        lane->first = message->next;
        buf_fini(&message->bytes);
        free(message);
    }
    lane->last = NULL;
}

static void drop_all(struct sim_end *end)
{
    free_messages(&end->urgent);
    free_messages(&end->normal);
    end->n_queued = 0;
    end->frame = NULL;
    while (end->held_first) {
        struct sim_event *event = end->held_first;
        end->held_first = event->next;
        sim_event_free(&end->node->world->pool, event);
    }
    end->held_last = NULL;
}

static void unregister_end(struct sim_end *end)
{
    struct sim_end **at = &end->node->end;
    while (*at && *at != end)
        at = &(*at)->next;
    if (*at)
        *at = end->next;
    if (end->id)
        end->node->world->end[end->id - 1] = NULL;
    sim_let_go(end->node);
}

/* This side knows no more of the link; when neither does, it is gone.  A side that was about to accept has told nobody yet
 * and goes with the one that gave up. */
static void end_down(struct sim_end *end)
{
    struct sim_end *other = end->other;
    if (end->state == END_CONNECTING && other->state == END_CONNECTING && other->is_incoming) {
        other->state = END_DOWN;
        drop_all(other);
    }
    end->state = END_DOWN;
    drop_all(end);
    if (other->state != END_DOWN)
        return;
    if (end->node)
        unregister_end(end);
    if (other->node)
        unregister_end(other);
    free(end->is_first_half ? end : other);
}

/* -- The line --------------------------------------------------------------------------------------- */

/* Schedules what arrives at the other end, after all that was sent before it. */
static struct sim_event *arrive(struct sim_end *end, uint64_t delay_us, enum sim_kind kind)
{
    struct world *world = end->node->world;
    uint64_t time_us = world->now_us + delay_us;
    if (time_us < end->arrives_us)
        time_us = end->arrives_us;
    end->arrives_us = time_us;
    struct sim_event *event = sim_schedule(world, time_us, kind);
    event->link = end->other->id;
    event->is_carried = true;
    return event;
}

static void finish_frame(struct sim_end *end)
{
    struct message *message = end->frame;
    struct lane *lane = message == end->urgent.first ? &end->urgent : &end->normal;
    uint64_t delay_us = frame_delay(end->node, end->other->node);
    message->n_sent += end->frame_bytes;
    end->n_queued -= end->frame_bytes;
    end->frame = NULL;
    if (message->n_sent < message->bytes.n) {
        uint64_t arrives_us = end->node->world->now_us + delay_us;
        end->arrives_us = arrives_us > end->arrives_us ? arrives_us : end->arrives_us;
        return;
    }
    struct sim_event *event = arrive(end, delay_us, SIM_MESSAGE);
    buf_init(&event->bytes, message->bytes.max);
    buf_move(&event->bytes, &message->bytes);
    lane->first = message->next;
    if (!lane->first)
        lane->last = NULL;
    buf_fini(&message->bytes);
    free(message);
}

/* Where the other side is, as this one sees it: the address dialed, or the port of the moment that it was dialed from. */
static struct addr seen_at(const struct sim_end *end)
{
    struct addr addr = end->dialed;
    if (end->is_incoming) {
        addr = end->other->node->addr;
        addr.port = (uint16_t)(EPHEMERAL_PORT_FIRST + end->other->id % EPHEMERAL_PORTS);
    }
    return addr;
}

/* Hands an event of a link to the process that has it, unless that one is gone. */
static void tell(struct world_node *node, uint64_t life, const struct io_event *event)
{
    if (node->life == life)
        sim_deliver(node, event);
}

static void say_down(struct sim_end *end, int err)
{
    struct io_event event = {.kind = IO_LINK_DOWN, .link = end->id, .err = err, .is_incoming = end->is_incoming};
    struct world_node *node = end->node;
    uint64_t life = end->life;
    event.from = seen_at(end);
    bool is_known = !end->is_incoming || end->state != END_CONNECTING;
    if (end->other->node)
        event.peer = end->other->node->peer;
    end_down(end);
    if (is_known)
        tell(node, life, &event);
}

/* Both directions of a link that one side has closed, once the last byte is out. */
static void finish_close(struct sim_end *end)
{
    arrive(end, sim_path_delay(end->node->world, end->node, end->other->node), SIM_DOWN)->err = HANSE_ECLOSED;
    struct sim_event *own = sim_schedule(end->node->world, end->node->world->now_us, SIM_DOWN);
    own->link = end->id;
}

static struct message *next_message(const struct sim_end *end)
{
    return end->urgent.first ? end->urgent.first : end->normal.first;
}

static void send_next(struct sim_end *end)
{
    double rate = end->node->world->config.bytes_per_s;
    while (!end->is_line_busy && (end->state == END_UP || end->state == END_CLOSING) &&
           !sim_is_cut(end->node, end->other->node)) {
        struct message *message = next_message(end);
        if (!message) {
            if (end->state == END_CLOSING) {
                end->is_line_busy = true; /* for good */
                finish_close(end);
            }
            return;
        }
        size_t left = message->bytes.n - message->n_sent;
        end->frame = message;
        if (rate <= 0) {
            end->frame_bytes = left;
            finish_frame(end);
            continue;
        }
        end->frame_bytes = left < FRAME_BYTES ? left : FRAME_BYTES;
        end->is_line_busy = true;
        uint64_t took_us = (uint64_t)((double)end->frame_bytes * 1e6 / rate);
        sim_schedule(end->node->world, end->node->world->now_us + took_us, SIM_LINE)->link = end->id;
    }
}

/* -- The effects of a machine ----------------------------------------------------------------------- */

io_link sim_link_open(void *ctx, const struct addr *to, const struct peer_id *expect)
{
    struct world_node *node = ctx;
    struct world *world = node->world;
    struct sim_end *end = sim_need(2, sizeof *end);
    end[0].other = &end[1];
    end[1].other = &end[0];
    end[1].is_incoming = true;
    end[1].state = END_DOWN; /* until somebody accepts */
    end[0].is_first_half = true;
    end[0].dialed = *to;
    end[0].opened_us = world->now_us;
    if (expect) {
        end[0].has_expect = true;
        end[0].expect = *expect;
    }
    register_end(world, &end[0], node);
    /* TCP takes a round trip, then the hello of TLS goes out: the third leg reaches the other side. */
    const struct world_node *there = sim_node_at(world, to);
    uint64_t time_us = world->now_us + frame_delay(node, there) + frame_delay(node, there) + frame_delay(node, there);
    sim_schedule(world, time_us, SIM_CONNECT)->link = end[0].id;
    return end[0].id;
}

void sim_link_send(void *ctx, io_link link, struct buf *bytes, bool is_urgent)
{
    struct sim_end *end = find_own_end(ctx, link);
    assert(bytes->err == 0 && bytes->n <= IO_MESSAGE_MAX);
    if (!end || end->state == END_CLOSING) {
        buf_fini(bytes);
        return;
    }
    struct message *message = sim_need(1, sizeof *message);
    struct lane *lane = is_urgent ? &end->urgent : &end->normal;
    buf_init(&message->bytes, bytes->max);
    buf_move(&message->bytes, bytes);
    if (lane->last)
        lane->last->next = message;
    else
        lane->first = message;
    lane->last = message;
    end->n_queued += message->bytes.n;
    send_next(end);
}

size_t sim_link_queued(void *ctx, io_link link)
{
    const struct sim_end *end = find_own_end(ctx, link);
    return end ? end->n_queued : 0;
}

/* Here is room for all. */
void sim_link_keep(void *ctx, io_link link, uint64_t until_us)
{
    (void)ctx;
    (void)link;
    (void)until_us;
}

void sim_link_close(void *ctx, io_link link)
{
    struct sim_end *end = find_own_end(ctx, link);
    if (!end || end->state == END_CLOSING)
        return;
    if (end->state == END_CONNECTING)
        sim_schedule(end->node->world, end->node->world->now_us, SIM_DOWN)->link = link;
    end->state = end->state == END_UP ? END_CLOSING : end->state;
    send_next(end);
}

/* -- Events ----------------------------------------------------------------------------------------- */

static void fail_at(struct sim_end *end, uint64_t time_us, int err)
{
    struct sim_event *event = sim_schedule(end->node->world, time_us, SIM_DOWN);
    event->link = end->id;
    event->err = err;
}

static void connect_arrives(struct sim_end *end)
{
    struct world *world = end->node->world;
    struct world_node *to = sim_node_at(world, &end->dialed);
    if (!to || !to->is_running || to->addr.port != end->dialed.port || sim_is_cut(end->node, to)) {
        uint64_t time_us = end->opened_us + world->config.connect_timeout_us;
        fail_at(end, time_us > world->now_us ? time_us : world->now_us, HANSE_ETIMEOUT);
        return;
    }
    if (end->has_expect && !peer_id_equal(&end->expect, &to->peer)) {
        fail_at(end, world->now_us + frame_delay(end->node, to), HANSE_EIDENTITY);
        return;
    }
    register_end(world, end->other, to);
    end->other->state = END_CONNECTING;
    arrive(end->other, frame_delay(to, end->node), SIM_UP);
}

static void say_up(struct sim_end *end)
{
    struct io_event event = {
        .kind = IO_LINK_UP, .link = end->id, .peer = end->other->node->peer, .is_incoming = end->is_incoming};
    event.from = seen_at(end);
    end->state = END_UP;
    if (!end->is_incoming && end->other->state != END_DOWN)
        arrive(end, frame_delay(end->node, end->other->node), SIM_UP); /* our certificate, which the other side waits for */
    struct world *world = end->node->world;
    tell(end->node, end->life, &event);
    end = find_end(world, event.link); /* what it heard may have made it stop */
    if (end && end->state != END_DOWN)
        send_next(end);
}

static void message_arrives(struct sim_end *end, struct sim_event *event)
{
    struct io_event io = {.kind = IO_MESSAGE, .link = end->id, .peer = end->other->node->peer, .is_incoming = end->is_incoming};
    io.from = seen_at(end);
    io.bytes = event->bytes.bytes;
    io.n_bytes = event->bytes.n;
    tell(end->node, end->life, &io);
}

/* True when the path is cut: the event is kept for when it heals. */
static bool hold(struct sim_end *end, struct sim_event *event)
{
    if (!event->is_carried || !sim_is_cut(end->node, end->other->node))
        return false;
    struct sim_event *copy = sim_event_new(&end->node->world->pool, 0);
    copy->kind = event->kind;
    copy->err = event->err;
    copy->bytes = event->bytes;
    event->bytes = (struct buf){0};
    if (end->held_last)
        end->held_last->next = copy;
    else
        end->held_first = copy;
    end->held_last = copy;
    return true;
}

static void release_held(struct sim_end *end)
{
    struct sim_event *event = end->held_first;
    end->held_first = end->held_last = NULL;
    while (event) {
        struct sim_event *next = event->next;
        struct sim_event *again = arrive(end->other, frame_delay(end->other->node, end->node), event->kind);
        again->err = event->err;
        again->bytes = event->bytes;
        event->bytes = (struct buf){0};
        sim_event_free(&end->node->world->pool, event);
        event = next;
    }
}

void sim_network_event(struct world *world, struct sim_event *event)
{
    struct sim_end *end = find_end(world, event->link);
    if (!end || end->state == END_DOWN)
        return;
    if (hold(end, event))
        return;
    switch (event->kind) {
    case SIM_CONNECT:
        connect_arrives(end);
        break;
    case SIM_LINE:
        end->is_line_busy = false;
        finish_frame(end);
        send_next(end);
        break;
    case SIM_UP:
        say_up(end);
        break;
    case SIM_MESSAGE:
        message_arrives(end, event);
        break;
    case SIM_DOWN:
        say_down(end, event->err);
        break;
    case SIM_SEVERED:
        if (end->number_cut == event->number_cut)
            say_down(end, HANSE_ETIMEOUT);
        break;
    default:
        assert(!"an event of the network");
    }
}

/* -- Crashes and cuts ------------------------------------------------------------------------------- */

static struct sim_end *first_of_life(const struct world_node *node)
{
    struct sim_end *end = node->end;
    while (end && (end->life != node->life || end->state == END_DOWN || end->state == END_CLOSING))
        end = end->next;
    return end;
}

/* Kill -9: the kernel resets the connection, which the other side hears after what was on the way. */
static void reset(struct sim_end *end)
{
    if (end->other->node && end->other->state != END_DOWN)
        arrive(end, sim_path_delay(end->node->world, end->node, end->other->node), SIM_DOWN)->err = HANSE_ECLOSED;
    end_down(end);
}

void sim_network_leave(struct world_node *node, bool is_orderly)
{
    struct sim_end *end;
    while ((end = first_of_life(node))) {
        if (!is_orderly || end->state != END_UP) {
            reset(end);
            continue;
        }
        end->state = END_CLOSING;
        send_next(end);
    }
}

static void cut_end(struct sim_end *end, bool is_cut)
{
    struct world *world = end->node->world;
    end->number_cut++;
    if (is_cut) {
        struct sim_event *event = sim_schedule(world, world->now_us + world->config.connect_timeout_us, SIM_SEVERED);
        event->link = end->id;
        event->number_cut = end->number_cut;
        return;
    }
    release_held(end);
    send_next(end);
}

void sim_network_cut(struct world_node *a, struct world_node *b, bool is_cut)
{
    for (struct sim_end *end = a->end; end; end = end->next)
        if (end->other->node == b && end->state != END_DOWN)
            cut_end(end, is_cut);
    for (struct sim_end *end = b->end; end; end = end->next)
        if (end->other->node == a && end->state != END_DOWN)
            cut_end(end, is_cut);
}

void sim_network_part(struct world *world, bool is_parted)
{
    for (size_t i = 0; i < world->n_ends; i++) {
        struct sim_end *end = world->end[i];
        if (!end || end->state == END_DOWN || !end->other->node || end->node->group == end->other->node->group)
            continue;
        if (is_parted || !sim_is_cut(end->node, end->other->node))
            cut_end(end, is_parted);
    }
}

void sim_network_fini(struct world *world)
{
    for (size_t i = 0; i < world->n_ends; i++) {
        struct sim_end *end = world->end[i];
        if (!end)
            continue;
        struct sim_end *other = end->other;
        drop_all(end);
        drop_all(other);
        if (other->id)
            world->end[other->id - 1] = NULL;
        free(end->is_first_half ? end : other);
    }
    free(world->end);
}
