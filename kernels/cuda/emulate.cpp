/* kernels/cuda/emulate.cpp - a block's threads as fibers. */
#include "kernels/cuda/emulate_state.h"
#include "kernels/cuda/emulate_fiber.h"

#include <stdio.h>

#define BLOCK_THREADS_MAX 1024
#define WARP 32
#define N_WARPS (BLOCK_THREADS_MAX / WARP)
#define GROUP_MAX 128            /* threads that emulate_meet() brings together: a warpgroup */
#define N_NAMED 16               /* barriers that a block has on a device */
#define N_MEETINGS 8             /* of one warp at a time; more masks than that have no business in one program */
#define SITES_BYTES (256 * 1024) /* of what kernels declare as shared */
#define SITE_ALIGN 128

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
uint64_t emulate_block = 1;

/* A stack, and the thread that waits on it. */
struct worker {
    struct fiber fiber; /* first: fibers are workers */
    struct worker *next;
    uint3 index;
    unsigned thread;
};

/* Those who wait for each other, in the order in which they came. */
struct gathering {
    struct worker *first, **last;
    unsigned n;
    const char *file;
    int line;
};

/* Threads that bring something: n of them, or of a warp those in the mask. */
struct meeting {
    unsigned n, mask; /* n = 0: free */
    void (*all)(void *const *of_lane, size_t n);
    void *of_lane[GROUP_MAX];
    struct gathering gathering;
};

static enum emulate_order order;
static uint64_t dice;

static struct {
    void (*run)(const void *call);
    const void *call;
    const char *name;
    unsigned n_threads, n_begun, n_alive;
    uint64_t n_blocks, n_blocks_begun;
    uint64_t block_step;
    unsigned thread_order[BLOCK_THREADS_MAX];
    struct gathering barrier, named[N_NAMED];
    struct meeting meetings[N_WARPS][N_MEETINGS];
    unsigned n_meetings;       /* that somebody waits in */
    uint32_t is_gone[N_WARPS]; /* lanes that have returned, or never were */
    int count;
    unsigned char *shared, *shared_mapped;
    size_t shared_bytes;
    size_t sites_used;
} now;

static unsigned char sites[SITES_BYTES] __attribute__((aligned(SITE_ALIGN)));
static struct worker outside, *self, *idle;
static struct worker *ready[BLOCK_THREADS_MAX]; /* a ring */
static unsigned ready_first, n_ready;

/* ---- order */

static uint64_t draw(void)
{
    uint64_t z = dice += 0x9e3779b97f4a7c15u; /* SplitMix64 of Steele, Lea and Flood 2014 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void emulate_order(enum emulate_order wanted, uint64_t seed)
{
    emulate_lock();
    order = wanted;
    dice = seed;
    emulate_unlock();
}

static void order_threads(void)
{
    for (unsigned i = 0; i < now.n_threads; i++) {
        unsigned j = order == EMULATE_SHUFFLED ? (unsigned)(draw() % (i + 1)) : i;
        now.thread_order[i] = now.thread_order[j];
        now.thread_order[j] = order == EMULATE_REVERSED ? now.n_threads - 1 - i : i;
    }
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    return b ? gcd(b, a % b) : a;
}

/* Shuffled blocks come in steps that have no divisor in common with their number. */
static void order_blocks(void)
{
    now.block_step = 1;
    if (order == EMULATE_REVERSED)
        now.block_step = now.n_blocks - 1;
    else if (order == EMULATE_SHUFFLED)
        do
            now.block_step = 1 + draw() % now.n_blocks;
        while (gcd(now.block_step, now.n_blocks) != 1);
}

static uint64_t nth_block(uint64_t i)
{
    unsigned __int128 at = (unsigned __int128)now.block_step * (order == EMULATE_FORWARD ? i : i + 1);
    return (uint64_t)(at % now.n_blocks);
}

/* ---- workers */

static void get_ready(struct worker *w)
{
    ready[(ready_first + n_ready++) % BLOCK_THREADS_MAX] = w;
}

static struct worker *take_ready(void)
{
    if (order == EMULATE_SHUFFLED) {
        unsigned i = (ready_first + (unsigned)(draw() % n_ready)) % BLOCK_THREADS_MAX;
        struct worker *w = ready[i];
        ready[i] = ready[ready_first];
        ready[ready_first] = w;
    }
    struct worker *w = ready[ready_first];
    ready_first = (ready_first + 1) % BLOCK_THREADS_MAX;
    n_ready--;
    return w;
}

static void go_on(struct worker *next)
{
    struct worker *me = self;
    self = next;
    fiber_switch(&me->fiber, &next->fiber);
}

static void add_sentence(const struct gathering *g, const char *what)
{
    if (g->n > 0)
        fprintf(stderr, "    %u at %s of %s:%d\n", g->n, what, g->file, g->line);
}

/* Threads wait for some that have returned, or wait elsewhere. */
__attribute__((noreturn)) static void stuck(void)
{
    fprintf(stderr, "%s: block (%u, %u, %u): %u of %u threads wait for others that will not come:\n", now.name, blockIdx.x,
            blockIdx.y, blockIdx.z, now.n_alive, now.n_threads);
    add_sentence(&now.barrier, "__syncthreads()");
    for (int i = 0; i < N_NAMED; i++)
        add_sentence(&now.named[i], "a barrier with a number");
    for (int w = 0; w < N_WARPS; w++)
        for (int i = 0; i < N_MEETINGS; i++)
            if (now.meetings[w][i].n > 0)
                add_sentence(&now.meetings[w][i].gathering, "a meeting of lanes");
    abort();
}

static void poison(void *at, size_t n_bytes)
{
    if (n_bytes > 0)
        memset(at, EMULATE_POISON, n_bytes);
}

static void begin_block(void)
{
    uint64_t i = nth_block(now.n_blocks_begun++);
    blockIdx.x = (unsigned)(i % gridDim.x);
    blockIdx.y = (unsigned)(i / gridDim.x % gridDim.y);
    blockIdx.z = (unsigned)(i / gridDim.x / gridDim.y);
    emulate_block++;
    now.n_begun = 0;
    now.n_alive = now.n_threads;
    now.sites_used = 0;
    poison(now.shared, now.shared_bytes);
    unsigned n_whole = now.n_threads / WARP;
    memset(now.is_gone, 0, n_whole * sizeof *now.is_gone);
    memset(now.is_gone + n_whole, 0xff, (N_WARPS - n_whole) * sizeof *now.is_gone);
    if (now.n_threads % WARP)
        now.is_gone[n_whole] = ~0u << now.n_threads % WARP;
    if (order != EMULATE_FORWARD)
        order_threads();
}

/* Makes this stack that of the next thread, of the next block when all of this one's have returned. */
static bool begin_thread(void)
{
    if (now.n_begun == now.n_threads) {
        if (now.n_alive > 0 || now.n_blocks_begun == now.n_blocks)
            return false;
        begin_block();
    }
    unsigned i = now.n_begun++;
    unsigned thread = order == EMULATE_FORWARD ? i : now.thread_order[i];
    self->thread = thread;
    threadIdx.x = thread;
    threadIdx.y = threadIdx.z = 0;
    if (blockDim.y * blockDim.z > 1) {
        threadIdx.x = thread % blockDim.x;
        threadIdx.y = thread / blockDim.x % blockDim.y;
        threadIdx.z = thread / blockDim.x / blockDim.y;
    }
    return true;
}

static void end_thread(void);

static void leave_idle(void)
{
    self->next = idle;
    idle = self;
    if (n_ready > 0)
        go_on(take_ready());
    else if (now.n_alive > 0)
        stuck();
    else
        go_on(&outside);
}

static void work(void)
{
    fiber_begin();
    for (;;) {
        while (begin_thread()) {
            now.run(now.call);
            end_thread();
        }
        leave_idle();
    }
}

static struct worker *idle_worker(void)
{
    struct worker *w = idle;
    if (w) {
        idle = w->next;
        return w;
    }
    w = static_cast<struct worker *>(calloc(1, sizeof *w));
    if (!w || !fiber_init(&w->fiber, work)) {
        fprintf(stderr, "%s: no memory for the stack of a thread\n", now.name);
        abort();
    }
    return w;
}

/* Sets the caller's thread aside until somebody makes it ready. */
static void pause_thread(void)
{
    struct worker *me = self;
    me->index = threadIdx;
    if (now.n_begun < now.n_threads)
        go_on(idle_worker());
    else if (n_ready > 0)
        go_on(take_ready());
    else
        stuck();
    threadIdx = me->index;
}

/* ---- those who wait for each other */

static void join(struct gathering *g, const char *file, int line)
{
    if (g->n == 0) {
        g->first = NULL;
        g->last = &g->first;
        g->file = file;
        g->line = line;
    }
    g->n++;
    self->next = NULL;
    *g->last = self;
    g->last = &self->next;
}

static void join_in_one_place(struct gathering *g, const char *file, int line, const char *what)
{
    if (g->n > 0 && (g->line != line || (g->file != file && strcmp(g->file, file) != 0))) {
        fprintf(stderr, "%s: block (%u, %u, %u): some threads are at %s of %s:%d, and some at that of %s:%d\n", now.name,
                blockIdx.x, blockIdx.y, blockIdx.z, what, g->file, g->line, file, line);
        abort();
    }
    join(g, file, line);
}

/* All but the caller, who goes on by itself, can go on. */
static void release(struct gathering *g)
{
    for (struct worker *w = g->first, *next; g->n > 0; w = next, g->n--) {
        next = w->next;
        if (w != self)
            get_ready(w);
    }
}

/* Whoever comes last goes on at once, or where order is drawn, when it is drawn. */
static void release_and_go_on(struct gathering *g)
{
    release(g);
    if (order != EMULATE_SHUFFLED || n_ready == 0)
        return;
    get_ready(self);
    struct worker *me = self, *next = take_ready();
    if (next == me)
        return;
    me->index = threadIdx;
    go_on(next);
    threadIdx = me->index;
}

void emulate_barrier(const char *file, int line)
{
    join_in_one_place(&now.barrier, file, line, "__syncthreads()");
    if (now.barrier.n < now.n_alive)
        pause_thread();
    else
        release_and_go_on(&now.barrier);
}

void emulate_named_barrier(int id, unsigned n_threads, const char *file, int line)
{
    struct gathering *g = &now.named[id];
    join(g, file, line); /* from several places: who brings and who takes */
    if (g->n < n_threads)
        pause_thread();
    else
        release_and_go_on(g);
}

int emulate_count(bool is_true, const char *file, int line)
{
    if (now.barrier.n == 0)
        now.count = 0;
    now.count += is_true;
    emulate_barrier(file, line);
    int count = now.count;
    emulate_barrier(file, line); /* before the next one counts */
    return count;
}

/* ---- meetings */

static struct meeting *find_meeting(struct meeting *of_warp, unsigned n, unsigned mask)
{
    struct meeting *room = NULL;
    for (int i = 0; i < N_MEETINGS; i++) {
        struct meeting *m = of_warp + i;
        if (m->n == n && m->mask == mask)
            return m;
        if (m->n == 0 && !room)
            room = m;
    }
    if (!room) {
        fprintf(stderr, "%s: lanes of one warp wait with more than %d masks\n", now.name, N_MEETINGS);
        abort();
    }
    now.n_meetings++;
    room->n = n;
    room->mask = mask;
    room->all = NULL;
    memset(room->of_lane, 0, n * sizeof *room->of_lane);
    return room;
}

/* How many of them will come, or have come. */
static unsigned n_expected(const struct meeting *m, unsigned first_warp)
{
    unsigned n = 0;
    for (unsigned w = 0; w < m->n / WARP; w++)
        n += (unsigned)__builtin_popcount(m->mask & ~now.is_gone[first_warp + w]);
    return n;
}

static void hold(struct meeting *m)
{
    m->all(m->of_lane, m->n);
    m->n = 0;
    now.n_meetings--;
}

static void meet(unsigned n, unsigned mask, void *mine, void (*all)(void *const *of_lane, size_t n), const char *file, int line)
{
    unsigned first = self->thread / n * n;
    struct meeting *m = find_meeting(now.meetings[first / WARP], n, mask);
    if (m->all && m->all != all) {
        fprintf(stderr, "%s: lanes of one warp meet for different things at %s:%d and %s:%d\n", now.name, m->gathering.file,
                m->gathering.line, file, line);
        abort();
    }
    m->all = all;
    m->of_lane[self->thread - first] = mine;
    join_in_one_place(&m->gathering, file, line, "a meeting of lanes");
    if (m->gathering.n < n_expected(m, first / WARP)) {
        pause_thread();
        return;
    }
    hold(m);
    release_and_go_on(&m->gathering);
}

void emulate_meet(unsigned n_threads, void *mine, void (*all)(void *const *of_lane, size_t n), const char *file, int line)
{
    meet(n_threads, ~0u, mine, all, file, line);
}

void emulate_meet_lanes(unsigned mask, void *mine, void (*all)(void *const *of_lane, size_t n), const char *file, int line)
{
    if (!(mask >> (self->thread % WARP) & 1)) {
        fprintf(stderr, "%s: lane %u is not in its own mask %#x at %s:%d\n", now.name, self->thread % WARP, mask, file, line);
        abort();
    }
    meet(WARP, mask, mine, all, file, line);
}

struct ballot {
    bool is_true;
    unsigned all;
};

static void ballot_all(void *const *of_lane, size_t n)
{
    unsigned all = 0;
    for (size_t i = 0; i < n; i++)
        if (of_lane[i] && static_cast<const struct ballot *>(of_lane[i])->is_true)
            all |= 1u << i;
    for (size_t i = 0; i < n; i++)
        if (of_lane[i])
            static_cast<struct ballot *>(of_lane[i])->all = all;
}

unsigned emulate_ballot(unsigned mask, bool is_true, const char *file, int line)
{
    struct ballot mine = {is_true, 0};
    emulate_meet_lanes(mask, &mine, ballot_all, file, line);
    return mine.all;
}

/* Whoever waited for this thread alone need not wait any more. */
static void end_thread(void)
{
    unsigned warp = self->thread / WARP;
    now.n_alive--;
    now.is_gone[warp] |= 1u << self->thread % WARP;
    if (now.barrier.n > 0 && now.barrier.n == now.n_alive)
        release(&now.barrier);
    if (now.n_meetings == 0)
        return;
    for (unsigned first = warp & ~(GROUP_MAX / WARP - 1); first <= warp; first++)
        for (int i = 0; i < N_MEETINGS; i++) {
            struct meeting *m = &now.meetings[first][i];
            if (m->n == 0 || first + m->n / WARP <= warp || m->gathering.n < n_expected(m, first))
                continue;
            hold(m);
            release(&m->gathering);
        }
}

/* ---- shared memory and launches */

void *emulate_dynamic_shared(void)
{
    return now.shared;
}

void *emulate_take_shared(struct emulate_site *site, size_t n_bytes)
{
    size_t room = (n_bytes + SITE_ALIGN - 1) / SITE_ALIGN * SITE_ALIGN;
    if (now.sites_used + room > SITES_BYTES) {
        fprintf(stderr, "%s: declares more shared memory than a block has\n", now.name);
        abort();
    }
    site->at = sites + now.sites_used;
    site->block = emulate_block;
    now.sites_used += room;
    poison(site->at, room);
    return site->at;
}

/* Exactly as much, so that AddressSanitizer sees a step too far. */
static void set_shared(size_t n_bytes)
{
    if (now.shared && n_bytes == now.shared_bytes)
        return;
    free(now.shared);
    void *at = NULL;
    if (posix_memalign(&at, 1024, n_bytes ? n_bytes : 1) != 0)
        abort();
    now.shared = static_cast<unsigned char *>(at);
    now.shared_bytes = n_bytes;
}

void emulate_run(const char *name, dim3 grid, dim3 block, size_t shared_bytes, void (*run)(const void *call), const void *call)
{
    emulate_lock();
    now.name = name;
    now.run = run;
    now.call = call;
    gridDim = grid;
    blockDim = block;
    now.n_threads = block.x * block.y * block.z;
    now.n_begun = now.n_threads;
    now.n_alive = 0;
    now.n_blocks = (uint64_t)grid.x * grid.y * grid.z;
    now.n_blocks_begun = 0;
    set_shared(shared_bytes);
    order_blocks();
    self = &outside;
    fiber_adopt(&outside.fiber);
    go_on(idle_worker());
    emulate_unlock();
}
